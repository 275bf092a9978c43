//! One record for each token: who got it, what it says, when it ends. Never the token itself nor
//! what proved the client.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use crate::domain::key_pair::Kid;
use crate::domain::token::presented::Method;
use crate::domain::token::{Claims, TokenId};

/// Where the records go: a thread of its own that writes many at a time.
pub struct Audit {
    line: Option<SyncSender<Vec<u8>>>,
    ended: Mutex<Receiver<()>>,
    lost: Counter,
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
}

impl Audit {
    /// Writes lines of JSON to `out`.
    ///
    /// # Errors
    ///
    /// The system has no more threads.
    pub fn to(out: impl Write + Send + 'static, lost: Counter) -> std::io::Result<Self> {
        let (line, records) = sync_channel(IN_LINE);
        let (end, ended) = channel();
        let writer = std::io::BufWriter::with_capacity(1 << 16, out);
        let name = "audit".to_owned();
        let unwritten = lost.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            write(&records, writer, &unwritten);
            drop(end);
        })?;
        Ok(Self { line: Some(line), ended: Mutex::new(ended), lost })
    }

    /// Keeps no records.
    pub fn none() -> Self {
        Self { line: None, ended: Mutex::new(channel().1), lost: Counter::default() }
    }

    /// Keeps a record. When the writer is behind by many, it is lost and counted: a log that stands
    /// still must not stop every service that needs a token.
    pub(super) fn issued<'a>(&self, record: impl FnOnce() -> Issued<'a>) {
        let Some(line) = &self.line else { return };
        let mut text = Vec::with_capacity(RECORD);
        let is_written = serde_json::to_writer(&mut text, &record()).is_ok();
        text.push(b'\n');
        if !is_written || line.try_send(text).is_err() {
            self.lost.inc();
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
    pub(super) fn of(claims: &Claims<'a>, kid: &'a Kid, method: Method) -> Self {
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

/// A second of tokens, or a third with the fastest algorithm.
const IN_LINE: usize = 1 << 14;

/// What a record takes, with a few roles and audiences.
const RECORD: usize = 512;

/// How long records wait for each other.
const GATHERING: Duration = Duration::from_millis(10);

/// How long the end of the process waits for the last records.
const PATIENCE: Duration = Duration::from_secs(1);
