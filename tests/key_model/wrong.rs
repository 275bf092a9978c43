//! Wrong variants of the protocol. Each must be caught, or the model proves nothing.
//!
//! Those that err in the decision wrap the production code and change what it sees or says; those
//! that err elsewhere are asked for by name in [`crate::operator`] and [`crate::servers`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use technical_user_operator::domain::crypto::jwks::Jwks;
use technical_user_operator::domain::object::Version;
use technical_user_operator::domain::schedule::Now;
use technical_user_operator::domain::signing_key::ledger::Entry;
use technical_user_operator::domain::signing_key::{
    self, Change, ConfigMapState, KeyPair, Ledger, LedgerState, Observed, Step, Write,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// What the JWKS depends on is read before the JWKS.
    InputsBeforeJwks,
    /// Nor does the ledger change before a key leaves the JWKS that it does not know.
    InputsBeforeJwksNorFence,
    /// That alone.
    NoFence,
    /// A key gets its time before it is in the JWKS.
    ScheduleBeforePublish,
    /// A key signs the moment it is published.
    NoPrePublish,
    /// A key leaves the JWKS the moment it ends.
    NoGrace,
    /// The JWKS is written without a version.
    JwksAnyVersion,
    /// The ledger is written without a version.
    PutLedgerAnyVersion,
    /// Servers sign by views of any age.
    NoStaleBound,
    /// Servers do not look whether a key is in the JWKS.
    NoJwksCheck,
    /// Nor does the operator look before it gives the key its time.
    NoJwksCheckNorConfirmation,
    /// The drain counts from the end that was meant, whenever it came into the ledger.
    CountFromIntent,
    /// Only the JWKS at home is looked at.
    OnlyHome,
    /// It is not noticed that the JWKS was edited.
    EditUnseen,
    /// The ledger does not say that the request to rotate was answered.
    RotateTokenForgotten,
    /// The ledger does not say that the request to revoke was answered.
    RevokeTokenForgotten,
    /// When every key is revoked, the one that is not in the ledger yet stays.
    RevokeAllButNext,
    /// When every key is revoked, those that do not sign stay.
    RevokeActiveAlone,
    /// The ledger does not say that the request to revoke every key was handled.
    RevokeAllForgotten,
    /// A lost ledger begins again.
    RecoverAsNew,
    /// After a lost ledger the newest key signs.
    RecoverNewest,
    /// After a lost ledger the next key is looked for right after the last one that is left.
    GapForgotten,
    /// Any pair under the index of a key passes for its own.
    AnyPair,
}

impl Wrong {
    /// The production decision, spoilt.
    pub(crate) fn decide(wrong: Option<Self>, observed: &Observed, now: Now) -> Step {
        let Some(wrong) = wrong else {
            return signing_key::decide(observed, now);
        };
        let mut seen = observed.clone();
        wrong.mistake(&mut seen);
        let step = signing_key::decide(&seen, now);
        wrong.spoil(step, observed, now)
    }

    fn mistake(self, seen: &mut Observed) {
        match self {
            Self::ScheduleBeforePublish | Self::NoJwksCheckNorConfirmation if has_next(seen) => {
                claim_published(seen);
            }
            Self::NoPrePublish => set(seen, |series| series.pre_publish = SignedDuration::ZERO),
            Self::NoGrace => set(seen, |series| series.retention = SignedDuration::ZERO),
            Self::CountFromIntent => {
                if let LedgerState::Ledger(_, ledger) = &mut seen.ledger {
                    for entry in ledger.entries.values_mut() {
                        entry.end_seen_at = entry.until;
                    }
                }
            }
            Self::AnyPair => {
                if let LedgerState::Ledger(_, ledger) = &seen.ledger {
                    for (index, pair) in &mut seen.key_pairs {
                        let uid = ledger.entries.get(index).and_then(|it| it.pair_uid.clone());
                        pair.version.uid = uid.unwrap_or_else(|| pair.version.uid.clone());
                    }
                }
            }
            Self::NoFence | Self::InputsBeforeJwksNorFence if has_entries(seen) => {
                for target in seen.targets.values_mut() {
                    if let ConfigMapState::Owned(published) = target {
                        published.kids.clear();
                    }
                }
            }
            Self::OnlyHome => {
                seen.targets.pop_last();
            }
            Self::EditUnseen => {
                for target in seen.targets.values_mut() {
                    if let ConfigMapState::Owned(published) = target
                        && published.digest.is_none()
                    {
                        published.digest = Some(wanted(&seen.ledger, &seen.key_pairs).digest());
                    }
                }
            }
            _ => {}
        }
    }

    fn spoil(self, step: Step, observed: &Observed, now: Now) -> Step {
        let before = match &observed.ledger {
            LedgerState::Ledger(_, ledger) => Some(ledger.as_ref()),
            LedgerState::Absent | LedgerState::Unreadable(_) | LedgerState::Unread => None,
        };
        match (self, step) {
            (Self::RecoverAsNew, Step::Write(Write::CreateLedger(ledger))) => {
                let empty = Ledger::empty(&ledger.uid, &ledger.name);
                Step::Write(Write::CreateLedger(Box::new(empty)))
            }
            (Self::RecoverAsNew, Step::Write(Write::PutLedger(version, mut ledger, change))) => {
                if change == Change::Recover {
                    ledger.entries.retain(|index, _| *index == signing_key::FIRST);
                }
                Step::Write(Write::PutLedger(version, ledger, change))
            }
            (Self::RecoverNewest, Step::Write(Write::CreateLedger(mut ledger))) => {
                let newest = observed.key_pairs.iter().next_back();
                let entry = newest.and_then(|(index, pair)| {
                    let entry = Entry::scheduled(pair.public.clone()?, now.earliest());
                    Some((*index, Entry { pair_uid: Some(pair.version.uid.clone()), ..entry }))
                });
                if !ledger.entries.is_empty() {
                    for entry in ledger.entries.values_mut() {
                        entry.until = Some(now.latest());
                    }
                    ledger.entries.extend(entry);
                }
                Step::Write(Write::CreateLedger(ledger))
            }
            (Self::GapForgotten, Step::Write(Write::CreateLedger(mut ledger))) => {
                ledger.next_from = 0;
                Step::Write(Write::CreateLedger(ledger))
            }
            (_, Step::Write(Write::PutLedger(version, mut ledger, change))) => {
                if let Some(before) = before {
                    self.spoil_ledger(before, &mut ledger);
                }
                Step::Write(Write::PutLedger(version, ledger, change))
            }
            (_, step) => step,
        }
    }

    fn spoil_ledger(self, before: &Ledger, after: &mut Ledger) {
        match self {
            Self::RotateTokenForgotten => after.rotated = before.rotated.clone(),
            Self::RevokeTokenForgotten => after.revoked = before.revoked.clone(),
            Self::RevokeAllForgotten => after.revoked_all = before.revoked_all.clone(),
            Self::RevokeAllButNext if after.revoked_all != before.revoked_all => {
                after.entries.retain(|index, _| before.entries.contains_key(index));
            }
            Self::RevokeActiveAlone if after.revoked_all != before.revoked_all => {
                let newest = before.newest().map(|(index, _)| index);
                let stays = |index: &u32| Some(*index) != newest;
                let former = before.entries.iter().filter(|(index, _)| stays(index));
                after.entries.extend(former.map(|(index, entry)| (*index, entry.clone())));
            }
            Self::GapForgotten => after.next_from = 0,
            _ => {}
        }
    }
}

fn set(seen: &mut Observed, change: impl Fn(&mut signing_key::Series)) {
    seen.series.iter_mut().for_each(change);
}

fn has_entries(seen: &Observed) -> bool {
    matches!(&seen.ledger, LedgerState::Ledger(_, ledger) if !ledger.entries.is_empty())
}

fn has_next(seen: &Observed) -> bool {
    let LedgerState::Ledger(_, ledger) = &seen.ledger else {
        return false;
    };
    let next = seen.key_pairs.get(&ledger.next_index());
    next.is_some_and(|pair| pair.public.is_some())
}

fn claim_published(seen: &mut Observed) {
    let wanted = wanted(&seen.ledger, &seen.key_pairs);
    for target in seen.targets.values_mut() {
        let version = match target {
            ConfigMapState::Owned(published) => published.version.clone(),
            _ => NEVER,
        };
        *target = ConfigMapState::Owned(signing_key::Published {
            version,
            digest: Some(wanted.digest()),
            kids: wanted.kids().cloned().collect(),
            surplus_fields: BTreeSet::new(),
        });
    }
}

/// What every JWKS shall be.
fn wanted(ledger: &LedgerState, key_pairs: &BTreeMap<u32, KeyPair>) -> Jwks {
    let LedgerState::Ledger(_, ledger) = ledger else {
        return Jwks::default();
    };
    let next = key_pairs.get(&ledger.next_index()).and_then(|pair| pair.public.clone());
    let live = ledger.live().map(|(_, entry)| entry.key.clone());
    live.chain(next).collect()
}

const NEVER: Version = Version { uid: String::new(), resource_version: String::new() };
