//! Label and field selectors.

use serde_json::Value;

/// Which objects of a list or a watch are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<(String, Vec<String>)>,
    fields: Vec<(String, bool, String)>,
}

impl Selector {
    /// Labels are selected by `a=b`, `a in (b,c)` and `a`; fields by `a=b` and `a!=b`.
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>) -> Self {
        let parts = |text: Option<&str>, separator| -> Vec<String> {
            let parts = text.unwrap_or_default().split(separator).map(str::trim);
            parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        // No comma within parentheses separates.
        let outside = |text: &str| {
            let mut is_inside = false;
            let mark = |letter| {
                is_inside = (is_inside || letter == '(') && letter != ')';
                if letter == ',' && !is_inside { ';' } else { letter }
            };
            text.chars().map(mark).collect::<String>()
        };
        let label = |part: String| {
            let (key, values) = part
                .split_once(" in (")
                .or_else(|| part.split_once('='))
                .unwrap_or((part.as_str(), ""));
            assert!(!key.contains(['!', '(']), "no client of the fake selects by {part}");
            (key.trim().to_owned(), parts(Some(values.trim_end_matches(')')), ','))
        };
        let field = |part: String| {
            let (name, value) = part.split_once('=').expect("a field selector has a value");
            let is_equal = !name.ends_with('!');
            (
                format!("/{}", name.trim_end_matches('!').replace('.', "/")),
                is_equal,
                value.to_owned(),
            )
        };
        Self {
            labels: parts(labels.map(outside).as_deref(), ';').into_iter().map(label).collect(),
            fields: parts(fields, ',').into_iter().map(field).collect(),
        }
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = self.labels.iter().all(|(key, values)| {
            let found = object["metadata"]["labels"][key.as_str()].as_str();
            found.is_some_and(|found| values.is_empty() || values.iter().any(|it| it == found))
        });
        let fields = self.fields.iter().all(|(pointer, is_equal, value)| {
            let found = object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (found == value) == *is_equal
        });
        labels && fields
    }
}
