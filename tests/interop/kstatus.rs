//! Whether kstatus, the library by which Flux, Helm and others wait, reads every state of every kind as
//! it is meant: `Current` is reached, `InProgress` is waited for, `Failed` needs a person.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use technical_user_operator::api::technical_user::SecretTemplate;
use technical_user_operator::api::{signing_key as sk, technical_user as tu};
use technical_user_operator::domain::conditions::blocked_reason::{BlockedReason, Operation};
use technical_user_operator::domain::conditions::status::invalid_spec;
use technical_user_operator::domain::conditions::unavailable::Unavailable;
use technical_user_operator::domain::crypto::public_key::{KeyType, PublicKey};
use technical_user_operator::domain::policy::Policy;
use technical_user_operator::domain::schedule::{ClockMonitor, Now};
use technical_user_operator::domain::signing_key::ledger::{Entry, SharedSettings};
use technical_user_operator::domain::signing_key::{
    self, ConfigMapRef, ConfigMapState, KeyPair, Ledger, LedgerState, Origin, Published, Scope,
    Series, StaleCopy, ledger,
};
use technical_user_operator::domain::technical_user;
use technical_user_operator::domain::technical_user::delivered_secret::{DesiredSecret, Endpoints};
use technical_user_operator::domain::technical_user::status::status;
use technical_user_operator::domain::technical_user::status::{
    ReferredKey, SigningKeyState, StatusInputs,
};
use technical_user_operator::domain::technical_user::verifier_record::{
    self, EntryState, Owner, Record,
};
use technical_user_operator::domain::technical_user::verifier_record::{Unreadable, Version};
use technical_user_operator::domain::technical_user::{
    ClientIdReservation, Delivery, InvalidField, Observed, Outcome, User,
};

use crate::languages::{KSTATUS, run};

/// States by their names, with what kstatus has to make of them.
type States = BTreeMap<String, (Value, &'static str)>;

#[test]
fn kstatus_reads_every_state_of_every_kind_as_it_is_meant() {
    let Some(library) = KSTATUS.installed() else { return };
    let mut states = users();
    states.extend(signing_keys());
    states.extend(untouched());
    let objects: BTreeMap<_, _> = states.iter().map(|(name, (it, _))| (name, it)).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.json");
    std::fs::write(&file, serde_json::to_string(&objects).unwrap()).unwrap();

    let said = run(library.program("status").arg(&file));
    let said: BTreeMap<String, String> = serde_json::from_str(&said).unwrap();

    let meant: BTreeMap<_, _> =
        states.iter().map(|(name, (_, meant))| (name.clone(), (*meant).to_owned())).collect();
    assert_eq!(said, meant);
}

// === TechnicalUser ===

fn users() -> States {
    let mut states = States::new();
    let mut add = |name: &str, meant, outcome: &Outcome, ability, user| {
        let signing_key = ReferredKey { name: "gateway".to_owned(), ability };
        let (operator_namespace, now) = ("home", Now::at(at(0)));
        let situation =
            StatusInputs { outcome, signing_key: &signing_key, operator_namespace, now };
        let written = json!(status(&observed(user), &situation, None).unwrap());
        states.insert(format!("user {name}"), (object("TechnicalUser", &written), meant));
    };
    for (outcome, meant) in outcomes() {
        add(&format!("{outcome:?}"), meant, &outcome, SigningKeyState::Signs, user());
        // A person has to act for what is stalled by itself, and never for the key.
        let without_key = if meant == FAILED { FAILED } else { IN_PROGRESS };
        for ability in SigningKeyState::SEEN.into_iter().filter(|it| *it != SigningKeyState::Signs)
        {
            add(&format!("{outcome:?}, {ability:?}"), without_key, &outcome, ability, user());
        }
    }
    for ability in SigningKeyState::SEEN {
        let suspended = User { is_suspended: true, ..user() };
        add(&format!("suspended, {ability:?}"), CURRENT, &Outcome::Suspended, ability, suspended);
    }
    let once = || User { delivery: Delivery::OneTime(SignedDuration::from_hours(4)), ..user() };
    add("to be read once", CURRENT, &Outcome::Delivered, SigningKeyState::Signs, once());
    add("read once", CURRENT, &Outcome::ReadOnce, SigningKeyState::Signs, once());

    let readiness = technical_user::status::invalid_spec(&user().owner, invalid());
    let (written, _) =
        invalid_spec::<tu::TechnicalUserStatus>(readiness, GENERATION, None, Now::at(at(0)));
    states.insert("user invalid".to_owned(), (object("TechnicalUser", &json!(written)), FAILED));
    states
}

fn invalid() -> InvalidField {
    InvalidField { path: "spec.rotation.period", value: "soon".to_owned() }
}

fn outcomes() -> Vec<(Outcome, &'static str)> {
    let excess = Policy::default().excess(&["ROLE_ADMIN".to_owned()], &[]).unwrap();
    let not_allowed =
        Outcome::NotAllowed { user: Box::new(user().owner), excess: Box::new(excess) };
    let paced = Outcome::LossesPaced { replaced: 3, resumes_at: at(1) };
    let mut outcomes = vec![
        (Outcome::Delivered, CURRENT),
        (Outcome::ReadOnce, CURRENT),
        (Outcome::NotCollected(SignedDuration::from_hours(4)), CURRENT),
        (Outcome::DeletionIgnored, CURRENT),
        (Outcome::AlterationIgnored, CURRENT),
        (not_allowed, FAILED),
        (Outcome::ClientIdTaken, FAILED),
        (Outcome::Unreadable(Unreadable::Malformed), FAILED),
        (Outcome::AwaitingGarbageCollection, IN_PROGRESS),
        (Outcome::SecretConflict, FAILED),
        (Outcome::SecretTerminating, IN_PROGRESS),
        (Outcome::SecretImmutable, FAILED),
        (Outcome::TooManyCredentials, IN_PROGRESS),
        (paced, IN_PROGRESS),
    ];
    let blocked = blocked_reasons().into_iter().map(|(it, meant)| (Outcome::Blocked(it), meant));
    outcomes.extend(blocked);
    outcomes
}

fn blocked_reasons() -> [(BlockedReason, &'static str); 8] {
    let operation = || Operation::on("create", "secrets", "shop", "billing-credentials");
    let text = str::to_owned;
    [
        (BlockedReason::Forbidden { operation: operation(), account: None }, FAILED),
        (BlockedReason::QuotaExceeded { operation: operation(), quota: None }, FAILED),
        (BlockedReason::Denied { operation: operation(), policy: text("no-secrets") }, FAILED),
        (BlockedReason::Refused { operation: operation(), reason: text("Invalid") }, FAILED),
        (BlockedReason::NamespaceTerminating { namespace: text("shop") }, IN_PROGRESS),
        (
            BlockedReason::AwaitingGarbageCollection {
                object: text("ConfigMap home/default-jwks"),
            },
            IN_PROGRESS,
        ),
        (BlockedReason::ApiServerUnavailable(Unavailable::Server(503)), IN_PROGRESS),
        (BlockedReason::WriteConflict { object: None }, IN_PROGRESS),
    ]
}

fn user() -> User {
    let endpoints = Endpoints { issuer: "https://issuer.example".to_owned() };
    let client_id = "billing".parse().unwrap();
    User {
        content: DesiredSecret::of("billing", &client_id, &SecretTemplate::default(), &endpoints),
        owner: Owner {
            uid: "user-uid".to_owned(),
            namespace: "shop".to_owned(),
            name: "billing".to_owned(),
            namespace_uid: None,
        },
        created_at: at(-2),
        generation: GENERATION,
        client_id,
        secret_name: "billing-credentials".to_owned(),
        is_suspended: false,
        excess: None,
        delivery: Delivery::Retained,
        period: None,
        overlap: SignedDuration::from_hours(24),
        rotate_request: None,
        revoke_request: None,
        ignored_requests: Vec::new(),
    }
}

/// The user with a client secret that works, delivered and gone again.
fn observed(user: User) -> Observed {
    let mut record = Record::empty(user.client_id.clone(), user.owner.clone());
    let verifier = "$2b$04$abcdefghijklmnopqrstuuRx5tsRnQT5qKv0Gmd5JkfbQaVkHQGSm";
    let verifier = verifier.parse().unwrap();
    let entry = verifier_record::Entry {
        verifier,
        state: EntryState::Current,
        serial: 1,
        issued_at: at(-1),
    };
    record.serial = 1;
    record.entries.insert("aaaaaaaaaa".parse().unwrap(), entry);
    let version = Version { uid: "record-uid".to_owned(), resource_version: "1".to_owned() };
    Observed {
        user: Some(user),
        record: ClientIdReservation::Held(version, Box::new(record)),
        delivered: None,
    }
}

// === SigningKey ===

fn signing_keys() -> States {
    use signing_key::Outcome;
    let kid = || "N1hQ0GU2n5rCLAqCS3gUUq4K5cVLkYQ5vtPOZ8nB1Rg".parse().unwrap();
    let secret = || "home/sk-uid".to_owned();
    let place = ConfigMapRef { namespace: "home".to_owned(), name: "default-jwks".to_owned() };
    let reason = ledger::Unreadable::Malformed;
    let mut outcomes = vec![
        (Outcome::Signing(kid()), CURRENT),
        (Outcome::Suspended, CURRENT),
        (Outcome::NoActiveKey(None), IN_PROGRESS),
        (Outcome::KeyLost(kid(), Some(at(1))), IN_PROGRESS),
        (Outcome::KeyUnreadable { secret: secret(), signs: true }, FAILED),
        (Outcome::KeyUnreadable { secret: secret(), signs: false }, FAILED),
        (Outcome::TooManyKeys, IN_PROGRESS),
        (Outcome::LedgerUnreadable { secret: secret(), reason }, FAILED),
        (Outcome::JwksConflict(place), FAILED),
        (Outcome::InvalidSpec(invalid()), FAILED),
    ];
    for signs in [true, false] {
        let blocked = blocked_reasons().into_iter();
        outcomes
            .extend(blocked.map(|(blocked_reason, meant)| {
                (Outcome::Blocked { blocked_reason, signs }, meant)
            }));
    }
    let mut states = States::new();
    let mut add = |name: String, meant, written: &Value| {
        states.insert(format!("key {name}"), (object("SigningKey", written), meant));
    };
    for (outcome, meant) in outcomes {
        let mut observed = observed_series();
        if let Some(series) = observed.series.as_mut() {
            series.is_suspended = outcome == Outcome::Suspended;
        }
        if let Outcome::LedgerUnreadable { reason, .. } = outcome {
            observed.ledger = LedgerState::Unreadable(reason);
        }
        add(format!("{outcome:?}"), meant, &json!(key_status(&observed, &outcome, Now::at(at(0)))));
    }
    for (name, observed, now) in beside_ready() {
        let written = key_status(&observed, &Outcome::Signing(kid()), now);
        let types: Vec<_> = written.conditions.iter().map(|it| it.type_.as_str()).collect();
        assert!(types.contains(&name), "{types:?}");
        add(name.to_owned(), CURRENT, &json!(written));
    }
    let readiness = signing_key::status::invalid_spec("default", invalid());
    let (invalid, _) =
        invalid_spec::<sk::SigningKeyStatus>(readiness, GENERATION, None, Now::at(at(0)));
    add("invalid".to_owned(), FAILED, &json!(invalid));
    states
}

fn key_status(
    observed: &signing_key::Observed,
    outcome: &signing_key::Outcome,
    now: Now,
) -> sk::SigningKeyStatus {
    signing_key::status::status(observed, outcome, None, now).unwrap()
}

/// Every condition that a `SigningKey` can have while one of its keys signs, with what it comes from.
fn beside_ready() -> Vec<(&'static str, signing_key::Observed, Now)> {
    let now = Now::at(at(0));
    let changed = |change: fn(&mut signing_key::Observed)| {
        let mut observed = observed_series();
        change(&mut observed);
        observed
    };
    let asked = |ask: fn(&mut Series)| {
        let mut observed = observed_series();
        ask(observed.series.as_mut().unwrap());
        observed
    };
    let incomplete = changed(|it| {
        it.targets.insert("shop".to_owned(), ConfigMapState::Conflict);
    });
    let surplus = changed(|it| {
        let place = ConfigMapRef { namespace: "shop".to_owned(), name: "default-jwks".to_owned() };
        it.surplus.insert(
            place,
            StaleCopy::Blocked(BlockedReason::ApiServerUnavailable(Unavailable::Server(503))),
        );
    });
    let rotating = changed(|it| change_ledger(it, 2, Entry::scheduled(public_key(2), at(1))));
    let exposed = changed(|it| {
        let withdrawal = Some(ledger::Withdrawal::Revoked);
        let revoked = Entry { withdrawal, ..Entry::never_used(public_key(2), at(-1)) };
        change_ledger(it, 2, revoked);
    });
    let refused = asked(|it| it.revoke_request = Some("leaked".to_owned()));
    let ignored = asked(|it| it.ignored_requests = vec!["iam.cyoda.com/rotate-requested-at"]);
    let apart = ClockMonitor::default().sample(at(0), Some(at(1)), Duration::ZERO);
    vec![
        ("JWKSIncomplete", incomplete, now),
        ("JWKSOrphaned", surplus, now),
        ("RotationInProgress", rotating, now),
        ("RevokedKeyPublished", exposed, now),
        ("RevocationRequestInvalid", refused, now),
        ("RequestIgnored", ignored, now),
        ("ClockSkew", observed_series(), apart),
    ]
}

/// A series whose first key signs, and whose JWKS at home has two keys.
fn observed_series() -> signing_key::Observed {
    let version = || Version { uid: "uid".to_owned(), resource_version: "1".to_owned() };
    let kids = [1, 2].map(|index| public_key(index).kid().clone()).into();
    let published =
        Published { version: version(), digest: None, kids, surplus_fields: BTreeSet::new() };
    let key_pair = |index| KeyPair { version: version(), public: Some(public_key(index)) };
    let mut observed = signing_key::Observed {
        series: Some(series()),
        targets: BTreeMap::from([("home".to_owned(), ConfigMapState::Owned(published))]),
        surplus: BTreeMap::new(),
        sight: Scope::AllNamespaces,
        ledger: LedgerState::Ledger(version(), Box::new(Ledger::empty("sk-uid", "default"))),
        key_pairs: BTreeMap::from([(1, key_pair(1))]),
    };
    change_ledger(&mut observed, 1, Entry::scheduled(public_key(1), at(-1)));
    observed
}

fn change_ledger(observed: &mut signing_key::Observed, index: u32, entry: Entry) {
    let LedgerState::Ledger(_, ledger) = &mut observed.ledger else { panic!("no ledger") };
    ledger.entries.insert(index, entry);
}

fn series() -> Series {
    let hour = SignedDuration::from_hours(1);
    Series {
        uid: "sk-uid".to_owned(),
        name: "default".to_owned(),
        created_at: at(-2),
        generation: GENERATION,
        algorithm: sk::Algorithm::ES256,
        shape: KeyType::P256,
        period: hour * 720,
        pre_publish: hour,
        retention: signing_key::retention(hour, hour, hour * 24),
        operator_namespace: "home".to_owned(),
        config_map_name: "default-jwks".to_owned(),
        is_suspended: false,
        rotate_request: None,
        revoke_request: None,
        revoke_all_request: None,
        ignored_requests: Vec::new(),
        origin: Origin::Declared,
        agreement: SharedSettings::of(
            hour,
            hour * 24,
            "https://issuer.example",
            &Policy::default(),
        ),
    }
}

fn public_key(index: u8) -> PublicKey {
    PublicKey::ec(sk::Algorithm::ES256, &[vec![4], vec![index; 64]].concat()).unwrap()
}

// === both ===

/// Objects that no operator has seen yet, with the status that the API server gives them.
fn untouched() -> States {
    let state = |(kind, crd): (&str, Value)| {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let status = &schema["properties"]["status"]["default"];
        (format!("untouched {kind}"), (object(kind, status), IN_PROGRESS))
    };
    [("TechnicalUser", json!(tu::crd())), ("SigningKey", json!(sk::crd()))].map(state).into()
}

fn object(kind: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": kind,
        "metadata": {"name": "billing", "namespace": "shop", "generation": GENERATION},
        "spec": {}, "status": status,
    })
}

fn at(hours: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_hours(hours)
}

const GENERATION: i64 = 3;
const CURRENT: &str = "Current";
const IN_PROGRESS: &str = "InProgress";
const FAILED: &str = "Failed";
