//! Tokens that no verifier should accept, made out of a good one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::domain::crypto::public_key::KeyType;
use technical_user_operator::environment::System;
use technical_user_operator::environment::private_key::{KeyPairs, PrivateKey};

use super::part;
use super::world::World;

pub(crate) struct Forgery {
    pub(crate) name: &'static str,
    pub(crate) token: String,
    /// Why it is refused, any reason where that is empty; nothing where it must be accepted.
    pub(crate) refused: Option<&'static str>,
}

/// Forgeries of a token of the series `default`, by a user with its private key.
pub(crate) fn forgeries(token: &str, world: &World) -> Vec<Forgery> {
    let (header, claims) = (part(token, 0), part(token, 1));
    let stolen = world.private_key("default", Algorithm::RS256);
    let pkcs8 = System::start().generate("", KeyType::P256).unwrap();
    let own = PrivateKey::from_pkcs8(Algorithm::ES256, pkcs8.as_bytes()).unwrap();
    // Expired alone: introspection also refuses what was issued before its client was made.
    let long_ago = claims["iat"].as_i64().unwrap() - 3600;
    let past = with(&claims, "exp", json!(long_ago));
    let elsewhere = with(&claims, "iss", json!("https://elsewhere.example.com"));
    let own_header = json!({"alg": "ES256", "typ": "JWT", "kid": own.public().kid()});
    let none = with(&header, "alg", json!("none"));
    let forged = |name, token, reason| Forgery { name, token, refused: Some(reason) };
    vec![
        // So that the others are refused for what is wrong with them alone.
        Forgery {
            name: "as good as the good one",
            token: signed(&stolen, &header, &claims),
            refused: None,
        },
        forged("expired", signed(&stolen, &header, &past), "expired"),
        forged("a kid that is not in the JWKS", signed(&own, &own_header, &claims), "unknown"),
        forged("a flipped bit", flipped(token), "forged"),
        forged("another issuer", signed(&stolen, &header, &elsewhere), "issuer"),
        forged("no signature", format!("{}.{}.", encoded(&none), encoded(&claims)), ""),
    ]
}

fn with(fields: &BTreeMap<String, Value>, name: &str, value: Value) -> BTreeMap<String, Value> {
    let mut fields = fields.clone();
    fields.insert(name.to_owned(), value);
    fields
}

fn signed(key: &PrivateKey, header: &impl Serialize, claims: &impl Serialize) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = key.sign(message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn flipped(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    signature[7] ^= 1;
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn encoded(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).unwrap())
}
