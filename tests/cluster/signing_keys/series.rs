//! One signing key as its administrator sees it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use technical_user_operator::api::condition::{Condition, ConditionStatus};
use technical_user_operator::api::signing_key::{KeyState, SigningKey};
use technical_user_operator::api::{JWKS_FIELD, JWKS_FILE, KEY_PAIR_FIELD};
use technical_user_operator::domain::crypto::jwks::kids_of;
use technical_user_operator::domain::crypto::public_key::{Kid, PublicKey};
use technical_user_operator::domain::signing_key::Ledger;
use technical_user_operator::environment::private_key::{PrivateKey, verify};
use technical_user_operator::kubernetes::codec::{self, SecretNames};

use crate::rights;
use crate::world::{SYSTEM, World, until};

#[derive(Clone)]
pub(crate) struct Series {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// The namespace of the operator.
    pub(crate) system: String,
}

impl Series {
    pub(crate) async fn new(world: &World, name: &str) -> Self {
        Self::with(world.control_plane.client().await, name, SYSTEM)
    }

    pub(crate) fn with(client: Client, name: &str, system: &str) -> Self {
        Self { client, name: name.to_owned(), system: system.to_owned() }
    }

    pub(crate) fn api(&self) -> Api<SigningKey> {
        Api::all(self.client.clone())
    }

    pub(crate) fn maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.system)
    }

    pub(crate) fn map_name(&self) -> String {
        format!("{}-jwks", self.name)
    }

    // === what an administrator does ===

    pub(crate) async fn apply(&self, spec: Value) -> SigningKey {
        self.try_apply(spec).await.unwrap()
    }

    pub(crate) async fn try_apply(&self, spec: Value) -> kube::Result<SigningKey> {
        let object = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1",
            "kind": "SigningKey",
            "metadata": {"name": self.name},
            "spec": spec,
        });
        let parameters = PatchParams::apply("kubectl").force();
        self.api().patch(&self.name, &parameters, &Patch::Apply(object)).await
    }

    pub(crate) async fn annotate(&self, annotation: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {annotation: value}}}));
        self.api().patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self) {
        self.api().delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    /// Makes a namespace with the label that [`selecting`] selects by.
    pub(crate) async fn namespace(&self, name: &str, is_selected: bool) {
        let value = if is_selected { self.name.as_str() } else { "nobody" };
        let labels = BTreeMap::from([(LABEL, value)]);
        let metadata = json!({"name": name, "labels": labels});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        rights::apply(&self.client, namespace).await;
    }

    pub(crate) async fn delete_namespace(&self, name: &str) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn patch_map(&self, namespace: &str, patch: Value) {
        let parameters =
            PatchParams { field_manager: Some("somebody".to_owned()), ..Default::default() };
        let maps = self.maps(namespace);
        maps.patch(&self.map_name(), &parameters, &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete_map(&self, namespace: &str) {
        let maps = self.maps(namespace);
        maps.delete(&self.map_name(), &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn delete_secret(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    // === what an administrator sees ===

    pub(crate) async fn object(&self) -> SigningKey {
        self.api().get(&self.name).await.unwrap()
    }

    pub(crate) async fn uid(&self) -> String {
        self.object().await.uid().unwrap()
    }

    /// Waits until the condition `Ready` is true for the present generation.
    pub(crate) async fn ready(&self) -> SigningKey {
        self.when("Ready", |object| {
            let generation = object.metadata.generation;
            condition(object, "Ready").is_some_and(|ready| {
                ready.status == ConditionStatus::True
                    && Some(ready.observed_generation) == generation
            })
        })
        .await
    }

    /// Waits until a condition has that reason.
    pub(crate) async fn says(&self, type_: &str, reason: &str) -> Condition {
        let what = format!("{type_} with the reason {reason}");
        let object = self
            .when(&what, |object| condition(object, type_).is_some_and(|it| it.reason == reason));
        condition(&object.await, type_).unwrap().clone()
    }

    pub(crate) async fn when(&self, what: &str, is_so: impl Fn(&SigningKey) -> bool) -> SigningKey {
        let (api, what) = (self.api(), format!("{what}, of {}", self.name));
        let (api, is_so) = (&api, &is_so);
        let attempt =
            move || async move { api.get_opt(&self.name).await.ok().flatten().filter(is_so) };
        until(&what, attempt).await
    }

    /// Waits until the keys are in these states, the newest first.
    pub(crate) async fn states(&self, wanted: &[KeyState]) -> SigningKey {
        self.when(&format!("keys in the states {wanted:?}"), |it| states(it) == wanted).await
    }

    pub(crate) async fn ledger(&self) -> Option<Ledger> {
        let uid = self.uid().await;
        let secret = self.secrets().get_opt(&SecretNames::of(&uid).ledger()).await.unwrap()?;
        Some(codec::ledger(&secret, &uid).unwrap().1)
    }

    pub(crate) async fn map(&self, namespace: &str) -> ConfigMap {
        self.maps(namespace).get(&self.map_name()).await.unwrap()
    }

    pub(crate) async fn has_map(&self, namespace: &str) -> bool {
        self.maps(namespace).get_opt(&self.map_name()).await.unwrap().is_some()
    }

    /// The key set at home, as a verifier reads it.
    pub(crate) async fn jwks(&self) -> Vec<PublicKey> {
        keys(&self.map(&self.system).await)
    }

    /// Waits until exactly these keys are published in these namespaces, in the form in which the
    /// operator writes it.
    pub(crate) async fn publishes(&self, namespaces: &[&str], kids: &[&Kid]) {
        let wanted: BTreeSet<Kid> = kids.iter().map(|kid| (*kid).clone()).collect();
        for namespace in namespaces {
            let what = format!("exactly {wanted:?} of {} in {namespace}", self.name);
            until(&what, || async {
                let map = self.maps(namespace).get_opt(&self.map_name()).await.ok()??;
                let is_exact = is_well_formed(&map) && kids_of(field(&map, JWKS_FIELD)) == wanted;
                is_exact.then_some(())
            })
            .await;
        }
    }

    /// The private half of the key of that index.
    pub(crate) async fn private(&self, index: u32) -> PrivateKey {
        let object = self.object().await;
        let name = SecretNames::of(&object.uid().unwrap()).key_pair(index);
        let secret = self.secrets().get(&name).await.unwrap();
        PrivateKey::from_pkcs8(object.spec.algorithm, &secret.data.unwrap()[KEY_PAIR_FIELD].0)
            .unwrap()
    }

    /// Signs with the private half of that index; a reader of the JWKS can verify it.
    pub(crate) async fn signs(&self, index: u32) {
        let private = self.private(index).await;
        let signature = private.sign(b"token").unwrap();
        let jwks = self.jwks().await;
        let public = jwks.iter().find(|key| key.kid() == private.public().kid());
        let public = public.expect("the key that signs is published");
        assert!(verify(public, b"token", &signature), "{} {index}", self.name);
    }

    /// The kid of the key of that index, by the ledger.
    pub(crate) async fn kid(&self, index: u32) -> Kid {
        self.ledger().await.unwrap().entries[&index].key.kid().clone()
    }

    /// Waits until the ledger has a key of that index.
    pub(crate) async fn kid_when(&self, index: u32) -> Kid {
        until(&format!("key {index} of {}", self.name), || async {
            let ledger = self.ledger().await?;
            Some(ledger.entries.get(&index)?.key.kid().clone())
        })
        .await
    }

    pub(crate) async fn has_event(&self, reason: &str) -> Event {
        let what = format!("an Event {reason} of {}", self.name);
        until(&what, || async {
            let mut events = self.events().await.into_iter();
            events.find(|event| event.reason.as_deref() == Some(reason))
        })
        .await
    }

    /// Events of what has no namespace are in `default`.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let events = Api::<Event>::namespaced(self.client.clone(), "default");
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| {
            let regarding = event.regarding.as_ref();
            regarding.and_then(|it| it.name.as_deref()) == Some(&self.name)
        });
        events
    }

    /// What the operator keeps of the series of that uid.
    pub(crate) async fn kept(&self, uid: &str) -> BTreeSet<String> {
        let names = SecretNames::of(uid);
        let secrets = self.secrets().list_metadata(&ListParams::default()).await.unwrap();
        let names_of_all = secrets.iter().map(ResourceExt::name_any);
        let is_its =
            |it: &String| *it == names.ledger() || it.starts_with(&names.key_pair_prefix());
        names_of_all.filter(is_its).collect()
    }
}

/// A spec with these fields that publishes in the namespaces made for the series of that name.
pub(crate) fn selecting(name: &str, mut spec: Value) -> Value {
    spec["jwks"] = json!({"namespaceSelector": {"matchLabels": {LABEL: name}}});
    spec
}

pub(crate) fn condition<'a>(object: &'a SigningKey, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|it| it.type_ == type_)
}

/// The states of the keys, the newest first.
pub(crate) fn states(object: &SigningKey) -> Vec<KeyState> {
    let mut keys = object.status.clone().unwrap_or_default().keys;
    keys.sort_by_key(|key| -key.index);
    keys.iter().map(|key| key.state).collect()
}

/// In how many namespaces the JWKS is up to date.
pub(crate) fn namespaces(object: &SigningKey) -> Option<i64> {
    Some(object.status.as_ref()?.jwks.as_ref()?.namespaces)
}

pub(crate) fn field<'a>(map: &'a ConfigMap, name: &str) -> &'a str {
    map.data.as_ref().and_then(|data| data.get(name)).map_or("", String::as_str)
}

/// Every key of a key set, read by its published members alone.
pub(crate) fn keys(map: &ConfigMap) -> Vec<PublicKey> {
    let set: Value = serde_json::from_str(field(map, JWKS_FIELD)).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| serde_json::from_value(key.clone()).unwrap()).collect()
}

/// Whether a ConfigMap has the two fields with the same bytes and nothing else, nothing private,
/// and never no key.
pub(crate) fn is_well_formed(map: &ConfigMap) -> bool {
    let names: Vec<_> = map.data.iter().flatten().map(|(name, _)| name.as_str()).collect();
    let jwks = field(map, JWKS_FIELD);
    let set: Value = serde_json::from_str(jwks).unwrap_or_default();
    let keys = set["keys"].as_array().cloned().unwrap_or_default();
    let is_public = |key: &Value| PRIVATE_MEMBERS.iter().all(|member| key.get(member).is_none());
    names == [JWKS_FIELD, JWKS_FILE]
        && jwks == field(map, JWKS_FILE)
        && map.binary_data.is_none()
        && !keys.is_empty()
        && keys.iter().all(is_public)
        && !jwks.contains(char::is_whitespace)
}

/// RFC 7518 sections 6.2.2, 6.3.2 and 6.4.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

const LABEL: &str = "example.com/verifies";
