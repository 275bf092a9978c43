//! What users do while the operator works.

use crate::cluster::{FOREIGN, Mode, Secret, Server};

/// What a user may do. Each costs one of [`Budget::acts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    DeleteSecret,
    /// A reader takes the client secret away: the Secret is deleted once it carries one.
    TakeSecret,
    AlterSecret,
    DriftSecret,
    CreateForeignSecret,
    DeleteUser,
    Revoke,
    Suspend,
    ChangeMode,
}

pub(crate) fn is_possible(act: Act, server: &Server) -> bool {
    let secret = server.cluster.secret;
    let carries = secret.is_some_and(|secret| secret.id > 0 && !secret.is_altered);
    match act {
        Act::DeleteSecret => secret.is_some(),
        Act::TakeSecret | Act::AlterSecret => carries,
        Act::DriftSecret => secret.is_some_and(|secret| secret.owner != FOREIGN),
        Act::CreateForeignSecret => secret.is_none(),
        Act::DeleteUser | Act::Revoke | Act::Suspend | Act::ChangeMode => {
            server.cluster.user.is_some()
        }
    }
}

pub(crate) fn name(act: Act) -> &'static str {
    match act {
        Act::DeleteSecret => "delete the Secret",
        Act::TakeSecret => "take the Secret",
        Act::AlterSecret => "alter the Secret",
        Act::DriftSecret => "remove a label",
        Act::CreateForeignSecret => "create a foreign Secret",
        Act::DeleteUser => "delete the user",
        Act::Revoke => "request revocation",
        Act::Suspend => "suspend or resume",
        Act::ChangeMode => "change the delivery mode",
    }
}

pub(crate) fn other(mode: Mode) -> Mode {
    match mode {
        Mode::Retained => Mode::OneTime,
        Mode::OneTime => Mode::Lenient,
        Mode::Lenient => Mode::Retained,
    }
}

pub(crate) fn foreign_secret(server: &mut Server) {
    let version = server.next_version();
    server.cluster.secret =
        Some(Secret { version, owner: FOREIGN, id: 0, is_altered: false, has_drifted: false });
}
