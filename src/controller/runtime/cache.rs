//! The result of a check of the cache.
//!
//! A cache never decides. It answers one question: would a decision on the cached objects come to
//! rest, with the status that is already written? If not, the API server is asked.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::SIGNING_KEY_REQUESTS;
use crate::domain::request::shortened;

/// The result of a check of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CacheState {
    /// At rest, until time alone changes that.
    UpToDate(Option<Timestamp>),
    /// Only the status is behind, on an object that many follow: of those that follow the object of
    /// that name, a few at a time go.
    StatusStale(String),
    /// The API server has to be asked.
    Stale,
    /// Another installation holds it.
    HeldByOther,
    /// There is no such resource.
    NotFound,
}

/// Drops from the metadata of a resource what no decision needs. What is left has a bound: users write
/// annotations of a quarter of a megabyte, and labels and owner references as large as an object can be.
pub(crate) fn prune_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.labels = None;
    metadata.finalizers = None;
    metadata.owner_references = None;
    metadata.generate_name = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| SIGNING_KEY_REQUESTS.contains(&name.as_str()));
        for value in annotations.values_mut() {
            *value = shortened(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ROTATE_REQUESTED_AT;

    #[test]
    fn what_is_kept_of_the_metadata_of_a_resource_has_a_bound() {
        let long = "x".repeat(200_000);
        let metadata = json!({
            "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1", "generation": 1,
            "generateName": long, "finalizers": [long], "labels": {"team": long},
            "annotations": {"note": long, ROTATE_REQUESTED_AT: long},
            "managedFields": [{"manager": long}],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": long, "uid": long}],
        });
        let mut metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();

        prune_metadata(&mut metadata);

        let kept = serde_json::to_string(&metadata).unwrap();
        assert!(kept.len() < 1000, "{kept}");
        assert!(metadata.annotations.unwrap().contains_key(ROTATE_REQUESTED_AT));
    }
}
