//! bcrypt on threads of its own: a few hashes at a time, and a bounded line in which each namespace
//! has its share. A hash may take long, and must not take the cores from requests that need none.

use std::fmt;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use self::line::Line;
use crate::domain::crypto::client_secret::{ClientSecret, Verifier};

mod line;

/// Hashes. A clone shares the threads and the line.
#[derive(Clone)]
pub struct Hashing {
    line: Arc<Mutex<Line<Job>>>,
    threads: usize,
}

/// The line is full: try again after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub Duration);

/// One client secret to check.
struct Job {
    verifier: Verifier,
    secret: ClientSecret,
    answer: oneshot::Sender<bool>,
}

impl Default for Hashing {
    /// As many at a time as there are cores but one, and at least one.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.saturating_sub(1).max(1);
        let line = Line::new(threads, MAX_QUEUED_PER_THREAD.saturating_mul(threads));
        Self { line: Arc::new(Mutex::new(line)), threads }
    }
}

impl Hashing {
    /// Whether the verifier is the one of that client secret, for a client of the namespace of that
    /// uid.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was hashed, because the line is full and this namespace has its share of it.
    pub async fn accepts(
        &self,
        namespace: &str,
        verifier: &Verifier,
        secret: &ClientSecret,
    ) -> Result<bool, Full> {
        let (answer, answered) = oneshot::channel();
        let job = Job { verifier: verifier.clone(), secret: secret.clone(), answer };
        // It is full for one reason alone.
        let needs_thread = self.lock().join(namespace, job).map_err(|_| Full(RETRY_AFTER))?;
        if needs_thread {
            let line = Arc::clone(&self.line);
            tokio::task::spawn_blocking(move || work(&line));
        }
        // The sender is dropped when another namespace takes the place in the line.
        answered.await.map_err(|_| Full(RETRY_AFTER))
    }

    /// How many are hashed or wait for it.
    pub fn in_line(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Line<Job>> {
        lock(&self.line)
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hashing").field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Hashes until the line is empty.
fn work(line: &Mutex<Line<Job>>) {
    // Behind all requests that need no hash. Where that is not allowed, everything works all the same.
    let _ = setpriority_process(None, LOW);
    loop {
        let next = lock(line).next();
        let Some(Job { verifier, secret, answer }) = next else { return };
        if answer.is_closed() {
            continue;
        }
        // A panic must not end the thread while the line counts it as working.
        let is_right = catch_unwind(AssertUnwindSafe(|| verifier.accepts(&secret)));
        if let Ok(is_right) = is_right {
            let _ = answer.send(is_right);
        }
    }
}

fn lock(line: &Mutex<Line<Job>>) -> MutexGuard<'_, Line<Job>> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many wait for each thread: about five seconds at cost 10.
const MAX_QUEUED_PER_THREAD: usize = 100;

/// How long a full line takes.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The niceness of a thread that hashes.
const LOW: i32 = 10;

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::domain::crypto::client_secret::CredentialId;

    #[tokio::test]
    async fn every_job_of_every_namespace_is_answered_and_leaves_the_line() {
        let hashing = Hashing::default();
        let secret = |seed| {
            let id = CredentialId::draw(&[7; 10]).unwrap();
            ClientSecret::draw(&id, &[seed; 64]).unwrap()
        };
        let (right, wrong) = (secret(1), secret(2));
        let verifier = Verifier::of(&right, 4, [7; 16]).unwrap();

        let jobs = (0..40).map(|number| {
            let (secret, namespace) = if number % 2 == 0 { (&right, "a") } else { (&wrong, "b") };
            hashing.accepts(namespace, &verifier, secret)
        });
        let answers = join_all(jobs).await;

        let expected: Vec<_> = (0..40).map(|number| Ok(number % 2 == 0)).collect();
        assert_eq!(answers, expected);
        while hashing.in_line() > 0 {
            std::thread::yield_now();
        }
    }
}
