//! Why a request that may well be right is refused for now: the one word for metrics and audit records,
//! and the words for the caller.

use crate::directory::LookupError;
use crate::domain::oauth::signer::SigningUnavailable;

/// Why a client is not authenticated, for the audit record alone: the answer and the metrics say
/// the same for all of them, so that they do not tell which clients exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailureReason {
    /// The request has no credentials.
    NoCredentials,
    /// The request uses a method of client authentication that is not offered.
    UnknownMethod,
    /// The credentials do not have the form of a client id and a client secret.
    Malformed,
    /// The directory has no such client, and the API server has none with that client secret.
    UnknownClient,
    /// The client has no client secret of that id: it has ended, was revoked, or was never issued.
    SecretEnded,
    /// The client secret is not the one of that id.
    WrongSecret,
    /// The client secret is right, and the client is suspended.
    Suspended,
}

impl AuthFailureReason {
    /// How audit records name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::UnknownMethod => "unknown_auth_method",
            Self::Malformed => "malformed_credentials",
            Self::UnknownClient => "unknown_client",
            Self::SecretEnded => "secret_ended_or_revoked",
            Self::WrongSecret => "wrong_secret",
            Self::Suspended => "client_suspended",
        }
    }
}

/// A reason for a 429, a 503, or a 400 that no other request would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// One client gets no more tokens at the moment.
    ClientRate,
    /// All clients together get no more tokens at the moment.
    TotalRate,
    /// Too many wrong client secrets of one client cost a hash.
    Guesses,
    /// Too many failures of all clients together.
    Failures,
    /// A lookup at the API server was not possible, or said nothing.
    Lookup(LookupError),
    /// As many hashes wait as may.
    HashingQueueFull,
    /// Another hash for the same client secret takes too long.
    HashingSlow,
    /// No key signs.
    Signer(SigningUnavailable),
    /// A random id or a signature could not be made.
    SigningFailed,
    /// No series has a public key.
    NothingPublished,
    /// The installation allows none of the roles of the client.
    RolesNotAllowed,
    /// The installation does not allow an audience of the client.
    AudiencesNotAllowed,
}

impl Reason {
    /// How metrics and audit records name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientRate => "client_rate",
            Self::TotalRate => "total_rate",
            Self::Guesses => "wrong_secrets_of_client",
            Self::Failures => "failures_of_all",
            Self::Lookup(LookupError::Limited(_)) => "lookup_rate",
            Self::Lookup(LookupError::Unanswered(_)) => "lookup_unanswered",
            Self::Lookup(LookupError::Forbidden) => "lookup_forbidden",
            Self::Lookup(LookupError::Failed) => "lookup_failed",
            Self::Lookup(LookupError::Unreadable) => "record_unreadable",
            Self::Lookup(LookupError::NoNamespace) => "namespace_unknown",
            Self::Lookup(LookupError::OtherNamespace) => "namespace_differs",
            Self::HashingQueueFull => "hashing_queue_full",
            Self::HashingSlow => "hashing_slow",
            Self::Signer(SigningUnavailable::NotSynced(_)) => "watch_not_synced",
            Self::Signer(SigningUnavailable::Stale(_)) => "watch_stale",
            Self::Signer(SigningUnavailable::Absent) => "signing_key_absent",
            Self::Signer(SigningUnavailable::Suspended) => "signing_key_suspended",
            Self::Signer(SigningUnavailable::NoLedger) => "no_ledger",
            Self::Signer(SigningUnavailable::NoKey) => "no_active_key",
            Self::Signer(SigningUnavailable::Settings(_)) => "settings_differ",
            Self::SigningFailed => "signing_failed",
            Self::NothingPublished => "nothing_published",
            Self::RolesNotAllowed => "roles_not_allowed",
            Self::AudiencesNotAllowed => "audiences_not_allowed",
        }
    }

    /// The sentence for the caller.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::ClientRate | Self::TotalRate | Self::Guesses | Self::Failures => {
                "too many requests, try again later"
            }
            Self::Lookup(_) | Self::HashingQueueFull | Self::HashingSlow => {
                "the client secret cannot be checked at the moment"
            }
            Self::Signer(SigningUnavailable::NotSynced(_)) => {
                "the token service does not know enough yet to sign"
            }
            Self::Signer(SigningUnavailable::Stale(_)) => {
                "the token service has been disconnected from the API server for too long to sign"
            }
            Self::Signer(SigningUnavailable::Absent) => {
                "the SigningKey that this client names does not exist"
            }
            Self::Signer(SigningUnavailable::Suspended) => {
                "the SigningKey of this client is suspended"
            }
            Self::Signer(
                SigningUnavailable::NoLedger
                | SigningUnavailable::NoKey
                | SigningUnavailable::Settings(_),
            ) => "no key may sign for this client at the moment",
            Self::SigningFailed => "signing failed",
            Self::NothingPublished => {
                "this replica of the token service does not see any published signing key"
            }
            Self::RolesNotAllowed => {
                "this installation allows none of the roles of this client: see the condition Ready \
                 of its TechnicalUser"
            }
            Self::AudiencesNotAllowed => {
                "this installation does not allow an audience of this client: see the condition \
                 Ready of its TechnicalUser"
            }
        }
    }
}
