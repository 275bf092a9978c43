//! What is searched: each setting bounds how much goes wrong, so that the search ends.

use crate::cluster::Mode;
use crate::replica::ClientIds;
use crate::search::{Act, Setting, property};
use crate::state::Budget;
use crate::wrong::Wrong;

/// Nothing goes wrong, nobody does anything.
const CALM: Budget = Budget {
    crashes: 0,
    losses: 0,
    acts: 0,
    rotations: 0,
    restores: 0,
};

/// One of everything, but for restores.
const STORM: Budget = Budget {
    crashes: 1,
    losses: 1,
    acts: 1,
    rotations: 1,
    restores: 0,
};

/// Two operators and one rotation.
const BASE: Setting = Setting {
    name: "two operators, one rotation",
    mode: Mode::Retained,
    client_ids: ClientIds::Derived,
    replicas: 2,
    in_flight: 2,
    budget: Budget {
        rotations: 1,
        ..CALM
    },
    acts: &[],
    most_ids: 6,
    ages: false,
    is_scheduled: false,
    starts_foreign: false,
    one_per_serial: true,
};

const ACTS: &[Act] = &[Act::DeleteSecret, Act::AlterSecret, Act::DeleteUser];

/// Searched with every run of the tests.
pub(crate) const SMALL: &[Setting] = &[
    BASE,
    Setting {
        name: "one operator, one crash, one loss, one act, one rotation",
        replicas: 1,
        budget: STORM,
        acts: ACTS,
        one_per_serial: false,
        ..BASE
    },
    Setting {
        name: "one operator, a revocation and an edit",
        replicas: 1,
        budget: Budget { acts: 2, ..STORM },
        acts: &[Act::Revoke, Act::Suspend, Act::ChangeMode],
        one_per_serial: false,
        ..BASE
    },
    Setting {
        name: "one operator, a reader takes the one-time Secret away",
        replicas: 1,
        mode: Mode::OneTime,
        budget: Budget {
            acts: 2,
            rotations: 1,
            ..CALM
        },
        acts: &[Act::TakeSecret],
        ages: true,
        ..BASE
    },
    Setting {
        name: "one operator, a label removed, a foreign Secret created",
        replicas: 1,
        budget: Budget { acts: 2, ..STORM },
        acts: &[
            Act::DriftSecret,
            Act::DeleteSecret,
            Act::CreateForeignSecret,
        ],
        one_per_serial: false,
        ..BASE
    },
    Setting {
        name: "one operator, a foreign Secret",
        replicas: 1,
        starts_foreign: true,
        budget: STORM,
        acts: &[Act::DeleteSecret, Act::Revoke, Act::DeleteUser],
        one_per_serial: false,
        ..BASE
    },
];

/// Searched with `PROVE=1`.
pub(crate) const LARGE: &[Setting] = &[
    Setting {
        name: "two operators, one crash, one loss, one rotation",
        budget: Budget { acts: 0, ..STORM },
        ..BASE
    },
    Setting {
        name: "two operators, one crash, one loss, one act, one rotation",
        budget: STORM,
        acts: ACTS,
        one_per_serial: false,
        ..BASE
    },
];

/// Each wrong variant, where it is searched for, and the property that must catch it.
pub(crate) const MUTANTS: &[(Wrong, Setting, &str)] = &[
    (Wrong::ReadSecretBeforeRecord, PAIR, property::VISIBLE),
    (Wrong::PruneWithoutFence, PAIR, property::VISIBLE),
    (Wrong::RevealBeforeRegister, SOLE, property::VISIBLE),
    (Wrong::RevealAtAnyVersion, PAIR, property::VISIBLE),
    (Wrong::NoPlaceholder, SOLE, property::VISIBLE),
    (Wrong::LostIsSuccess, SOLE, property::VISIBLE),
    (Wrong::OnePendingSlot, SOLE, property::VISIBLE),
    (Wrong::DropDeadPending, SOLE, property::EARLY),
    (Wrong::FenceOmitted, SOLE, property::VISIBLE),
    (Wrong::RevealUnregistered, PAIR, property::VISIBLE),
    (Wrong::PromoteUnrevealed, PAIR, property::VISIBLE),
    (Wrong::PutRecordAnyVersion, SOLE, property::VISIBLE),
    (Wrong::PromoteKeepsFormer, SOLE, property::ENDLESS),
    (Wrong::PromoteForgetsFormer, SOLE, property::EARLY),
    (Wrong::RevokeKeepsPending, EDITED, property::REVOKED),
    (Wrong::RevokeTokenForgotten, EDITED, property::HEALS),
    (Wrong::RotateTokenForgotten, SOLE, property::HEALS),
    (Wrong::TidyBeforeEnd, SOLE, property::EARLY),
    (Wrong::ConflictIgnored, FOREIGN, property::FOREIGN_WRITE),
    (Wrong::PredecessorTakenOver, SOLE, property::FOREIGN_WRITE),
    (Wrong::AlterationUnseen, SOLE, property::HEALS),
    (Wrong::SuspensionIgnored, EDITED, property::HEALS),
    (Wrong::SweepAnyVersion, CHOSEN, property::EARLY),
    (Wrong::SweepReadsUserFirst, CHOSEN, property::EARLY),
    (Wrong::HolderKnownByName, CHOSEN, property::EARLY),
    (Wrong::WithdrawAnyVersion, READ_ONCE, property::UNREAD),
];

/// Two operators, users do what they like with the Secret.
const PAIR: Setting = Setting {
    budget: STORM,
    acts: ACTS,
    one_per_serial: false,
    ..BASE
};

/// One operator, which dies or loses an answer.
const SOLE: Setting = Setting {
    replicas: 1,
    ..PAIR
};

/// One operator, and its user edits the spec.
const EDITED: Setting = Setting {
    acts: &[Act::Revoke, Act::Suspend, Act::ChangeMode],
    ..SOLE
};

/// A Secret of that name is there already.
const FOREIGN: Setting = Setting {
    starts_foreign: true,
    ..SOLE
};

/// Users that follow each other claim the same client id.
const CHOSEN: Setting = Setting {
    client_ids: ClientIds::Chosen,
    ..PAIR
};

/// The Secret goes once it is old or its reader deletes it.
const READ_ONCE: Setting = Setting {
    mode: Mode::OneTime,
    ages: true,
    ..SOLE
};
