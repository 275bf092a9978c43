//! One record for each token: who got it, what it says, when it ends; and one for each refusal, as
//! long as there are not too many. Never a token, nor what proves a client, nor any other text of a
//! request: who mistakes the two fields has a client secret for a client id.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use super::answer::Refusal;
use super::limits::Rate;
use crate::domain::key_pair::Kid;
use crate::domain::token::presented::Method;
use crate::domain::token::{Claims, Client, TokenId};

pub use log_file::LogFile;

mod log_file;

/// Where the records go: a thread of its own that writes many at a time.
pub struct Audit {
    line: Option<SyncSender<Vec<u8>>>,
    ended: Mutex<Receiver<()>>,
    records: Records,
    of_clients: Bound,
    of_others: Bound,
}

/// What is counted of records that are not there.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Those that could not be written.
    pub lost: Counter,
    /// Those of refusals that were too many.
    pub suppressed: Counter,
}

/// How many refusals leave a record, and how many did not since the last that did.
#[derive(Debug, Default)]
struct Bound {
    count: AtomicU64,
    suppressed: AtomicU64,
}

/// A token that was issued.
#[derive(Clone, Debug, Serialize)]
pub struct Issued<'a> {
    time: Timestamp,
    event: &'static str,
    client_id: &'a str,
    technical_user_uid: &'a str,
    caas_org_id: &'a str,
    roles: &'a [&'a str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    aud: &'a [&'a str],
    #[serde(serialize_with = "as_text")]
    jti: TokenId,
    kid: &'a str,
    exp: i64,
    auth_method: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
}

/// How a client authenticated, and where its connection came from: the last proxy, if there is one.
type Way = (Method, Option<IpAddr>);

/// A request that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refused<'a> {
    time: Timestamp,
    event: &'static str,
    #[serde(flatten)]
    client: Option<Named<'a>>,
    auth_method: &'static str,
    error: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Named<'a> {
    client_id: &'a str,
    technical_user_uid: &'a str,
    caas_org_id: &'a str,
}

impl Audit {
    /// Writes lines of JSON to `out`.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn to(out: impl Write + Send + 'static, records: Records) -> std::io::Result<Self> {
        let (line, lines) = sync_channel(IN_LINE);
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
            of_clients: Bound::default(),
            of_others: Bound::default(),
        }
    }

    /// Keeps a record. When the writer is behind by many, it is lost and counted: a log that stands
    /// still must not stop every service that needs a token.
    pub(super) fn issued<'a>(&self, record: impl FnOnce() -> Issued<'a>) {
        if let Some(line) = &self.line {
            self.keep(line, &record());
        }
    }

    /// Keeps a record of a refusal at `elapsed`, unless there were too many: whoever is refused at
    /// the speed of the wire must not fill the disk. Those of strangers take no place from those of
    /// a client that there is.
    pub(super) fn refused<'a>(
        &self,
        client: Option<&'a Client>,
        elapsed: Duration,
        record: impl FnOnce() -> Refused<'a>,
    ) {
        let Some(line) = &self.line else { return };
        let bound = if client.is_some() { &self.of_clients } else { &self.of_others };
        if REFUSALS.take(&bound.count, elapsed).is_err() {
            bound.suppressed.fetch_add(1, Ordering::Relaxed);
            self.records.suppressed.inc();
            return;
        }
        let suppressed = bound.suppressed.swap(0, Ordering::Relaxed);
        self.keep(line, &Refused { client: client.map(Named::of), suppressed, ..record() });
    }

    fn keep(&self, line: &SyncSender<Vec<u8>>, record: &impl Serialize) {
        let mut text = Vec::with_capacity(RECORD);
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
            && ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)
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

impl<'a> Issued<'a> {
    pub(super) fn of(claims: &Claims<'a>, kid: &'a Kid, (method, source): Way) -> Self {
        Self {
            time: claims.issued_at,
            event: "token_issued",
            client_id: claims.client.id.as_str(),
            technical_user_uid: &claims.client.uid,
            caas_org_id: &claims.client.tenant,
            roles: &claims.granted.roles,
            aud: &claims.granted.audiences,
            jti: claims.id,
            kid: kid.as_str(),
            exp: claims.expires_at().as_second(),
            auth_method: method.name(),
            source,
        }
    }
}

impl Refused<'_> {
    pub(super) fn of(
        time: Timestamp,
        event: &'static str,
        (method, source): Way,
        refusal: &Refusal,
    ) -> Self {
        Self {
            time,
            event,
            client: None,
            auth_method: method.name(),
            error: refusal.code(),
            reason: refusal.reason(),
            source,
            suppressed: 0,
        }
    }
}

impl<'a> Named<'a> {
    fn of(client: &'a Client) -> Self {
        Self {
            client_id: client.id.as_str(),
            technical_user_uid: &client.uid,
            caas_org_id: &client.tenant,
        }
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
        std::thread::sleep(GATHERING);
    }
}

fn as_text<S: serde::Serializer>(id: &TokenId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A second of tokens, or a third with the fastest algorithm.
const IN_LINE: usize = 1 << 14;

/// What a record takes, with a few roles and audiences.
const RECORD: usize = 640;

/// Records of refusals: less than 300 MB a day for clients, and as much for all others.
const REFUSALS: Rate = Rate::a_second(10, 100);

/// How long records wait for each other.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the end of the process waits for the last records.
const PATIENCE: Duration = Duration::from_secs(1);
