//! The token endpoint (RFC 6749 section 4.4).

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::error::{OAuthError, no_store_bytes};
use super::reason::Reason;
use super::service::{Authenticated, Endpoint, Rejection, TokenEndpoint, refused};
use crate::domain::oauth::signer::SigningUnavailable;
use crate::domain::oauth::{Claims, Scope, ScopeError, TokenPolicy, append_signature};
use crate::server::audit::Issued;
use crate::server::http::form_request::FormRequest;

/// `POST` to the token endpoint.
pub(crate) async fn token(
    State(service): State<Arc<TokenEndpoint>>,
    posted: FormRequest,
) -> Response {
    let began = service.clock.elapsed();
    let rejected = match service.authenticated(&posted, Endpoint::Token).await {
        Ok(request) => match service.issue(&request, posted.source) {
            Ok(response) => {
                let took = service.clock.elapsed().saturating_sub(began);
                service.metrics.issued(request.method, took);
                return response;
            }
            Err(refusal) => {
                Rejection { refusal, method: request.method, client: Some(request.known) }
            }
        },
        Err(rejected) => rejected,
    };
    refused(&service, "token_refused", posted.source, rejected)
}

impl TokenEndpoint {
    fn issue(
        &self,
        request: &Authenticated<'_>,
        source: Option<IpAddr>,
    ) -> Result<Response, OAuthError> {
        let (client, form) = (&request.known.client, &request.form);
        match form.grant_type.as_deref() {
            Some("client_credentials") => {}
            Some(_) => return Err(OAuthError::UnsupportedGrantType),
            None => return Err(OAuthError::InvalidRequest("grant_type is missing".into())),
        }
        let TokenPolicy { policy, profile, .. } = &self.terms;
        let granted = client.grant(policy, form.scope.as_deref(), &form.targets);
        let granted = granted.map_err(scope_error)?;
        let elapsed = self.clock.elapsed();
        let of_one = self.tokens.of_one.take(&request.known.traces.tokens, elapsed);
        of_one.map_err(|wait| OAuthError::SlowDown(Reason::ClientRate, wait))?;
        let of_all = self.tokens.of_all.take(&self.tokens.count, elapsed);
        of_all.map_err(|wait| OAuthError::SlowDown(Reason::TotalRate, wait))?;
        let issued_at = self.clock.now();
        let signer =
            self.directory.signer_of(&request.known, issued_at).map_err(signing_unavailable)?;
        // The generator says no more than that it failed.
        let id = self.tokens.ids.draw(&*self.entropy).map_err(|_| signing_failed())?;
        let claims = Claims {
            issuer: self.issuer.url(),
            client,
            granted: &granted,
            profile: *profile,
            issued_at,
            id,
        };
        let mut answer = String::with_capacity(ANSWER);
        answer.push_str(r#"{"access_token":""#);
        let begin = answer.len();
        let type_ = client.type_of(&granted, &self.terms);
        claims.append_signing_input(signer.headers.of_type(type_), &mut answer);
        let input = answer.get(begin..).unwrap_or_default();
        // Signing fails for one reason alone.
        let signature = signer.key.sign(input.as_bytes()).map_err(|_| signing_failed())?;
        append_signature(&signature, &mut answer);
        // `scope` is present only if it differs from the request: some clients take it for an error.
        let is_asked = form.scope.as_deref().is_some_and(|scope| granted.is_scope(scope));
        let scope = (!is_asked && !granted.roles.is_empty()).then(|| granted.scope());
        let lifetime = claims.expires_at().as_second() - issued_at.as_second();
        // A `String` takes every text.
        append_rest(lifetime, scope, &mut answer).map_err(|_| signing_failed())?;
        let kid = signer.key.public().kid();
        self.audit.issued(|| Issued::of(&request.known, &claims, kid, (request.method, source)));
        Ok(no_store_bytes(StatusCode::OK, answer.into_bytes()))
    }
}

/// The members after the token in the response (RFC 6749 section 5.1). The token is written where it
/// is sent, since to copy it with everything escaped that it cannot have takes a microsecond.
fn append_rest(lifetime: i64, scope: Option<Scope<'_>>, answer: &mut String) -> fmt::Result {
    write!(answer, r#"","token_type":"Bearer","expires_in":{lifetime}"#)?;
    if let Some(scope) = scope {
        write!(answer, r#","scope":{}"#, Value::String(scope.to_string()))?;
    }
    answer.write_char('}')
}

fn scope_error(reason: ScopeError) -> OAuthError {
    match reason {
        ScopeError::Scope => OAuthError::InvalidScope,
        ScopeError::Target => OAuthError::InvalidTarget(
            "this client has no such audience, or the installation does not allow it",
        ),
        ScopeError::Roles => OAuthError::UnauthorizedClient(Reason::RolesNotAllowed),
        ScopeError::Audiences => OAuthError::UnauthorizedClient(Reason::AudiencesNotAllowed),
    }
}

fn signing_unavailable(reason: SigningUnavailable) -> OAuthError {
    OAuthError::Unavailable(Reason::Signer(reason), RETRY_AFTER)
}

fn signing_failed() -> OAuthError {
    OAuthError::Unavailable(Reason::SigningFailed, RETRY_AFTER)
}

const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// A token with a few roles and audiences, and a signature of RSA.
const ANSWER: usize = 1280;
