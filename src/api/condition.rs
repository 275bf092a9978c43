//! Conditions as kstatus, `kubectl wait`, Flux and Helm understand them.
//!
//! `Ready` is always present. `Reconciling`, `Stalled` and every other type are present only while
//! they are true, since Flux reads their mere presence.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation of the state of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type of the condition, in CamelCase. `Ready` is always present; `Reconciling`,
    /// `Stalled` and every other type (`Suspended`, `OverlapActive`, `RotationInProgress`,
    /// `AliasesPending`, `JWKSIncomplete`, `JWKSOrphaned`, `RevokedKeyPublished`, `RequestPending`,
    /// `RevocationRequestInvalid`, `RequestIgnored`, `ClockSkew`) are present only while they are true.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// The generation of the resource that this condition was set for.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,
    /// When the status of the condition changed last.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Time,
    /// A word in CamelCase for machines, such as `Issued` or `SecretConflict`.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    )]
    pub reason: String,
    /// A message that describes the problem and the remedy.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}
