//! What is searched: each setting bounds how much goes wrong, so that the search ends.

use harness::model::{Budget, CALM};

use crate::acts::Act;
use crate::cluster::Mode;
use crate::protocol::{Setting, property};
use crate::replica::ClientIds;
use crate::wrong::Wrong;

/// One of everything, but for restores and refusals.
const STORM: Budget = Budget { crashes: 1, losses: 1, acts: 1, rotations: 1, ..CALM };

/// Two operators and one rotation.
const BASE: Setting = Setting {
    name: "two operators, one rotation",
    mode: Mode::Retained,
    client_ids: ClientIds::Derived,
    replicas: 2,
    in_flight: 2,
    budget: Budget { rotations: 1, ..CALM },
    acts: &[],
    rotates_at_rest: false,
    most_ids: 6,
    ages: false,
    reaches: &["delivered", "rotated"],
    is_scheduled: false,
    starts_foreign: false,
    bounds_creations: true,
    one_per_serial: true,
};

const ACTS: &[Act] = &[Act::DeleteSecret, Act::AlterSecret, Act::DeleteUser];

/// Searched with every run of the tests.
pub(crate) const SMALL: &[Setting] = &[
    BASE,
    READER,
    Setting { name: "one operator, one loss, one act, one rotation", ..with(SOLE, 1, 1, 1) },
    Setting {
        name: "one operator, one loss, a one-time Secret deleted",
        ..with(READ_ONCE, 1, 1, 0)
    },
    Setting { name: "one operator, a revocation or an edit", ..with(EDITED, 1, 1, 1) },
    Setting { name: "one operator, a foreign Secret from the start", ..with(FOREIGN, 1, 1, 1) },
    Setting {
        name: "one operator, two reveals refused, one loss, one act",
        budget: Budget { refusals: 2, losses: 1, acts: 1, ..CALM },
        ..SOLE
    },
    Setting {
        name: "one operator, a label removed, a foreign Secret created",
        acts: &[Act::DriftSecret, Act::DeleteSecret, Act::CreateForeignSecret],
        ..with(SOLE, 1, 2, 0)
    },
];

/// Searched with `PROVE=1`.
pub(crate) const LARGE: &[Setting] = &[
    Setting { name: "one operator, each fault, one act", ..SOLE },
    Setting {
        name: "one operator, each fault, a revocation and an edit",
        budget: Budget { acts: 2, ..STORM },
        ..EDITED
    },
    Setting {
        name: "one operator, each fault, a label removed, a foreign Secret created",
        budget: Budget { acts: 2, ..STORM },
        acts: &[Act::DriftSecret, Act::DeleteSecret, Act::CreateForeignSecret],
        ..SOLE
    },
    Setting {
        name: "two operators, one crash, one loss, one rotation",
        budget: Budget { acts: 0, ..STORM },
        ..BASE
    },
    Setting { name: "the same, the Secret deleted", acts: &[Act::DeleteSecret], ..LARGEST },
    Setting { name: "the same, the Secret altered", acts: &[Act::AlterSecret], ..LARGEST },
    Setting {
        name: "the same, the user deleted and created anew",
        acts: &[Act::DeleteUser],
        ..LARGEST
    },
    Setting {
        name: "the same with a chosen client id",
        acts: &[Act::DeleteUser],
        client_ids: ClientIds::Chosen,
        ..LARGEST
    },
    Setting {
        name: "two operators, one loss, a revocation",
        budget: Budget { crashes: 0, ..STORM },
        acts: &[Act::Revoke],
        ..LARGEST
    },
    Setting {
        name: "two operators, one loss, an edit",
        budget: Budget { crashes: 0, ..STORM },
        acts: &[Act::Suspend, Act::ChangeMode],
        ..LARGEST
    },
    Setting {
        name: "two operators, one loss, scheduled rotation",
        budget: Budget { losses: 1, ..CALM },
        ages: true,
        is_scheduled: true,
        most_ids: 4,
        one_per_serial: true,
        ..LARGEST
    },
    Setting {
        name: "two operators, one crash, one loss, one act, Lenient",
        mode: Mode::Lenient,
        budget: Budget { rotations: 0, ..STORM },
        acts: ACTS,
        ..LARGEST
    },
    Setting {
        name: "two operators, one loss, a one-time Secret deleted",
        mode: Mode::OneTime,
        budget: Budget { crashes: 0, rotations: 0, ..STORM },
        acts: &[Act::DeleteSecret],
        ages: true,
        ..LARGEST
    },
    Setting {
        name: "two operators, a reveal refused, one loss, one rotation",
        budget: Budget { refusals: 1, acts: 0, crashes: 0, ..STORM },
        ..LARGEST
    },
    Setting {
        name: "two operators, a reveal refused, one crash, the Secret deleted or altered",
        budget: Budget { refusals: 1, rotations: 0, losses: 0, ..STORM },
        acts: &[Act::DeleteSecret, Act::AlterSecret],
        ..LARGEST
    },
    Setting {
        name: "two operators, etcd restored, operators restarted",
        budget: Budget { restores: 1, rotations: 1, ..CALM },
        ..LARGEST
    },
];

/// Two operators, each fault once.
const LARGEST: Setting =
    Setting { budget: STORM, rotates_at_rest: true, one_per_serial: false, ..BASE };

/// Each wrong variant, the least trouble that brings it down, and the property that must catch it.
pub(crate) const MUTANTS: &[(Wrong, Setting, &str)] = &[
    (Wrong::ReadSecretBeforeRecord, with(PAIR, 1, 0, 1), property::VISIBLE),
    (Wrong::PruneWithoutFence, with(SOLE, 1, 0, 1), property::VISIBLE),
    (Wrong::RevealBeforeRegister, with(SOLE, 0, 0, 0), property::VISIBLE),
    (Wrong::RevealAtAnyVersion, with(SOLE, 1, 0, 1), property::VISIBLE),
    (Wrong::NoPlaceholder, with(SOLE, 1, 0, 0), property::VISIBLE),
    (Wrong::LateCreation, UNBOUNDED, property::VISIBLE),
    (Wrong::LostIsSuccess, with(SOLE, 1, 0, 0), property::VISIBLE),
    (Wrong::OnePendingSlot, with(SOLE, 1, 0, 1), property::VISIBLE),
    (Wrong::DropDeadPending, with(SOLE, 1, 1, 0), property::EARLY),
    (Wrong::TakenBackUnanswered, with(SOLE, 1, 0, 0), property::VISIBLE),
    (Wrong::TakenBackAtAnyVersion, refused(PAIR), property::VISIBLE),
    (Wrong::FenceOmitted, with(SOLE, 1, 0, 1), property::VISIBLE),
    (Wrong::RevealUnregistered, with(SOLE, 1, 0, 0), property::VISIBLE),
    (Wrong::PromoteUnrevealed, with(PAIR, 0, 0, 1), property::VISIBLE),
    (Wrong::PutRecordAnyVersion, with(SOLE, 1, 0, 0), property::VISIBLE),
    (Wrong::PromoteKeepsFormer, with(SOLE, 0, 0, 1), property::ENDLESS),
    (Wrong::PromoteForgetsFormer, with(SOLE, 0, 0, 1), property::EARLY),
    (Wrong::RevokeKeepsPending, with(EDITED, 1, 1, 0), property::REVOKED),
    (Wrong::RevokeTokenForgotten, with(EDITED, 0, 1, 0), property::HEALS),
    (Wrong::RotateTokenForgotten, with(SOLE, 0, 0, 1), property::HEALS),
    (Wrong::TidyBeforeEnd, with(SOLE, 1, 1, 0), property::EARLY),
    (Wrong::ConflictIgnored, with(FOREIGN, 0, 0, 0), property::FOREIGN_WRITE),
    (Wrong::PredecessorTakenOver, with(SOLE, 0, 1, 0), property::FOREIGN_WRITE),
    (Wrong::LeftIsTakenForSure, with(PAIR, 0, 1, 0), property::FOREIGN_WRITE),
    (Wrong::CollectAnyVersion, with(SOLE, 1, 1, 0), property::FOREIGN_WRITE),
    (Wrong::AlterationUnseen, with(SOLE, 0, 1, 0), property::HEALS),
    (Wrong::SuspensionIgnored, with(EDITED, 0, 1, 0), property::HEALS),
    (Wrong::SweepAnyVersion, with(CHOSEN, 1, 1, 0), property::EARLY),
    (Wrong::SweepReadsUserFirst, with(CHOSEN, 0, 1, 0), property::EARLY),
    (Wrong::HolderKnownByName, with(CHOSEN, 0, 2, 0), property::EARLY),
    (Wrong::WithdrawAnyVersion, with(READ_ONCE, 1, 0, 1), property::UNREAD),
    (Wrong::PromoteAtNextLook, READER, property::SERIAL),
];

const fn with(setting: Setting, losses: u8, acts: u8, rotations: u8) -> Setting {
    Setting { budget: Budget { losses, acts, rotations, ..CALM }, ..setting }
}

const fn refused(setting: Setting) -> Setting {
    Setting { budget: Budget { refusals: 1, rotations: 1, ..CALM }, ..setting }
}

/// Two operators, users do what they like with the Secret.
const PAIR: Setting = Setting { budget: STORM, acts: ACTS, one_per_serial: false, ..BASE };

/// One operator, which dies or loses an answer.
const SOLE: Setting = Setting { replicas: 1, ..PAIR };

/// A creation may arrive at any time after its verifier has ended.
const UNBOUNDED: Setting = Setting { bounds_creations: false, ..with(SOLE, 1, 1, 0) };

/// One operator, and its user edits the spec.
const EDITED: Setting = Setting { acts: &[Act::Revoke, Act::Suspend, Act::ChangeMode], ..SOLE };

/// A Secret of that name is there already.
const FOREIGN: Setting = Setting { starts_foreign: true, ..SOLE };

/// Users that follow each other claim the same client id.
const CHOSEN: Setting = Setting { client_ids: ClientIds::Chosen, ..PAIR };

/// The Secret goes once it is old or its reader deletes it.
const READ_ONCE: Setting = Setting { mode: Mode::OneTime, ages: true, ..SOLE };

/// Nothing goes wrong, and the reader of a one-time Secret deletes it the moment it has read it.
const READER: Setting = Setting {
    name: "one operator, a reader takes the one-time Secret away",
    replicas: 1,
    mode: Mode::OneTime,
    budget: Budget { acts: 2, rotations: 1, ..CALM },
    acts: &[Act::TakeSecret],
    ages: true,
    ..BASE
};
