//! One record for each token: its client, what it says, when it ends. One for each refusal and each
//! introspection, within a bound for each client. Never a token, nor what proves a client, nor any
//! other text of a request: a client that mixes up its two fields sends a client secret as client id.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use super::http::rate_limit::Rate;
use crate::directory::{Recorded, RegisteredClient};

pub use log_file::LogFile;
pub(super) use record::{Introspected, Issued, Refused};

mod log_file;
mod record;

/// Where the records go: a thread of its own that writes many at a time.
pub struct Audit {
    line: Option<SyncSender<Vec<u8>>>,
    ended: Mutex<Receiver<()>>,
    records: Records,
    /// Refusals of clients beyond what each has of its own, as a limiter counts them.
    of_clients: AtomicU64,
    of_strangers: Recorded,
}

/// The counters of records that are missing.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Records that could not be written.
    pub lost: Counter,
    /// Records of refusals and introspections beyond the rate.
    pub suppressed: Counter,
}

impl Audit {
    /// Writes lines of JSON to `out`.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn to(out: impl Write + Send + 'static, records: Records) -> std::io::Result<Self> {
        let (line, lines) = sync_channel(MAX_QUEUED);
        let (end, ended) = channel();
        let writer = std::io::BufWriter::with_capacity(1 << 16, out);
        let name = "audit".to_owned();
        let unwritten = records.lost.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            write(&lines, writer, &unwritten);
            drop(end);
        })?;
        Ok(Self::with(Some(line), ended, records))
    }

    /// Keeps no records.
    pub fn none() -> Self {
        Self::with(None, channel().1, Records::default())
    }

    fn with(line: Option<SyncSender<Vec<u8>>>, ended: Receiver<()>, records: Records) -> Self {
        Self {
            line,
            ended: Mutex::new(ended),
            records,
            of_clients: AtomicU64::new(0),
            of_strangers: Recorded::default(),
        }
    }

    /// Keeps a record. When the writer is behind by many, it is lost and counted: a log that stands
    /// still must not stop every service that needs a token.
    pub(super) fn issued<'a>(&self, record: impl FnOnce() -> Issued<'a>) {
        if let Some(line) = &self.line {
            self.keep(line, &record());
        }
    }

    /// Keeps a record of a refusal at `elapsed`, within a bound: refusals at the speed of the wire
    /// must not fill the disk. Each client has records of its own, which neither strangers nor
    /// refusals in the name of another client can take.
    pub(super) fn refused<'a>(
        &self,
        client: Option<&'a RegisteredClient>,
        elapsed: Duration,
        record: impl FnOnce() -> Refused<'a>,
    ) {
        let Some(line) = &self.line else { return };
        let (recorded, is_free) = if let Some(known) = client {
            let recorded = &known.traces.refusals;
            let is_free = RATE_PER_CLIENT.take(&recorded.kept, elapsed).is_ok()
                || REFUSALS.take(&self.of_clients, elapsed).is_ok();
            (recorded, is_free)
        } else {
            let recorded = &self.of_strangers;
            (recorded, REFUSALS.take(&recorded.kept, elapsed).is_ok())
        };
        if let Some(suppressed) = self.bounded(recorded, is_free) {
            self.keep(line, &record().after(suppressed));
        }
    }

    /// Keeps a record of an introspection by `client` that was answered, within a bound for each
    /// client: it must not take the place of records of tokens.
    pub(super) fn introspected<'a>(
        &self,
        client: &'a RegisteredClient,
        elapsed: Duration,
        record: impl FnOnce() -> Introspected<'a>,
    ) {
        let Some(line) = &self.line else { return };
        let recorded = &client.traces.introspections;
        let is_free = INTROSPECTIONS.take(&recorded.kept, elapsed).is_ok();
        if let Some(suppressed) = self.bounded(recorded, is_free) {
            self.keep(line, &record().after(suppressed));
        }
    }

    /// How many records were left out before this one; nothing when it is left out too.
    fn bounded(&self, recorded: &Recorded, is_free: bool) -> Option<u64> {
        if is_free {
            return Some(recorded.left_out.swap(0, Ordering::Relaxed));
        }
        recorded.left_out.fetch_add(1, Ordering::Relaxed);
        self.records.suppressed.inc();
        None
    }

    fn keep(&self, line: &SyncSender<Vec<u8>>, record: &impl Serialize) {
        let mut text = Vec::with_capacity(RECORD_CAPACITY);
        let is_written = serde_json::to_writer(&mut text, record).is_ok();
        text.push(b'\n');
        if !is_written || line.try_send(text).is_err() {
            self.records.lost.inc();
        }
    }
}

impl Drop for Audit {
    /// Waits for the last records, though not for a log that stands still.
    fn drop(&mut self) {
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.line.take().is_some()
            && ended.recv_timeout(DRAIN_TIMEOUT) == Err(RecvTimeoutError::Timeout)
        {
            tracing::error!("the last audit records could not be written in time");
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Audit").field("is_on", &self.line.is_some()).finish_non_exhaustive()
    }
}

fn write(records: &Receiver<Vec<u8>>, mut writer: impl Write, lost: &Counter) {
    let mut was_written = true;
    while let Ok(first) = records.recv() {
        let mut next = Some(first);
        let mut is_written = true;
        // Flushed when nothing waits.
        while let Some(record) = next {
            if writer.write_all(&record).is_err() {
                is_written = false;
                lost.inc();
            }
            next = records.try_recv().ok();
        }
        is_written &= writer.flush().is_ok();
        if was_written && !is_written {
            tracing::error!("audit records cannot be written, and are counted as lost from now on");
        }
        was_written = is_written;
        // To wake this thread and to write for each token costs more than the token itself.
        std::thread::sleep(FLUSH_INTERVAL);
    }
}

/// A second of tokens, or a third with the fastest algorithm.
const MAX_QUEUED: usize = 1 << 14;

/// The size of a record with a few roles and audiences.
const RECORD_CAPACITY: usize = 768;

/// Records of refusals that each client has of its own: half a MB a day.
const RATE_PER_CLIENT: Rate = Rate::one_in(60, 10);

/// Records of refusals beyond that: less than 400 MB a day for all clients together, and as much for
/// strangers.
const REFUSALS: Rate = Rate::a_second(10, 100);

/// Records of introspections of one client.
const INTROSPECTIONS: Rate = Rate::a_second(10, 100);

/// How long records wait for each other.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);

/// How long the end of the process waits for the last records.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
