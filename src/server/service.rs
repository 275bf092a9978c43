//! What the endpoints of the token service share.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::answer::{Refusal, challenge};
use super::audit::{Audit, Refused};
use super::authentication::{Authenticator, Denied, Failed};
use super::limits::Rate;
use super::metrics::Metrics;
use super::posted::Posted;
use super::reason::{Reason, Unauthenticated};
use super::token_ids::TokenIds;
use crate::directory::{Directory, Known};
use crate::domain::token::TokenPolicy;
use crate::domain::token::presented::{ClientAuthError, ClientAuthMethod, ClientCredentials};
use crate::domain::token::request::{Form, InvalidForm};
use crate::environment::{Clock, Entropy};

/// Everything that a request needs.
#[derive(Debug)]
pub struct Service {
    /// What is known.
    pub directory: Arc<Directory>,
    /// Who is who.
    pub authenticator: Authenticator,
    /// What tokens say, and where they are to be had.
    pub issuer: Issuer,
    /// What tokens say, and in which form.
    pub terms: TokenPolicy,
    /// How many tokens there may be.
    pub tokens: Tokens,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random ids.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who got which token.
    pub audit: Audit,
}

/// How many tokens there may be.
#[derive(Debug)]
pub struct Tokens {
    /// Of one client.
    pub of_one: Rate,
    /// Of all clients together.
    pub of_all: Rate,
    /// Those of all clients together.
    pub count: AtomicU64,
    /// Ids for them.
    pub ids: TokenIds,
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
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

// === what the endpoints share ===

/// Where a client authenticates. A wrong client secret has its own status at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// RFC 6749 section 5.2: 401 for the `Authorization` header, 400 for credentials in the body.
    /// Many clients read the reason from a 400 only, or take any challenge for the whole answer.
    Token,
    /// RFC 7662 section 2.3: 401.
    Introspection,
}

/// A request of an authenticated client.
pub(super) struct Authenticated<'a> {
    pub(super) known: Arc<Known>,
    pub(super) form: Form<'a>,
    pub(super) method: ClientAuthMethod,
}

/// A request that is refused.
pub(super) struct Rejected {
    pub(super) refusal: Refusal,
    pub(super) method: ClientAuthMethod,
    /// Who it says it is, when there is such a client.
    pub(super) client: Option<Arc<Known>>,
}

impl Service {
    /// Reads the form, and makes sure whose it is. Whether the request itself makes sense is looked
    /// at afterwards: nobody learns anything without a client secret.
    pub(super) async fn authenticated<'a>(
        &self,
        posted: &'a Posted,
        endpoint: Endpoint,
    ) -> Result<Authenticated<'a>, Rejected> {
        let Posted { headers, body, source } = posted;
        let unread = |refusal| Rejected { refusal, method: ClientAuthMethod::None, client: None };
        if !is_form(headers) {
            return Err(unread(Refusal::UnsupportedMediaType));
        }
        let form = Form::read(body).map_err(|fault| unread(faulty(fault)))?;
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        let authorization = authorizations.next().map(HeaderValue::as_bytes);
        if authorizations.next().is_some() {
            let text = "there is more than one Authorization header";
            return Err(unread(Refusal::InvalidRequest(text.into())));
        }
        let method = ClientAuthMethod::of(authorization, &form);
        let challenged = match endpoint {
            Endpoint::Token => authorization.is_some() || !form.has_credentials(),
            Endpoint::Introspection => true,
        };
        let rejected = |refusal, client| Rejected { refusal, method, client };
        let presented = ClientCredentials::read(authorization, &form);
        let presented = presented.map_err(|reason| {
            let named = ClientCredentials::client_id(authorization, &form);
            let client = named.and_then(|id| self.directory.client(&id));
            rejected(self.unproven(reason, challenged), client)
        })?;
        let known = self.authenticator.authenticate(&presented, *source).await;
        let known = known
            .map_err(|Failed { reason, known }| rejected(self.denied(reason, challenged), known))?;
        if known.client.is_suspended {
            let text = "this client is suspended: spec.suspend of its TechnicalUser is true";
            let reason = Unauthenticated::Suspended;
            let refusal = self.invalid_client(text.into(), reason, challenged);
            return Err(rejected(refusal, Some(known)));
        }
        Ok(Authenticated { known, form, method })
    }

    fn unproven(&self, reason: ClientAuthError, challenged: bool) -> Refusal {
        let text = reason.to_string().into();
        match reason {
            ClientAuthError::Twice | ClientAuthError::TwoClients => Refusal::InvalidRequest(text),
            ClientAuthError::Missing => {
                self.failed(text, Unauthenticated::NoCredentials, challenged)
            }
            ClientAuthError::Unknown => {
                self.failed(text, Unauthenticated::UnknownMethod, challenged)
            }
            ClientAuthError::Malformed => self.failed(text, Unauthenticated::Malformed, challenged),
        }
    }

    fn denied(&self, reason: Denied, challenged: bool) -> Refusal {
        match reason {
            // The same text as for malformed credentials: a guess learns nothing.
            Denied::Invalid(reason) => {
                self.failed(ClientAuthError::Malformed.to_string().into(), reason, challenged)
            }
            Denied::TooOften(wait) => Refusal::SlowDown(Reason::Guesses, wait),
            Denied::Unchecked(reason, wait) => Refusal::Unavailable(reason, wait),
        }
    }

    /// A failure, counted: too many of them are told to slow down.
    fn failed(
        &self,
        text: Cow<'static, str>,
        reason: Unauthenticated,
        challenged: bool,
    ) -> Refusal {
        match self.authenticator.fail() {
            Ok(()) => self.invalid_client(text, reason, challenged),
            Err(wait) => Refusal::SlowDown(Reason::Failures, wait),
        }
    }

    fn invalid_client(
        &self,
        text: Cow<'static, str>,
        reason: Unauthenticated,
        challenged: bool,
    ) -> Refusal {
        Refusal::InvalidClient(text, reason, challenged.then(|| challenge(self.issuer.url())))
    }
}

/// A refusal, counted and on record.
pub(super) fn refused(
    service: &Service,
    event: &'static str,
    source: Option<IpAddr>,
    rejected: Rejected,
) -> Response {
    let Rejected { refusal, method, client } = rejected;
    service.metrics.refused(method, &refusal);
    let client = client.as_deref();
    service.audit.refused(client, service.clock.elapsed(), || {
        Refused::of((service.clock.now(), event), client, (method, source), &refusal)
    });
    refusal.into_response()
}

fn faulty(fault: InvalidForm) -> Refusal {
    match fault {
        InvalidForm::Repeated(_) | InvalidForm::TooMany => {
            Refusal::InvalidRequest(fault.to_string().into())
        }
        InvalidForm::Resource => Refusal::InvalidTarget(
            "a resource is an absolute URI without a fragment: name anything else as audience",
        ),
    }
}

/// Whether the body says that it is a form, with whatever parameters (RFC 9110 section 8.3.1).
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
