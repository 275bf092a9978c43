//! Which version of which object a decision rests upon: names do not identify, uids do.

use serde::{Deserialize, Serialize};

/// One version of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The uid of the object.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}
