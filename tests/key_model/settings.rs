//! What is searched: each setting bounds how much goes wrong, so that the search ends.

use harness::model::{Budget, CALM};

use crate::acts::Act;
use crate::adapter::{Clock, Timing};
use crate::cluster::{TICK, Time};
use crate::operator::Room;
use crate::protocol::{RECOVERED, RETIRED, REVOKED, SECOND, SETTLED, Setting, property};
use crate::wrong::Wrong;

/// A key signs for two hours and is known one hour before that. Views of servers may be an hour
/// old, and a little more: what ceased an hour ago is still seen.
const HOURLY: Timing = Timing {
    pre_publish: TICK - TWICE_SKEW,
    view_age: TICK + 1,
    token: TICK,
    period: Some(2 * TICK),
};

/// The margin that the operator adds for the clocks, so that a key begins on the hour.
const TWICE_SKEW: Time = 2;

/// A key is known two hours before it signs.
const PATIENT: Timing = Timing { pre_publish: 2 * TICK - TWICE_SKEW, ..HOURLY };

/// One operator, and the JWKS is at home alone.
const SOLE: Setting = Setting {
    name: "one operator",
    replicas: 1,
    targets: 1,
    room: Room { in_flight: 2, most_keys: 2 },
    timing: HOURLY,
    clocks: &[Clock::Right],
    lead: 0,
    budget: CALM,
    acts: &[],
    reaches: &[SETTLED, SECOND, RETIRED],
};

/// Two operators, and one more namespace has the JWKS.
const PAIR: Setting =
    Setting { name: "two operators, two namespaces", replicas: 2, targets: 2, ..SOLE };

/// Rotation on request alone: a key signs forever.
const ASKED: Setting = Setting {
    timing: Timing { period: None, ..HOURLY },
    budget: Budget { acts: 1, ..CALM },
    acts: &[Act::RequestRotation],
    ..SOLE
};

/// Clocks differ by all that they may, and one shows nonsense now and then. The margin makes a key
/// begin five seconds late, so that a server whose clock is ahead signs on the hour.
const SKEWED: Setting = Setting {
    name: "one operator, skewed clocks",
    timing: Timing { pre_publish: TICK, ..HOURLY },
    clocks: &[Clock::Right, Clock::Ahead, Clock::Between, Clock::Doubtful],
    lead: 1,
    ..SOLE
};

/// A user deletes a key pair and the ledger, or two of either.
const TWO_LOSSES: Setting = Setting {
    name: "one operator, key pairs and the ledger deleted",
    budget: Budget { acts: 2, ..CALM },
    room: ROOMY,
    ..acting(SOLE, LOSSES, NORMAL)
};

/// Searched with every run of the tests.
pub(crate) const SMALL: &[Setting] = &[
    Setting { name: "one operator, two namespaces", targets: 2, ..SOLE },
    Setting { name: "one operator, one loss", ..lossy(SOLE) },
    SKEWED,
    Setting { name: "one operator, a rotation on request", ..ASKED },
    Setting {
        name: "one operator, a revocation",
        ..acting(SOLE, &[Act::Revoke], &[SETTLED, REVOKED])
    },
    Setting {
        name: "one operator, every key revoked",
        ..acting(SOLE, &[Act::RevokeAll], &[SETTLED, REVOKED])
    },
    Setting { name: "one operator, the JWKS deleted or edited", ..acting(SOLE, JWKS, NORMAL) },
    Setting { name: "one operator, the ledger deleted", ..acting(SOLE, LEDGER, RECOVERY) },
    Setting { name: "one operator, a key pair deleted", ..acting(SOLE, PAIRS, NORMAL) },
];

/// Searched with `PROVE=1`.
pub(crate) const LARGE: &[Setting] = &[
    Setting { name: "two operators", targets: 1, ..PAIR },
    Setting { name: "two operators, one loss", targets: 1, ..lossy(PAIR) },
    Setting {
        name: "two operators, one crash",
        targets: 1,
        budget: Budget { crashes: 1, ..CALM },
        ..PAIR
    },
    PAIR,
    Setting { name: "two operators, two namespaces, one loss", ..lossy(PAIR) },
    Setting {
        name: "two operators, a crash and a loss",
        targets: 1,
        budget: Budget { crashes: 1, losses: 1, ..CALM },
        ..PAIR
    },
    Setting {
        name: "one operator, three keys, a crash and a loss",
        room: ROOMY,
        budget: Budget { crashes: 1, losses: 1, ..CALM },
        ..SOLE
    },
    Setting { name: "one operator, two namespaces, one loss", targets: 2, ..lossy(SOLE) },
    Setting { name: "one operator, skewed clocks, one loss", ..lossy(SKEWED) },
    Setting { name: "two operators, skewed clocks", replicas: 2, ..SKEWED },
    Setting { name: "one operator, one loss, a rotation on request", ..lossy(ASKED) },
    Setting { name: "two operators, a rotation on request", replicas: 2, ..ASKED },
    Setting {
        name: "one operator, one loss, a revocation",
        room: ROOMY,
        ..lossy(acting(SOLE, &[Act::Revoke], &[SETTLED, REVOKED]))
    },
    Setting {
        name: "one operator, one loss, every key revoked",
        room: ROOMY,
        ..lossy(acting(SOLE, &[Act::RevokeAll], &[SETTLED, REVOKED]))
    },
    Setting {
        name: "two operators, every key revoked",
        replicas: 2,
        ..acting(SOLE, &[Act::RevokeAll], &[SETTLED, REVOKED])
    },
    Setting {
        name: "one operator, one loss, the JWKS deleted or edited",
        ..lossy(acting(SOLE, JWKS, NORMAL))
    },
    Setting {
        name: "one operator, one loss, the ledger deleted",
        room: ROOMY,
        ..lossy(acting(SOLE, LEDGER, RECOVERY))
    },
    Setting {
        name: "one operator, one loss, a key pair deleted",
        room: ROOMY,
        ..lossy(acting(SOLE, PAIRS, NORMAL))
    },
    TWO_LOSSES,
    Setting {
        name: "two operators, the JWKS deleted or edited",
        replicas: 2,
        ..acting(SOLE, JWKS, NORMAL)
    },
    Setting {
        name: "two operators, one loss, the JWKS deleted",
        replicas: 2,
        ..lossy(acting(SOLE, &[Act::DeleteJwks], NORMAL))
    },
    Setting {
        name: "two operators, the ledger deleted",
        replicas: 2,
        ..acting(SOLE, LEDGER, RECOVERY)
    },
    Setting {
        name: "two operators, a key pair deleted",
        replicas: 2,
        ..acting(SOLE, PAIRS, NORMAL)
    },
];

/// Room for a successor of a key that is lost or revoked.
const ROOMY: Room = Room { in_flight: 2, most_keys: 3 };

const JWKS: &[Act] = &[Act::DeleteJwks, Act::EmptyJwks, Act::AddToJwks];
const LEDGER: &[Act] = &[Act::DeleteLedger];
const PAIRS: &[Act] = &[Act::DeletePair];

const LOSSES: &[Act] = &[Act::DeletePair, Act::DeleteLedger];

const NORMAL: &[&str] = &[SETTLED, SECOND, RETIRED];
const RECOVERY: &[&str] = &[SETTLED, RECOVERED];

const fn lossy(setting: Setting) -> Setting {
    let losses = setting.budget.losses + 1;
    Setting { budget: Budget { losses, ..setting.budget }, ..setting }
}

const fn acting(
    setting: Setting,
    acts: &'static [Act],
    reaches: &'static [&'static str],
) -> Setting {
    Setting { budget: Budget { acts: 1, ..setting.budget }, acts, reaches, ..setting }
}

/// Each wrong variant, the least trouble that brings it down, and the property that must catch it.
pub(crate) const MUTANTS: &[(Wrong, Setting, &str)] = &[
    (Wrong::InputsBeforeJwksNorFence, Setting { targets: 1, ..PAIR }, property::PUBLISHED),
    (
        Wrong::NoFence,
        Setting { room: ROOMY, ..lossy(acting(SOLE, PAIRS, &[])) },
        property::VERIFIES,
    ),
    (Wrong::ScheduleBeforePublish, SOLE, property::KNOWN),
    (Wrong::NoPrePublish, Setting { timing: PATIENT, ..SOLE }, property::KNOWN),
    (Wrong::NoGrace, SOLE, property::VERIFIES),
    (Wrong::NoJwksCheckNorConfirmation, SOLE, property::PUBLISHED),
    (Wrong::CountFromIntent, SOLE, property::VERIFIES),
    (Wrong::OnlyHome, Setting { targets: 2, ..SOLE }, property::VERIFIES),
    (Wrong::EditUnseen, acting(SOLE, JWKS, &[]), property::HEALS),
    (Wrong::RotateTokenForgotten, ASKED, property::HEALS),
    (Wrong::RevokeTokenForgotten, acting(SOLE, &[Act::Revoke], &[]), property::HEALS),
    (Wrong::RevokeAllButNext, acting(SOLE, &[Act::RevokeAll], &[]), property::WITHDRAWN),
    (Wrong::RevokeActiveAlone, acting(SOLE, &[Act::RevokeAll], &[]), property::WITHDRAWN),
    (Wrong::RevokeAllForgotten, acting(SOLE, &[Act::RevokeAll], &[]), property::HEALS),
    (Wrong::RecoverNewest, acting(SOLE, LEDGER, &[]), property::KNOWN),
    (Wrong::AnyPair, Setting { room: ROOMY, ..lossy(acting(SOLE, PAIRS, &[])) }, property::HEALS),
];

/// Those that take longer to catch: with `PROVE=1`.
pub(crate) const HARDY: &[(Wrong, Setting, &str)] = &[
    (Wrong::JwksAnyVersion, Setting { room: ROOMY, ..lossy(SOLE) }, property::VERIFIES),
    (Wrong::PutLedgerAnyVersion, lossy(SOLE), property::VERIFIES),
    (Wrong::NoStaleBound, SOLE, property::PUBLISHED),
    (Wrong::RecoverAsNew, acting(SOLE, LEDGER, &[]), property::HEALS),
    (Wrong::GapForgotten, TWO_LOSSES, property::PUBLISHED),
];

/// Variants that lack one of two locks, and that no search brings down: servers look whether a key
/// is in the JWKS, although the ledger alone keeps them from signing too early or too late. It is
/// kept for clocks that jump and for a JWKS that a user deletes. Nor is an operator brought down
/// that reads in another order, as long as the ledger changes before a key leaves that it does not
/// know: [`MUTANTS`] has the one that does neither.
pub(crate) const SURVIVORS: &[(Wrong, Setting)] = &[
    (Wrong::NoJwksCheck, SOLE),
    (Wrong::NoJwksCheck, SKEWED),
    (Wrong::NoJwksCheck, lossy(SOLE)),
    (Wrong::InputsBeforeJwks, Setting { targets: 1, ..PAIR }),
];
