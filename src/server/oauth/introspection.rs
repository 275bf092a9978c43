//! Token introspection (RFC 7662): what a resource server cannot know from a token alone, namely
//! whether its client still lives and its key still counts.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::OAuthError;
use super::service::{Endpoint, TokenEndpoint};
use crate::domain::crypto::public_key::{Algorithm, Kid};
use crate::domain::oauth::AccessTokenType;
use crate::environment::private_key::verify;
use crate::server::audit::Introspected;
use crate::server::http::error_response::NoStore;
use crate::server::http::form_request::FormRequest;

/// The header of a token (RFC 7515 section 4.1).
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Kid,
    /// A JWT of any other type is no access token.
    #[serde(rename = "typ")]
    _type: AccessTokenType,
    #[serde(default)]
    crit: Option<Value>,
}

/// `POST` to the introspection endpoint.
pub(crate) async fn introspect(
    State(service): State<Arc<TokenEndpoint>>,
    request: FormRequest,
) -> Response {
    let response = service.introspected(&request).await.into_response();
    service.metrics.introspection_answered(response.status());
    response
}

impl TokenEndpoint {
    async fn introspected(&self, request: &FormRequest) -> Result<NoStore<Value>, OAuthError> {
        let source = request.source;
        let refused = |rejection| self.refused("introspection_refused", source, rejection);
        let client = self.authenticated(request, Endpoint::Introspection).await.map_err(refused)?;
        let Some(token) = client.form.token.as_deref() else {
            let error = OAuthError::InvalidRequest("token is missing".into());
            return Err(refused(client.rejected(error)));
        };
        // The response says nothing about any other token, not even why (RFC 7662 section 2.2).
        let claims = self.active(token);
        let via = (client.method, source);
        self.audit.introspected(&client.known, self.clock.elapsed(), || {
            let text = |claim: &str, claims| Map::get(claims, claim).and_then(Value::as_str);
            let token =
                claims.as_ref().map(|claims| (text("client_id", claims), text("jti", claims)));
            Introspected::of(self.clock.now(), &client.known, via, token)
        });
        Ok(NoStore(claims.map_or_else(|| json!({"active": false}), Value::Object)))
    }

    /// The claims of a token of ours that counts now.
    fn active(&self, token: &str) -> Option<Map<String, Value>> {
        let mut claims = self.verified(token)?;
        let now = self.clock.now().as_second();
        let instant = |name: &str| claims.get(name).and_then(Value::as_i64);
        let (issued_at, expires_at) = (instant("iat")?, instant("exp")?);
        let is_ours = claims.get("iss").and_then(Value::as_str) == Some(self.issuer.url());
        if !is_ours || now >= expires_at {
            return None;
        }
        let client_id = claims.get("client_id")?.as_str()?.parse().ok()?;
        let known = self.directory.client(&client_id)?;
        let is_of_this_one = is_since(issued_at, known.client.created_at)
            && claims.get("caas_org_id").and_then(Value::as_str) == Some(&known.client.tenant);
        let client = &known.client;
        if client.is_suspended || !is_of_this_one || client.is_revoked(issued_at) {
            return None;
        }
        if !claims.contains_key("scope") {
            // A token without a role, or of an earlier version.
            let roles = claims.get("user_roles").or_else(|| claims.get("scopes"));
            let roles = roles.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let scope: Vec<&str> = roles.iter().filter_map(Value::as_str).collect();
            claims.insert("scope".to_owned(), json!(scope.join(" ")));
        }
        claims.insert("token_type".to_owned(), json!("Bearer"));
        claims.insert("active".to_owned(), json!(true));
        Some(claims)
    }

    /// The claims of a token that is signed with a key of the JWKS.
    fn verified(&self, token: &str) -> Option<Map<String, Value>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let key = self.directory.key(&header.kid)?;
        let is_signed =
            key.algorithm() == header.alg && verify(&key, signed.as_bytes(), &decoded(signature)?);
        if !is_signed {
            return None;
        }
        serde_json::from_slice(&decoded(claims)?).ok()
    }
}

/// Whether a token is of this client and not of an earlier one of that name; the clocks may differ a
/// little.
fn is_since(issued_at: i64, created_at: Timestamp) -> bool {
    issued_at.saturating_add(CLOCKS_APART) >= created_at.as_second()
}

const CLOCKS_APART: i64 = 5;
