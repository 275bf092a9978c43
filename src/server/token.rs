//! The token endpoint (RFC 6749 section 4.4).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::answer::{Refusal, no_store};
use super::audit::Issued;
use super::posted::Posted;
use super::service::{Authenticated, Service, refused};
use crate::domain::signer::NoSigner;
use crate::domain::token::{Claims, Excessive, TokenId, compact};

/// RFC 6749 section 5.1.
#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

/// `POST` to the token endpoint.
pub(super) async fn token(State(service): State<Arc<Service>>, posted: Posted) -> Response {
    let began = service.clock.elapsed();
    let answered = match service.authenticated(&posted).await {
        Ok(request) => {
            let method = request.method;
            service.issue(&request).map_err(|refusal| (refusal, method)).inspect(|_| {
                service.metrics.issued(method, service.clock.elapsed().saturating_sub(began));
            })
        }
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(response) => response,
        Err((refusal, method)) => refused(&service, refusal, method),
    }
}

impl Service {
    fn issue(&self, request: &Authenticated<'_>) -> Result<Response, Refusal> {
        let (client, form) = (&request.known.client, &request.form);
        match form.grant_type.as_deref() {
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::UnsupportedGrantType),
            None => return Err(Refusal::InvalidRequest("grant_type is missing")),
        }
        let granted = client.grant(form.scope.as_deref(), &form.targets).map_err(excessive)?;
        let elapsed = self.clock.elapsed();
        let of_one = self.tokens.of_one.take(&request.known.traces.tokens, elapsed);
        of_one.map_err(Refusal::SlowDown)?;
        let of_all = self.tokens.of_all.take(&self.tokens.count, elapsed);
        of_all.map_err(Refusal::SlowDown)?;
        let issued_at = self.clock.now();
        let signer = self.directory.signer(&client.signing_key, issued_at).map_err(unsigned)?;
        let mut random = [0; 16];
        self.entropy.fill("jti", &mut random).map_err(|_| failing())?;
        let claims = Claims {
            issuer: self.issuer.url(),
            client,
            granted: &granted,
            profile: self.profile,
            issued_at,
            id: TokenId::of(random),
        };
        let input = claims.signing_input(&signer.header);
        let signature = signer.key.sign(input.as_bytes()).map_err(|_| failing())?;
        let token = compact(input, &signature);
        // Told when it is not what was asked for: some clients take another one for an error.
        let scope = form.scope.is_none().then(|| granted.scope()).filter(|it| !it.is_empty());
        let answer = Answer {
            access_token: &token,
            token_type: "Bearer",
            expires_in: claims.expires_at().as_second() - issued_at.as_second(),
            scope: scope.as_deref(),
        };
        self.audit.issued(|| Issued::of(&claims, signer.key.public().kid(), request.method));
        Ok(no_store(StatusCode::OK, &answer).into_response())
    }
}

fn excessive(reason: Excessive) -> Refusal {
    match reason {
        Excessive::Scope => Refusal::InvalidScope,
        Excessive::Target => Refusal::InvalidTarget,
    }
}

fn unsigned(reason: NoSigner) -> Refusal {
    let text = match reason {
        NoSigner::Absent => "the SigningKey that this client names does not exist",
        NoSigner::Suspended => "the SigningKey of this client is suspended",
        NoSigner::Stale(_) => "the token service has been out of touch for too long to sign",
        NoSigner::NoLedger | NoSigner::NoKey => "no key may sign for this client at the moment",
    };
    Refusal::Unavailable(text, RETRY)
}

fn failing() -> Refusal {
    Refusal::Unavailable("signing failed", RETRY)
}

const RETRY: std::time::Duration = std::time::Duration::from_secs(5);
