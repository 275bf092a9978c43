//! What users do while the operator works.

use crate::cluster::{FOREIGN, Mode, Secret, Server};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// `mode` is the one that the user began with.
pub(crate) fn perform(server: &mut Server, act: Act, mode: Mode) {
    match act {
        Act::DeleteSecret | Act::TakeSecret => server.cluster.secret = None,
        Act::AlterSecret => {
            server.touch(|secret| secret.is_altered = true);
        }
        Act::DriftSecret => {
            server.touch(|secret| secret.has_drifted = true);
        }
        Act::CreateForeignSecret => foreign_secret(server),
        Act::DeleteUser => server.cluster.user = None,
        Act::Revoke | Act::Suspend | Act::ChangeMode => {
            let Some(user) = &mut server.cluster.user else { return };
            match act {
                Act::Revoke => user.revoke += 1,
                Act::Suspend => user.is_suspended = !user.is_suspended,
                _ if user.mode == mode => user.mode = other(user.mode),
                _ => user.mode = mode,
            }
        }
    }
}

fn other(mode: Mode) -> Mode {
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
