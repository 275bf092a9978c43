//! A technical user, as far as its tokens need it.

use std::sync::Arc;

use jiff::SignedDuration;

use super::Verifiers;
use crate::api::technical_user::TechnicalUser;
use crate::domain::installation::is_served;
use crate::domain::oauth::Client;
use crate::domain::schedule::parse_duration;
use crate::kubernetes::codec;

/// A client without its tenant, and the uid of the installation that holds the user.
#[derive(Clone, Debug)]
pub(crate) struct User(pub(super) Client, pub(super) Option<Arc<str>>);

impl User {
    /// Reads a user with its place; nothing when it is on its way out or cannot be read.
    pub(crate) fn read(object: &TechnicalUser, most: SignedDuration) -> Option<Self> {
        let metadata = &object.metadata;
        if metadata.deletion_timestamp.is_some() {
            return None;
        }
        let uid = metadata.uid.clone()?;
        let spec = &object.spec;
        let client = Client {
            id: codec::client_id(object, &uid)?,
            uid,
            tenant: String::new(),
            roles: spec.roles.clone(),
            audiences: spec.audiences.clone(),
            lifetime: parse_duration(&spec.access_token_ttl)?.min(most),
            token_type: spec.access_token_type,
            signing_key: spec.signing_key_ref.name.clone(),
            is_suspended: spec.suspend,
            created_at: metadata.creation_timestamp.as_ref()?.0,
            revoked_at: None,
        };
        let holder = object.status.as_ref().and_then(|status| status.installation.as_ref());
        Some(Self(client, holder.map(|holder| holder.uid.as_str().into())))
    }

    /// Whether the installation with that uid serves this user.
    pub(crate) fn is_served_by(&self, own: Option<&str>) -> bool {
        is_served(self.1.as_deref(), own)
    }

    /// Whether the record is of this very user.
    pub(crate) fn owns(&self, record: &Verifiers) -> bool {
        record.owner.uid == self.0.uid && record.client_id == self.0.id
    }
}
