//! The kinds that the fake serves: the built-in ones that the operator touches, and those of a CRD.

use serde_json::{Value, json};

/// One resource of the API: how it is addressed, and what sets it apart from others.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// Served from a CRD: it has a generation, and a status with a path of its own.
    pub(crate) custom: bool,
    /// `OpenAPI` v3 schema, of which only the defaults are read.
    schema: Value,
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

    /// Every version of a CRD.
    pub(crate) fn of_definition(definition: &Value) -> Vec<Self> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().expect("a text in the CRD").to_owned();
        let versions = spec["versions"].as_array().expect("versions of the CRD");
        versions
            .iter()
            .map(|version| Self {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                plural: text(&spec["names"]["plural"]),
                kind: text(&spec["names"]["kind"]),
                namespaced: spec["scope"] == "Namespaced",
                custom: true,
                schema: version["schema"]["openAPIV3Schema"].clone(),
            })
            .collect()
    }

    /// A custom kind without defaults.
    pub(crate) fn without_definition(plural: &str, kind: &str, namespaced: bool) -> Self {
        Self {
            version: "v1alpha1".to_owned(),
            namespaced,
            custom: true,
            ..Self::built_in("iam.cyoda.com", plural, kind)
        }
    }

    fn built_in(group: &str, plural: &str, kind: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            custom: false,
            schema: Value::Null,
        }
    }

    /// The built-in kinds that the operator and its tests touch.
    pub(crate) fn built_ins() -> Vec<Self> {
        let opaque = json!({"properties": {"type": {"default": "Opaque"}}});
        vec![
            Self { namespaced: false, ..Self::built_in("", "namespaces", "Namespace") },
            Self { schema: opaque, ..Self::built_in("", "secrets", "Secret") },
            Self::built_in("", "configmaps", "ConfigMap"),
            Self::built_in("coordination.k8s.io", "leases", "Lease"),
            Self::built_in("", "events", "Event"),
        ]
    }

    /// Fills in the defaults of the kind.
    pub(crate) fn fill(&self, object: &mut Value) {
        fill(&self.schema, object);
    }
}

/// From the outside in, as structural schemas do.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = schema.get("default") {
                    fields.entry(name).or_insert_with(|| default.clone());
                }
            }
            for (name, child) in fields {
                fill(&schema["properties"][name], child);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
