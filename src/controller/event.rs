//! Events: one for every change of state, none for a retry.
//!
//! An Event is a courtesy. When it cannot be written, the work goes on.

use jiff::Timestamp;
use serde_json::json;

use super::Context;
use super::cluster::{Cluster, Place};
use crate::api::{GROUP, MANAGER, VERSION};
use crate::domain::credential::record::Owner;
use crate::domain::news::News;
use crate::domain::readiness::Progress;

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Whether a person should look.
    pub severity: Severity,
    /// One word for machines.
    pub reason: &'static str,
    /// One sentence for people, without anything secret.
    pub note: String,
}

/// Whether a person should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// A person should look.
    Warning,
}

impl Severity {
    /// Whether a person should look at what came to this.
    pub fn of(progress: Progress) -> Self {
        match progress {
            Progress::Done => Self::Normal,
            Progress::Reconciling | Progress::Stalled => Self::Warning,
        }
    }
}

/// What an Event is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
}

impl<'a> From<&'a Owner> for Subject<'a> {
    fn from(user: &'a Owner) -> Self {
        let Owner { uid, namespace, name, .. } = user;
        Self { kind: "TechnicalUser", namespace: Some(namespace), name, uid }
    }
}

/// Publishes what is worth it.
pub(super) async fn publish_news(
    subject: &Subject<'_>,
    news: impl IntoIterator<Item = News>,
    context: &Context,
) {
    for News { reason, message, progress } in news {
        let happening = Happening { severity: Severity::of(progress), reason, note: message };
        publish(&context.cluster, *subject, &happening, &context.settings.identity).await;
    }
}

/// Publishes what happened.
pub async fn publish(
    cluster: &Cluster,
    subject: Subject<'_>,
    happening: &Happening,
    identity: &str,
) {
    let now = cluster.now().latest();
    let name = format!("{}.{:x}", truncated(subject.name, 200), serial(now, happening));
    // The API server wants the Events of what has no namespace there.
    let namespace = subject.namespace.unwrap_or("default");
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": format!("{now:.6}"),
        "reportingController": format!("{GROUP}/{MANAGER}"),
        "reportingInstance": truncated(identity, 128),
        "action": "Reconcile",
        "reason": happening.reason,
        "note": truncated(&happening.note, 1024),
        "type": match happening.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        },
        "regarding": {
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
    });
    let at = Place { namespace, name: &name };
    if let Err(failure) = cluster.create_event(at, &event).await {
        tracing::debug!(namespace, name = subject.name, %failure, "event not written");
    }
}

/// Two Events of one object in one microsecond differ in their reason.
fn serial(now: Timestamp, happening: &Happening) -> u64 {
    let instant = u64::try_from(now.as_microsecond()).unwrap_or_default();
    instant ^ u64::from(crc32fast::hash(happening.reason.as_bytes()))
}

fn truncated(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
