//! The entries that a record keeps and drops, and its stored form.

use serde_json::json;

use super::*;
use crate::domain::crypto::digest::short_digest as token_digest;

const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

fn at(hours: i64) -> Timestamp {
    saturating_add("2026-11-24T06:00:00Z".parse().unwrap(), SignedDuration::from_hours(hours))
}

fn id(letter: char) -> CredentialId {
    letter.to_string().repeat(CredentialId::LENGTH).parse().unwrap()
}

fn version(resource_version: &str) -> Version {
    Version { uid: "secret-uid".to_owned(), resource_version: resource_version.to_owned() }
}

fn verifier() -> Verifier {
    "$2b$04$abcdefghijklmnopqrstuuRx5tsRnQT5qKv0Gmd5JkfbQaVkHQGSm".parse().unwrap()
}

fn entry(state: EntryState) -> Entry {
    Entry { verifier: verifier(), state, serial: 1, issued_at: at(-1) }
}

fn record() -> Record {
    let owner = Owner {
        uid: "user-uid".to_owned(),
        namespace: "payments".to_owned(),
        name: "billing".to_owned(),
        namespace_uid: Some("namespace-uid".to_owned()),
    };
    let mut record = Record::empty("billing".parse().unwrap(), owner);
    record.serial = 2;
    record.entries = [
        (id('a'), entry(EntryState::Old(at(5)))),
        (id('b'), entry(EntryState::Current)),
        (id('c'), entry(EntryState::Pending(Some(version("7"))))),
    ]
    .into();
    record.rotated = record.rotated.with("one");
    record.revoked = record.revoked.with("two");
    record
}

fn bytes(record: &Record) -> Vec<u8> {
    record.to_json().to_string().into_bytes()
}

/// The record that is read after a change of the stored document.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Record, Unreadable> {
    let mut json = record().to_json();
    change(&mut json);
    Record::from_json(json.to_string().as_bytes(), None)
}

#[test]
fn a_record_survives_its_storage() {
    let expected: ClientId = "billing".parse().unwrap();

    assert_eq!(Record::from_json(&bytes(&record()), Some(&expected)), Ok(record()));
    assert_eq!(Record::from_json(&bytes(&record()), None), Ok(record()));
}

#[test]
fn the_stored_form_is_what_it_was() {
    let digest = |token| json!(token_digest(token));

    let expected = json!({
        "formatVersion": 1,
        "clientID": "billing",
        "owner": {
            "uid": "user-uid", "namespace": "payments", "name": "billing",
            "namespaceUID": "namespace-uid",
        },
        "serial": 2,
        "entries": {
            "aaaaaaaaaa": {
                "bcrypt": verifier().as_str(), "state": "old", "serial": 1,
                "notAfter": "2026-11-24T11:00:00Z", "issuedAt": "2026-11-24T05:00:00Z",
            },
            "bbbbbbbbbb": {
                "bcrypt": verifier().as_str(), "state": "current", "serial": 1,
                "issuedAt": "2026-11-24T05:00:00Z",
            },
            "cccccccccc": {
                "bcrypt": verifier().as_str(), "state": "pending", "serial": 1,
                "placeholder": {"uid": "secret-uid", "resourceVersion": "7"},
                "issuedAt": "2026-11-24T05:00:00Z",
            },
        },
        "rotated": {"digests": [digest("one")], "last": "one"},
        "revoked": {"digests": [digest("two")], "last": "two"},
    });

    assert_eq!(record().to_json(), expected);
}

#[test]
fn a_record_of_a_newer_operator_is_told_from_garbage() {
    let newer = changed(|json| {
        json["formatVersion"] = json!(2);
        json["entries"] = json!("something new");
    });

    assert_eq!(newer, Err(Unreadable::FormatVersion));
}

#[test]
fn garbage_is_refused() {
    for garbage in
        ["", "{}", "[]", "null", "\u{0}", r#"{"formatVersion":1}"#, r#"{"formatVersion":"1"}"#]
    {
        let read = Record::from_json(garbage.as_bytes(), None);
        assert_eq!(read, Err(Unreadable::Malformed), "{garbage:?}");
    }
    assert_eq!(Record::from_json(&[0xff, 0xfe], None), Err(Unreadable::Malformed));
}

#[test]
fn a_record_under_the_name_of_another_client_is_refused() {
    let other: ClientId = "shipping".parse().unwrap();

    let read = Record::from_json(&bytes(&record()), Some(&other));

    assert_eq!(read, Err(Unreadable::ClientId));
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 10] = [
        ("two current", |it| {
            it["entries"]["dddddddddd"] = it["entries"]["bbbbbbbbbb"].clone();
        }),
        ("an id of another length", |it| {
            it["entries"]["short"] = it["entries"]["aaaaaaaaaa"].clone();
        }),
        ("old without an end", |it| {
            it["entries"]["aaaaaaaaaa"]["notAfter"].take();
        }),
        ("current with an end", |it| {
            it["entries"]["bbbbbbbbbb"]["notAfter"] = json!("2026-11-24T11:00:00Z");
        }),
        ("pending with an end", |it| {
            it["entries"]["cccccccccc"]["notAfter"] = json!("2026-11-24T12:00:00Z");
        }),
        ("no hash", |it| it["entries"]["aaaaaaaaaa"]["bcrypt"] = json!("plaintext")),
        ("an unknown state", |it| it["entries"]["aaaaaaaaaa"]["state"] = json!("new")),
        ("a negative serial", |it| it["serial"] = json!(-1)),
        ("no instant", |it| it["entries"]["aaaaaaaaaa"]["issuedAt"] = json!("yesterday")),
        ("an impossible client id", |it| it["clientID"] = json!("not a client id")),
    ];
    for (name, change) in changes {
        assert_eq!(changed(change), Err(Unreadable::Malformed), "{name}");
    }
}

#[test]
fn fields_of_a_newer_version_are_ignored_and_survive_every_change() {
    let newer = changed(|json| {
        json["surprise"] = json!({"a": 1});
        json["owner"]["surprise"] = json!(2);
        json["entries"]["aaaaaaaaaa"]["surprise"] = json!(3);
        json["entries"]["bbbbbbbbbb"]["surprise"] = json!(4);
    });

    let ended = newer.unwrap().prune(None, OVERLAP, Now::at(at(6)));

    assert!(!ended.entries.contains_key(&id('a')));
    let json = ended.to_json();
    assert_eq!(json["surprise"], json!({"a": 1}));
    assert_eq!(json["owner"]["surprise"], json!(2));
    assert_eq!(json["entries"]["bbbbbbbbbb"]["surprise"], json!(4));
    assert_eq!(json["entries"].get("aaaaaaaaaa"), None);
}

#[test]
fn a_record_of_an_earlier_version_has_no_namespace_uid_and_no_revocation() {
    let earlier = changed(|json| {
        json["owner"].as_object_mut().unwrap().remove("namespaceUID");
    });

    let record = earlier.unwrap();
    assert_eq!((record.owner.namespace_uid, record.revoked_at), (None, None));
}

#[test]
fn the_instant_of_a_revocation_is_stored() {
    let revoked = record().revoke_all("leaked", Now::at(at(1)));

    assert_eq!(revoked.to_json()["revokedAt"], json!("2026-11-24T07:00:00Z"));
    assert_eq!(Record::from_json(&bytes(&revoked), None), Ok(revoked));
}

#[test]
fn more_entries_than_fit_are_refused() {
    let read = changed(|json| {
        for letter in 'd'..'k' {
            let name = id(letter).to_string();
            json["entries"][name] = json["entries"]["aaaaaaaaaa"].clone();
        }
    });

    assert_eq!(read, Err(Unreadable::Malformed));
}

#[test]
fn a_record_without_tokens_is_one_that_answered_none() {
    let read = changed(|json| {
        let record = json.as_object_mut().unwrap();
        record.remove("rotated");
        record.remove("revoked");
    });

    assert_eq!(read.map(|record| record.rotated), Ok(HandledRequests::default()));
}

#[test]
fn nothing_that_is_printed_shows_a_verifier() {
    assert!(!format!("{:?}", record()).contains("$2b$"));
    let errors = [Unreadable::Missing, Unreadable::Malformed, Unreadable::ClientId];
    assert!(errors.iter().all(|error| !error.to_string().contains("$2b$")));
}

#[test]
fn tidying_forgets_only_what_has_ended() {
    let now = Now::at(at(5));

    let tidy = record().prune(None, OVERLAP, now);

    assert_eq!(tidy.entries.keys().collect::<Vec<_>>(), [&id('b'), &id('c')]);
    assert_eq!(tidy.entries[&id('c')].state, EntryState::Old(saturating_add(at(5), OVERLAP)));
    assert_eq!(tidy.prune(None, OVERLAP, now), tidy);
}

#[test]
fn an_entry_is_dead_once_its_secret_moved_on_without_it() {
    let pending = entry(EntryState::Pending(Some(version("7"))));
    let (at_seven, at_eight) = (version("7"), version("8"));
    let (former, own) = (id('b'), id('c'));
    let shown = |version, unaltered_id| Some(DeliveredCredential { version, unaltered_id });

    assert!(pending.can_prune(&id('c'), None));
    assert!(!pending.can_prune(&id('c'), shown(&at_seven, None)));
    assert!(pending.can_prune(&id('c'), shown(&at_eight, None)));
    assert!(pending.can_prune(&id('c'), shown(&at_eight, Some(&former))));
    assert!(!pending.can_prune(&id('c'), shown(&at_eight, Some(&own))));
    assert!(!entry(EntryState::Current).can_prune(&id('c'), None));
}

#[test]
fn promotion_leaves_one_current_and_nothing_else_changed() {
    let promoted = record().promote(&id('c'), OVERLAP, Now::at(at(0)));

    assert_eq!(promoted.current().map(|(id, _)| id), Some(&id('c')));
    assert_eq!(promoted.entries[&id('b')].state, EntryState::Old(saturating_add(at(0), OVERLAP)));
    assert_eq!(promoted.entries[&id('a')], record().entries[&id('a')]);
}

#[test]
fn a_new_verifier_is_pending_at_exactly_its_placeholder() {
    let record = record();

    let more = record.with_pending(id('d'), verifier(), Some(version("9")), Now::at(at(0)));

    assert!(more.awaits(&version("9")) && !record.awaits(&version("9")));
    assert_eq!(more.entries[&id('d')].serial, record.serial);
}

/// A creation that may be under way, and what ends it.
#[test]
fn a_creation_is_awaited_until_the_secret_shows_something_else() {
    let created = record().with_pending(id('d'), verifier(), None, Now::at(at(0)));
    let (fence, other, own) = (version("8"), id('x'), id('d'));
    let shown = |unaltered_id| Some(DeliveredCredential { version: &fence, unaltered_id });
    let state = |shown, overlap| {
        created.prune(shown, overlap, Now::at(at(0))).entries[&id('d')].state.clone()
    };
    let minute = SignedDuration::from_mins(1);

    assert!(created.awaits_creation() && !created.awaits(&fence));
    assert_eq!(state(None, OVERLAP), EntryState::Pending(None));
    assert_eq!(state(shown(Some(&own)), OVERLAP), EntryState::Pending(None));
    assert_eq!(state(shown(None), OVERLAP), EntryState::Old(saturating_add(at(0), OVERLAP)));
    assert_eq!(
        state(shown(Some(&other)), OVERLAP),
        EntryState::Old(saturating_add(at(0), OVERLAP))
    );
    assert_eq!(state(shown(None), minute), EntryState::Old(saturating_add(at(0), MAX_WRITE_DELAY)));
    assert_eq!(Record::from_json(&bytes(&created), None), Ok(created));
}

#[test]
fn a_verifier_is_found_until_its_end() {
    let record = record();

    assert!(record.verifier(&id('a'), at(4)).is_some());
    assert!(record.verifier(&id('a'), at(5)).is_none());
    assert!(record.verifier(&id('b'), at(9000)).is_some());
    assert!(record.verifier(&id('c'), at(0)).is_some());
    assert!(record.verifier(&id('z'), at(0)).is_none());
}
