//! Users at work while everything around them is killed, and a workload that reads their Secrets
//! and complains when one does not work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::api::{ROTATE_REQUESTED_AT, TECHNICAL_USER};
use technical_user_operator::domain::crypto::client_secret::{
    ClientId, ClientSecret, CredentialId,
};
use tokio::time::Instant;

use crate::namespace::{Namespace, accepts, client_id, now, record, shown};

/// What the workload knows of one client secret that it read.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) secret: ClientSecret,
    pub(crate) client_id: ClientId,
    owner: String,
    /// When the answer that showed it was asked for, the last time.
    last_at: Instant,
    is_verified: bool,
}

/// Everything that was read, and every complaint.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    reads: Arc<Mutex<BTreeMap<CredentialId, Read>>>,
    complaints: Arc<Mutex<BTreeMap<CredentialId, String>>>,
}

/// What users do, one thing after the other, with any result.
pub(crate) async fn act_for_ever(namespace: Namespace, seed: u32) {
    for step in 0_u32.. {
        let dice = crc32fast::hash(&[seed.to_be_bytes(), step.to_be_bytes()].concat());
        let name = format!("user-{}", dice % USERS);
        let secret = format!("{name}-credentials");
        let act = (dice >> 8) % 16;
        let act = async {
            match act {
                0..=6 => annotate(&namespace, &name, &format!("{seed}-{step}")).await,
                7..=8 => {
                    let _ = namespace.secrets().delete(&secret, &DeleteParams::default()).await;
                }
                9..=10 => alter(&namespace, &secret).await,
                11 => {
                    let _ = namespace.users().delete(&name, &DeleteParams::default()).await;
                }
                _ => {
                    let spec = json!({"rotation": {"overlap": "1m"}});
                    let _ = namespace.try_apply(&name, spec).await;
                }
            }
        };
        let _ = tokio::time::timeout(CALL, act).await;
        tokio::time::sleep(BETWEEN).await;
    }
}

/// All that act come to rest with every user there.
pub(crate) async fn bring_back(namespace: &Namespace) {
    for number in 0..USERS {
        namespace.apply(&format!("user-{number}"), json!({"rotation": {"overlap": "1m"}})).await;
    }
}

pub(crate) fn names() -> impl Iterator<Item = String> {
    (0..USERS).map(|number| format!("user-{number}"))
}

async fn annotate(namespace: &Namespace, name: &str, token: &str) {
    let patch = json!({"metadata": {"annotations": {ROTATE_REQUESTED_AT: token}}});
    let patch = Patch::Merge(patch);
    let _ = namespace.users().patch(name, &PatchParams::default(), &patch).await;
}

async fn alter(namespace: &Namespace, secret: &str) {
    let patch = Patch::Merge(json!({"data": {"client_secret": STANDARD.encode("by hand")}}));
    let _ = namespace.secrets().patch(secret, &PatchParams::default(), &patch).await;
}

impl Notes {
    /// Reads like a workload, until the task ends.
    pub(crate) async fn read_for_ever(self, namespace: Namespace) {
        loop {
            // Only transport errors are retried: what is refused is noted.
            let _ = tokio::time::timeout(CALL, self.read(&namespace)).await;
            tokio::time::sleep(BETWEEN).await;
        }
    }

    pub(crate) async fn read(&self, namespace: &Namespace) -> kube::Result<()> {
        let asked_at = Instant::now();
        let ours = ListParams::default().labels(TECHNICAL_USER);
        for secret in namespace.secrets().list(&ours).await? {
            self.note(&secret, asked_at);
        }
        let owners: BTreeMap<String, ClientId> = namespace
            .users()
            .list(&ListParams::default())
            .await?
            .into_iter()
            .filter(|user: &TechnicalUser| user.metadata.deletion_timestamp.is_none())
            .map(|user| (user.uid().unwrap(), client_id(&user)))
            .collect();
        // The claims of the owners are read last: every shown client secret is in them by now.
        for (owner, client_id) in owners {
            let Some(stored) = namespace.records().get_opt(&client_id.record_name()).await? else {
                self.check_absent(namespace, &owner).await?;
                continue;
            };
            self.check(&owner, &stored, &client_id).await;
        }
        Ok(())
    }

    fn note(&self, secret: &Secret, asked_at: Instant) {
        let Some(client_secret) = shown(secret) else { return };
        let owner = secret.owner_references()[0].uid.clone();
        let mut reads = self.reads.lock().unwrap();
        let read = reads.entry(client_secret.id()).or_insert_with(|| Read {
            client_id: ClientId::derived_from(&owner),
            secret: client_secret,
            owner,
            last_at: asked_at,
            is_verified: false,
        });
        read.last_at = read.last_at.max(asked_at);
    }

    async fn check(&self, owner: &str, stored: &Secret, client_id: &ClientId) {
        let record = record(stored, client_id);
        for (id, read) in self.of(owner) {
            if !read.must_work() {
                continue;
            }
            let is_there = record.verifier(&id, now()).is_some();
            if !is_there {
                self.complain(id, "is lost: it was shown within its overlap and is refused");
            } else if !read.is_verified {
                let (secret, record) = (read.secret.clone(), record.clone());
                let is_accepted = tokio::task::spawn_blocking(move || accepts(&record, &secret));
                if !is_accepted.await.unwrap() {
                    self.complain(id.clone(), "contradicts its verifier");
                }
                if let Some(read) = self.reads.lock().unwrap().get_mut(&id) {
                    read.is_verified = true;
                }
            }
        }
    }

    /// A user without a record is one for whom nothing was issued yet, or one that went meanwhile.
    async fn check_absent(&self, namespace: &Namespace, owner: &str) -> kube::Result<()> {
        let users = namespace.users().list(&ListParams::default()).await?;
        let lives = users.iter().any(|user| user.uid().as_deref() == Some(owner));
        for (id, read) in self.of(owner) {
            if lives && read.must_work() {
                self.complain(id, "is lost with its whole record");
            }
        }
        Ok(())
    }

    fn of(&self, owner: &str) -> Vec<(CredentialId, Read)> {
        let reads = self.reads.lock().unwrap();
        let of_owner = reads.iter().filter(|(_, read)| read.owner == owner);
        of_owner.map(|(id, read)| (id.clone(), read.clone())).collect()
    }

    fn complain(&self, id: CredentialId, words: &str) {
        self.complaints.lock().unwrap().insert(id, words.to_owned());
    }

    pub(crate) fn reads(&self) -> BTreeMap<CredentialId, Read> {
        self.reads.lock().unwrap().clone()
    }

    pub(crate) fn complaints(&self) -> BTreeMap<CredentialId, String> {
        self.complaints.lock().unwrap().clone()
    }
}

impl Read {
    /// Whether its overlap, counted from when it was seen last, still runs.
    fn must_work(&self) -> bool {
        self.last_at.elapsed() < OVERLAP
    }
}

/// As many as two cores hash for.
const USERS: u32 = 24;

/// A little less than the shortest overlap, which the spec asks for: clocks differ.
const OVERLAP: Duration = Duration::from_secs(55);

const BETWEEN: Duration = Duration::from_millis(250);
const CALL: Duration = Duration::from_secs(15);
