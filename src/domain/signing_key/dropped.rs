//! The kids that leave the JWKS without having had their time.

use serde::{Deserialize, Serialize};

use crate::domain::crypto::digest::short_digest;

/// Kids of keys whose pair is gone. The newest ones are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dropped {
    /// Digests of the kids, the newest last.
    digests: Vec<String>,
    /// The newest kid.
    last: Option<String>,
}

impl Dropped {
    /// How many kids are remembered.
    pub const REMEMBERED: usize = 32;

    /// Whether this kid is remembered.
    pub fn includes(&self, kid: &str) -> bool {
        self.digests.contains(&short_digest(kid))
    }

    /// With this kid remembered.
    #[must_use]
    pub fn with(&self, kid: &str) -> Self {
        let mut digests = self.digests.clone();
        digests.retain(|it| *it != short_digest(kid));
        digests.push(short_digest(kid));
        let surplus = digests.len().saturating_sub(Self::REMEMBERED);
        Self { digests: digests.split_off(surplus), last: Some(kid.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_32_kids_are_remembered() {
        let vanished = (0..40).fold(Dropped::default(), |it, kid| it.with(&kid.to_string()));

        let remembered = (0..40).filter(|kid| vanished.includes(&kid.to_string()));

        assert_eq!(remembered.collect::<Vec<_>>(), (8..40).collect::<Vec<_>>());
    }
}
