//! One namespace as its users and their administrator see it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use technical_user_operator::api::condition::{Condition, ConditionStatus};
use technical_user_operator::api::technical_user::TechnicalUser;
use technical_user_operator::api::{RECORD_FIELD, ROTATE_REQUESTED_AT};
use technical_user_operator::domain::crypto::client_secret::{ClientId, ClientSecret};
use technical_user_operator::domain::technical_user::verifier_record::Record;
use technical_user_operator::environment::{Clock, System};

use crate::rights;
use crate::world::{SYSTEM, World, until};

#[derive(Clone)]
pub(crate) struct Namespace {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// Where the records of its users are.
    pub(crate) system: String,
}

impl Namespace {
    pub(crate) async fn new(world: &World, name: &str) -> Self {
        Self::with(world.control_plane.client().await, name, SYSTEM).await
    }

    pub(crate) async fn with(client: Client, name: &str, system: &str) -> Self {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        rights::apply(&client, object).await;
        Self { client, name: name.to_owned(), system: system.to_owned() }
    }

    pub(crate) fn users(&self) -> Api<TechnicalUser> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    pub(crate) fn records(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.system)
    }

    // === what users do ===

    pub(crate) async fn apply(&self, name: &str, spec: Value) {
        self.try_apply(name, spec).await.unwrap();
    }

    pub(crate) async fn try_apply(&self, name: &str, spec: Value) -> kube::Result<TechnicalUser> {
        let object = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1",
            "kind": "TechnicalUser",
            "metadata": {"name": name},
            "spec": spec,
        });
        let parameters = PatchParams::apply("kubectl").force();
        self.users().patch(name, &parameters, &Patch::Apply(object)).await
    }

    pub(crate) async fn annotate(&self, name: &str, annotation: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.users().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn request_rotation(&self, name: &str, token: &str) {
        self.annotate(name, ROTATE_REQUESTED_AT, token).await;
    }

    pub(crate) async fn delete_user(&self, name: &str) {
        self.users().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn delete_secret(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn patch_secret(&self, name: &str, patch: Value) {
        let parameters =
            PatchParams { field_manager: Some("somebody".to_owned()), ..Default::default() };
        self.secrets().patch(name, &parameters, &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete(&self) {
        let namespaces = Api::<KubeNamespace>::all(self.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    // === what they see ===

    /// What tokens of its users call their tenant.
    pub(crate) async fn uid(&self) -> String {
        let namespaces = Api::<KubeNamespace>::all(self.client.clone());
        namespaces.get(&self.name).await.unwrap().uid().unwrap()
    }

    pub(crate) async fn user(&self, name: &str) -> TechnicalUser {
        self.users().get(name).await.unwrap()
    }

    /// Waits until the condition `Ready` is true for the present generation.
    pub(crate) async fn ready(&self, name: &str) -> TechnicalUser {
        self.user_when(name, "Ready", |user| {
            let generation = user.metadata.generation;
            condition(user, "Ready").is_some_and(|ready| {
                ready.status == ConditionStatus::True
                    && Some(ready.observed_generation) == generation
            })
        })
        .await
    }

    /// Waits until the condition `Ready` has that reason.
    pub(crate) async fn says(&self, name: &str, reason: &str) -> Condition {
        let is_said = |user: &TechnicalUser| {
            condition(user, "Ready").is_some_and(|ready| ready.reason == reason)
        };
        let user = self.user_when(name, reason, is_said).await;
        condition(&user, "Ready").unwrap().clone()
    }

    pub(crate) async fn user_when(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&TechnicalUser) -> bool,
    ) -> TechnicalUser {
        let users = self.users();
        let what = format!("{what}, of {}/{name}", self.name);
        let is_so = &is_so;
        let users = &users;
        until(&what, move || async move { users.get_opt(name).await.ok().flatten().filter(is_so) })
            .await
    }

    /// Waits until status shows a client secret of at least that number.
    pub(crate) async fn serial(&self, name: &str, serial: i64) -> TechnicalUser {
        self.user_when(name, &format!("serial {serial}"), |user| {
            let status = user.status.as_ref();
            let is_reached = status.and_then(|status| status.serial) >= Some(serial);
            let is_delivered =
                |it: &Condition| matches!(it.reason.as_str(), "Issued" | "AwaitingReader");
            is_reached && condition(user, "Ready").is_some_and(is_delivered)
        })
        .await
    }

    pub(crate) async fn secret(&self, name: &str) -> Secret {
        self.secrets().get(name).await.unwrap()
    }

    /// The client secret that a workload reads.
    pub(crate) async fn shown(&self, name: &str) -> ClientSecret {
        shown(&self.secret(name).await).expect("a client secret is delivered")
    }

    pub(crate) async fn has_event(&self, name: &str, reason: &str) {
        let what = format!("an Event {reason} of {}/{name}", self.name);
        until(&what, || async {
            let events = self.events().await;
            let is_it = |event: &Event| {
                event.reason.as_deref() == Some(reason)
                    && event.regarding.as_ref().and_then(|it| it.name.as_deref()) == Some(name)
            };
            events.iter().any(is_it).then_some(())
        })
        .await;
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.name);
        events.list(&ListParams::default()).await.unwrap().items
    }

    // === what an administrator sees ===

    pub(crate) async fn client_id(&self, name: &str) -> ClientId {
        client_id(&self.user(name).await)
    }

    pub(crate) async fn record(&self, client_id: &ClientId) -> Option<Record> {
        let secret = self.records().get_opt(&client_id.record_name()).await.unwrap()?;
        Some(record(&secret, client_id))
    }

    /// Writes the stored JSON of a record as an administrator would by hand.
    pub(crate) async fn write_record(&self, client_id: &ClientId, text: &str) {
        let patch = json!({"data": {RECORD_FIELD: STANDARD.encode(text)}});
        let name = client_id.record_name();
        self.records().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn stored(&self, client_id: &ClientId) -> String {
        let secret = self.records().get(&client_id.record_name()).await.unwrap();
        field(&secret, RECORD_FIELD).expect("a record has its field")
    }

    /// Whether the token service would accept that client secret now.
    pub(crate) async fn accepts(&self, client_id: &ClientId, secret: &ClientSecret) -> bool {
        let record = self.record(client_id).await;
        record.is_some_and(|record| accepts(&record, secret))
    }
}

pub(crate) fn accepts(record: &Record, secret: &ClientSecret) -> bool {
    let verifier = record.verifier(&secret.id(), now());
    verifier.is_some_and(|verifier| verifier.accepts(secret))
}

pub(crate) fn record(secret: &Secret, client_id: &ClientId) -> Record {
    let stored = field(secret, RECORD_FIELD).expect("a record has its field");
    Record::from_json(stored.as_bytes(), Some(client_id)).expect("a record can be read")
}

pub(crate) fn shown(secret: &Secret) -> Option<ClientSecret> {
    let text = field(secret, "client_secret")?;
    text.parse().ok()
}

pub(crate) fn field(secret: &Secret, name: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(name)?;
    Some(String::from_utf8(bytes.clone()).unwrap())
}

pub(crate) fn client_id(user: &TechnicalUser) -> ClientId {
    match &user.spec.client_id {
        Some(chosen) => chosen.parse().unwrap(),
        None => ClientId::derived_from(&user.uid().unwrap()),
    }
}

pub(crate) fn condition<'a>(user: &'a TechnicalUser, type_: &str) -> Option<&'a Condition> {
    user.status.as_ref()?.conditions.iter().find(|it| it.type_ == type_)
}

pub(crate) fn now() -> Timestamp {
    System::start().now()
}
