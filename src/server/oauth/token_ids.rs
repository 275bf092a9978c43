//! Random ids for tokens, drawn many at a time: to ask the system for each costs more than the rest of
//! an id.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::domain::oauth::TokenId;
use crate::environment::{Entropy, EntropyError};

/// Ids that no token had yet.
#[derive(Default)]
pub struct TokenIds(Mutex<Vec<[u8; LENGTH]>>);

impl TokenIds {
    /// The id of one more token.
    ///
    /// # Errors
    ///
    /// The generator of the system failed.
    pub(crate) fn draw(&self, entropy: &dyn Entropy) -> Result<TokenId, EntropyError> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.is_empty() {
            let mut random = [0; LENGTH * BATCH];
            entropy.fill("jti", &mut random)?;
            ids.extend_from_slice(random.as_chunks().0);
        }
        ids.pop().map(TokenId::of).ok_or(EntropyError)
    }
}

impl fmt::Debug for TokenIds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenIds")
    }
}

const LENGTH: usize = 16;
const BATCH: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::environment::System;

    #[test]
    fn no_id_comes_twice() {
        let (ids, system) = (TokenIds::default(), System::start());

        let drawn: BTreeSet<_> =
            (0..BATCH * 3).map(|_| ids.draw(&system).unwrap().to_string()).collect();

        assert_eq!(drawn.len(), BATCH * 3);
    }
}
