//! The token endpoint (RFC 6749 section 3.2).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use uuid::Uuid;

use super::error::OAuthError;
use super::grants;
use super::reason::Reason;
use super::service::{Authenticated, Endpoint, TokenEndpoint};
use crate::domain::oauth::{Claims, Grant, signed};
use crate::environment::{Entropy, EntropyError};
use crate::server::audit::Issued;
use crate::server::http::error_response::NoStore;
use crate::server::http::form_request::FormRequest;

/// The response of RFC 6749 section 5.1.
#[derive(Clone, Serialize)]
pub(crate) struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: i64,
    /// Present only if it differs from the request: some clients take it for an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// `POST` to the token endpoint.
pub(crate) async fn token(
    State(service): State<Arc<TokenEndpoint>>,
    request: FormRequest,
) -> Result<NoStore<TokenResponse>, OAuthError> {
    let (began, source) = (service.clock.elapsed(), request.source);
    let refused = |rejection| service.refused("token_refused", source, rejection);
    let client = service.authenticated(&request, Endpoint::Token).await.map_err(refused)?;
    match grants::token(&service, &client, source) {
        Ok(response) => {
            let took = service.clock.elapsed().saturating_sub(began);
            service.metrics.issued(client.method, took);
            Ok(NoStore(response))
        }
        Err(error) => Err(refused(client.rejected(error))),
    }
}

impl TokenEndpoint {
    /// An access token with these rights for the client of `request`, within the rates.
    pub(super) fn issue(
        &self,
        request: &Authenticated<'_>,
        granted: &Grant<'_>,
        source: Option<IpAddr>,
    ) -> Result<TokenResponse, OAuthError> {
        let client = &request.known.client;
        let elapsed = self.clock.elapsed();
        let of_one = self.tokens.of_one.take(&request.known.traces.tokens, elapsed);
        of_one.map_err(|wait| OAuthError::SlowDown(Reason::ClientRate, wait))?;
        let of_all = self.tokens.of_all.take(&self.tokens.count, elapsed);
        of_all.map_err(|wait| OAuthError::SlowDown(Reason::TotalRate, wait))?;
        let issued_at = self.clock.now();
        let signer = self.directory.signer_of(&request.known, issued_at);
        let signer = signer
            .map_err(|reason| OAuthError::Unavailable(Reason::Signer(reason), RETRY_AFTER))?;
        // The generator says no more than that it failed.
        let id = token_id(&*self.entropy).map_err(|_| signing_failed())?;
        let claims = Claims {
            issuer: self.issuer.url(),
            client,
            granted,
            profile: self.terms.profile,
            issued_at,
            id,
        };
        let header = signer.headers.of_type(client.type_of(granted, &self.terms));
        // Claims are always JSON, and signing fails for one reason alone.
        let input = claims.signing_input(header).map_err(|_| signing_failed())?;
        let signature = signer.key.sign(input.as_bytes()).map_err(|_| signing_failed())?;
        let kid = signer.key.public().kid();
        self.audit.issued(|| Issued::of(&request.known, &claims, kid, (request.method, source)));
        let scope = request.form.scope.as_deref();
        let is_asked = scope.is_some_and(|scope| granted.is_scope(scope));
        Ok(TokenResponse {
            access_token: signed(&input, &signature),
            token_type: "Bearer",
            expires_in: claims.expires_at().as_second() - issued_at.as_second(),
            scope: (!is_asked && !granted.roles.is_empty()).then(|| granted.scope().to_string()),
        })
    }
}

/// The id of one token: random (RFC 9562 section 5.4).
fn token_id(entropy: &dyn Entropy) -> Result<Uuid, EntropyError> {
    let mut random = [0; 16];
    entropy.fill("jti", &mut random)?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid())
}

fn signing_failed() -> OAuthError {
    OAuthError::Unavailable(Reason::SigningFailed, RETRY_AFTER)
}

const RETRY_AFTER: Duration = Duration::from_secs(5);

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
