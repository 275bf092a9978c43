//! Random bytes that are the same in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use technical_user_operator::domain::crypto::client_secret::{ClientSecret, CredentialId};
use technical_user_operator::environment::{Entropy, EntropyError};

/// Bytes that depend on nothing but the seed, the label and how often it was asked for.
#[derive(Debug)]
pub(crate) struct Seeded {
    seed: u64,
    drawn: Mutex<Drawn>,
}

#[derive(Debug, Default)]
struct Drawn {
    times: BTreeMap<String, u64>,
    secrets: BTreeSet<String>,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: Mutex::default() }
    }

    /// Every client secret that was made of these bytes, revealed or not.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).secrets.clone()
    }
}

impl Entropy for Seeded {
    fn fill(&self, label: &str, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let times = drawn.times.entry(label.to_owned()).or_default();
        *times += 1;
        let block = |index: usize| {
            let text = format!("{}/{label}/{times}/{index}", self.seed);
            Sha256::digest(text.as_bytes())
        };
        for (index, chunk) in bytes.chunks_mut(32).enumerate() {
            let block = block(index);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        if bytes.len() > ID_BYTES {
            let (for_id, for_secret) = bytes.split_at(ID_BYTES);
            let id = CredentialId::draw(for_id).ok_or(EntropyError)?;
            let secret = ClientSecret::draw(&id, for_secret).ok_or(EntropyError)?;
            drawn.secrets.insert(secret.reveal().to_owned());
        }
        Ok(())
    }
}

/// As many bytes of a draw make the id; the rest makes the client secret.
const ID_BYTES: usize = 20;
