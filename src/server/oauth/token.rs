//! The token endpoint (RFC 6749 section 4.4).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use uuid::Uuid;

use super::error::{OAuthError, no_store};
use super::reason::Reason;
use super::service::{Authenticated, Endpoint, Rejection, TokenEndpoint, refused};
use crate::domain::oauth::signer::SigningUnavailable;
use crate::domain::oauth::{Claims, Scope, ScopeError, TokenPolicy, signed};
use crate::environment::{Entropy, EntropyError};
use crate::server::audit::Issued;
use crate::server::http::form_request::FormRequest;

/// The response of RFC 6749 section 5.1.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    /// Present only if it differs from the request: some clients take it for an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scope<'a>>,
}

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
        let id = token_id(&*self.entropy).map_err(|_| signing_failed())?;
        let claims = Claims {
            issuer: self.issuer.url(),
            client,
            granted: &granted,
            profile: *profile,
            issued_at,
            id,
        };
        let header = signer.headers.of_type(client.type_of(&granted, &self.terms));
        // Claims are always JSON, and signing fails for one reason alone.
        let input = claims.signing_input(header).map_err(|_| signing_failed())?;
        let signature = signer.key.sign(input.as_bytes()).map_err(|_| signing_failed())?;
        let is_asked = form.scope.as_deref().is_some_and(|scope| granted.is_scope(scope));
        let response = TokenResponse {
            access_token: signed(&input, &signature),
            token_type: "Bearer",
            expires_in: claims.expires_at().as_second() - issued_at.as_second(),
            scope: (!is_asked && !granted.roles.is_empty()).then(|| granted.scope()),
        };
        let kid = signer.key.public().kid();
        self.audit.issued(|| Issued::of(&request.known, &claims, kid, (request.method, source)));
        Ok(no_store(StatusCode::OK, &response))
    }
}

/// The id of one token.
fn token_id(entropy: &dyn Entropy) -> Result<Uuid, EntropyError> {
    let mut random = [0; 16];
    entropy.fill("jti", &mut random)?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::environment::System;

    #[test]
    fn no_id_comes_twice() {
        let system = System::start();

        let drawn: BTreeSet<_> = (0..200).map(|_| token_id(&system).unwrap()).collect();

        assert_eq!(drawn.len(), 200);
        assert!(drawn.iter().all(|id| id.get_version_num() == 4));
    }
}
