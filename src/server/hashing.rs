//! bcrypt on threads of its own, a few hashes at a time and a bounded number in line: it may take
//! long, and must not take the cores from those who need no hash.

use std::fmt;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::credential::{ClientSecret, Verifier};

/// Hashes.
pub struct Hashing {
    line: SyncSender<Job>,
    threads: usize,
}

/// The line is full: try again after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub Duration);

struct Job {
    verifier: Verifier,
    secret: ClientSecret,
    answer: oneshot::Sender<bool>,
}

impl Hashing {
    /// Starts as many threads as there are cores but one, and at least one.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.saturating_sub(1).max(1);
        let (line, jobs) = sync_channel(IN_LINE * threads);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs);
            std::thread::Builder::new().name("hashing".to_owned()).spawn(move || work(&jobs))?;
        }
        Ok(Self { line, threads })
    }

    /// Whether the verifier is the one of that client secret.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing was hashed.
    pub async fn accepts(&self, verifier: &Verifier, secret: &ClientSecret) -> Result<bool, Full> {
        let (answer, answered) = oneshot::channel();
        let job = Job { verifier: verifier.clone(), secret: secret.clone(), answer };
        match self.line.try_send(job) {
            Ok(()) => answered.await.map_err(|_| Full(A_HASH)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                let line = u32::try_from(IN_LINE).unwrap_or(u32::MAX);
                Err(Full(A_HASH.saturating_mul(line)))
            }
        }
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hashing").field("threads", &self.threads).finish_non_exhaustive()
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    // Behind whoever needs no hash. Without the right to it, everything works all the same.
    let _ = rustix::process::nice(10);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Who hung up meanwhile needs no answer.
        if !job.answer.is_closed() {
            let _ = job.answer.send(job.verifier.accepts(&job.secret));
        }
    }
}

/// How many wait for each thread: about five seconds at cost 10.
const IN_LINE: usize = 100;

/// About what one hash takes at cost 10.
const A_HASH: Duration = Duration::from_millis(50);
