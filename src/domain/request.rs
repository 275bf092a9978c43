//! Requests by annotation: any new token asks, and none acts twice.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The tokens of requests that were answered, so that none acts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handled {
    /// Digests of the last [`Handled::REMEMBERED`] tokens, the newest last.
    digests: Vec<String>,
    /// The newest token, cut to what a status can show.
    last: Option<String>,
}

// === impl Handled ===

impl Handled {
    /// How many tokens are remembered: a GitOps repository that goes back further acts again.
    pub const REMEMBERED: usize = 32;

    /// Whether this token was answered.
    pub fn includes(&self, token: &str) -> bool {
        self.digests.contains(&token_digest(token))
    }

    /// With this token answered.
    #[must_use]
    pub fn with(&self, token: &str) -> Self {
        let mut digests = self.digests.clone();
        digests.retain(|digest| *digest != token_digest(token));
        digests.push(token_digest(token));
        let surplus = digests.len().saturating_sub(Self::REMEMBERED);
        Self { digests: digests.split_off(surplus), last: Some(shown_token(token)) }
    }

    /// The token that a status shows as answered: the present one if it was, else the newest.
    pub fn shown(&self, present: Option<&str>) -> Option<String> {
        present.filter(|token| self.includes(token)).map(shown_token).or_else(|| self.last.clone())
    }
}

pub(super) fn token_digest(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn shown_token(token: &str) -> String {
    token.chars().take(MOST_SHOWN).collect()
}

/// The bound of the field in the CRD.
const MOST_SHOWN: usize = 253;
