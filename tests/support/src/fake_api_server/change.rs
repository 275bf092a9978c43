//! What a hook sees of a change: the object before and after, and everything else.

use std::fmt;

use serde_json::Value;

use super::storage::{Key, Objects};

/// A stored change, as shown to a hook, with the state right after it.
pub struct Change<'a> {
    /// The revision of the change.
    pub revision: u64,
    /// Plural of the resource, for example `secrets`.
    pub plural: &'a str,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// The object before, if it existed.
    pub old: Option<&'a Value>,
    /// The object after, unless it is gone.
    pub new: Option<&'a Value>,
    /// User agent of the request; empty for what the server does itself.
    pub agent: &'a str,
    /// Everything that is stored now.
    pub state: View<'a>,
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match (self.old, self.new) {
            (None, _) => "added",
            (Some(_), Some(_)) => "modified",
            (Some(_), None) => "deleted",
        };
        write!(
            formatter,
            "{} {} {}/{} {act} by {:?}",
            self.revision, self.plural, self.namespace, self.name, self.agent
        )
    }
}

/// Reads of the stored state from within a hook.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(super) objects: &'a Objects,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("View").field("objects", &self.objects.len()).finish()
    }
}

impl<'a> View<'a> {
    /// One object; the namespace is empty for cluster-scoped kinds.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&'a Value> {
        let (first, _) = self.keyed(plural).next()?;
        let key = Key {
            resource: first.resource.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.objects.get(&key).map(AsRef::as_ref)
    }

    /// Every object of a resource, by namespace and name.
    pub fn list(&self, plural: &str) -> Vec<&'a Value> {
        self.keyed(plural).map(|(_, object)| object).collect()
    }

    fn keyed(&self, plural: &str) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let first =
            Key { resource: plural.to_owned(), namespace: String::new(), name: String::new() };
        let plural = plural.to_owned();
        self.objects
            .range(first..)
            .take_while({
                let plural = plural.clone();
                move |(key, _)| key.resource.starts_with(&plural)
            })
            .filter(move |(key, _)| key.resource.split('.').next() == Some(plural.as_str()))
            .map(|(key, object)| (key, object.as_ref()))
    }
}
