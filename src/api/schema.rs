//! What a derived schema lacks, and what it has too much.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::core::{Message, Rule};
use serde_json::json;

/// A CEL rule: the fields of a map are names that a label or an annotation can have.
pub(super) const QUALIFIED_NAMES: &str = "self.all(k, k.size() <= 317 && k.matches(r'^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))";

/// The form of a duration as a regular expression. CEL's `duration` takes hours, minutes and seconds.
const DURATION: &str = "^([0-9]{1,6}h|[0-9]{1,8}m|[0-9]{1,8}s){1,3}$";

/// Names of `SigningKey`s, in every field: everything that Kubernetes takes for the name of an
/// object, since a `TechnicalUser` can refer to every `SigningKey`.
pub(super) const OBJECT_NAME: &str =
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A CEL rule for a duration: its form and its bounds, with one message for all mistakes.
pub(super) fn duration_between(field: &str, least: &str, most: &str) -> Rule {
    let rule = format!(
        "self.matches('{DURATION}') && duration(self) >= duration('{least}') && duration(self) <= \
         duration('{most}')"
    );
    Rule::new(rule).message(Message::Message(format!(
        "{field} must be between {least} and {most}, in hours, minutes and seconds such as 1h30m or \
         90s: days are not allowed, write 24h for one day"
    )))
}

/// A CEL expression that compares durations. It leaves a malformed one to the rule of its own field.
pub(super) fn compared(durations: &[&str], expression: &str) -> String {
    let malformed = durations.iter().map(|it| format!("!{it}.matches('{DURATION}') || "));
    format!("{}{expression}", malformed.collect::<String>())
}

/// Completes a derived definition.
///
/// Beyond the derived schema: no `nullable` (a stored `null` never settles under server-side
/// apply), descriptions in one line each, annotations against pruning, a default status, so that an
/// object that no operator has seen yet is not taken for ready by kstatus, and descriptions of `spec`
/// and `status`.
pub(super) fn completed(mut crd: CustomResourceDefinition, spec: &str) -> CustomResourceDefinition {
    let kept = KEEP.map(|(name, value)| (name.to_owned(), value.to_owned()));
    crd.metadata.annotations.get_or_insert_default().extend(kept);
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let Some(schema) = schema else { continue };
        straighten(schema);
        let Some(properties) = schema.properties.as_mut() else {
            continue;
        };
        if let Some(properties) = properties.get_mut("spec") {
            properties.description = Some(spec.to_owned());
        }
        if let Some(status) = properties.get_mut("status") {
            status.description =
                Some("What the operator observed. Written by it alone.".to_owned());
            status.default = Some(JSON(untouched_status(&crd.spec.names.kind)));
        }
    }
    crd
}

/// Helm, Argo CD and Flux leave a definition with these annotations in the cluster: its deletion would
/// delete every object of its kind.
const KEEP: [(&str, &str); 3] = [
    ("helm.sh/resource-policy", "keep"),
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// What can be wrong while no operator has reported, since the operator cannot say it itself.
fn untouched_status(kind: &str) -> serde_json::Value {
    let checks = match kind {
        "TechnicalUser" => {
            "technical-user-operator runs and logs no error; its --watch-namespaces, if set, names \
             this namespace; its ServiceAccount then has a RoleBinding in this namespace \
             (config/rbac-namespaced.yaml)."
        }
        _ => {
            "technical-user-operator runs and logs no error; its ServiceAccount has the \
             ClusterRoleBinding of config/rbac.yaml or config/rbac-namespaced.yaml."
        }
    };
    json!({
        "observedGeneration": -1,
        "conditions": [{
            "type": "Ready",
            "status": "Unknown",
            "observedGeneration": -1,
            "lastTransitionTime": "1970-01-01T00:00:00Z",
            "reason": "Pending",
            "message": format!("No operator has reported on this {kind} yet. Check that {checks}"),
        }],
    })
}

fn straighten(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    // Lines break where the source has its margin; kubectl breaks them where the terminal has its own.
    schema.description = schema.description.take().map(|text| text.replace('\n', " "));
    schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
        .for_each(straighten);
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => straighten(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(straighten),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        straighten(values);
    }
}
