//! The shared part of the endpoints of the token service.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use tracing::Span;

use super::authenticator::{AuthError, AuthFailure, Authenticator};
use super::discovery::MetadataCache;
use super::error::{OAuthError, challenge};
use super::reason::{AuthFailureReason, Reason};
use crate::directory::{Directory, RegisteredClient};
use crate::domain::oauth::TokenPolicy;
use crate::domain::oauth::client_authentication::{
    ClientAuthError, ClientAuthMethod, ClientCredentials,
};
use crate::domain::oauth::form::{Form, InvalidForm};
use crate::environment::{Clock, Entropy};
use crate::server::audit::{Audit, Refused};
use crate::server::http::form_request::FormRequest;
use crate::server::http::rate_limit::Rate;
use crate::server::metrics::Metrics;

/// Everything that a request needs.
#[derive(Debug)]
pub struct TokenEndpoint {
    /// What is known.
    pub directory: Arc<Directory>,
    /// Clients and keys.
    pub authenticator: Authenticator,
    /// The issuer.
    pub issuer: Issuer,
    /// The claims of tokens and their form.
    pub terms: TokenPolicy,
    /// The metadata, ready to be sent.
    pub metadata: MetadataCache,
    /// How many tokens there may be.
    pub tokens: Tokens,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random ids.
    pub entropy: Arc<dyn Entropy>,
    /// The metrics.
    pub metrics: Metrics,
    /// The audit record of each token.
    pub audit: Audit,
}

/// How many tokens there may be.
#[derive(Debug)]
pub struct Tokens {
    /// Of one client.
    pub of_one: Rate,
    /// Of all clients together.
    pub of_all: Rate,
    /// The rate of all clients together.
    pub count: AtomicU64,
}

/// The issuer, and the path in it.
#[derive(Clone, Debug)]
pub struct Issuer {
    url: String,
    path: String,
}

// === impl Issuer ===

impl Issuer {
    /// An issuer that was checked: `https://host` with a path or none.
    pub fn new(url: String) -> Self {
        let path = url.split_once("://").and_then(|(_, rest)| Some(rest.split_once('/')?.1));
        let path = path.map(|path| format!("/{path}")).unwrap_or_default();
        Self { url, path }
    }

    /// Exactly as it was configured: everyone compares it byte by byte.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// With a slash at its beginning and none at its end, or empty.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

// === what the endpoints share ===

/// Where a client authenticates. A wrong client secret has its own status at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// RFC 6749 section 5.2: 401 for the `Authorization` header, 400 for credentials in the body.
    /// Many clients read the reason from a 400 only, or take any challenge for the whole answer.
    Token,
    /// RFC 7662 section 2.3: 401.
    Introspection,
}

/// A request of an authenticated client.
pub(crate) struct Authenticated<'a> {
    pub(crate) known: Arc<RegisteredClient>,
    pub(crate) form: Form<'a>,
    pub(crate) method: ClientAuthMethod,
}

/// A request that is refused.
pub(crate) struct Rejection {
    pub(crate) refusal: OAuthError,
    pub(crate) method: ClientAuthMethod,
    /// The client that it names, if that client exists.
    pub(crate) client: Option<Arc<RegisteredClient>>,
}

impl TokenEndpoint {
    /// Reads the form and authenticates the client. The other parameters are checked after that: a request
    /// without a client secret learns nothing.
    pub(crate) async fn authenticated<'a>(
        &self,
        request: &'a FormRequest,
        endpoint: Endpoint,
    ) -> Result<Authenticated<'a>, Rejection> {
        let FormRequest { headers, body, source } = request;
        let unread = |refusal| Rejection { refusal, method: ClientAuthMethod::None, client: None };
        if !is_form(headers) {
            return Err(unread(OAuthError::UnsupportedMediaType));
        }
        let form = Form::read(body).map_err(|fault| unread(invalid_form(fault)))?;
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        let authorization = authorizations.next().map(HeaderValue::as_bytes);
        if authorizations.next().is_some() {
            let text = "there is more than one Authorization header";
            return Err(unread(OAuthError::InvalidRequest(text.into())));
        }
        let method = ClientAuthMethod::of(authorization, &form);
        let challenged = match endpoint {
            Endpoint::Token => authorization.is_some() || !form.has_credentials(),
            Endpoint::Introspection => true,
        };
        let rejected = |refusal, client| Rejection { refusal, method, client };
        let presented = ClientCredentials::read(authorization, &form);
        let presented = presented.map_err(|reason| {
            let named = ClientCredentials::client_id(authorization, &form);
            let client = named.and_then(|id| self.directory.client(&id));
            rejected(self.client_auth_error(reason, challenged), client)
        })?;
        let known = self.authenticator.authenticate(&presented, *source).await;
        let known = known.map_err(|AuthFailure { reason, known }| {
            rejected(self.auth_error(reason, challenged), known)
        })?;
        if known.client.is_suspended {
            let text = "this client is suspended: spec.suspend of its TechnicalUser is true";
            let reason = AuthFailureReason::Suspended;
            let refusal = self.invalid_client(text.into(), reason, challenged);
            return Err(rejected(refusal, Some(known)));
        }
        Span::current().record("client_id", known.client.id.as_str());
        Ok(Authenticated { known, form, method })
    }

    /// The response to a rejected request, which is counted and recorded by this call.
    pub(crate) fn refused(
        &self,
        event: &'static str,
        source: Option<IpAddr>,
        rejection: Rejection,
    ) -> OAuthError {
        let Rejection { refusal, method, client } = rejection;
        let span = Span::current();
        span.record("error.type", refusal.code());
        if let Some(known) = &client {
            span.record("client_id", known.client.id.as_str());
        }
        self.metrics.refused(method, &refusal);
        let client = client.as_deref();
        self.audit.refused(client, self.clock.elapsed(), || {
            Refused::of((self.clock.now(), event), client, (method, source), &refusal)
        });
        refusal
    }

    fn client_auth_error(&self, reason: ClientAuthError, challenged: bool) -> OAuthError {
        let text = reason.to_string().into();
        match reason {
            ClientAuthError::Twice | ClientAuthError::TwoClients => {
                OAuthError::InvalidRequest(text)
            }
            ClientAuthError::Missing => {
                self.failed(text, AuthFailureReason::NoCredentials, challenged)
            }
            ClientAuthError::Unknown => {
                self.failed(text, AuthFailureReason::UnknownMethod, challenged)
            }
            ClientAuthError::Malformed => {
                self.failed(text, AuthFailureReason::Malformed, challenged)
            }
        }
    }

    fn auth_error(&self, reason: AuthError, challenged: bool) -> OAuthError {
        match reason {
            // The same text as for malformed credentials: a guess learns nothing.
            AuthError::Invalid(reason) => {
                self.failed(ClientAuthError::Malformed.to_string().into(), reason, challenged)
            }
            AuthError::TooOften(wait) => OAuthError::SlowDown(Reason::Guesses, wait),
            AuthError::Unchecked(reason, wait) => OAuthError::Unavailable(reason, wait),
        }
    }

    /// A failure, counted: beyond the limit it is answered with `slow_down`.
    fn failed(
        &self,
        text: Cow<'static, str>,
        reason: AuthFailureReason,
        challenged: bool,
    ) -> OAuthError {
        match self.authenticator.fail() {
            Ok(()) => self.invalid_client(text, reason, challenged),
            Err(wait) => OAuthError::SlowDown(Reason::Failures, wait),
        }
    }

    fn invalid_client(
        &self,
        text: Cow<'static, str>,
        reason: AuthFailureReason,
        challenged: bool,
    ) -> OAuthError {
        OAuthError::InvalidClient(text, reason, challenged.then(|| challenge(self.issuer.url())))
    }
}

impl Authenticated<'_> {
    /// The same request, refused.
    pub(crate) fn rejected(self, refusal: OAuthError) -> Rejection {
        Rejection { refusal, method: self.method, client: Some(self.known) }
    }
}

fn invalid_form(fault: InvalidForm) -> OAuthError {
    match fault {
        InvalidForm::Repeated(_) | InvalidForm::TooMany => {
            OAuthError::InvalidRequest(fault.to_string().into())
        }
        InvalidForm::Resource => OAuthError::InvalidTarget(
            "a resource is an absolute URI without a fragment: name anything else as audience",
        ),
    }
}

/// Whether the media type is that of a form. Its parameters do not matter (RFC 9110 section 8.3.1).
fn is_form(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let media_type = text.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_may_have_a_path() {
        let path = |url: &str| Issuer::new(url.to_owned()).path;

        assert_eq!(path("https://auth.example.com"), "");
        assert_eq!(path("https://auth.example.com:8443/iam/t1"), "/iam/t1");
    }
}
