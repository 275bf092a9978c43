//! What is worth an Event.

use std::collections::{BTreeMap, BTreeSet};

use super::given::signing;
use crate::domain::obstacle::Obstacle;
use crate::domain::signing_key::*;

#[test]
fn a_namespace_that_cannot_be_written_is_told_when_it_begins_and_when_it_ends() {
    let mut given = signing();
    let calm = given.status(None);
    let ours = given.targets["shop"].clone();
    let blocked = Target::Blocked(Obstacle::Unavailable, BTreeSet::new());

    given.targets.insert("shop".to_owned(), blocked);
    let told = given.news(Some(&calm));
    let incomplete = given.status(Some(&calm));
    let cut_short = Observed { targets: BTreeMap::new(), ..given.observed() };
    let failed = Verdict::Blocked { obstacle: Obstacle::Unavailable, signs: true };
    let unseen = report::status(&cut_short, &failed, Some(&incomplete), Now::at(given.now));
    given.targets.insert("shop".to_owned(), ours);
    let ended = given.news(Some(&incomplete));

    assert_eq!(told, ["JWKSIncomplete"]);
    assert!(unseen.unwrap().conditions.iter().any(|it| it.type_ == "JWKSIncomplete"));
    assert_eq!(ended, ["JWKSComplete"]);
}

#[test]
fn a_key_that_signs_again_is_told_and_one_that_begins_only_once() {
    let mut given = signing();
    let first = given.news(None);
    let calm = given.status(None);

    given.series.is_suspended = true;
    let suspended = given.news(Some(&calm));
    let former = given.status(Some(&calm));
    given.series.is_suspended = false;
    let resumed = given.news(Some(&former));

    assert_eq!(first, ["KeyActivated"]);
    assert_eq!(suspended, ["Suspended"]);
    assert_eq!(resumed, ["KeyActive"]);
}

#[test]
fn a_refused_request_is_told_and_so_is_its_end() {
    let mut given = signing();
    let calm = given.status(None);
    given.series.revoke_request = Some("somebody-elses".to_owned());

    let refused = given.status(Some(&calm));
    let told = given.news(Some(&calm));
    let again = given.news(Some(&refused));
    given.series.revoke_request = None;
    let resolved = given.news(Some(&refused));

    assert_eq!(told, ["RequestRefused"]);
    assert!(again.is_empty(), "{again:?}");
    assert_eq!(resolved, ["RequestResolved"]);
}
