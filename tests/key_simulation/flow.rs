//! What users do, and what they then may expect.

use http::Method;
use serde_json::{Value, json};

use crate::goal::Goal;
use crate::harness::flow::{Step, step};
use crate::stored::{JWKS, NAME};
use crate::world::World;

/// A story: what came before, what is done, and what must come of it.
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    /// Before anything goes wrong.
    pub(crate) before: Vec<Step>,
    pub(crate) steps: Vec<Step>,
    /// Whether keys rotate by the clock, so that a wrong clock may add some.
    pub(crate) is_timed: bool,
    /// Whether the operator makes the series itself.
    pub(crate) bootstrap: bool,
}

/// What a user does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Create(Value),
    Change(Value),
    Rotate(&'static str),
    /// Revokes the newest key that the ledger has.
    RevokeNewest,
    RevokeAll(&'static str),
    Delete,
    DeleteJwks(&'static str),
    EditJwks(&'static str),
    PlantJwks(&'static str),
    DeletePlanted(&'static str),
    DeleteLedger,
    DeleteKeyPair,
    /// The garbage collector sees nothing any more.
    BlindCollector,
    /// Puts a namespace into a team.
    Label(&'static str, Value),
}

impl Act {
    pub(crate) fn perform(&self, world: &World) {
        let all = "/apis/iam.cyoda.com/v1alpha1/signingkeys";
        let one = format!("{all}/{NAME}");
        let map = |namespace: &str| format!("/api/v1/namespaces/{namespace}/configmaps/{JWKS}");
        let annotate = |name: &str, token: &str| {
            let name = format!("iam.cyoda.com/{name}-requested-at");
            let annotations = json!({"metadata": {"annotations": {name: token}}});
            world.ask(&Method::PATCH, &one, &annotations);
        };
        match self {
            Self::Create(spec) => {
                let object = json!({
                    "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
                    "metadata": {"name": NAME}, "spec": spec,
                });
                world.ask(&Method::POST, all, &object);
            }
            Self::Change(spec) => world.ask(&Method::PATCH, &one, &json!({"spec": spec})),
            Self::Rotate(token) => annotate("rotate", token),
            Self::RevokeAll(token) => annotate("revoke-all", token),
            Self::RevokeNewest => {
                let ledger = crate::goal::ledger(world).unwrap();
                let newest = ledger.newest().unwrap().1.key.kid().to_string();
                annotate("revoke", &newest);
            }
            Self::Delete => world.ask(&Method::DELETE, &one, &Value::Null),
            Self::DeleteJwks(namespace) | Self::DeletePlanted(namespace) => {
                world.ask(&Method::DELETE, &map(namespace), &Value::Null);
            }
            Self::EditJwks(namespace) => world.edit(namespace),
            Self::PlantJwks(namespace) => {
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "data": {"jwks": "mine"},
                    "metadata": {"name": JWKS, "namespace": namespace},
                });
                let path = format!("/api/v1/namespaces/{namespace}/configmaps");
                world.ask(&Method::POST, &path, &object);
            }
            Self::DeleteLedger => world.lose_ledger(),
            Self::BlindCollector => world.stop_collecting(),
            Self::DeleteKeyPair => world.lose_key_pair(),
            Self::Label(namespace, team) => {
                let path = format!("/api/v1/namespaces/{namespace}");
                let labels = json!({"metadata": {"labels": {"team": team}}});
                world.ask(&Method::PATCH, &path, &labels);
            }
        }
    }
}

/// Every story.
pub(crate) fn all() -> Vec<Flow> {
    let mut flows = life();
    flows.extend(revocation());
    flows.extend(around_the_jwks());
    flows.extend(around_the_series());
    flows
}

fn life() -> Vec<Flow> {
    let bootstrap =
        flow("bootstrap", vec![], vec![step(vec![], Goal::Settled { index: 1, namespaces: &[] })]);
    let due = flow(
        "rotate-due",
        vec![step(create("50m"), Goal::Active(1))],
        vec![
            step(vec![], Goal::Active(2)),
            step(vec![Act::Change(json!({"rotation": {"period": null}}))], settled(2)),
        ],
    );
    vec![
        Flow { bootstrap: true, ..bootstrap },
        flow("first-key", vec![], vec![made()]),
        Flow { is_timed: true, ..due },
        flow("rotate", vec![made()], vec![step(vec![Act::Rotate("one")], settled(2))]),
        flow(
            "retire",
            vec![made(), step(vec![Act::Rotate("one")], Goal::Active(2))],
            vec![step(vec![], settled(2))],
        ),
        flow(
            "rotate-twice",
            vec![made(), step(vec![Act::Rotate("one")], Goal::Active(2))],
            vec![step(vec![Act::Rotate("two")], settled(3))],
        ),
    ]
}

fn revocation() -> Vec<Flow> {
    vec![
        flow("revoke-active", vec![made()], vec![step(vec![Act::RevokeNewest], settled(2))]),
        flow(
            "revoke-published",
            vec![made(), step(vec![Act::Rotate("one")], Goal::Scheduled(2))],
            vec![step(vec![Act::RevokeNewest], settled(1))],
        ),
        flow(
            "revoke-after-takeover",
            vec![made(), step(vec![Act::Rotate("one")], Goal::Active(2))],
            vec![step(vec![Act::RevokeNewest], settled(1))],
        ),
    ]
}

fn around_the_jwks() -> Vec<Flow> {
    let deleted = Act::DeleteJwks("iam-system");
    let three = |index| Goal::Settled { index, namespaces: &["late", "orders", "shop"] };
    vec![
        flow("jwks-deleted", vec![made()], vec![step(vec![deleted], settled(1))]),
        flow("copy-deleted", vec![made()], vec![step(vec![Act::DeleteJwks("orders")], settled(1))]),
        flow("jwks-edited", vec![made()], vec![step(vec![Act::EditJwks("shop")], settled(1))]),
        flow(
            "jwks-conflict",
            vec![],
            vec![
                step(
                    vec![Act::PlantJwks("shop"), plain()],
                    Goal::Incomplete { reason: "ConfigMapConflict" },
                ),
                step(vec![Act::DeletePlanted("shop")], settled(1)),
            ],
        ),
        flow(
            "home-conflict",
            vec![],
            vec![
                step(vec![Act::PlantJwks("iam-system"), plain()], Goal::Said("ConfigMapConflict")),
                step(vec![Act::DeletePlanted("iam-system")], settled(1)),
            ],
        ),
        flow(
            "selected",
            vec![made()],
            vec![step(vec![Act::Label("late", "front".into())], three(1))],
        ),
        flow(
            "deselected",
            vec![made()],
            vec![step(
                vec![Act::Label("orders", Value::Null)],
                Goal::Settled { index: 1, namespaces: &["shop"] },
            )],
        ),
    ]
}

fn around_the_series() -> Vec<Flow> {
    vec![
        flow("ledger-deleted", vec![made()], vec![step(vec![Act::DeleteLedger], settled(1))]),
        flow("key-pair-deleted", vec![made()], vec![step(vec![Act::DeleteKeyPair], settled(2))]),
        flow(
            "ledger-deleted-midway",
            vec![made(), step(vec![Act::Rotate("one")], Goal::Scheduled(2))],
            vec![step(vec![Act::DeleteLedger], settled(2))],
        ),
        flow(
            "suspend",
            vec![made()],
            vec![
                step(vec![Act::Change(json!({"suspend": true}))], Goal::Said("Suspended")),
                step(vec![Act::Rotate("one"), Act::Change(json!({"suspend": false}))], settled(2)),
            ],
        ),
        flow(
            "delete",
            vec![],
            vec![step(vec![plain()], Goal::Scheduled(1)), step(vec![Act::Delete], Goal::Gone)],
        ),
        flow("recreate", vec![made()], vec![step(vec![Act::Delete, plain()], settled(1))]),
        flow(
            "orphaned",
            vec![made()],
            vec![step(vec![Act::BlindCollector, Act::Delete], Goal::Swept)],
        ),
        flow(
            "revoke-all",
            vec![made(), step(vec![Act::Rotate("one")], Goal::Scheduled(2))],
            vec![step(vec![Act::RevokeAll("one")], settled(3))],
        ),
        flow(
            "recreate-uncollected",
            vec![made()],
            vec![step(vec![Act::BlindCollector, Act::Delete, plain()], settled(1))],
        ),
    ]
}

fn flow(name: &'static str, before: Vec<Step>, steps: Vec<Step>) -> Flow {
    Flow { name, before, steps, is_timed: false, bootstrap: false }
}

fn settled(index: u32) -> Goal {
    Goal::Settled { index, namespaces: &["orders", "shop"] }
}

fn made() -> Step {
    step(vec![plain()], settled(1))
}

fn plain() -> Act {
    Act::Create(spec("2160h"))
}

fn create(period: &str) -> Vec<Act> {
    vec![Act::Create(spec(period))]
}

/// All times are short, since the operator renews its lease every two seconds of them.
fn spec(period: &str) -> Value {
    json!({
        "algorithm": "EdDSA",
        "rotation": {
            "period": period, "prePublish": "6m", "grace": "1m", "acceptOutage": true
        },
        "jwks": {"namespaceSelector": {"matchExpressions": [
            {"key": "team", "operator": "In", "values": ["sales", "front"]}
        ]}},
    })
}
