//! From any record, any Secret and any user: deciding again after each write reaches rest, a crash
//! between two requests changes nothing about that, and a client secret that can be read works.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::given::{
    OVERLAP, altered, at, entry, hours, id, now, placeholder, record, record_version, refreshed,
    showing, user, version,
};
use crate::domain::crypto::client_secret::CredentialId;
use crate::domain::object::Belongs;
use crate::domain::technical_user::delivered_secret::{Mutability, ObservedSecret};
use crate::domain::technical_user::verifier_record::{Entry, EntryState, Record};
use crate::domain::technical_user::{
    Change, ClientIdReservation, Delivery, Done, Issue, Observed, Outcome, Step, User, Write,
    decide,
};

/// A cluster of one user: what the operator writes is carried out in it.
#[derive(Clone, Debug)]
struct World {
    user: User,
    record: Option<Record>,
    delivered: Option<ObservedSecret>,
    /// How many client secrets were drawn.
    drawn: usize,
}

/// Where the operator dies within one write: an issue consists of three requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Never,
    AfterRequest(usize),
}

impl World {
    fn observed(&self) -> Observed {
        let record = self.record.clone().map(Box::new);
        Observed {
            user: Some(self.user.clone()),
            record: record.map_or(ClientIdReservation::Free, |it| {
                ClientIdReservation::Held(record_version(), it)
            }),
            delivered: self.delivered.clone(),
        }
    }

    fn apply(&mut self, write: Write, crash: Crash) {
        match write {
            Write::CreateRecord(record) | Write::PutRecord(_, record, _) => {
                self.record = Some(*record);
            }
            Write::DeleteRecord(_) => self.record = None,
            Write::CreatePlaceholder => self.delivered = Some(placeholder()),
            Write::Fence(_, attempt) => {
                self.touch(|delivered| delivered.attempt = attempt);
            }
            Write::Issue(issue) => self.issue(&issue, crash),
            Write::ClearImmutable(_) => self.touch(|it| it.mutability = Mutability::Mutable),
            Write::Refresh(_, refresh) => {
                self.delivered = self.delivered.take().map(|it| refreshed(it, &refresh));
            }
            Write::Withdraw(_) | Write::Discard(_) | Write::Collect(_) => self.delivered = None,
        }
    }

    fn issue(&mut self, issue: &Issue, crash: Crash) {
        let drawn = char::from_digit(self.drawn.try_into().unwrap(), 36).unwrap();
        let id = id(drawn.to_ascii_uppercase());
        self.drawn += 1;
        let verifier = entry(EntryState::Current, 1).verifier;
        let placeholder = issue.placeholder.clone();
        let is_creation = placeholder.is_none();
        let registered = issue.record.with_pending(id.clone(), verifier, placeholder, now());
        self.record = Some(registered.clone());
        if crash == Crash::AfterRequest(1) {
            return;
        }
        if is_creation {
            self.delivered = Some(self::placeholder());
        }
        let shown = showing('x', &self.user);
        self.touch(|delivered| {
            let (version, attempt) = (delivered.version.clone(), delivered.attempt);
            *delivered =
                ObservedSecret { version, attempt, credential_id: Some(id.clone()), ..shown };
        });
        if crash == Crash::AfterRequest(2) {
            return;
        }
        self.record = Some(registered.promote(&id, self.user.overlap, now()));
    }

    fn touch(&mut self, change: impl FnOnce(&mut ObservedSecret)) {
        if let Some(delivered) = &mut self.delivered {
            change(delivered);
            let number: u64 = delivered.version.resource_version.parse().unwrap();
            delivered.version = version(&(number + 1).to_string());
        }
    }

    /// Decides and writes until it rests; after each request `check` is asked.
    fn settle(&mut self, mut check: impl FnMut(&Self)) -> Option<Done> {
        for _ in 0..MOST_STEPS {
            match decide(&self.observed(), now()) {
                Step::Done(rest) => return Some(rest),
                Step::Write(write) => self.apply(write, Crash::Never),
            }
            check(self);
        }
        None
    }

    /// The credential that the user can read, while the Secret is ours.
    fn visible(&self) -> Option<&CredentialId> {
        let delivered = self.delivered.as_ref()?;
        delivered.unaltered_id().filter(|_| delivered.belongs == Belongs::Ours)
    }

    fn accepts(&self, id: &CredentialId) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| record.verifier(id, at(0)).is_some())
    }
}

/// More than the longest way: claim, placeholder, promote, fence, tidy, issue, refresh, withdraw.
const MOST_STEPS: usize = 16;

// === what there is ===

fn any_state() -> impl Strategy<Value = EntryState> {
    prop_oneof![
        2 => Just(EntryState::Pending(Some(version("7")))),
        2 => Just(EntryState::Pending(Some(version("6")))),
        1 => Just(EntryState::Pending(None)),
        3 => (-30_i64..30).prop_map(|ends_in| EntryState::Old(at(ends_in))),
    ]
}

fn any_entries() -> impl Strategy<Value = BTreeMap<CredentialId, Entry>> {
    let others = proptest::collection::vec((any_state(), 1_i64..4, -60_i64..0), 0..7);
    let current = proptest::option::of((1_i64..4, -60_i64..0));
    (current, others).prop_map(|(current, others)| {
        let current = current.map(|(serial, age)| (EntryState::Current, serial, age));
        let entries = current.into_iter().chain(others);
        ('a'..)
            .map(id)
            .zip(entries.map(|(state, serial, age)| {
                let mut entry = entry(state, serial);
                entry.issued_at = at(age);
                entry
            }))
            .collect()
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    (any_entries(), 0_i64..2, any::<bool>()).prop_map(|(entries, begun, is_answered)| {
        let mut record = record([]);
        record.serial = entries.values().map(|entry| entry.serial).max().unwrap_or(0) + begun;
        record.entries = entries;
        if is_answered {
            record.rotated = record.rotated.with("rotate");
            record.revoked = record.revoked.with("revoke");
        }
        record
    })
}

fn any_user() -> impl Strategy<Value = User> {
    let delivery = prop_oneof![
        Just(Delivery::Retained),
        Just(Delivery::Lenient),
        Just(Delivery::OneTime(hours(12))),
    ];
    let request = |token: &'static str| proptest::option::of(Just(token.to_owned()));
    let period = proptest::option::of(Just(hours(48)));
    (delivery, period, request("rotate"), request("revoke"), proptest::bool::weighted(0.2))
        .prop_map(|(delivery, period, rotate_request, revoke_request, is_suspended)| User {
            is_suspended,
            delivery,
            period,
            rotate_request,
            revoke_request,
            ..user()
        })
}

fn any_secret() -> impl Strategy<Value = Option<ObservedSecret>> {
    let letter = prop_oneof![Just('a'), Just('b'), Just('c'), Just('z')];
    let secret = prop_oneof![
        1 => Just(placeholder()),
        2 => letter.clone().prop_map(|letter| showing(letter, &user())),
        1 => letter.prop_map(|letter| altered(letter, &user())),
    ];
    let secret = (secret, any::<bool>()).prop_map(|(mut secret, has_drifted)| {
        if has_drifted {
            secret.labels.clear();
        }
        secret
    });
    proptest::option::weighted(0.8, secret)
}

fn any_world() -> impl Strategy<Value = World> {
    (any_user(), proptest::option::weighted(0.9, any_record()), any_secret())
        .prop_map(|(user, record, delivered)| World { user, record, delivered, drawn: 0 })
}

/// Nothing that a user can read is refused yet: a record that was damaged is no promise to keep.
fn any_kept_world() -> impl Strategy<Value = World> {
    any_world().prop_filter("what is readable works", |world| {
        world.user.revoke_request.is_none()
            && world.visible().is_none_or(|id| world.accepts(id))
            && world.visible().is_none_or(|id| !ends(world, id))
            && awaits_rightly(world)
    })
}

/// An end was given to what is readable: only a damaged record says so.
fn ends(world: &World, id: &CredentialId) -> bool {
    let entry = world.record.as_ref().and_then(|record| record.entries.get(id));
    entry.is_some_and(|entry| matches!(entry.state, EntryState::Old(_)))
}

/// A readable pending entry was revealed at an earlier version than the present one.
fn awaits_rightly(world: &World) -> bool {
    let entry = world.visible().and_then(|id| world.record.as_ref()?.entries.get(id));
    entry.is_none_or(|entry| entry.state != EntryState::Pending(Some(version("7"))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_ends_at_rest(mut world in any_world()) {
        let start = world.clone();

        let rest = world.settle(|_| ());

        let rest = rest.ok_or_else(|| TestCaseError::fail(format!("no rest from {start:?}")))?;
        prop_assert_eq!(decide(&world.observed(), now()), Step::Done(rest));
        prop_assert!(world.drawn <= 1, "more than one client secret from {start:?}");
    }

    #[test]
    fn rest_means_that_what_is_wanted_is_there(mut world in any_world()) {
        let Some(rest) = world.settle(|_| ()) else { return Ok(()) };

        let record = world.record.as_ref().unwrap();
        let current = record.current().map(|(id, _)| id);
        let visible = world.visible();
        let is_kept = match rest.outcome {
            Outcome::Delivered => visible.is_some() && visible == current,
            Outcome::ReadOnce | Outcome::DeletionIgnored => {
                let carries = |it: &ObservedSecret| it.credential_id.is_some();
                current.is_some() && !world.delivered.as_ref().is_some_and(carries)
            }
            Outcome::AlterationIgnored => current.is_some() && visible.is_none(),
            Outcome::Suspended => world.user.is_suspended && world.drawn == 0,
            Outcome::TooManyCredentials => !record.has_room() && rest.requeue_at.is_some(),
            Outcome::LossesPaced { .. } => record.has_room() && rest.requeue_at.is_some(),
            Outcome::Gone
            | Outcome::ClientIdTaken
            | Outcome::Unreadable(_)
            | Outcome::AwaitingGarbageCollection
            | Outcome::SecretConflict
            | Outcome::SecretTerminating
            | Outcome::SecretImmutable
            | Outcome::Uncollected(_)
            | Outcome::NotCollected(_)
            | Outcome::InvalidSpec(_)
            | Outcome::NotAllowed { .. }
            | Outcome::Blocked(_) => false,
        };
        let is_empty = world.delivered.as_ref().is_some_and(ObservedSecret::is_empty);
        prop_assert!(!is_empty, "a Secret without a client secret stays: {:?}", world);
        prop_assert!(is_kept, "{:?} with {:?}", rest, world);
    }

    #[test]
    fn a_crash_after_any_request_is_made_good(
        mut world in any_world(),
        before in 0_usize..MOST_STEPS,
        request in 1_usize..3,
    ) {
        for _ in 0..before {
            let Step::Write(write) = decide(&world.observed(), now()) else { break };
            world.apply(write, Crash::Never);
        }
        if let Step::Write(write) = decide(&world.observed(), now()) {
            world.apply(write, Crash::AfterRequest(request));
        }
        let crashed = world.clone();

        let rest = world.settle(|_| ());

        prop_assert!(rest.is_some(), "no rest from {crashed:?}");
        let visible = world.visible();
        // Nothing is issued into a full record or for a suspended user, whatever the Secret shows.
        let waits = world.user.is_suspended
            || rest.is_some_and(|rest| {
                matches!(rest.outcome, Outcome::TooManyCredentials | Outcome::LossesPaced { .. })
            });
        prop_assert!(visible.is_none_or(|id| world.accepts(id)) || waits);
    }

    #[test]
    fn what_can_be_read_works_after_every_request(
        mut world in any_kept_world(),
        request in 1_usize..4,
    ) {
        let start = world.clone();
        for _ in 0..MOST_STEPS {
            let Step::Write(write) = decide(&world.observed(), now()) else { break };
            world.apply(write, Crash::AfterRequest(request));

            let visible = world.visible();
            prop_assert!(
                visible.is_none_or(|id| world.accepts(id)),
                "{visible:?} is refused: {start:?} became {world:?}"
            );
        }
    }

    #[test]
    fn no_write_forgets_what_still_works_but_a_revocation(mut world in any_world()) {
        for _ in 0..MOST_STEPS {
            let before = world.record.clone();
            let Step::Write(write) = decide(&world.observed(), now()) else { break };
            let is_revocation = matches!(
                &write,
                Write::PutRecord(_, _, Change::Revoke)
            );
            world.apply(write, Crash::Never);
            if is_revocation {
                continue;
            }
            for id in before.iter().flat_map(|record| record.entries.keys()) {
                let worked = before.as_ref().is_some_and(|it| it.verifier(id, at(0)).is_some());
                prop_assert!(!worked || world.accepts(id), "{id} is gone: {world:?}");
            }
        }
    }

    #[test]
    fn a_record_never_grows_beyond_its_bound(mut world in any_world(), request in 1_usize..4) {
        for _ in 0..MOST_STEPS {
            let Step::Write(write) = decide(&world.observed(), now()) else { break };
            world.apply(write, Crash::AfterRequest(request));

            let record = world.record.as_ref().unwrap();
            prop_assert!(record.entries.len() <= Record::CAPACITY);
            let json = record.to_json().to_string();
            prop_assert_eq!(&Record::from_json(json.as_bytes(), None).unwrap(), record);
        }
    }

    #[test]
    fn tidying_twice_is_tidying_once(record in any_record(), secret in any_secret()) {
        let shown = secret.as_ref().map(ObservedSecret::credential);

        let once = record.prune(shown, OVERLAP, now());

        prop_assert_eq!(once.prune(shown, OVERLAP, now()), once);
    }

    #[test]
    fn an_answered_request_never_acts_again(mut world in any_world()) {
        world.user.is_suspended = false;
        let Some(rest) = world.settle(|_| ()) else { return Ok(()) };
        if rest.outcome == Outcome::TooManyCredentials {
            return Ok(());
        }
        let drawn = world.drawn;

        world.user.rotate_request = world.user.rotate_request.map(|_| "rotate".to_owned());
        let again = world.settle(|_| ());

        prop_assert_eq!(again, Some(rest));
        prop_assert_eq!(world.drawn, drawn);
    }
}
