//! The `CustomResourceDefinition`s as the API server gets them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::{signing_key, technical_user};

/// Every `CustomResourceDefinition`, as `crds/` and the chart ship them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![signing_key::crd(), technical_user::crd()]
}

/// The same as YAML documents, as `technical-user-operator crd` prints them.
///
/// # Errors
///
/// YAML cannot hold a definition, which would be a mistake of the types.
pub fn crds_yaml() -> Result<String, serde_yaml_ng::Error> {
    let documents: Result<Vec<_>, _> = crds().iter().map(yaml).collect();
    Ok(documents?.join("---\n"))
}

/// One of them as a YAML document that YAML 1.1 and YAML 1.2 read alike: to YAML 1.1 a plain timestamp is
/// no text, and a parser such as `PyYAML` makes a date of it that JSON does not have.
///
/// # Errors
///
/// As [`crds_yaml`].
pub fn yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml_ng::Error> {
    let plain = serde_yaml_ng::to_string(crd)?;
    let lines = plain.split_inclusive('\n').map(|line| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let value = value.trim_end();
        if is_date(value) { format!("{name}: '{value}'\n") } else { line.to_owned() }
    });
    Ok(lines.collect())
}

fn is_date(value: &str) -> bool {
    let form = "dddd-dd-dd";
    value.len() >= form.len()
        && form.chars().zip(value.chars()).all(|(form, character)| match form {
            'd' => character.is_ascii_digit(),
            other => character == other,
        })
}
