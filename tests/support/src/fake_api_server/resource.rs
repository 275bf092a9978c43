//! The kinds that the fake serves: the built-in ones that the operator touches, and those of a CRD.

use serde_json::{Value, json};

/// One resource of the API: how it is addressed, and what sets it apart from others.
#[expect(clippy::struct_excessive_bools, reason = "independent traits of a kind, never passed on")]
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// Served from a CRD: it has a generation, and an update must name a resourceVersion.
    pub(crate) custom: bool,
    pub(crate) status_subresource: bool,
    /// A PUT creates what is absent.
    pub(crate) create_on_update: bool,
    /// A PUT may leave out the resourceVersion.
    pub(crate) unconditional_update: bool,
    /// Structs that are never absent in the server's own types, hence never "added".
    pub(crate) always_present: &'static [&'static str],
    /// `OpenAPI` v3 schema, with the metadata of every object.
    pub(crate) schema: Value,
}

impl Resource {
    /// `secrets`, or `technicalusers.iam.cyoda.com`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `v1`, or `iam.cyoda.com/v1alpha1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Every served version of a CRD.
    pub(crate) fn of_definition(definition: &Value) -> Vec<Self> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().expect("a text in the CRD").to_owned();
        let versions = spec["versions"].as_array().expect("versions of the CRD");
        versions
            .iter()
            .filter(|version| version["served"] != json!(false))
            .map(|version| Self {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                plural: text(&spec["names"]["plural"]),
                kind: text(&spec["names"]["kind"]),
                namespaced: spec["scope"] == "Namespaced",
                status_subresource: version["subresources"]["status"].is_object(),
                schema: with_metadata(version["schema"]["openAPIV3Schema"].clone()),
                ..Self::custom()
            })
            .collect()
    }

    /// A custom kind without a schema: every field is kept.
    pub(crate) fn without_definition(plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            group: "iam.cyoda.com".to_owned(),
            version: "v1alpha1".to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced,
            ..Self::custom()
        }
    }

    fn custom() -> Self {
        Self {
            group: String::new(),
            version: String::new(),
            plural: String::new(),
            kind: String::new(),
            namespaced: true,
            custom: true,
            status_subresource: true,
            create_on_update: false,
            unconditional_update: false,
            always_present: &[],
            schema: with_metadata(json!({
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true
            })),
        }
    }

    fn built_in(group: &str, plural: &str, kind: &str, properties: &Value) -> Self {
        Self {
            group: group.to_owned(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            custom: false,
            status_subresource: false,
            unconditional_update: true,
            schema: with_metadata(json!({"type": "object", "properties": properties})),
            ..Self::custom()
        }
    }

    fn event(open: &Value, text: &Value) -> Self {
        let reference = json!({
            "type": "object", "x-kubernetes-map-type": "atomic",
            "x-kubernetes-preserve-unknown-fields": true
        });
        Self {
            create_on_update: true,
            ..Self::built_in(
                "",
                "events",
                "Event",
                &json!({
                    "eventTime": text, "series": open, "reportingComponent": text,
                    "reportingInstance": text, "action": text, "reason": text,
                    "involvedObject": reference, "related": reference, "message": text,
                    "type": text, "source": open, "firstTimestamp": text, "lastTimestamp": text,
                    "count": {"type": "integer"}
                }),
            )
        }
    }

    /// The built-in kinds that the operator and its tests touch.
    pub(crate) fn built_ins() -> Vec<Self> {
        let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let flag = json!({"type": "boolean"});
        let text = json!({"type": "string"});
        vec![
            Self {
                namespaced: false,
                status_subresource: true,
                always_present: &["spec", "status"],
                ..Self::built_in(
                    "",
                    "namespaces",
                    "Namespace",
                    &json!({
                        "spec": open, "status": open
                    }),
                )
            },
            Self::built_in(
                "",
                "secrets",
                "Secret",
                &json!({
                    "data": texts, "type": text, "immutable": flag
                }),
            ),
            Self::built_in(
                "",
                "configmaps",
                "ConfigMap",
                &json!({
                    "data": texts, "binaryData": texts, "immutable": flag
                }),
            ),
            Self {
                create_on_update: true,
                unconditional_update: false,
                always_present: &["spec"],
                ..Self::built_in("coordination.k8s.io", "leases", "Lease", &json!({"spec": open}))
            },
            Self::event(&open, &text),
        ]
    }
}

/// Adds what every kind has. The list types decide who owns which part of a list.
fn with_metadata(mut schema: Value) -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let text = json!({"type": "string"});
    if !schema.is_object() {
        schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    schema["properties"]["apiVersion"] = text.clone();
    schema["properties"]["kind"] = text.clone();
    schema["properties"]["metadata"] = json!({"type": "object", "properties": {
        "name": text, "generateName": text, "namespace": text, "uid": text,
        "resourceVersion": text, "generation": {"type": "integer"}, "creationTimestamp": text,
        "deletionTimestamp": text, "deletionGracePeriodSeconds": {"type": "integer"},
        "labels": texts, "annotations": texts,
        "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "managedFields": {"type": "array", "items": {"type": "object",
            "x-kubernetes-preserve-unknown-fields": true}},
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {
                "type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {
                    "apiVersion": text, "kind": text, "name": text, "uid": text,
                    "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"}
                }
            }
        }
    }});
    schema
}
