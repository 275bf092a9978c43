//! Events: one for every change of state, none for a retry.
//!
//! An Event is a courtesy. When it cannot be written, the work goes on.

use jiff::Timestamp;
use serde_json::json;

use crate::api::{GROUP, MANAGER, VERSION};
use crate::controller::Context;
use crate::domain::conditions::events::Event;
use crate::domain::conditions::readiness::Progress;
use crate::domain::technical_user::verifier_record::Owner;
use crate::kubernetes::client::{ConditionalClient, ObjectRef};

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRecord {
    /// `Normal` or `Warning`.
    pub type_: EventType,
    /// One word for machines.
    pub reason: &'static str,
    /// One sentence for people, without anything secret.
    pub note: String,
}

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// All is well.
    Normal,
    /// A person should act or check.
    Warning,
}

impl EventType {
    /// The type of an Event about this progress.
    pub fn of(progress: Progress) -> Self {
        match progress {
            Progress::Done => Self::Normal,
            Progress::Reconciling | Progress::Stalled => Self::Warning,
        }
    }
}

/// The object of an Event, its `regarding`.
#[derive(Clone, Copy, Debug)]
pub struct Regarding<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

impl<'a> From<&'a Owner> for Regarding<'a> {
    fn from(user: &'a Owner) -> Self {
        let Owner { uid, namespace, name, .. } = user;
        Self { kind: "TechnicalUser", namespace: Some(namespace), name, uid }
    }
}

/// Publishes what is worth it.
pub(crate) async fn record_all(
    subject: &Regarding<'_>,
    events: impl IntoIterator<Item = Event>,
    context: &Context,
) {
    for Event { reason, message, progress } in events {
        let happening = EventRecord { type_: EventType::of(progress), reason, note: message };
        record(&context.cluster, *subject, &happening, &context.settings.identity).await;
    }
}

/// Publishes what happened.
pub async fn record(
    cluster: &ConditionalClient,
    subject: Regarding<'_>,
    happening: &EventRecord,
    identity: &str,
) {
    let now = cluster.now().latest();
    let name = event_name(subject.name, now, happening);
    // The API server wants the Events of what has no namespace there.
    let namespace = subject.namespace.unwrap_or("default");
    let at_seconds = format!("{now:.0}");
    // In the form of v1: `kubectl describe` sorts by the timestamps that events.k8s.io refuses.
    let event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": format!("{now:.6}"),
        "firstTimestamp": at_seconds,
        "lastTimestamp": at_seconds,
        "count": 1,
        "reportingComponent": format!("{GROUP}/{MANAGER}"),
        "reportingInstance": truncated(identity, 128),
        "action": "Reconcile",
        "reason": happening.reason,
        "message": truncated(&happening.note, 1024),
        "type": match happening.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        },
        "involvedObject": {
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
    });
    let at = ObjectRef { namespace, name: &name };
    if let Err(failure) = cluster.create_event(at, &event).await {
        tracing::debug!(namespace, name = subject.name, %failure, "event not written");
    }
}

/// Names of one object sort by time, since programs list by name. Two in one microsecond differ in
/// their reason.
fn event_name(subject: &str, now: Timestamp, happening: &EventRecord) -> String {
    let reason = crc32fast::hash(happening.reason.as_bytes());
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
        let happening =
            |reason| EventRecord { type_: EventType::Normal, reason, note: String::new() };
        let begun: Timestamp = "2026-11-24T06:00:00Z".parse().unwrap();
        let later = |micros: i64| begun + jiff::SignedDuration::from_micros(micros);
        let reasons = ["CredentialRotated", "Issued", "Suspended", "ClockSkew"];
        let hours = [0, 1, 999, 3_600_000_000, 4_300_000_000, 86_400_000_000];

        let names: Vec<_> = hours
            .into_iter()
            .zip(reasons.into_iter().cycle())
            .map(|(micros, reason)| event_name("billing", later(micros), &happening(reason)))
            .collect();

        assert!(names.is_sorted(), "{names:?}");
        assert_ne!(
            event_name("billing", begun, &happening("Issued")),
            event_name("billing", begun, &happening("Suspended"))
        );
    }

    #[test]
    fn a_long_text_is_cut_where_a_character_ends() {
        assert_eq!(truncated("größe", 3), "gr");
        assert_eq!(truncated("größe", 4), "grö");
        assert_eq!(truncated("größe", 100), "größe");
    }
}
