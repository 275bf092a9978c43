//! Answers in the form that OAuth clients read: JSON always, also for what is no OAuth error (RFC
//! 6749 section 5.2).

use std::borrow::Cow;
use std::time::Duration;

use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::reason::{AuthFailureReason, Reason};
use crate::server::http::error_response::error_response;

/// Why a request is refused. None of the texts quotes the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OAuthError {
    /// 400 `invalid_request`.
    InvalidRequest(Cow<'static, str>),
    /// 400 `unsupported_grant_type`.
    UnsupportedGrantType,
    /// 400 `invalid_scope`.
    InvalidScope,
    /// 400 `invalid_target` (RFC 8707).
    InvalidTarget(&'static str),
    /// 400 `unauthorized_client`: nothing that the client asks for can make it a token.
    UnauthorizedClient(Reason),
    /// `invalid_client`: 401 with that challenge, or 400 when there is none.
    InvalidClient(Cow<'static, str>, AuthFailureReason, Option<HeaderValue>),
    /// 404.
    NotFound,
    /// 405, with the methods that the path has (RFC 9110 section 15.5.6).
    MethodNotAllowed(Methods),
    /// 415.
    UnsupportedMediaType,
    /// 429: too many.
    SlowDown(Reason, Duration),
    /// 503: not now.
    Unavailable(Reason, Duration),
}

/// The methods of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// GET and HEAD.
    Get,
    /// POST with a form.
    Post,
}

impl OAuthError {
    /// The error code, as metrics count it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_)
            | Self::NotFound
            | Self::MethodNotAllowed(_)
            | Self::UnsupportedMediaType => "invalid_request",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget(_) => "invalid_target",
            Self::UnauthorizedClient(_) => "unauthorized_client",
            Self::InvalidClient(..) => "invalid_client",
            Self::SlowDown(..) => "slow_down",
            Self::Unavailable(..) => "temporarily_unavailable",
        }
    }

    /// The reason of a code that has several, as metrics count it; empty for the others.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnauthorizedClient(reason)
            | Self::SlowDown(reason, _)
            | Self::Unavailable(reason, _) => reason.name(),
            Self::InvalidRequest(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget(_)
            | Self::InvalidClient(..)
            | Self::NotFound
            | Self::MethodNotAllowed(_)
            | Self::UnsupportedMediaType => "",
        }
    }

    /// The same for audit records, which also tell why a client is not authenticated.
    pub(crate) fn audit_reason(&self) -> &'static str {
        if let Self::InvalidClient(_, reason, _) = self { reason.name() } else { self.reason() }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget(_)
            | Self::UnauthorizedClient(_)
            | Self::InvalidClient(.., None) => StatusCode::BAD_REQUEST,
            Self::InvalidClient(.., Some(_)) => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::SlowDown(..) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn description(&self) -> &str {
        match self {
            Self::InvalidRequest(text) | Self::InvalidClient(text, ..) => text,
            Self::InvalidTarget(text) => text,
            Self::UnauthorizedClient(reason)
            | Self::SlowDown(reason, _)
            | Self::Unavailable(reason, _) => reason.text(),
            Self::UnsupportedGrantType => "grant_type must be client_credentials",
            Self::InvalidScope => {
                "the scope names a role that this client does not have, or that the installation \
                 does not allow"
            }
            Self::NotFound => "there is nothing at this path",
            Self::MethodNotAllowed(Methods::Get) => "use GET for this path",
            Self::MethodNotAllowed(Methods::Post) => {
                "use POST for this path, with the parameters in a form \
                 (Content-Type: application/x-www-form-urlencoded)"
            }
            Self::UnsupportedMediaType => {
                "the body must be of type application/x-www-form-urlencoded"
            }
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let mut response = error_response(self.status(), self.code(), self.description());
        let headers = response.headers_mut();
        match self {
            Self::InvalidClient(.., Some(challenge)) => {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::SlowDown(_, wait) | Self::Unavailable(_, wait) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
            }
            Self::MethodNotAllowed(methods) => {
                headers.insert(ALLOW, HeaderValue::from_static(methods.allow()));
            }
            Self::InvalidRequest(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget(_)
            | Self::UnauthorizedClient(_)
            | Self::InvalidClient(.., None)
            | Self::NotFound
            | Self::UnsupportedMediaType => {}
        }
        response
    }
}

impl Methods {
    /// The value of the header `Allow` (RFC 9110 section 10.2.1).
    fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET,HEAD",
            Self::Post => "POST",
        }
    }
}

/// The challenge of RFC 7617 for this issuer.
pub fn challenge(issuer: &str) -> HeaderValue {
    let text = format!(r#"Basic realm="{issuer}", charset="UTF-8""#);
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"))
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
