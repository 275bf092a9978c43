//! What must hold of credentials after every fault, as a reader finds who reads Secrets like a
//! workload and records like an administrator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use serde_json::json;
use technical_user_operator::domain::crypto::client_secret::{
    ClientId, ClientSecret, CredentialId,
};
use technical_user_operator::domain::technical_user::verifier_record::EntryState;
use tokio::task::{AbortHandle, JoinHandle};

use crate::namespace::{Namespace, accepts, shown};
use crate::world::shared;

/// Every client secret that was ever seen in the one Secret of a namespace.
pub(crate) struct Reader {
    seen: Arc<Mutex<BTreeMap<CredentialId, ClientSecret>>>,
    task: JoinHandle<()>,
}

impl Reader {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let secrets = watcher(namespace.secrets(), watcher::Config::default());
        let mut secrets = Box::pin(secrets.default_backoff().applied_objects());
        let sink = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(secret) = secrets.next().await {
                if let Some(secret) = secret.ok().as_ref().and_then(shown) {
                    sink.lock().unwrap().insert(secret.id(), secret);
                }
            }
        });
        Self { seen, task }
    }

    pub(crate) fn seen(&self) -> BTreeMap<CredentialId, ClientSecret> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.abort_handle().abort();
    }
}

/// What is wrong with the credentials of one user that came to rest, in words; nothing if all is
/// well. `ended` were revoked, `seen` is all that was ever shown.
pub(crate) async fn contradiction(
    namespace: &Namespace,
    client_id: &ClientId,
    secret: &Secret,
    seen: &BTreeMap<CredentialId, ClientSecret>,
    ended: &BTreeSet<CredentialId>,
) -> Option<String> {
    let Some(record) = namespace.record(client_id).await else {
        return Some("no record".to_owned());
    };
    let visible = shown(secret).map(|secret| (secret.id(), secret));
    let Some((id, visible)) = visible else {
        return Some(format!("no client secret in {}", secret.name_any()));
    };
    if !accepts(&record, &visible) {
        return Some(format!("the visible client secret {id} is refused"));
    }
    let current: Vec<_> =
        record.entries.iter().filter(|(_, entry)| entry.state == EntryState::Current).collect();
    if current.len() != 1 || *current[0].0 != id {
        return Some(format!("{id} is visible and not the one current entry"));
    }
    let is_pending = |state: &EntryState| matches!(state, EntryState::Pending(_));
    if record.entries.values().any(|entry| is_pending(&entry.state)) {
        return Some("an entry is pending".to_owned());
    }
    for (id, secret) in seen {
        let is_accepted = accepts(&record, secret);
        if is_accepted == ended.contains(id) {
            return Some(format!("{id} was shown and accepted is {is_accepted}"));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_finds_what_is_lost_and_what_should_have_ended() {
    let Some(world) = shared().await else { return };
    let namespace = Namespace::new(world, "oracle").await;
    namespace.apply("orders", json!({})).await;
    namespace.ready("orders").await;
    let client_id = namespace.client_id("orders").await;
    let secret = namespace.secret("orders-credentials").await;
    let visible = shown(&secret).unwrap();
    let lost_id = CredentialId::draw(&[1; 20]).unwrap();
    let lost = ClientSecret::draw(&lost_id, &[1; 60]).unwrap();
    let seen = BTreeMap::from([(visible.id(), visible.clone())]);
    let with_lost = BTreeMap::from([(lost_id, lost)]);
    let none = BTreeSet::new();
    let ended = BTreeSet::from([visible.id()]);

    let well = contradiction(&namespace, &client_id, &secret, &seen, &none).await;
    let is_lost = contradiction(&namespace, &client_id, &secret, &with_lost, &none).await;
    let is_alive = contradiction(&namespace, &client_id, &secret, &seen, &ended).await;

    assert_eq!(well, None);
    assert!(is_lost.unwrap().ends_with("accepted is false"));
    assert!(is_alive.unwrap().ends_with("accepted is true"));
}
