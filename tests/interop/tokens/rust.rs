//! Rust: oauth2 over reqwest, and jsonwebtoken, which leaves it to its user to fetch the JWKS.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use oauth2::basic::BasicClient;
use oauth2::reqwest::blocking::Client;
use oauth2::reqwest::redirect::Policy;
use oauth2::{AuthType, ClientId, ClientSecret, RequestTokenError, Scope, TokenResponse, TokenUrl};
use serde::Deserialize;
use serde_json::Value;

use super::peer::{Answer, Bearer, Peer, Question, Request};

/// OpenID Connect Discovery 1.0 section 3.
#[derive(Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) token_endpoint: String,
    pub(super) introspection_endpoint: String,
    jwks_uri: String,
    id_token_signing_alg_values_supported: Vec<String>,
}

struct Libraries {
    http: Client,
    metadata: Metadata,
    keys: JwkSet,
}

pub(crate) fn peer(user: &'static str, issuer: &str) -> Peer {
    // As oauth2 demands: who is redirected may be sent anywhere.
    let http = Client::builder().redirect(Policy::none()).build().unwrap();
    let metadata = Metadata::discover(issuer);
    let mut libraries = Libraries { http, metadata, keys: JwkSet { keys: vec![] } };
    let names = format!("oauth2 {} and jsonwebtoken {}", locked("oauth2"), locked("jsonwebtoken"));
    let answers = Box::new(move |question: &Question<'_>| match question {
        Question::Token(request) => libraries.token(request),
        Question::Verify(bearer) => libraries.verify(bearer),
    });
    Peer::new(user, names, answers)
}

impl Metadata {
    pub(super) fn discover(issuer: &str) -> Self {
        let url = format!("{issuer}/.well-known/openid-configuration");
        let text = oauth2::reqwest::blocking::get(url).unwrap().text().unwrap();
        let metadata: Self = serde_json::from_str(&text).unwrap();
        assert_eq!(metadata.issuer, issuer);
        metadata
    }
}

impl Libraries {
    fn token(&self, request: &Request<'_>) -> Answer {
        let mut client = BasicClient::new(ClientId::new(request.client_id.to_owned()))
            .set_client_secret(ClientSecret::new(request.client_secret.to_owned()))
            .set_token_uri(TokenUrl::new(self.metadata.token_endpoint.clone()).unwrap());
        if let Some(method) = request.method {
            let is_post = method == "client_secret_post";
            let method = if is_post { AuthType::RequestBody } else { AuthType::BasicAuth };
            client = client.set_auth_type(method);
        }
        let mut exchange = client.exchange_client_credentials();
        let scopes = request.scope.unwrap_or_default().split_whitespace();
        exchange = exchange.add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())));
        if let Some(audience) = request.audience {
            exchange = exchange.add_extra_param("audience", audience.to_owned());
        }
        match exchange.request(&self.http) {
            Ok(response) => Answer::Token(response.access_token().secret().clone()),
            Err(RequestTokenError::ServerResponse(error)) => {
                Answer::Error(error.error().to_string())
            }
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    fn verify(&mut self, bearer: &Bearer<'_>) -> Answer {
        let Ok(header) = decode_header(bearer.token) else {
            return Answer::Refused("no such algorithm".to_owned());
        };
        let kid = header.kid.unwrap_or_default();
        if self.keys.find(&kid).is_none() {
            let response = self.http.get(&self.metadata.jwks_uri).send().unwrap();
            self.keys = serde_json::from_str(&response.text().unwrap()).unwrap();
        }
        let Some(key) = self.keys.find(&kid) else {
            return Answer::Refused("unknown".to_owned());
        };
        // Never that of the token.
        let algorithm = key.common.key_algorithm.unwrap().to_string();
        assert!(self.metadata.id_token_signing_alg_values_supported.contains(&algorithm));
        let mut validation = Validation::new(Algorithm::from_str(&algorithm).unwrap());
        validation.set_issuer(&[&self.metadata.issuer]);
        validation.set_required_spec_claims(&["iss", "sub", "exp"]);
        validation.validate_aud = bearer.audience.is_some();
        if let Some(audience) = bearer.audience {
            validation.set_audience(&[audience]);
        }
        let key = DecodingKey::from_jwk(key).unwrap();
        match decode::<Value>(bearer.token, &key, &validation) {
            Ok(token) => Answer::Claims(token.claims),
            Err(error) => Answer::Refused(refusal(error.kind())),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else may be wrong with a token")]
fn refusal(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::ExpiredSignature => "expired".to_owned(),
        ErrorKind::InvalidSignature => "forged".to_owned(),
        ErrorKind::InvalidIssuer => "issuer".to_owned(),
        ErrorKind::InvalidAudience => "audience".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The version of a crate.
fn locked(name: &str) -> String {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    let version = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).unwrap().1;
    version.split_once('"').unwrap().0.to_owned()
}
