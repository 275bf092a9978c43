//! The only doors to time and randomness.
//!
//! Everything that decides takes an instant as an argument; everything that draws takes an
//! [`Entropy`]. So a year runs in a second in a test, twice the same.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use rand::TryRng;
use rand::rngs::SysRng;

pub mod private_key;

/// Tells the time.
pub trait Clock: Debug + Send + Sync {
    /// The wall clock of this machine, which may jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed instant, which never jumps.
    fn elapsed(&self) -> Duration;
}

/// Draws random bytes.
pub trait Entropy: Debug + Send + Sync {
    /// Fills `bytes` with random bytes.
    ///
    /// `label` names the draw (an object's uid and what is drawn), so that a test can hand out the
    /// same bytes in any order of the draws. The system's generator ignores it.
    ///
    /// # Errors
    ///
    /// The generator of the system failed.
    fn fill(&self, label: &str, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The random generator of the system gave nothing.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the random generator of the system failed")]
pub struct EntropyError;

/// The clock and the random generator of this machine.
#[derive(Clone, Copy, Debug)]
pub struct System {
    started: tokio::time::Instant,
}

impl System {
    /// Starts counting elapsed time.
    pub fn start() -> Self {
        Self { started: tokio::time::Instant::now() }
    }
}

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Entropy for System {
    fn fill(&self, _label: &str, bytes: &mut [u8]) -> Result<(), EntropyError> {
        // The generator says no more than that it failed.
        SysRng.try_fill_bytes(bytes).map_err(|_| EntropyError)
    }
}
