//! Label and field selectors.

use serde_json::Value;

use super::{failure::Failure, resource::Resource};

/// Which objects of a list or a watch are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    pub(crate) fn parse(
        resource: &Resource,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Self, Failure> {
        let labels = split(labels.unwrap_or_default());
        let mut selector = Self {
            labels: labels.iter().map(|part| requirement(part)).collect(),
            fields: Vec::new(),
        };
        for part in fields.unwrap_or_default().split(',').filter(|part| !part.is_empty()) {
            let (field, equal, value) = field(part)?;
            let known = matches!(field.as_str(), "metadata.name" | "metadata.namespace")
                || (resource.plural == "secrets" && field == "type");
            if !known {
                let text = if resource.custom || resource.plural == "secrets" {
                    format!("field label not supported: {field}")
                } else {
                    format!(
                        "\"{field}\" is not a known field selector: only \"metadata.name\", \
                         \"metadata.namespace\""
                    )
                };
                return Err(Failure::bad_request(text));
            }
            selector.fields.push((field, equal, value));
        }
        Ok(selector)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let labels_match = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|found| values.iter().any(|value| value == found))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|found| values.iter().all(|value| value != found))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        });
        let fields_match = self.fields.iter().all(|(field, equal, value)| {
            let pointer = format!("/{}", field.replace('.', "/"));
            let found = object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default();
            (found == value) == *equal
        });
        labels_match && fields_match
    }
}

fn field(part: &str) -> Result<(String, bool, String), Failure> {
    let owned = |(field, value): (&str, &str), equal| (field.to_owned(), equal, value.to_owned());
    if let Some(pair) = part.split_once("!=") {
        Ok(owned(pair, false))
    } else if let Some(pair) = part.split_once("==").or_else(|| part.split_once('=')) {
        Ok(owned(pair, true))
    } else {
        Err(Failure::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'")))
    }
}

/// Splits at the commas outside parentheses.
fn split(selector: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    for letter in selector.chars() {
        inside = (inside || letter == '(') && letter != ')';
        if letter == ',' && !inside {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(part: &str) -> Requirement {
    let part = part.trim();
    let values = |text: &str| -> Vec<String> {
        let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
        inner.split(',').map(|value| value.trim().to_owned()).collect()
    };
    if let Some((key, rest)) = part.split_once(" notin ") {
        Requirement::NotIn(key.trim().to_owned(), values(rest))
    } else if let Some((key, rest)) = part.split_once(" in ") {
        Requirement::In(key.trim().to_owned(), values(rest))
    } else if let Some((key, value)) = part.split_once("!=") {
        Requirement::NotIn(key.trim().to_owned(), vec![value.trim().to_owned()])
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        Requirement::In(key.trim().to_owned(), vec![value.trim().to_owned()])
    } else if let Some(key) = part.strip_prefix('!') {
        Requirement::Absent(key.trim().to_owned())
    } else {
        Requirement::Exists(part.to_owned())
    }
}
