//! What the operator observed of a `SigningKey`, as its users read it.

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
pub struct SigningKeyStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,

    /// The kid of the key that signs now. There is none while nothing signs: `Ready` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub active_kid: Option<String>,

    /// The keys of the series, the newest first; of those that are gone, the last few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 96))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kid".into()]))]
    pub keys: Vec<KeyStatus>,

    /// The installation that this object belongs to. Only its operator writes for this object, and
    /// only its token servers sign with its keys. Another installation takes over once that namespace
    /// is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<Installation>,

    /// Where the public keys are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<JwksStatus>,

    /// When the present key took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_rotation_time: Option<Time>,

    /// When the next key takes over: as scheduled once it is published, else as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_rotation_time: Option<Time>,

    /// The last handled value of the annotation `iam.cyoda.com/rotate-requested-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_rotate_at: Option<String>,

    /// The kid in the annotation `iam.cyoda.com/revoke-requested-at` that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_revoke_at: Option<String>,

    /// The value of the annotation `iam.cyoda.com/revoke-all-requested-at` that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub last_handled_revoke_all_at: Option<String>,

    /// True if the operator created this `SigningKey` named `default`, and no user has declared its
    /// algorithm yet. While it is true, `spec.algorithm` may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrapped: Option<bool>,

    /// The conditions. `kubectl wait --for=condition=Ready` waits for a key that can sign.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Where the public keys are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwksStatus {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: String,
    /// In how many namespaces it is up to date.
    #[schemars(range(min = 0))]
    pub namespaces: i64,
}

/// One key pair, without its private half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// The `kid` in the header of its tokens: an RFC 7638 thumbprint.
    #[schemars(length(min = 1, max = 64))]
    pub kid: String,
    /// The number of the key in its series.
    #[schemars(range(min = 0))]
    pub index: i64,
    /// `Staged`: made. `Published`: in the JWKS, not signing yet. `Active`: signs, unless `activeKid`
    /// is absent. `Grace`: signs no more, and its tokens verify. `Retired`: out of the JWKS. `Revoked`:
    /// out of the JWKS on request, and its tokens with it.
    pub state: KeyState,
    /// When it begins, or began, to sign. Absent for a key that was revoked before it signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub activation_time: Option<Time>,
    /// When it stops, or stopped, signing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub end_time: Option<Time>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub revocation_time: Option<Time>,
    /// When it leaves the JWKS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub removal_time: Option<Time>,
}

/// Where a key pair is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyState {
    /// Made, and in no JWKS yet.
    Staged,
    /// In the JWKS, not signing yet.
    Published,
    /// Signs.
    Active,
    /// Signs no more; its tokens verify.
    Grace,
    /// Out of the JWKS.
    Retired,
    /// Out of the JWKS on request, and its tokens with it.
    Revoked,
}

impl KindStatus for SigningKeyStatus {
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
        self.keys.sort_by(|a, b| a.kid.cmp(&b.kid));
    }
}
