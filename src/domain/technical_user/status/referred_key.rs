//! The `SigningKey` that a `TechnicalUser` refers to: without it no token is issued.
//!
//! The client secret does not depend on it. It is issued, rotated and kept in every state of the key.

use crate::api::condition::Condition;
use crate::api::signing_key::SigningKey;
use crate::domain::technical_user::verifier_record::Owner;

/// The `SigningKey` that `spec.signingKeyRef` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferredKey {
    /// Its name.
    pub name: String,
    /// Whether it can sign.
    pub ability: SigningKeyState,
}

/// Whether a `SigningKey` can sign, by its own status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningKeyState {
    /// The key was not read: the status keeps what it says of the key.
    Unknown,
    /// One of its keys signs.
    Signs,
    /// There is no such `SigningKey`.
    Missing,
    /// Its `spec.suspend` is true.
    Suspended,
    /// It names another controller, or another installation holds it.
    Elsewhere,
    /// None of its keys signs at the moment.
    NotReady,
}

/// Why no token is issued for lack of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyProblem {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

// === impl Ability ===

impl SigningKeyState {
    /// The states of a key that was read.
    pub const SEEN: [Self; 5] =
        [Self::Signs, Self::Missing, Self::Suspended, Self::Elsewhere, Self::NotReady];

    /// The state of a key that was read.
    pub fn of(key: Option<&SigningKey>) -> Self {
        let Some(key) = key.filter(|key| key.metadata.deletion_timestamp.is_none()) else {
            return Self::Missing;
        };
        let signs = key.status.as_ref().is_some_and(|status| status.active_kid.is_some());
        match (key.spec.suspend, signs) {
            (true, _) => Self::Suspended,
            (false, true) => Self::Signs,
            (false, false) => Self::NotReady,
        }
    }

    /// The reason in the condition, if tokens are missing for it.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Signs => None,
            Self::Missing => Some("SigningKeyNotFound"),
            Self::Suspended => Some("SigningKeySuspended"),
            Self::Elsewhere => Some("SigningKeyOfOtherInstallation"),
            Self::NotReady => Some("SigningKeyNotReady"),
        }
    }
}

// === impl ReferredKey ===

impl ReferredKey {
    /// Why no token is issued, unless the key signs. `ready` is the condition `Ready` of before.
    pub(super) fn fault(&self, user: &Owner, ready: Option<&Condition>) -> Option<KeyProblem> {
        let ability = if self.ability == SigningKeyState::Unknown {
            let said = ready.map(|ready| ready.reason.as_str());
            SigningKeyState::SEEN
                .into_iter()
                .find(|it| it.reason().is_some() && it.reason() == said)?
        } else {
            self.ability
        };
        let reason = ability.reason()?;
        let Owner { namespace, name, .. } = user;
        let key = &self.name;
        let why = match ability {
            SigningKeyState::Missing => {
                format!(
                    "SigningKey {key}, which spec.signingKeyRef.name names, does not exist. Create \
                     it, or name another one."
                )
            }
            SigningKeyState::Suspended => {
                format!(
                    "SigningKey {key} is suspended. Set spec.suspend of SigningKey {key} to false, \
                     or name another one in spec.signingKeyRef.name."
                )
            }
            SigningKeyState::Elsewhere => {
                format!(
                    "SigningKey {key} belongs to another installation or controller. Name one of \
                     this installation in spec.signingKeyRef.name."
                )
            }
            SigningKeyState::NotReady | SigningKeyState::Unknown | SigningKeyState::Signs => {
                format!(
                    "SigningKey {key} has no key that signs at the moment. kubectl describe \
                     signingkey {key} says why."
                )
            }
        };
        let message = format!("No token is issued for TechnicalUser {namespace}/{name}: {why}");
        Some(KeyProblem { reason, message })
    }
}
