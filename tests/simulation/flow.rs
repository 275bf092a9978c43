//! What users do, and what they then may expect.

use http::Method;
use serde_json::{Value, json};

use crate::goal::Goal;
use crate::harness::flow::{Step, step};
use crate::oracle::OPERATOR;
use crate::world::{NAMESPACE, SECRET, World};

/// A story: what came before, what is done, and what must come of it.
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    /// Before anything goes wrong.
    pub(crate) before: Vec<Step>,
    pub(crate) steps: Vec<Step>,
    /// Whether secrets are issued by the clock, so that a wrong clock may add some.
    pub(crate) is_timed: bool,
}

/// What a user does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Create(&'static str, Value),
    Change(Value),
    Request(&'static str, &'static str),
    Delete(&'static str),
    DeleteSecret,
    AlterSecret,
    DeleteRecord,
    PlantSecret,
    /// The field `immutable` of the delivered Secret.
    SetImmutable(bool),
    /// The reset of `managedFields` that Kubernetes documents.
    ResetOwnership,
    /// A backup tool deletes the Secret and creates it again from a copy.
    RestoreSecret,
    /// `kubectl get secret -o yaml | kubectl apply -f -`.
    ApplySecret,
    /// Creates (true) or deletes the `SigningKey` that every user refers to.
    SigningKey(bool),
    /// The garbage collector sees nothing any more.
    BlindCollector,
}

impl Act {
    pub(crate) fn perform(&self, world: &World) {
        let user = format!("{USERS}/{USER}");
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let secret = format!("{secrets}/{SECRET}");
        match self {
            Self::Create(name, spec) => create_user(world, name, spec),
            Self::Change(spec) => world.ask(&Method::PATCH, &user, &json!({"spec": spec})),
            Self::Request(what, token) => {
                let name = format!("iam.cyoda.com/{what}-requested-at");
                let annotations = json!({"metadata": {"annotations": {name: token}}});
                world.ask(&Method::PATCH, &user, &annotations);
            }
            Self::Delete(name) => {
                world.ask(&Method::DELETE, &format!("{USERS}/{name}"), &Value::Null);
            }
            Self::DeleteSecret => {
                world.oracle().interfere();
                world.ask(&Method::DELETE, &secret, &Value::Null);
            }
            Self::AlterSecret => {
                world.oracle().interfere();
                let data = json!({"data": {"client_secret": "bWluZQ=="}});
                let path = format!("{secret}?fieldManager=kubectl-edit");
                world.ask(&Method::PATCH, &path, &data);
            }
            Self::DeleteRecord => delete_record(world),
            Self::SetImmutable(is) => {
                world.ask(&Method::PATCH, &secret, &json!({"immutable": is}));
            }
            Self::ResetOwnership => {
                let body = json!({"metadata": {"managedFields": [{}]}});
                world.ask(&Method::PATCH, &secret, &body);
            }
            Self::RestoreSecret => restore(world),
            Self::ApplySecret => {
                let copy = world.server.get("secrets", NAMESPACE, SECRET).unwrap();
                let annotations = json!({LAST_APPLIED: copy.to_string()});
                let path = format!("{secret}?fieldManager=kubectl-client-side-apply");
                world.ask(
                    &Method::PATCH,
                    &path,
                    &json!({"metadata": {"annotations": annotations}}),
                );
            }
            Self::BlindCollector => world.stop_collecting(),
            Self::SigningKey(exists) => world.set_signing_key(*exists),
            Self::PlantSecret => {
                let object = json!({
                    "apiVersion": "v1", "kind": "Secret", "data": {"client_secret": "aGVycw=="},
                    "metadata": {"name": SECRET, "namespace": NAMESPACE},
                });
                world.ask(&Method::POST, &secrets, &object);
            }
        }
    }
}

/// A user asks for client credentials.
pub(crate) fn create_user(world: &World, name: &str, spec: &Value) {
    let user = json!({
        "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    });
    world.ask(&Method::POST, USERS, &user);
}

/// A backup tool deletes the delivered Secret and creates it again from its copy.
fn restore(world: &World) {
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let mut copy = world.server.get("secrets", NAMESPACE, SECRET).unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        copy["metadata"].as_object_mut().unwrap().remove(field);
    }
    world.ask(&Method::DELETE, &format!("{secrets}/{SECRET}"), &Value::Null);
    world.ask(&Method::POST, &format!("{secrets}?fieldManager=velero"), &copy);
}

fn delete_record(world: &World) {
    world.oracle().interfere();
    for record in world.server.list("secrets") {
        let metadata = &record["metadata"];
        if let (Some(OPERATOR), Some(name)) =
            (metadata["namespace"].as_str(), metadata["name"].as_str())
        {
            let path = format!("/api/v1/namespaces/{OPERATOR}/secrets/{name}");
            world.ask(&Method::DELETE, &path, &Value::Null);
        }
    }
}

/// Every story.
pub(crate) fn all() -> Vec<Flow> {
    let mut flows = basic();
    flows.extend(around_the_secret());
    flows.extend(around_the_user());
    flows.extend(around_the_metadata());
    flows
}

fn basic() -> Vec<Flow> {
    let due = Flow {
        is_timed: true,
        ..flow(
            "due",
            vec![step(create(json!({"period": "30m"})), Goal::delivered(1))],
            vec![
                step(vec![], Goal::Serial(2)),
                step(vec![Act::Change(json!({"rotation": {"period": null}}))], Goal::delivered(2)),
            ],
        )
    };
    vec![
        flow("issue", vec![], vec![issued()]),
        due,
        flow(
            "rotate",
            vec![issued()],
            vec![step(vec![Act::Request("rotate", "one")], Goal::delivered(2))],
        ),
        flow(
            "revoke",
            vec![issued()],
            vec![step(vec![Act::Request("revoke", "one")], Goal::delivered(2))],
        ),
        flow("delete", vec![issued()], vec![step(vec![Act::Delete(USER)], Goal::Gone)]),
    ]
}

fn around_the_secret() -> Vec<Flow> {
    let one_time = |ttl: &str| {
        let spec = json!({
            "rotation": {"overlap": "2m"}, "delivery": {"mode": "OneTime", "ttl": ttl}
        });
        vec![Act::Create(USER, spec)]
    };
    vec![
        flow(
            "secret-deleted",
            vec![issued()],
            vec![step(vec![Act::DeleteSecret], Goal::delivered(2))],
        ),
        flow(
            "secret-altered",
            vec![issued()],
            vec![step(vec![Act::AlterSecret], Goal::delivered(2))],
        ),
        flow(
            "record-lost",
            vec![issued()],
            vec![step(vec![Act::DeleteRecord], Goal::delivered(1))],
        ),
        flow("one-time-over", vec![], vec![step(one_time("2m"), Goal::ReadOnce)]),
        flow(
            "one-time-read",
            vec![step(one_time("24h"), Goal::delivered(1))],
            vec![
                step(vec![Act::DeleteSecret], Goal::ReadOnce),
                step(vec![Act::Request("rotate", "one")], Goal::delivered(2)),
            ],
        ),
        ignored(),
        flow(
            "conflict",
            vec![],
            vec![
                step(with(Act::PlantSecret, plain()), Goal::Blocked("SecretConflict")),
                step(vec![Act::DeleteSecret], Goal::delivered(1)),
            ],
        ),
        flow(
            "alias",
            vec![issued()],
            vec![
                step(
                    vec![Act::Change(json!({
                        "secretTemplate": {
                            "keys": {"password": "client_secret"}, "labels": {"team": "shop"}
                        }
                    }))],
                    Goal::Labelled,
                ),
                step(
                    vec![Act::Request("rotate", "one")],
                    Goal::Delivered { serial: 2, alias: Some("password") },
                ),
            ],
        ),
    ]
}

/// Nothing is done about the deletion, and the next rotation delivers as ever.
fn ignored() -> Flow {
    let spec = json!({
        "rotation": {"period": "30m", "overlap": "2m"}, "delivery": {"onDeleted": "Ignore"}
    });
    Flow {
        is_timed: true,
        ..flow(
            "ignored",
            vec![step(vec![Act::Create(USER, spec)], Goal::delivered(1))],
            vec![
                step(vec![Act::DeleteSecret], Goal::Ignored),
                step(vec![], Goal::Serial(2)),
                step(vec![Act::Change(json!({"rotation": {"period": null}}))], Goal::delivered(2)),
            ],
        )
    }
}

/// What a user does to the Secret that leaves the client secret as it is.
fn around_the_metadata() -> Vec<Flow> {
    let rotate = || Act::Request("rotate", "one");
    let labelled = || Act::Change(json!({"secretTemplate": {"labels": {"team": "shop"}}}));
    vec![
        flow(
            "immutable-false",
            vec![issued()],
            vec![step(vec![Act::SetImmutable(false), rotate()], Goal::delivered(2))],
        ),
        flow(
            "immutable",
            vec![issued()],
            vec![
                step(vec![Act::SetImmutable(true), rotate()], Goal::Unless("SecretImmutable", 2)),
                step(vec![Act::DeleteSecret], Goal::delivered(2)),
            ],
        ),
        flow(
            "ownership-reset",
            vec![issued()],
            vec![
                step(vec![Act::ResetOwnership], Goal::Kept(1)),
                step(vec![labelled()], Goal::Kept(1)),
                step(vec![rotate()], Goal::Kept(2)),
            ],
        ),
        flow(
            "secret-restored",
            vec![issued()],
            vec![
                step(vec![Act::RestoreSecret], Goal::Kept(1)),
                step(vec![rotate()], Goal::Kept(2)),
            ],
        ),
        flow(
            "secret-pruned",
            vec![issued()],
            vec![
                step(vec![Act::DeleteSecret], Goal::delivered(2)),
                step(vec![Act::DeleteSecret], Goal::delivered(3)),
                step(vec![Act::DeleteSecret], Goal::delivered(4)),
                step(vec![Act::DeleteSecret], Goal::delivered(5)),
            ],
        ),
        flow("secret-applied", vec![issued()], vec![step(vec![Act::ApplySecret], Goal::Kept(1))]),
    ]
}

fn around_the_user() -> Vec<Flow> {
    let shared = || json!({"clientID": "Shared", "rotation": {"overlap": "2m"}});
    vec![
        flow(
            "recreate",
            vec![issued()],
            vec![step(with(Act::Delete(USER), plain()), Goal::delivered(1))],
        ),
        flow(
            "recreate-uncollected",
            vec![issued()],
            vec![step(
                with(Act::BlindCollector, with(Act::Delete(USER), plain())),
                Goal::delivered(1),
            )],
        ),
        flow(
            "client-id-taken",
            vec![step(vec![Act::Create(RIVAL, shared())], Goal::Served(RIVAL))],
            vec![
                step(vec![Act::Create(USER, shared())], Goal::Blocked("ClientIDTaken")),
                step(vec![Act::Delete(RIVAL)], Goal::delivered(1)),
            ],
        ),
        flow(
            "signing-key",
            vec![issued()],
            vec![
                step(vec![Act::SigningKey(false)], Goal::Blocked("SigningKeyNotFound")),
                step(vec![Act::Request("rotate", "one")], Goal::Said("SigningKeyNotFound")),
                step(vec![Act::SigningKey(true)], Goal::delivered(2)),
            ],
        ),
        flow(
            "suspend",
            vec![issued()],
            vec![
                step(vec![Act::Change(json!({"suspend": true}))], Goal::Said("Suspended")),
                step(
                    vec![Act::Request("rotate", "one"), Act::Change(json!({"suspend": false}))],
                    Goal::delivered(2),
                ),
            ],
        ),
    ]
}

fn flow(name: &'static str, before: Vec<Step>, steps: Vec<Step>) -> Flow {
    Flow { name, before, steps, is_timed: false }
}

fn issued() -> Step {
    step(plain(), Goal::delivered(1))
}

fn plain() -> Vec<Act> {
    create(json!({}))
}

fn create(mut rotation: Value) -> Vec<Act> {
    rotation["overlap"] = "2m".into();
    vec![Act::Create(USER, json!({"rotation": rotation}))]
}

fn with(first: Act, mut rest: Vec<Act>) -> Vec<Act> {
    rest.insert(0, first);
    rest
}

/// Where `kubectl apply` keeps a copy of what it applied.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Where users of the flows are created.
pub(crate) const USERS: &str = "/apis/iam.cyoda.com/v1alpha1/namespaces/orders/technicalusers";

/// The user of the flows.
pub(crate) const USER: &str = "billing";

/// Another one, who wants the same client id.
pub(crate) const RIVAL: &str = "rival";
