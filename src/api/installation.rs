//! The installation that an object belongs to, as its users read it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One installation of technical-user-operator, named by the namespace of its operator.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema,
)]
pub struct Installation {
    /// The namespace of the operator.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// The uid of that namespace. A namespace of the same name with another uid is another
    /// installation.
    #[schemars(length(min = 1, max = 63))]
    pub uid: String,
}
