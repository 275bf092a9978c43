//! What must hold of a series after every fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use kube::ResourceExt;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use serde_json::json;
use support::control_plane::User;
use support::faults::FaultPlan;
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::api::{JWKS_FIELD, JWKS_FILE, KEY_INDEX, KEY_PAIR_FIELD, SIGNING_KEY};
use technical_user_operator::domain::crypto::jwks::{Jwks, kids_of};
use technical_user_operator::domain::crypto::public_key::{KeyType, Kid};
use technical_user_operator::domain::schedule::saturating_add;
use technical_user_operator::domain::signing_key::Ledger;
use technical_user_operator::environment::System;
use technical_user_operator::environment::private_key::{KeyPairs, PrivateKey};
use technical_user_operator::kubernetes::codec::SecretNames;
use tokio::task::JoinHandle;

use super::replicas::LIMITS;
use super::series::{Series, field, is_well_formed};
use super::token_server::{Terms, TokenService};
use crate::namespace::now;
use crate::replica::{KeysBrief, Replica};
use crate::rights;
use crate::world::{third, until};

/// Every key pair that was ever seen of a series, by the name of its Secret (K4).
pub(crate) struct Materials {
    seen: Arc<Mutex<BTreeMap<String, Material>>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Material {
    pub(crate) kids: BTreeSet<Kid>,
    pub(crate) der: Vec<u8>,
}

impl Materials {
    pub(crate) fn of(series: &Series, algorithm: Algorithm) -> Self {
        let ours = watcher::Config::default().labels(&format!("{SIGNING_KEY}={}", series.name));
        let secrets = watcher(series.secrets(), ours);
        let mut secrets = Box::pin(secrets.default_backoff().applied_objects());
        let seen = Arc::new(Mutex::new(BTreeMap::<String, Material>::new()));
        let sink = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(secret) = secrets.next().await {
                let Ok(mut secret) = secret else { continue };
                if !secret.labels().contains_key(KEY_INDEX) {
                    continue;
                }
                let der = secret.data.take().unwrap_or_default().remove(KEY_PAIR_FIELD);
                let der = der.unwrap_or_default().0;
                let private = PrivateKey::from_pkcs8(algorithm, &der).unwrap();
                let mut seen = sink.lock().unwrap();
                let material = seen.entry(secret.name_any()).or_default();
                material.kids.insert(private.public().kid().clone());
                material.der = der;
            }
        });
        Self { seen, task }
    }

    /// The names of Secrets that ever held two key pairs.
    pub(crate) fn doubled(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let doubled = seen.iter().filter(|(_, material)| material.kids.len() > 1);
        doubled.map(|(name, _)| name.clone()).collect()
    }

    /// Every private key that was seen.
    pub(crate) fn private_keys(&self) -> Vec<(String, Vec<u8>)> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(name, material)| (name.clone(), material.der.clone())).collect()
    }
}

impl Drop for Materials {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is wrong with a series that came to rest and publishes in these namespaces, in words;
/// nothing if all is well. The time of its operator is that much ahead.
pub(crate) async fn contradiction(
    series: &Series,
    namespaces: &[&str],
    ahead: SignedDuration,
) -> Option<String> {
    let object = series.object().await;
    let uid = object.uid().unwrap();
    let Some(ledger) = series.ledger().await else { return Some("no ledger".to_owned()) };
    let live: BTreeSet<Kid> = ledger.live().map(|(_, entry)| entry.key.kid().clone()).collect();
    for namespace in namespaces {
        let map = series.maps(namespace).get_opt(&series.map_name()).await.unwrap();
        let Some(map) = map else { return Some(format!("no JWKS in {namespace}")) };
        if !is_well_formed(&map) || kids_of(field(&map, JWKS_FIELD)) != live {
            return Some(format!("the JWKS in {namespace} is not that of the ledger"));
        }
    }
    let open = ledger.live().filter(|(_, entry)| entry.until.is_none()).count();
    if open != 1 {
        return Some(format!("{open} keys have no end"));
    }
    if ledger.live().any(|(_, it)| it.until.is_some() && it.end_seen_at.is_none()) {
        return Some("an end was not seen".to_owned());
    }
    let active =
        ledger.active(saturating_add(now(), ahead)).map(|(_, entry)| entry.key.kid().to_string());
    let shown = object.status.unwrap_or_default().active_kid;
    if shown != active {
        return Some(format!("status shows {shown:?} and {active:?} signs"));
    }
    private_halves(series, &uid, object.spec.algorithm, &ledger).await
}

/// Every live key has its private half, and no other is left.
async fn private_halves(
    series: &Series,
    uid: &str,
    algorithm: Algorithm,
    ledger: &Ledger,
) -> Option<String> {
    let names = SecretNames::of(uid);
    let mut wanted = BTreeSet::from([names.ledger()]);
    for (index, entry) in ledger.live() {
        let name = names.key_pair(index);
        let Some(secret) = series.secrets().get_opt(&name).await.unwrap() else {
            return Some(format!("key pair {index} is gone"));
        };
        let der = &secret.data.unwrap_or_default()[KEY_PAIR_FIELD].0;
        let private = PrivateKey::from_pkcs8(algorithm, der).unwrap();
        if private.public() != &entry.key {
            return Some(format!("key pair {index} is not the one of the ledger"));
        }
        wanted.insert(name);
    }
    let kept = series.kept(uid).await;
    (kept != wanted).then(|| format!("{kept:?} are kept and {wanted:?} needed"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_finds_a_key_that_left_the_jwks_and_one_that_was_made_twice() {
    let Some(control_plane) = third().await else { return };
    let admin = control_plane.client().await;
    rights::install_system(&admin, "key-oracle").await;
    let series = Series::with(admin.clone(), "key-oracle", "key-oracle");
    let brief = KeysBrief {
        client: &control_plane.client_of(User::Operator).await,
        name: &series.name,
        system: &series.system,
        namespaces: vec![series.system.clone()],
        limits: LIMITS,
        ahead: SignedDuration::ZERO,
    };
    let replica = Replica::of_keys(&brief, "key-oracle", &FaultPlan::transparent());
    series.apply(json!({"algorithm": "ES256"})).await;
    series.ready().await;
    replica.stop().await;
    let materials = Materials::of(&series, Algorithm::ES256);
    let (keeps, ahead) = (Duration::from_secs(1), SignedDuration::ZERO);
    let service = TokenService::start(&series, Terms { limits: LIMITS, keeps, ahead });
    let checked = || async { (service.tokens.counts().1 > 10).then_some(()) };
    until("tokens are verified", checked).await;
    assert_eq!(service.tokens.complaints(), Vec::<String>::new());
    assert_eq!(contradiction(&series, &[&series.system], ahead).await, None);

    let other = System::start().generate("", KeyType::P256).unwrap();
    let public = PrivateKey::from_pkcs8(Algorithm::ES256, other.as_bytes()).unwrap();
    let jwks = Jwks::from_iter([public.public().clone()]).bytes().unwrap();
    series.patch_map(&series.system, json!({"data": {JWKS_FIELD: jwks, JWKS_FILE: jwks}})).await;
    let name = SecretNames::of(&series.uid().await).key_pair(1);
    let mut secret = series.secrets().get(&name).await.unwrap();
    secret.metadata.resource_version = None;
    let der = ByteString(other.as_bytes().to_vec());
    secret.data = Some(BTreeMap::from([(KEY_PAIR_FIELD.to_owned(), der)]));
    series.delete_secret(&name).await;
    series.secrets().create(&PostParams::default(), &secret).await.unwrap();

    until("a token that does not verify", || async {
        (!service.tokens.complaints().is_empty()).then_some(())
    })
    .await;
    until("a second key pair", || async { (materials.doubled() == [&*name]).then_some(()) }).await;
    let wrong = contradiction(&series, &[&series.system], ahead).await.unwrap();
    assert!(wrong.contains("is not that of the ledger"), "{wrong}");
}
