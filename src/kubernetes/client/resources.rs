//! Signing keys, JWKS ConfigMaps and the namespaces that have them.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::request::{ApiRequest, CONFIG_MAPS, NAMESPACES, SECRETS, SIGNING_KEYS};
use super::{
    ApiError, ApiErrorKind, ConditionalClient, ConditionalPatch, Metadata, ObjectRef,
    absent_as_none,
};
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::domain::object::Version;

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    /// `null` in an empty list of metadata.
    items: Option<Vec<T>>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default)]
    r#continue: Option<String>,
}

impl ConditionalClient {
    /// Makes a `SigningKey` by server-side apply of one label and an empty spec. So a manifest that declares
    /// the same object later meets no conflict. One that exists gets the label and nothing else.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn apply_signing_key(
        &self,
        name: &str,
        controller_name: &str,
    ) -> Result<Version, ApiError> {
        let call =
            ApiRequest::on(SIGNING_KEYS, ObjectRef::cluster_scoped(name), "patch").metadata_only();
        // The default is left out: no other manifest can want another one.
        let spec = match controller_name {
            api::CONTROLLER_NAME => json!({}),
            other => json!({"controllerName": other}),
        };
        let body = call.created(&json!({
            "metadata": {"labels": {(api::MANAGED): "true"}},
            "spec": spec,
        }));
        let request = call.body(Method::PATCH, "application/apply-patch+yaml", body);
        self.version(request, &call).await
    }

    /// All `SigningKeys`, by a whole live list.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>, ApiError> {
        let call = ApiRequest::on(SIGNING_KEYS, ObjectRef::cluster_scoped(""), "list");
        self.whole_list(&call, ("labelSelector", "")).await
    }

    /// The uids of all `SigningKeys`, by a whole live list.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn signing_key_uids(&self) -> Result<BTreeSet<String>, ApiError> {
        let call = ApiRequest::on(SIGNING_KEYS, ObjectRef::cluster_scoped(""), "list");
        let all = self.metadata_list(&call.metadata_list(), ("labelSelector", "")).await?;
        Ok(all.into_iter().filter_map(|it| it.uid).collect())
    }

    /// The metadata of the namespace of that name, unless there is none.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn namespace(&self, name: &str) -> Result<Option<ObjectMeta>, ApiError> {
        let call =
            ApiRequest::on(NAMESPACES, ObjectRef::cluster_scoped(name), "get").metadata_only();
        match self.metadata(call.request(Method::GET), &call).await {
            Ok(metadata) => Ok(Some(metadata)),
            Err(failure) if failure.kind == ApiErrorKind::NamespaceGone => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether there is a namespace of that name.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn has_namespace(&self, name: &str) -> Result<bool, ApiError> {
        self.namespace(name).await.map(|metadata| metadata.is_some())
    }

    /// The metadata of all namespaces that the selector matches.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn namespaces(&self, selector: &str) -> Result<Vec<ObjectMeta>, ApiError> {
        let at = ObjectRef::cluster_scoped("");
        let call = ApiRequest::on(NAMESPACES, at, "list").metadata_list();
        self.metadata_list(&call, ("labelSelector", selector)).await
    }

    /// The metadata of all Secrets of a type in one namespace.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn secrets_of_type(
        &self,
        namespace: &str,
        secret_type: &str,
    ) -> Result<Vec<ObjectMeta>, ApiError> {
        let call =
            ApiRequest::on(SECRETS, ObjectRef { namespace, name: "" }, "list").metadata_list();
        let selector = format!("type={secret_type}");
        self.metadata_list(&call, ("fieldSelector", &selector)).await
    }

    /// Reads a ConfigMap of at most so many bytes.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Oversized`] when it is larger: anybody may fill a ConfigMap.
    pub async fn config_map(
        &self,
        at: ObjectRef<'_>,
        limit: usize,
    ) -> Result<Option<ConfigMap>, ApiError> {
        let call = ApiRequest::on(CONFIG_MAPS, at, "get");
        let answer = self.send_within(limit, call.request(Method::GET), &call).await;
        let map = answer.and_then(|bytes| {
            // A text of serde quotes the value that it could not read.
            serde_json::from_slice(&bytes).map_err(|_| call.failure(ApiErrorKind::InvalidResponse))
        });
        absent_as_none(map)
    }

    /// Reads the metadata of a ConfigMap.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub async fn config_map_metadata(
        &self,
        at: ObjectRef<'_>,
    ) -> Result<Option<ObjectMeta>, ApiError> {
        let call = ApiRequest::on(CONFIG_MAPS, at, "get").metadata_only();
        absent_as_none(self.metadata(call.request(Method::GET), &call).await)
    }

    /// Creates a ConfigMap, never replaces one.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it exists.
    pub async fn create_config_map(&self, at: ObjectRef<'_>, map: &Value) -> Result<(), ApiError> {
        let call = ApiRequest::on(CONFIG_MAPS, at, "create").metadata_only();
        let body = call.created(map);
        self.send(call.body(Method::POST, "application/json", body), &call).await.map(drop)
    }

    /// Merges a patch into a ConfigMap at exactly that version.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it has another version by now.
    pub async fn patch_config_map(
        &self,
        at: ObjectRef<'_>,
        patch: ConditionalPatch,
    ) -> Result<(), ApiError> {
        let call = ApiRequest::on(CONFIG_MAPS, at, "patch").metadata_only();
        let request = call.body(Method::PATCH, "application/merge-patch+json", patch.0);
        self.send(request, &call).await.map(drop)
    }

    /// Deletes a ConfigMap at exactly that version.
    ///
    /// # Errors
    ///
    /// [`ApiError`]; [`ApiErrorKind::Conflict`] when it has another version by now.
    pub async fn delete_config_map(
        &self,
        at: ObjectRef<'_>,
        version: &Version,
    ) -> Result<(), ApiError> {
        let call = ApiRequest::on(CONFIG_MAPS, at, "delete").metadata_only();
        self.delete(&call, version).await
    }

    pub(super) async fn delete(
        &self,
        call: &ApiRequest<'_>,
        version: &Version,
    ) -> Result<(), ApiError> {
        let body = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {"uid": version.uid, "resourceVersion": version.resource_version},
        });
        let body = Bytes::from(body.to_string());
        self.send(call.body(Method::DELETE, "application/json", body), call).await.map(drop)
    }

    async fn metadata_list(
        &self,
        call: &ApiRequest<'_>,
        selector: (&str, &str),
    ) -> Result<Vec<ObjectMeta>, ApiError> {
        let items: Vec<Metadata> = self.whole_list(call, selector).await?;
        Ok(items.into_iter().map(|item| item.metadata).collect())
    }

    /// All pages of a list, or none: a part of a list says nothing of what is absent.
    async fn whole_list<T: DeserializeOwned>(
        &self,
        call: &ApiRequest<'_>,
        selector: (&str, &str),
    ) -> Result<Vec<T>, ApiError> {
        let mut page = METADATA_PAGE_SIZE;
        let mut restarts = 0;
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let answer = self.object::<Page<T>>(call.page(selector, page, &next), call).await;
            let answer = match answer {
                // The page is of a state that the API server has forgotten by now.
                Err(ApiError { kind: ApiErrorKind::Refused(410, _), .. })
                    if restarts < RESTARTS =>
                {
                    restarts += 1;
                    items.clear();
                    next.clear();
                    continue;
                }
                // A user with the right to write such objects can make them large.
                Err(ApiError { kind: ApiErrorKind::Oversized, .. }) if page > 1 => {
                    page = page.div_euclid(SMALLER).max(1);
                    continue;
                }
                answer => answer?,
            };
            items.extend(answer.items.into_iter().flatten());
            next = answer.metadata.r#continue.unwrap_or_default();
            if next.is_empty() {
                return Ok(items);
            }
        }
    }
}

const METADATA_PAGE_SIZE: usize = 500;

/// A page that was too large is asked for in pages that are smaller by this.
const SMALLER: usize = 4;

const RESTARTS: usize = 2;
