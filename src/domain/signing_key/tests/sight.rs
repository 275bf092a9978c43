//! Decisions while only the operator's own namespace can be read.

use super::given::{HOUR, kid, rotated, signing};
use crate::domain::signing_key::*;

#[test]
fn a_revocation_needs_no_namespace_but_the_operators_own() {
    let mut given = rotated();
    given.sight = Scope::OperatorNamespace;
    given.targets.remove("shop");
    given.series.revoke_request = Some(kid(2).to_string());

    let steps = given.settle();

    assert_eq!(steps, ["revoke", "publish 1"]);
    assert_eq!(given.active(), Some(kid(1)));
    assert_eq!(given.published("home"), [kid(1)]);
}

#[test]
fn the_only_key_is_revoked_and_replaced_with_the_operators_own_namespace_alone_in_sight() {
    let mut given = signing();
    given.sight = Scope::OperatorNamespace;
    given.targets.remove("shop");
    given.series.revoke_all_request = Some("1".to_owned());

    let steps = given.settle();

    assert_eq!(steps, ["revokeall", "stage 2", "publish 1", "schedule"]);
    assert_eq!(given.published("home"), [kid(2)]);
}

#[test]
fn with_the_operators_own_namespace_alone_in_sight_nothing_rotates_leaves_or_is_recovered() {
    let mut given = rotated();
    given.sight = Scope::OperatorNamespace;
    given.targets.remove("shop");
    given.series.rotate_request = Some("b".to_owned());
    given.later(HOUR * 1000);
    let status = given.status(None);

    assert_eq!(given.settle(), Vec::<String>::new());
    assert_eq!(status.jwks.map(|jwks| jwks.namespaces), Some(1));
    given.ledger = LedgerState::Absent;
    assert_eq!(given.settle(), Vec::<String>::new());
    given.ledger = LedgerState::Ledger(given.version(), Box::new(Ledger::empty("u", "default")));
    for key_pair in given.key_pairs.values_mut() {
        key_pair.public = Some(super::given::key(2));
    }
    assert_eq!(given.settle(), Vec::<String>::new());
}
