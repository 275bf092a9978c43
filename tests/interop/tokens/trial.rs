//! What each library is put through.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use technical_user_operator::domain::crypto::client_secret::ClientSecret;

use super::forgeries::{Forgery, forgeries};
use super::peer::{Bearer, FAILED, Peer, Request};
use super::world::{Credential, World};
use super::{AUDIENCES, RFC_9068, ROLES};

/// The credentials of all users, by their names.
pub(crate) type Users = BTreeMap<&'static str, Credential>;

/// How a library fares.
pub(crate) struct Trial<'a> {
    issuer: &'a str,
    tenant: String,
    users: &'a Users,
    pub(crate) cases: usize,
    pub(crate) faults: Vec<String>,
}

/// What the claims of a token must say.
struct Expected<'a> {
    roles: &'a [&'a str],
    audience: Option<Value>,
}

const BASIC: Option<&str> = Some("client_secret_basic");
const POST: Option<&str> = Some("client_secret_post");

impl<'a> Trial<'a> {
    pub(crate) fn new(issuer: &'a str, tenant: String, users: &'a Users) -> Self {
        Self { issuer, tenant, users, cases: 0, faults: Vec::new() }
    }

    pub(crate) fn run(&mut self, peer: &mut Peer, world: &World) {
        self.every_method(peer);
        self.part_of_the_roles(peer);
        self.audiences(peer);
        self.access_token_profile(peer);
        self.wrong_secrets(peer);
        self.forged_tokens(peer, world);
    }

    // === good ones ===

    fn every_method(&mut self, peer: &mut Peer) {
        let own = self.users[peer.user].clone();
        for method in [None, BASIC, POST] {
            let name = format!("a token by {}", method.unwrap_or("the default method"));
            let expected = Expected { roles: &ROLES, audience: None };
            self.good(peer, &name, &Request { method, ..of(&own) }, &expected);
        }
    }

    fn part_of_the_roles(&mut self, peer: &mut Peer) {
        let own = self.users[peer.user].clone();
        let request = Request { scope: Some(ROLES[1]), ..of(&own) };
        let expected = Expected { roles: &ROLES[1..], audience: None };
        self.good(peer, "a part of the scope", &request, &expected);
        let request = Request { scope: Some("ROLE_ADMIN"), ..of(&own) };
        self.error(peer, "a scope of others", &request, "invalid_scope");
    }

    fn audiences(&mut self, peer: &mut Peer) {
        let (one, two) = (self.users["es256"].clone(), self.users["eddsa"].clone());
        let request = Request { audience: Some("elsewhere"), ..of(&one) };
        self.error(peer, "an audience of others", &request, "invalid_target");
        let [first, second] = AUDIENCES;
        let mut expected = Expected { roles: &ROLES[..1], audience: Some(json!(first)) };
        let token = self.good(peer, "ES256, one audience", &of(&one), &expected);
        if !peer.lacks.contains("audience") {
            let token = token.unwrap_or_default();
            let bearer = Bearer { token: &token, audience: Some("elsewhere") };
            self.refused(peer, "another audience", bearer, "audience");
        }
        if !peer.lacks.contains("EdDSA") {
            expected.audience = Some(json!([first, second]));
            self.good(peer, "EdDSA, two audiences", &of(&two), &expected);
            expected.audience = Some(json!(first));
            let request = Request { audience: Some(first), ..of(&two) };
            self.good(peer, "EdDSA, one audience of two", &request, &expected);
        }
    }

    /// What verifiers that follow RFC 9068 accept. The other libraries here know `JWT` alone.
    fn access_token_profile(&mut self, peer: &mut Peer) {
        if !["authlib", "node"].contains(&peer.user) {
            return;
        }
        let own = self.users[RFC_9068].clone();
        let expected = Expected { roles: &ROLES, audience: Some(json!(AUDIENCES[0])) };
        let token = self.good(peer, "RFC 9068", &of(&own), &expected).unwrap_or_default();
        let bearer = Bearer { token: &token, audience: Some("elsewhere") };
        self.refused(peer, "RFC 9068, another audience", bearer, "audience");
    }

    /// Gets a token and has it verified.
    fn good(
        &mut self,
        peer: &mut Peer,
        name: &str,
        request: &Request<'_>,
        expected: &Expected<'_>,
    ) -> Option<String> {
        self.cases += 1;
        let outcome = peer.token(*request).and_then(|token| {
            let audience = expected.audience.as_ref().map(|_| AUDIENCES[0]);
            let claims = peer.verify(Bearer { token: &token, audience })?;
            let wrong = self.wrong_claims(&claims, request.client_id, expected);
            if wrong.is_empty() {
                Ok(token)
            } else {
                Err(format!("{} of {claims}", wrong.join(", ")))
            }
        });
        outcome.map_err(|fault| self.fault(name, &fault)).ok()
    }

    fn wrong_claims(
        &self,
        claims: &Value,
        client_id: &str,
        expected: &Expected<'_>,
    ) -> Vec<&'static str> {
        let wanted = [
            ("iss", json!(self.issuer)),
            ("sub", json!(client_id)),
            ("client_id", json!(client_id)),
            ("caas_user_id", json!(client_id)),
            ("caas_org_id", json!(self.tenant)),
            ("user_roles", json!(expected.roles)),
            ("scope", json!(expected.roles.join(" "))),
            ("aud", json!(expected.audience)),
        ];
        // Some libraries make a list of one audience.
        let alike = |is: &Value, wanted: &Value| {
            is == wanted || is.as_array() == Some(&vec![wanted.clone()])
        };
        let wrong = wanted.iter().filter(|(name, wanted)| !alike(&claims[*name], wanted));
        let mut wrong: Vec<_> = wrong.map(|(name, _)| *name).collect();
        let seconds = |name: &str| claims[name].as_f64().unwrap_or_default();
        if (seconds("exp") - seconds("iat") - FIVE_MINUTES).abs() > 0.0 {
            wrong.push("exp");
        }
        if claims["jti"].as_str().is_none_or(|jti| jti.len() != 36) {
            wrong.push("jti");
        }
        wrong
    }

    // === bad ones ===

    fn wrong_secrets(&mut self, peer: &mut Peer) {
        let own = self.users[peer.user].clone();
        let guessed = ClientSecret::draw(&own.secret.id(), &[1; 64]).unwrap();
        let of_another = self.users["es256"].secret.clone();
        for method in [BASIC, POST] {
            let own = Request { method, ..of(&own) };
            let mut refused = |name: &str, request: Request<'_>| {
                self.error(peer, name, &request, "invalid_client");
            };
            refused("no client secret at all", Request { client_secret: "%wrong+:", ..own });
            refused("a guess", Request { client_secret: guessed.reveal(), ..own });
            refused(
                "the client secret of another",
                Request { client_secret: of_another.reveal(), ..own },
            );
            refused("an unknown client", Request { client_id: "nobody", ..own });
        }
    }

    fn forged_tokens(&mut self, peer: &mut Peer, world: &World) {
        let own = self.users[peer.user].clone();
        let Ok(token) = peer.token(of(&own)) else {
            return self.fault("forgeries", "no token to begin with");
        };
        for Forgery { name, token, refused } in forgeries(&token, world) {
            let bearer = Bearer { token: &token, audience: None };
            if let Some(reason) = refused {
                self.refused(peer, name, bearer, reason);
                continue;
            }
            self.cases += 1;
            if let Err(reason) = peer.verify(bearer) {
                self.fault(name, &reason);
            }
        }
    }

    fn error(&mut self, peer: &mut Peer, name: &str, request: &Request<'_>, expected: &str) {
        self.cases += 1;
        let said = peer.token(*request).map_or_else(|error| error, |_| "a token".to_owned());
        if said != expected {
            self.fault(name, &format!("{said}, not {expected}"));
        }
    }

    /// Any reason will do where `expected` is empty.
    fn refused(&mut self, peer: &mut Peer, name: &str, bearer: Bearer<'_>, expected: &str) {
        self.cases += 1;
        match peer.verify(bearer) {
            Err(reason) if reason.contains(expected) && !reason.starts_with(FAILED) => {}
            Err(reason) => self.fault(name, &format!("{reason}, not {expected}")),
            Ok(claims) => self.fault(name, &format!("accepted: {claims}")),
        }
    }

    fn fault(&mut self, name: &str, what: &str) {
        self.faults.push(format!("{name}: {what}"));
    }
}

/// A request of that client, as plain as can be.
pub(crate) fn of(credential: &Credential) -> Request<'_> {
    Request {
        client_id: &credential.id,
        client_secret: credential.secret.reveal(),
        method: None,
        scope: None,
        audience: None,
    }
}

/// `accessTokenTTL` by default.
const FIVE_MINUTES: f64 = 300.0;
