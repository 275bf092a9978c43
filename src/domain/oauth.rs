//! Access tokens: what a client may have in one, and how it is written (RFC 6749 section 4.4,
//! RFC 7519, RFC 8707).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::crypto::client_secret::ClientId;
use super::crypto::public_key::PublicKey;
use super::policy::{Allowed, Policy};

pub use crate::api::technical_user::AccessTokenType;

pub mod client_authentication;
pub mod form;
pub mod grant_type;
pub mod metadata;
pub mod signer;

/// A client as the token service knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its client id.
    pub id: ClientId,
    /// The uid of its `TechnicalUser`.
    pub uid: String,
    /// The legal entity that it belongs to: what `caas_org_id` says.
    pub tenant: String,
    /// The roles that its tokens may have in `user_roles`.
    pub roles: Vec<String>,
    /// The audiences that its tokens may have in `aud`. If empty, its tokens have no `aud`.
    pub audiences: Vec<String>,
    /// How long its tokens live.
    pub lifetime: SignedDuration,
    /// The `typ` of its tokens; that of the installation where there is none.
    pub token_type: Option<AccessTokenType>,
    /// The name of the `SigningKey` that signs for it.
    pub signing_key: String,
    /// Whether it gets no tokens for now.
    pub is_suspended: bool,
    /// When its `TechnicalUser` was created: no token of it is older.
    pub created_at: Timestamp,
    /// When all its client secrets were last revoked: no token of it that counts is older.
    pub revoked_at: Option<Timestamp>,
}

/// The claims of this installation's tokens, and their form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// The claims that carry the roles of a client.
    pub profile: ClaimsProfile,
    /// Which roles and audiences they may have.
    pub policy: Policy,
    /// Their `typ`, unless the client says otherwise.
    pub token_type: AccessTokenType,
}

/// Which claims say what a client may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimsProfile {
    /// Roles in `user_roles`, as Cyoda Cloud writes them.
    #[default]
    Cloud,
    /// Roles in `scopes` and no `user_roles`: cyoda-go takes the client for a service then, not for
    /// a person.
    CyodaGo,
}

/// The rights that one token grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The roles, in the order of the spec.
    pub roles: Vec<&'a str>,
    /// The audiences, in the order of the spec.
    pub audiences: Vec<&'a str>,
}

/// Why a client does not get what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// RFC 6749 section 5.2 `invalid_scope`.
    #[error("the scope names a role that the client does not have or may not have")]
    Scope,
    /// RFC 8707 section 2 `invalid_target`.
    #[error("the client has no such audience or may not have it")]
    Target,
    /// RFC 6749 section 5.2 `unauthorized_client`.
    #[error("the installation allows none of the roles of the client")]
    Roles,
    /// RFC 6749 section 5.2 `unauthorized_client`.
    #[error("the installation does not allow an audience of the client")]
    Audiences,
}

/// The claims of one access token.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// The client: `sub` and `client_id`.
    pub client: &'a Client,
    /// The granted roles, scope and audiences.
    pub granted: &'a Grant<'a>,
    /// The claim that carries the roles.
    pub profile: ClaimsProfile,
    /// `iat`, in seconds.
    pub issued_at: Timestamp,
    /// `jti`: a random UUID (RFC 9562 section 5.4).
    pub id: Uuid,
}

/// The headers of all tokens of one key, in base64url (RFC 7515 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    jwt: String,
    at_jwt: String,
}

// === impl Profile ===

impl ClaimsProfile {
    /// The claim that has the roles.
    pub fn roles(self) -> &'static str {
        match self {
            Self::Cloud => "user_roles",
            Self::CyodaGo => "scopes",
        }
    }
}

// === impl Client ===

impl Client {
    /// The rights for a token: all rights of the client that `policy` allows, or the requested part of them.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] when the request asks for more than that, or when the policy leaves no role or
    /// does not allow an audience of the client. Nothing that is asked for is left out in silence: some
    /// clients take a narrower scope for an error of their own.
    pub fn grant(
        &self,
        policy: &Policy,
        scope: Option<&str>,
        targets: &[impl AsRef<str>],
    ) -> Result<Grant<'_>, ScopeError> {
        let wanted: Vec<&str> = scope.unwrap_or_default().split(' ').filter(has_text).collect();
        if scope.is_some() && wanted.is_empty() {
            return Err(ScopeError::Scope);
        }
        let targets: Vec<&str> = targets.iter().map(AsRef::as_ref).collect();
        let roles = narrowed(&self.roles, &policy.roles, &wanted).ok_or(ScopeError::Scope)?;
        let audiences = narrowed(&self.audiences, &policy.audiences, &targets);
        let audiences = audiences.ok_or(ScopeError::Target)?;
        // Without an audience that is not allowed, a token might have none, which many verifiers
        // accept.
        if !self.audiences.iter().all(|it| policy.audiences.includes(it)) {
            return Err(ScopeError::Audiences);
        }
        if roles.is_empty() && !self.roles.is_empty() {
            return Err(ScopeError::Roles);
        }
        Ok(Grant { roles, audiences })
    }

    /// Whether a token of the client with that `iat`, in seconds, was issued before the last revocation of
    /// its client secrets.
    ///
    /// `iat` is cut to whole seconds, so a token of the second of the revocation may be of before or of
    /// after it. It counts as one of before: to refuse a token of the new client secret costs a client
    /// one more request, while a token of the leaked one must not stay good.
    pub fn is_revoked(&self, issued_at: i64) -> bool {
        self.revoked_at.is_some_and(|revoked_at| issued_at <= revoked_at.as_second())
    }

    /// The `typ` of a token for these audiences. RFC 9068 section 2.2 demands the claim `aud`, so a token
    /// without it is none of that profile.
    pub fn type_of(&self, granted: &Grant<'_>, terms: &TokenPolicy) -> AccessTokenType {
        if granted.audiences.is_empty() {
            return AccessTokenType::Jwt;
        }
        self.token_type.unwrap_or(terms.token_type)
    }
}

fn has_text(text: &&str) -> bool {
    !text.is_empty()
}

fn narrowed<'a>(held: &'a [String], allowed: &Allowed, wanted: &[&str]) -> Option<Vec<&'a str>> {
    let held: Vec<&str> =
        held.iter().map(String::as_str).filter(|it| allowed.includes(it)).collect();
    if !wanted.iter().all(|it| held.contains(it)) {
        return None;
    }
    let is_wanted = |it: &&str| wanted.is_empty() || wanted.contains(it);
    Some(held.into_iter().filter(is_wanted).collect())
}

// === impl Granted ===

impl Grant<'_> {
    /// The roles as a scope (RFC 6749 section 3.3).
    pub fn scope(&self) -> Scope<'_> {
        Scope(&self.roles)
    }

    /// Whether that scope names exactly the granted roles, in any order.
    pub fn is_scope(&self, scope: &str) -> bool {
        let mut named = scope.split(' ').filter(has_text);
        named.all(|it| self.roles.contains(&it))
            && self.roles.iter().all(|role| scope.split(' ').any(|it| it == *role))
    }
}

/// Roles with a space between each two.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a>(&'a [&'a str]);

impl fmt::Display for Scope<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, role) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            formatter.write_str(role)?;
        }
        Ok(())
    }
}

impl Serialize for Scope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl Claims ===

impl Claims<'_> {
    /// When the token ends.
    pub fn expires_at(&self) -> Timestamp {
        crate::domain::schedule::saturating_add(self.issued_at, self.client.lifetime)
    }

    /// What is signed: header and claims, each in base64url, with a dot between (RFC 7515 section
    /// 5.1).
    ///
    /// # Errors
    ///
    /// Never: every claim is a string, a number or a list of strings.
    pub fn signing_input(&self, header: &str) -> serde_json::Result<String> {
        let claims = serde_json::to_vec(self)?;
        Ok(format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims)))
    }
}

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let id = &self.client.id;
        let mut claims = serializer.serialize_map(None)?;
        claims.serialize_entry("iss", self.issuer)?;
        claims.serialize_entry("sub", id.as_str())?;
        claims.serialize_entry("client_id", id.as_str())?;
        match self.granted.audiences.as_slice() {
            [] => {}
            [one] => claims.serialize_entry("aud", one)?,
            several => claims.serialize_entry("aud", several)?,
        }
        claims.serialize_entry("caas_user_id", id.as_str())?;
        claims.serialize_entry("caas_org_id", &self.client.tenant)?;
        claims.serialize_entry(self.profile.roles(), &self.granted.roles)?;
        if !self.granted.roles.is_empty() {
            // RFC 9068 section 2.2.3: a string, as introspection says it.
            claims.serialize_entry("scope", &self.granted.scope())?;
        }
        claims.serialize_entry("iat", &self.issued_at.as_second())?;
        claims.serialize_entry("exp", &self.expires_at().as_second())?;
        claims.serialize_entry("jti", &self.id)?;
        claims.end()
    }
}

// === impl Headers ===

impl Headers {
    /// The headers of tokens that this key signs.
    pub fn of(key: &PublicKey) -> Self {
        let (algorithm, kid) = (key.algorithm().name(), key.kid());
        let header = |type_: AccessTokenType| {
            let type_ = type_.name();
            let header = format!(r#"{{"alg":"{algorithm}","typ":"{type_}","kid":"{kid}"}}"#);
            URL_SAFE_NO_PAD.encode(header)
        };
        Self { jwt: header(AccessTokenType::Jwt), at_jwt: header(AccessTokenType::AtJwt) }
    }

    /// The header of a token of that type.
    pub fn of_type(&self, type_: AccessTokenType) -> &str {
        match type_ {
            AccessTokenType::Jwt => &self.jwt,
            AccessTokenType::AtJwt => &self.at_jwt,
        }
    }
}

/// A token in the compact serialization: what was signed, a dot, and the signature in base64url (RFC
/// 7515 section 7.1).
pub fn signed(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests;
