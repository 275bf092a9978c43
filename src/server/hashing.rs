//! bcrypt on threads of its own, a few hashes at a time and a bounded number in line: it may take
//! long, and must not take the cores from those who need no hash.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::sync::Semaphore;

use crate::domain::credential::{ClientSecret, Verifier};

/// Hashes.
#[derive(Debug)]
pub struct Hashing {
    room: Arc<Semaphore>,
    in_line: AtomicUsize,
    threads: usize,
}

/// The line is full: try again after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub Duration);

impl Default for Hashing {
    /// As many at a time as there are cores but one, and at least one.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.saturating_sub(1).max(1);
        let room = Arc::new(Semaphore::new(threads));
        Self { room, in_line: AtomicUsize::new(0), threads }
    }
}

impl Hashing {
    /// Whether the verifier is the one of that client secret.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was hashed.
    pub async fn accepts(&self, verifier: &Verifier, secret: &ClientSecret) -> Result<bool, Full> {
        let place = Place::take(&self.in_line, self.threads).ok_or(Full(PATIENCE))?;
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Full(PATIENCE))?;
        let (verifier, secret) = (verifier.clone(), secret.clone());
        let hashed = tokio::task::spawn_blocking(move || {
            // Behind whoever needs no hash. Where that is not allowed, everything works all the same.
            let _ = setpriority_process(None, LOW);
            let is_right = verifier.accepts(&secret);
            drop(room);
            is_right
        });
        let hashed = hashed.await.map_err(|_| Full(PATIENCE));
        drop(place);
        hashed
    }

    /// How many are hashed or wait for it.
    pub fn in_line(&self) -> usize {
        self.in_line.load(Ordering::Relaxed)
    }
}

/// A place in the line, which is left by hanging up too.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(in_line: &'a AtomicUsize, threads: usize) -> Option<Self> {
        let place = Self(in_line);
        let ahead = in_line.fetch_add(1, Ordering::AcqRel);
        (ahead < IN_LINE.saturating_mul(threads)).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many wait for each thread: about five seconds at cost 10.
const IN_LINE: usize = 100;

/// How long a full line takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The niceness of a thread that hashes.
const LOW: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_line_is_taken_and_left() {
        let hashing = Hashing::default();

        let places: Vec<_> = (0..IN_LINE * hashing.threads)
            .map(|_| Place::take(&hashing.in_line, hashing.threads).unwrap())
            .collect();
        assert_eq!(hashing.in_line(), places.len());
        assert!(Place::take(&hashing.in_line, hashing.threads).is_none());
        assert_eq!(hashing.in_line(), places.len());

        drop(places);
        assert_eq!(hashing.in_line(), 0);
    }
}
