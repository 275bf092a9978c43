//! Requests by annotation.
//!
//! As in Flux, a value that differs from the last handled one asks, and the last handled one does not.
//! An older value that comes back, by a restore or a revert, differs and therefore acts once more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::crypto::digest::short_digest;

/// The last value of an annotation that was handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct HandledRequests(Option<Last>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Last {
    digest: String,
    shown: Option<String>,
}

/// The form of earlier versions, which remembered several digests, the newest last.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    digests: Vec<String>,
    #[serde(default)]
    last: Option<String>,
}

// === impl Handled ===

impl HandledRequests {
    /// Whether this value is the last one that was handled.
    pub fn includes(&self, value: &str) -> bool {
        self.0.as_ref().is_some_and(|last| last.digest == short_digest(value))
    }

    /// With this value handled.
    #[must_use]
    pub fn with(&self, value: &str) -> Self {
        Self(Some(Last { digest: short_digest(value), shown: Some(shortened(value)) }))
    }

    /// The text for a status.
    pub fn shown(&self) -> Option<String> {
        self.0.as_ref()?.shown.clone()
    }
}

impl From<Stored> for HandledRequests {
    fn from(stored: Stored) -> Self {
        let newest = stored.digests.into_iter().next_back();
        Self(newest.map(|digest| Last { digest, shown: stored.last }))
    }
}

impl From<HandledRequests> for Stored {
    fn from(handled: HandledRequests) -> Self {
        handled.0.map_or_else(Self::default, |last| Self {
            digests: vec![last.digest],
            last: last.shown,
        })
    }
}

/// The annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// The value of an annotation that asks for something, in its brief form. A blank value asks for
/// nothing: a script whose
/// variable is empty writes one.
pub fn requested(annotations: Option<&Annotations>, name: &str) -> Option<String> {
    annotations?.get(name).filter(|value| !is_blank(value)).map(|value| shortened(value))
}

/// The annotations among `names` that are ignored since their values are blank.
pub fn ignored(annotations: Option<&Annotations>, names: &[&'static str]) -> Vec<&'static str> {
    let has_blank = |name: &&str| {
        annotations.and_then(|all| all.get(*name)).is_some_and(|value| is_blank(value))
    };
    names.iter().copied().filter(|name| has_blank(name)).collect()
}

/// The message of the condition `RequestIgnored` about these annotations. `object` is the kind and the name.
pub fn ignored_message(object: &str, names: &[&'static str]) -> Option<String> {
    let (subject, them) = match names {
        [] => return None,
        [name] => (format!("The annotation {name} of {object} is empty"), "the annotation"),
        names => (format!("The annotations {} of {object} are empty", names.join(" and ")), "them"),
    };
    Some(format!(
        "{subject}. An empty value asks for nothing. Write a value that differs from the last \
         handled one, for example \"$(date +%s)\", or remove {them}."
    ))
}

fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

/// The value as far as the CRD has room. A longer value ends with its digest: two of them must not
/// look alike in a status.
pub fn shortened(value: &str) -> String {
    if value.chars().count() <= MAX_SHOWN {
        return value.to_owned();
    }
    let digest = short_digest(value);
    let cut: String = value.chars().take(MAX_SHOWN - ELLIPSIS.len() - digest.len()).collect();
    cut + ELLIPSIS + &digest
}

/// The bound of the field in the CRD, in characters.
const MAX_SHOWN: usize = 253;

const ELLIPSIS: &str = "...";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_last_value_is_handled_and_an_older_one_acts_again() {
        let handled = HandledRequests::default().with("one").with("two");

        assert!(handled.includes("two") && !handled.includes("one"));
        assert_eq!(handled.shown().as_deref(), Some("two"));
        assert!(!handled.with("one").includes("two"));
        assert_eq!(HandledRequests::default().shown(), None);
    }

    #[test]
    fn what_an_earlier_version_stored_is_read_and_its_newest_value_counts() {
        let stored = json!({"digests": [short_digest("one"), short_digest("two")], "last": "two"});

        let handled: HandledRequests = serde_json::from_value(stored).unwrap();
        let rewritten = json!({"digests": [short_digest("two")], "last": "two"});

        assert_eq!(handled, HandledRequests::default().with("two"));
        assert_eq!(serde_json::to_value(&handled).unwrap(), rewritten);
        assert_eq!(
            serde_json::from_value::<HandledRequests>(json!({})).unwrap(),
            HandledRequests::default()
        );
    }

    #[test]
    fn long_values_differ_in_what_is_handled_and_in_what_is_shown() {
        let (one, two) = ("ä".repeat(300) + "1", "ä".repeat(300) + "2");
        let handled = HandledRequests::default().with(&one);

        assert!(handled.includes(&one) && !handled.includes(&two));
        assert_eq!(handled.shown().unwrap().chars().count(), MAX_SHOWN);
        assert_ne!(handled.shown(), handled.with(&two).shown());
    }

    #[test]
    fn a_blank_value_asks_for_nothing_and_is_named() {
        let annotations =
            |value: &str| Annotations::from([("rotate".to_owned(), value.to_owned())]);

        for blank in ["", " ", "\t\n"] {
            assert_eq!(requested(Some(&annotations(blank)), "rotate"), None, "{blank:?}");
            assert_eq!(ignored(Some(&annotations(blank)), &["revoke", "rotate"]), ["rotate"]);
        }
        let asked = annotations("0");
        assert_eq!(requested(Some(&asked), "rotate").as_deref(), Some("0"));
        assert!(ignored(Some(&asked), &["revoke", "rotate"]).is_empty());
        assert_eq!(requested(None, "rotate"), None);
        assert_eq!(ignored_message("SigningKey default", &[]), None);
        for names in [&["rotate"][..], &["rotate", "revoke"]] {
            let message = ignored_message("SigningKey default", names).unwrap();
            assert!(names.iter().all(|name| message.contains(name)), "{message}");
            assert!(message.contains(" of SigningKey default "), "{message}");
        }
    }
}
