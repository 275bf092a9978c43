//! What the operator observed of a `TechnicalUser`, as its users read it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::condition::Condition;
use crate::api::installation::Installation;
use crate::api::kind::KindStatus;

/// What the operator observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TechnicalUserStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,

    /// The OAuth 2.0 client id.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub client_id: Option<String>,

    /// The delivered Secret, as the Service Binding specification asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,

    /// The installation that this object belongs to. Only its operator writes for this object, and
    /// only its token servers accept the client secrets. Another installation takes over once that
    /// namespace is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<Installation>,

    /// The number of the newest client secret: it grows with every rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub serial: Option<i64>,

    /// The client secrets that work now, the newest first. Never a secret, never a verifier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub credentials: Vec<CredentialStatus>,

    /// When the present client secret was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_rotation_time: Option<Time>,

    /// When the next client secret is due by schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_rotation_time: Option<Time>,

    /// The last handled value of the annotation `iam.cyoda.com/rotate-requested-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_rotate_at: Option<String>,

    /// The last handled value of the annotation `iam.cyoda.com/revoke-requested-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_revoke_at: Option<String>,

    /// The conditions. `kubectl wait --for=condition=Ready` waits for a working client secret.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The delivered Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Binding {
    /// The name of the Secret, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One client secret, without anything that would help to guess it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// The public id of the credential, the 10 characters after `tus` in its client secret.
    #[schemars(length(min = 1, max = 32))]
    pub id: String,
    /// The number of the client secret.
    #[schemars(range(min = 0))]
    pub serial: i64,
    /// `Pending`: about to be delivered. `Current`: delivered, without an end. `Old`: replaced, and
    /// valid until `expiresAt`.
    pub state: CredentialState,
    /// When it was issued.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub issued_at: Time,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Time>,
}

/// Where a client secret is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialState {
    /// About to be delivered.
    Pending,
    /// Delivered, without an end.
    Current,
    /// Replaced, and valid for the overlap.
    Old,
}

impl KindStatus for TechnicalUserStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn set_conditions(&mut self, observed_generation: i64, conditions: Vec<Condition>) {
        self.observed_generation = observed_generation;
        self.conditions = conditions;
    }

    fn installation(&self) -> Option<&Installation> {
        self.installation.as_ref()
    }

    fn set_installation(&mut self, own: Installation) {
        self.installation = Some(own);
    }

    fn next_rotation_time(&self) -> Option<&Time> {
        self.next_rotation_time.as_ref()
    }

    fn sort_lists(&mut self) {
        self.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        self.credentials.sort_by(|a, b| a.id.cmp(&b.id));
    }
}
