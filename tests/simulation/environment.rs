//! Time that only the test moves, and random bytes that are the same in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use technical_user_operator::domain::credential::{ClientSecret, CredentialId};
use technical_user_operator::environment::{Clock, Entropy, EntropyError};
use tokio::time::Instant;

/// A wall clock over virtual time, which can be set wrong.
#[derive(Clone, Debug)]
pub(crate) struct WallClock {
    started: Instant,
    offset: Arc<AtomicI64>,
}

impl WallClock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), offset: Arc::default() }
    }

    /// Sets it forward, or back, from now on.
    pub(crate) fn jump(&self, by: SignedDuration) {
        self.offset.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed()).unwrap();
        let offset = SignedDuration::from_secs(self.offset.load(Ordering::SeqCst));
        EPOCH.parse::<Timestamp>().unwrap() + elapsed + offset
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

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

/// The day that every run begins on.
const EPOCH: &str = "2027-01-01T00:00:00Z";

/// As many bytes of a draw make the id; the rest makes the client secret.
const ID_BYTES: usize = 20;
