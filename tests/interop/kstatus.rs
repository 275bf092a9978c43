//! Whether kstatus, the library by which Flux, Helm and others wait, reads every state of every kind as
//! it is meant: `Current` is reached, `InProgress` is waited for, `Failed` needs a person.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use technical_user_operator::api::condition::ConditionStatus;
use technical_user_operator::api::technical_user::SecretTemplate;
use technical_user_operator::api::{signing_key as sk, technical_user as tu};
use technical_user_operator::domain::credential::record::{Entry, Owner, Record, State};
use technical_user_operator::domain::credential::record::{Unreadable, Version};
use technical_user_operator::domain::delivery::{Content, Endpoints};
use technical_user_operator::domain::obstacle::{Obstacle, Operation};
use technical_user_operator::domain::policy::Policy;
use technical_user_operator::domain::readiness::{Progress, Readiness};
use technical_user_operator::domain::schedule::Now;
use technical_user_operator::domain::signing_key::{self, ledger};
use technical_user_operator::domain::technical_user::report::{Ability, ReferredKey, Situation};
use technical_user_operator::domain::technical_user::report::{invalid_spec, status};
use technical_user_operator::domain::technical_user::{
    Claim, Delivery, InvalidField, Observed, User, Verdict,
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
    let mut add = |name: &str, meant, verdict: &Verdict, ability, user| {
        let signing_key = ReferredKey { name: "gateway".to_owned(), ability };
        let (home, now) = ("home", Now::at(at(0)));
        let situation = Situation { verdict, signing_key: &signing_key, home, now };
        let written = json!(status(&observed(user), &situation, None).unwrap());
        states.insert(format!("user {name}"), (object("TechnicalUser", &written), meant));
    };
    for (verdict, meant) in verdicts() {
        add(&format!("{verdict:?}"), meant, &verdict, Ability::Signs, user());
        // A person has to act for what is stalled by itself, and never for the key.
        let without_key = if meant == FAILED { FAILED } else { IN_PROGRESS };
        for ability in [Ability::Missing, Ability::Suspended, Ability::NotReady] {
            add(&format!("{verdict:?}, {ability:?}"), without_key, &verdict, ability, user());
        }
    }
    for ability in Ability::SEEN {
        let suspended = User { is_suspended: true, ..user() };
        add(&format!("suspended, {ability:?}"), CURRENT, &Verdict::Suspended, ability, suspended);
    }
    let once = || User { delivery: Delivery::OneTime(SignedDuration::from_hours(4)), ..user() };
    add("to be read once", CURRENT, &Verdict::Delivered, Ability::Signs, once());
    add("read once", CURRENT, &Verdict::ReadOnce, Ability::Signs, once());

    let field = InvalidField { path: "spec.rotation.overlap", value: "soon".to_owned() };
    let (written, _) = invalid_spec((&user().owner, GENERATION), field, None, Now::at(at(0)));
    states.insert("user invalid".to_owned(), (object("TechnicalUser", &json!(written)), FAILED));
    states
}

fn verdicts() -> Vec<(Verdict, &'static str)> {
    let excess = Policy::default().excess(&["ROLE_ADMIN".to_owned()], &[]).unwrap();
    let not_allowed =
        Verdict::NotAllowed { user: Box::new(user().owner), excess: Box::new(excess) };
    let paced = Verdict::LossesPaced { replaced: 3, resumes_at: at(1) };
    let mut verdicts = vec![
        (Verdict::Delivered, CURRENT),
        (Verdict::ReadOnce, CURRENT),
        (Verdict::NotCollected(SignedDuration::from_hours(4)), CURRENT),
        (Verdict::DeletionIgnored, CURRENT),
        (Verdict::AlterationIgnored, CURRENT),
        (not_allowed, FAILED),
        (Verdict::ClientIdTaken, FAILED),
        (Verdict::Unreadable(Unreadable::Malformed), FAILED),
        (Verdict::AwaitingCollection, IN_PROGRESS),
        (Verdict::SecretConflict, FAILED),
        (Verdict::SecretTerminating, IN_PROGRESS),
        (Verdict::SecretImmutable, FAILED),
        (Verdict::TooManyCredentials, IN_PROGRESS),
        (paced, IN_PROGRESS),
    ];
    let blocked = obstacles().into_iter().map(|(it, meant)| (Verdict::Blocked(it), meant));
    verdicts.extend(blocked);
    verdicts
}

fn obstacles() -> [(Obstacle, &'static str); 8] {
    let operation = || Operation::on("create", "secrets", "shop", "billing-credentials");
    let text = str::to_owned;
    [
        (Obstacle::Forbidden { operation: operation(), account: None }, FAILED),
        (Obstacle::Quota { operation: operation(), quota: None }, FAILED),
        (Obstacle::Denied { operation: operation(), policy: text("no-secrets") }, FAILED),
        (Obstacle::Refused { operation: operation(), reason: text("Invalid") }, FAILED),
        (Obstacle::NamespaceTerminating { namespace: text("shop") }, IN_PROGRESS),
        (Obstacle::AwaitingCollection, IN_PROGRESS),
        (Obstacle::Unavailable, IN_PROGRESS),
        (Obstacle::Contended, IN_PROGRESS),
    ]
}

fn user() -> User {
    let endpoints = Endpoints { issuer: "https://issuer.example".to_owned() };
    let client_id = "billing".parse().unwrap();
    User {
        content: Content::of("billing", &client_id, &SecretTemplate::default(), &endpoints),
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
    let entry = Entry { verifier, state: State::Current, serial: 1, issued_at: at(-1) };
    record.serial = 1;
    record.entries.insert("aaaaaaaaaa".parse().unwrap(), entry);
    let version = Version { uid: "record-uid".to_owned(), resource_version: "1".to_owned() };
    Observed { user: Some(user), record: Claim::Held(version, Box::new(record)), delivered: None }
}

// === SigningKey ===

fn signing_keys() -> States {
    use signing_key::Verdict;
    let kid = || "N1hQ0GU2n5rCLAqCS3gUUq4K5cVLkYQ5vtPOZ8nB1Rg".parse().unwrap();
    let secret = || "home/sk-uid".to_owned();
    let place =
        signing_key::Place { namespace: "home".to_owned(), name: "default-jwks".to_owned() };
    let reason = ledger::Unreadable::Malformed;
    let mut verdicts = vec![
        (Verdict::Signing(kid()), CURRENT),
        (Verdict::Suspended, CURRENT),
        (Verdict::NoActiveKey(None), IN_PROGRESS),
        (Verdict::KeyLost(kid(), Some(at(1))), IN_PROGRESS),
        (Verdict::KeyUnreadable { secret: secret(), signs: true }, FAILED),
        (Verdict::KeyUnreadable { secret: secret(), signs: false }, FAILED),
        (Verdict::TooManyKeys, IN_PROGRESS),
        (Verdict::LedgerUnreadable { secret: secret(), reason }, FAILED),
        (Verdict::JwksConflict(place), FAILED),
        (Verdict::InvalidSpec, FAILED),
    ];
    for signs in [true, false] {
        let blocked = obstacles().into_iter();
        verdicts
            .extend(blocked.map(|(obstacle, meant)| (Verdict::Blocked { obstacle, signs }, meant)));
    }
    let state = |(verdict, meant): (Verdict, &'static str)| {
        let status = json!({
            "observedGeneration": GENERATION, "conditions": conditions(verdict.readiness()),
        });
        (format!("key {verdict:?}"), (object("SigningKey", &status), meant))
    };
    verdicts.into_iter().map(state).collect()
}

/// As both kinds make them of what `Ready` says.
fn conditions(readiness: Readiness) -> Vec<Value> {
    let Readiness { status, reason, message, progress } = readiness;
    let condition = |type_: &str, status: ConditionStatus| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": message,
            "observedGeneration": GENERATION, "lastTransitionTime": at(0).to_string(),
        })
    };
    let ready = condition("Ready", status);
    match progress {
        Progress::Done => vec![ready],
        Progress::Reconciling => vec![ready, condition("Reconciling", ConditionStatus::True)],
        Progress::Stalled => vec![ready, condition("Stalled", ConditionStatus::True)],
    }
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
