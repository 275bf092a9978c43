//! Events: one for every change of state, none for a retry.
//!
//! An Event is a courtesy. When it cannot be written, the work goes on.

use jiff::Timestamp;
use serde_json::json;

use crate::api::kind::Kind;
use crate::api::{GROUP, MANAGER};
use crate::controller::Context;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::readiness::Progress;
use crate::kubernetes::client::ObjectRef;

/// Records Events about a resource.
pub(in crate::controller) async fn record<K: Kind>(
    object: &K,
    events: impl IntoIterator<Item = Event>,
    context: &Context,
) {
    for event in events {
        record_one(object, &event, context).await;
    }
}

async fn record_one<K: Kind>(object: &K, event: &Event, context: &Context) {
    let regarding = ObjectRef::of(object);
    let now = context.cluster.now().latest();
    let name = event_name(regarding.name, now, event.reason);
    // The API server expects the Events of cluster-scoped objects there.
    let namespace = if regarding.namespace.is_empty() { "default" } else { regarding.namespace };
    let at_seconds = format!("{now:.0}");
    // In the form of v1: `kubectl describe` sorts by the timestamps that events.k8s.io refuses.
    let body = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": format!("{now:.6}"),
        "firstTimestamp": at_seconds,
        "lastTimestamp": at_seconds,
        "count": 1,
        "reportingComponent": format!("{GROUP}/{MANAGER}"),
        "reportingInstance": truncated(&context.settings.identity, 128),
        "action": "Reconcile",
        "reason": event.reason,
        "message": truncated(&event.message, 1024),
        "type": match event.progress {
            Progress::Done => "Normal",
            Progress::Reconciling | Progress::Stalled => "Warning",
        },
        "involvedObject": {
            "apiVersion": K::api_version(&()),
            "kind": K::KIND,
            "namespace": object.meta().namespace,
            "name": regarding.name,
            "uid": object.meta().uid,
        },
    });
    let at = ObjectRef { namespace, name: &name };
    if let Err(failure) = context.cluster.create_event(at, &body).await {
        tracing::debug!(namespace, name = regarding.name, %failure, "event not written");
    }
}

/// Names of one object sort by time, since programs list by name. Two in one microsecond differ in
/// their reason.
fn event_name(subject: &str, now: Timestamp, reason: &str) -> String {
    let reason = crc32fast::hash(reason.as_bytes());
    format!("{}.{:013x}{reason:08x}", truncated(subject, 200), now.as_microsecond())
}

/// The API server counts bytes.
fn truncated(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_sort_by_their_time() {
        let begun: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        let later = |micros: i64| begun + jiff::SignedDuration::from_micros(micros);
        let reasons = ["CredentialRotated", "Issued", "Suspended", "ClockSkew"];
        let hours = [0, 1, 999, 3_600_000_000, 4_300_000_000, 86_400_000_000];

        let names: Vec<_> = hours
            .into_iter()
            .zip(reasons.into_iter().cycle())
            .map(|(micros, reason)| event_name("billing", later(micros), reason))
            .collect();

        assert!(names.is_sorted(), "{names:?}");
        assert_ne!(
            event_name("billing", begun, "Issued"),
            event_name("billing", begun, "Suspended")
        );
    }

    #[test]
    fn a_long_text_is_cut_where_a_character_ends() {
        assert_eq!(truncated("größe", 3), "gr");
        assert_eq!(truncated("größe", 4), "grö");
        assert_eq!(truncated("größe", 100), "größe");
    }
}
