//! What a check in memory comes to.
//!
//! A view never decides. It answers one question: would a decision on what is known here come to
//! rest, with the status that is already written? If not, the API server is asked.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::SIGNING_KEY_REQUESTS;
use crate::domain::request::brief;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// At rest, until time alone changes that.
    AtRest(Option<Timestamp>),
    /// Only the status is behind, on an object that many follow: of those that follow the object of
    /// that name, a few at a time go.
    Follows(String),
    /// The API server has to be asked.
    Unsettled,
    /// Another installation holds it.
    Left,
    /// There is no such resource.
    Absent,
}

/// Drops from the metadata of a resource what only the API server and others need. What is left has a
/// bound: users write annotations of a quarter of a megabyte.
pub(super) fn slim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| SIGNING_KEY_REQUESTS.contains(&name.as_str()));
        for value in annotations.values_mut() {
            *value = brief(value);
        }
    }
}
