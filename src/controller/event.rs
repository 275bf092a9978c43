//! Events: one for every change of state, none for a retry.
//!
//! An Event is a courtesy. When it cannot be written, the work goes on.

use jiff::Timestamp;
use serde_json::json;

use super::cluster::{Cluster, Place};
use crate::api::{GROUP, MANAGER, VERSION};
use crate::domain::credential::record::Owner;

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

/// Publishes what happened to a `TechnicalUser`.
pub async fn publish(cluster: &Cluster, user: &Owner, happening: &Happening, identity: &str) {
    let now = cluster.now().latest();
    let name = format!("{}.{:x}", truncated(&user.name, 200), serial(now, happening));
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": user.namespace},
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
            "kind": "TechnicalUser",
            "namespace": user.namespace,
            "name": user.name,
            "uid": user.uid,
        },
    });
    let at = Place { namespace: &user.namespace, name: &name };
    if let Err(failure) = cluster.create_event(at, &event).await {
        tracing::debug!(namespace = user.namespace, name = user.name, %failure, "event not written");
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
