//! One record for each token: who got it, what it says, when it ends. Never the token itself nor
//! what proved the client.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use crate::domain::key_pair::Kid;
use crate::domain::token::presented::Method;
use crate::domain::token::{Claims, TokenId};

/// Where the records go: a thread of its own that writes many at a time.
pub struct Audit {
    line: Option<SyncSender<Issued>>,
    lost: Counter,
}

/// A token that was issued.
#[derive(Clone, Debug, Serialize)]
pub struct Issued {
    time: Timestamp,
    event: &'static str,
    client_id: String,
    technical_user_uid: String,
    caas_org_id: String,
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    #[serde(serialize_with = "as_text")]
    jti: TokenId,
    kid: String,
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
        let writer = std::io::BufWriter::with_capacity(1 << 16, out);
        let name = "audit".to_owned();
        std::thread::Builder::new().name(name).spawn(move || write(&records, writer))?;
        Ok(Self { line: Some(line), lost })
    }

    /// Keeps no records.
    pub fn none() -> Self {
        Self { line: None, lost: Counter::default() }
    }

    /// Keeps a record. When the writer is behind by many, it is lost and counted: a log that stands
    /// still must not stop every service that needs a token.
    pub(super) fn issued(&self, record: impl FnOnce() -> Issued) {
        if let Some(line) = &self.line
            && line.try_send(record()).is_err()
        {
            self.lost.inc();
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Audit").field("is_on", &self.line.is_some()).finish_non_exhaustive()
    }
}

impl Issued {
    pub(super) fn of(claims: &Claims<'_>, kid: &Kid, method: Method) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
        Self {
            time: claims.issued_at,
            event: "token_issued",
            client_id: claims.client.id.to_string(),
            technical_user_uid: claims.client.uid.clone(),
            caas_org_id: claims.client.tenant.clone(),
            roles: owned(&claims.granted.roles),
            aud: owned(&claims.granted.audiences),
            jti: claims.id,
            kid: kid.to_string(),
            exp: claims.expires_at().as_second(),
            auth_method: method.name(),
        }
    }
}

fn write(records: &Receiver<Issued>, mut writer: impl Write) {
    while let Ok(first) = records.recv() {
        let mut next = Some(first);
        // Flushed when nothing waits.
        while let Some(record) = next {
            let line = serde_json::to_vec(&record).unwrap_or_default();
            if writer.write_all(&line).and_then(|()| writer.write_all(b"\n")).is_err() {
                tracing::error!("an audit record could not be written");
            }
            next = records.try_recv().ok();
        }
        if writer.flush().is_err() {
            tracing::error!("audit records could not be written");
        }
    }
}

fn as_text<S: serde::Serializer>(id: &TokenId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A second of tokens or more.
const IN_LINE: usize = 1 << 14;
