//! A value of a user that is wrong, in words.

/// A field that only a weakened CRD lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// Its path, from `spec` on.
    pub path: &'static str,
    /// Its value.
    pub value: String,
}

impl InvalidField {
    /// The message about the fault, for the kind and name of the object and the short name of its kind.
    pub(super) fn message(&self, object: &str, short: &str) -> String {
        let Self { path, value } = self;
        format!(
            "{path} of {object} is not valid: {}. Correct it: kubectl explain {short}.{path} \
             describes its form.",
            quoted(value)
        )
    }
}

/// The value in quotes, as much of it as a message has room for.
pub(super) fn quoted(value: &str) -> String {
    let shown: String = value.escape_debug().take(MAX_SHOWN).collect();
    format!("\"{shown}\"")
}

/// So many characters of a value are repeated.
const MAX_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_with_its_object_and_a_long_value_is_cut() {
        let field = InvalidField { path: "spec.rotation.grace", value: "\n".repeat(200) };

        let message = field.message("SigningKey default", "sk");

        assert!(message.starts_with("spec.rotation.grace of SigningKey default"), "{message}");
        assert!(message.contains("kubectl explain sk.spec.rotation.grace"), "{message}");
        assert!(message.contains("\\n") && message.len() < 300, "{message}");
    }
}
