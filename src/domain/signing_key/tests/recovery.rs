//! The recovery of a series whose ledger was deleted.

use super::given::{HOUR, key, kid, rotated, signing};
use std::collections::BTreeSet;

use crate::domain::crypto::public_key::Kid;
use crate::domain::signing_key::*;

#[test]
fn a_revoked_key_does_not_come_back_with_a_lost_ledger() {
    let mut given = rotated();
    given.series.revoke_request = Some(kid(2).to_string());
    for _ in 0..2 {
        let Step::Write(write) = given.decide() else { panic!("at rest") };
        given.apply(write);
    }
    for (index, key_pair) in &mut given.key_pairs {
        key_pair.public = Some(key(*index));
    }
    given.apply(Write::Stage(3));

    given.ledger = LedgerState::Absent;
    given.settle();

    assert!(!given.published("home").contains(&kid(2)));
    assert_eq!(given.active(), Some(kid(1)));
    assert!(given.ledger().entries[&3].activate_at > given.now, "it has not been published yet");
}

#[test]
fn a_lost_ledger_is_made_anew_and_nothing_leaves_the_jwks() {
    for given in [signing, rotated] {
        let mut given = given();
        let before = given.published("home");
        for (index, key_pair) in &mut given.key_pairs {
            key_pair.public = Some(key(*index));
        }

        given.ledger = LedgerState::Absent;
        given.settle();

        let after = given.published("home");
        assert!(before.iter().all(|kid| after.contains(kid)), "{before:?} {after:?}");
        assert!(given.active().is_some_and(|kid| before.contains(&kid)));
    }
}

#[test]
fn a_lost_ledger_never_lets_a_key_sign_that_may_have_just_been_published() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.apply(Write::Stage(2));
    let Step::Write(publish) = given.decide() else { panic!("at rest") };
    given.apply(publish);
    given.key_pairs.get_mut(&1).unwrap().public = Some(key(1));

    given.ledger = LedgerState::Absent;
    given.settle();

    assert_eq!(given.active(), Some(kid(1)));
    assert!(given.ledger().entries[&2].activate_at >= given.now + HOUR);
}

/// Success is not reported for a rotation that may not have happened.
#[test]
fn a_lost_ledger_does_not_count_a_request_as_handled() {
    let mut given = rotated();
    given.key_pairs.remove(&1);
    given.key_pairs.get_mut(&2).unwrap().public = Some(key(2));
    given.ledger = LedgerState::Absent;
    given.series.rotate_request = Some("a".to_owned());

    let done = given.settle();

    assert!(done.contains(&"stage 3".to_owned()), "{done:?}");
}

#[test]
fn a_lost_ledger_forgets_no_key_that_comes_after_a_gap() {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.settle();
    given.key_pairs.remove(&2);
    given.apply(Write::Stage(3));
    let Step::Write(publish) = given.decide() else { panic!("at rest") };
    given.apply(publish);
    for (index, key_pair) in &mut given.key_pairs {
        key_pair.public = Some(key(*index));
    }
    assert!(given.published("home").contains(&kid(3)));

    given.ledger = LedgerState::Absent;
    given.settle();

    let published: BTreeSet<Kid> = given.published("home").into_iter().collect();
    assert_eq!(published, BTreeSet::from([kid(1), kid(3)]));
    assert_eq!(given.active(), Some(kid(1)));
    assert!(given.ledger().entries[&3].activate_at >= given.now + HOUR);
}

#[test]
fn a_ledger_without_a_gap_is_read_and_written_as_before_there_were_gaps() {
    let given = signing();
    let stored = given.ledger().to_json();

    assert!(stored.get("nextFrom").is_none(), "{stored}");
    let read = Ledger::from_json(stored.to_string().as_bytes(), &given.ledger().uid);
    assert_eq!(read.as_ref(), Ok(given.ledger()));
}

#[test]
fn fields_of_a_newer_version_are_ignored_and_kept() {
    let given = signing();
    let mut stored = given.ledger().to_json();
    stored["surprise"] = "a".into();
    stored["entries"]["1"]["surprise"] = "b".into();

    let read = Ledger::from_json(stored.to_string().as_bytes(), &given.ledger().uid);

    assert_eq!(read.map(|ledger| ledger.to_json()), Ok(stored));
}
