//! Key sets (RFC 7517 section 5): the same bytes for everyone, and never an empty set.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::digest::short_digest;
use super::public_key::PublicKey;

pub use super::public_key::Kid;

/// A set of public keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jwks(BTreeMap<Kid, PublicKey>);

/// Any key set, of which only the ids matter.
#[derive(Deserialize)]
struct Foreign {
    keys: Vec<Value>,
}

impl Jwks {
    /// Whether there is no key in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key of that id is in it.
    pub fn contains(&self, kid: &Kid) -> bool {
        self.0.contains_key(kid)
    }

    /// The ids of its keys.
    pub fn kids(&self) -> impl Iterator<Item = &Kid> {
        self.0.keys()
    }

    /// Its keys, ordered by their ids.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }

    /// The key of that id.
    pub fn get(&self, kid: &Kid) -> Option<&PublicKey> {
        self.0.get(kid)
    }

    /// The compact JSON, its keys ordered by their ids so that equal sets have equal bytes. Nothing
    /// for an empty set: Envoy and `PyJWT` would drop every key they know.
    pub fn bytes(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let keys: Vec<String> = self.0.values().map(PublicKey::jwk).collect();
        Some(format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
    }

    /// A digest of [`Jwks::bytes`], for comparing.
    pub fn digest(&self) -> String {
        Self::digest_of(&self.bytes().unwrap_or_default())
    }

    /// A digest of the text of a key set, for comparing.
    pub fn digest_of(text: &str) -> String {
        short_digest(text)
    }
}

impl FromIterator<PublicKey> for Jwks {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.kid().clone(), key)).collect())
    }
}

/// The keys of any key set that this operator could have written; none of anything else.
pub fn keys_of(text: &str) -> Vec<PublicKey> {
    let Ok(Foreign { keys }) = serde_json::from_str(text) else {
        return Vec::new();
    };
    keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect()
}

/// The ids of those keys.
pub fn kids_of(text: &str) -> BTreeSet<Kid> {
    keys_of(text).iter().map(|key| key.kid().clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::crypto::public_key::Algorithm;

    fn key(byte: u8) -> PublicKey {
        PublicKey::ec(Algorithm::ES256, &[vec![4], vec![byte; 64]].concat()).unwrap()
    }

    #[test]
    fn equal_sets_have_equal_bytes_whatever_the_order() {
        let one: Jwks = [key(1), key(2)].into_iter().collect();
        let other: Jwks = [key(2), key(1), key(2)].into_iter().collect();

        assert_eq!(one.bytes(), other.bytes());
        assert_eq!(one.digest(), Jwks::digest_of(&one.bytes().unwrap()));
    }

    #[test]
    fn an_empty_set_is_never_written() {
        assert_eq!(Jwks::default().bytes(), None);
    }

    #[test]
    fn the_ids_of_a_set_are_read_back_and_garbage_has_none() {
        let set: Jwks = [key(1), key(2)].into_iter().collect();
        let rogue = r#"{"keys":[{"kty":"oct","k":"AAAA"},"x"]}"#;

        assert!(kids_of(&set.bytes().unwrap()).iter().eq(set.kids()));
        assert_eq!(kids_of(rogue), BTreeSet::new());
        assert_eq!(kids_of("{"), BTreeSet::new());
    }
}
