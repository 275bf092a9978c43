//! The records of the audit log.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::directory::RegisteredClient;
use crate::domain::crypto::public_key::Kid;
use crate::domain::oauth::Claims;
use crate::domain::oauth::client_authentication::ClientAuthMethod;
use crate::server::oauth::error::OAuthError;

/// A token that was issued.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Issued<'a> {
    time: Timestamp,
    event: &'static str,
    #[serde(flatten)]
    client: AuditedClient<'a>,
    roles: &'a [&'a str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aud: &'a [&'a str],
    jti: Uuid,
    kid: &'a str,
    exp: i64,
    auth_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
}

/// How a client authenticated, and where its connection came from: the last proxy, if there is one.
type Via = (ClientAuthMethod, Option<IpAddr>);

/// A request that was refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Refused<'a> {
    time: Timestamp,
    event: &'static str,
    #[serde(flatten)]
    client: Option<AuditedClient<'a>>,
    auth_method: &'static str,
    error: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

/// An introspection that was answered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Introspected<'a> {
    time: Timestamp,
    event: &'static str,
    #[serde(flatten)]
    client: AuditedClient<'a>,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    auth_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

/// The client of a record: by its ids, and by the place of its `TechnicalUser`.
#[derive(Clone, Copy, Debug, Serialize)]
struct AuditedClient<'a> {
    client_id: &'a str,
    namespace: &'a str,
    name: &'a str,
    technical_user_uid: &'a str,
    caas_org_id: &'a str,
}

impl<'a> Issued<'a> {
    pub(crate) fn of(
        client: &'a RegisteredClient,
        claims: &Claims<'a>,
        kid: &'a Kid,
        (method, source): Via,
    ) -> Self {
        Self {
            time: claims.issued_at,
            event: "token_issued",
            client: AuditedClient::of(client),
            roles: &claims.granted.roles,
            aud: &claims.granted.audiences,
            jti: claims.id,
            kid: kid.as_str(),
            exp: claims.expires_at().as_second(),
            auth_method: method.name(),
            source,
        }
    }
}

impl<'a> Refused<'a> {
    pub(crate) fn of(
        (time, event): (Timestamp, &'static str),
        client: Option<&'a RegisteredClient>,
        (method, source): Via,
        refusal: &OAuthError,
    ) -> Self {
        Self {
            time,
            event,
            client: client.map(AuditedClient::of),
            auth_method: method.name(),
            error: refusal.code(),
            reason: refusal.audit_reason(),
            source,
            suppressed: 0,
        }
    }

    /// With the number of records that were left out before it.
    pub(super) fn after(self, suppressed: u64) -> Self {
        Self { suppressed, ..self }
    }
}

impl<'a> Introspected<'a> {
    /// `token` is the client id and the id of a token that is active: only then were they signed by
    /// us, and are no text of the request.
    pub(crate) fn of(
        time: Timestamp,
        client: &'a RegisteredClient,
        (method, source): Via,
        token: Option<(Option<&'a str>, Option<&'a str>)>,
    ) -> Self {
        let (token_client_id, jti) = token.unwrap_or_default();
        Self {
            time,
            event: "token_introspected",
            client: AuditedClient::of(client),
            active: token.is_some(),
            token_client_id,
            jti,
            auth_method: method.name(),
            source,
            suppressed: 0,
        }
    }

    /// With the number of records that were left out before it.
    pub(super) fn after(self, suppressed: u64) -> Self {
        Self { suppressed, ..self }
    }
}

impl<'a> AuditedClient<'a> {
    fn of(known: &'a RegisteredClient) -> Self {
        let (client, owner) = (&known.client, &known.owner);
        Self {
            client_id: client.id.as_str(),
            namespace: &owner.namespace,
            name: &owner.name,
            technical_user_uid: &client.uid,
            caas_org_id: &client.tenant,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
