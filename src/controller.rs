//! The operator: observe, decide in the domain, write, observe again.
//!
//! Only this layer writes to Kubernetes. Watches say which object to reconcile and never what to do: every
//! decision rests on live reads.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use kube::Client;
use tokio::sync::{Semaphore, watch};

use crate::api::kind::Kind;
use crate::api::signing_key::SigningKey;
use crate::api::technical_user::TechnicalUser;
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::crypto::client_secret::MalformedCredential;
use crate::domain::policy::Policy;
use crate::domain::technical_user::delivered_secret::Endpoints;
use crate::environment::private_key::{KeyError, KeyPairs};
use crate::environment::{Entropy, EntropyError};

pub mod installation;
mod ownership;
pub mod runtime;
pub mod signing_key;
pub mod technical_user;

use self::installation::Installations;
use self::runtime::Synced;
use self::runtime::leader_election::Leadership;
use self::runtime::metrics::Metrics;
use self::runtime::workqueue::Barrier;
use crate::kubernetes::client::{ApiError, ApiErrorKind, ConditionalClient};

/// Everything a reconcile needs, and nothing global.
#[derive(Debug)]
pub struct Context {
    /// The API server.
    pub cluster: ConditionalClient,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Where key pairs come from.
    pub key_pairs: Arc<dyn KeyPairs>,
    /// The settings of the operator.
    pub settings: Settings,
    /// Whether this replica is the one that works. For cost and calm, never for safety.
    pub leadership: Leadership,
    /// Room on the blocking pool: bcrypt and RSA must leave a core to everything else.
    pub hashing: Arc<Semaphore>,
    /// The metrics.
    pub metrics: Metrics,
    /// Whose the objects are.
    pub installations: Arc<Installations>,
}

/// A controller, ready to run.
pub(crate) struct Controller {
    /// Its name as a part of the process.
    pub(crate) name: &'static str,
    /// The plural of its kind.
    pub(crate) plural: &'static str,
    /// Whether its watches are synced.
    pub(crate) synced: watch::Receiver<Synced>,
    /// Runs until it is stopped.
    pub(crate) run: BoxFuture<'static, ()>,
}

/// The controllers of all kinds. They end once the sender of `stopping` is dropped.
pub(crate) fn controllers(
    client: &Client,
    context: &Arc<Context>,
    stopping: &watch::Receiver<()>,
) -> Vec<Controller> {
    let parts = (client, context, stopping);
    vec![
        Controller::of::<TechnicalUser, _>(
            "the controller of TechnicalUsers",
            technical_user::run,
            parts,
        ),
        Controller::of::<SigningKey, _>("the controller of SigningKeys", signing_key::run, parts),
    ]
}

/// The settings of the operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's own namespace, where verifier records live.
    pub namespace: String,
    /// The `SigningKey`s that are served are those that name this controller.
    pub controller_name: String,
    /// Where users are served; everywhere when empty.
    pub watch_namespaces: Vec<String>,
    /// The URLs of the token service in delivered Secrets.
    pub endpoints: Endpoints,
    /// The allowed roles and audiences: the token service enforces them, the operator reports them.
    pub policy: Policy,
    /// The cost of new verifiers.
    pub bcrypt_cost: u32,
    /// The name of this replica.
    pub identity: String,
    /// How long a key stays in the JWKS, at least.
    pub limits: TokenLimits,
    /// Whether a `SigningKey` named `default` is made whenever there is none of that name.
    pub bootstrap_signing_key: bool,
}

/// The settings that the operator and the token service share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenLimits {
    /// S: how old the watches of a token server may be for it to sign.
    pub max_staleness: SignedDuration,
    /// How long a token lives at most.
    pub token_lifetime: SignedDuration,
}

impl Default for TokenLimits {
    fn default() -> Self {
        Self {
            max_staleness: SignedDuration::from_hours(1),
            token_lifetime: SignedDuration::from_hours(24),
        }
    }
}

/// The world did not obey.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Another replica leads.
    #[error("another replica leads")]
    NotLeading,
    /// Another program keeps changing what the operator writes.
    #[error("not converged: another program keeps changing the same objects")]
    NotConverged,
    /// The operator's own namespace does not exist.
    #[error("namespace {0} of the operator does not exist: create it, or correct --namespace")]
    NoNamespace(String),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// No verifier could be made.
    #[error("no verifier was made: {0}")]
    Hashing(MalformedCredential),
    /// No key pair could be made.
    #[error("no key pair was made: {0}")]
    Generating(KeyError),
    /// The task of that name panicked. The log has the panic.
    #[error("the task \"{0}\" panicked: see the log line before this one")]
    Panicked(&'static str),
}

/// When to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Soon, then ever later: the world will recover by itself.
    Backoff,
    /// The server said when.
    After(Duration),
    /// When a probe finds that the blocked reason is gone, or in its turn: a person has to act.
    Blocked(Barrier),
    /// Not before something changes.
    OnChange,
}

// === impl Controller ===

impl Controller {
    fn of<K: Kind, F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        run: impl FnOnce(Client, Arc<Context>, watch::Sender<Synced>, BoxFuture<'static, ()>) -> F,
        (client, context, stopping): (&Client, &Arc<Context>, &watch::Receiver<()>),
    ) -> Self {
        let (sender, synced) = watch::channel(Synced(false));
        let mut stopping = stopping.clone();
        // It never changes; it ends.
        let stop = async move { drop(stopping.changed().await) };
        let run = run(client.clone(), Arc::clone(context), sender, stop.boxed());
        Self { name, plural: K::PLURAL, synced, run: run.boxed() }
    }
}

// === impl Settings ===

impl Settings {
    /// Whether the JWKS may be published in that namespace, if it is selected.
    pub fn publishes_in(&self, namespace: &str) -> bool {
        self.watch_namespaces.is_empty()
            || namespace == self.namespace
            || self.watch_namespaces.iter().any(|it| it == namespace)
    }

    /// The namespaces to list JWKS ConfigMaps in; an empty name means all.
    pub fn scopes_of_jwks(&self) -> Vec<&str> {
        if self.watch_namespaces.is_empty() {
            return vec![""];
        }
        let mut scopes: Vec<_> = self.watch_namespaces.iter().map(String::as_str).collect();
        if !scopes.contains(&self.namespace.as_str()) {
            scopes.push(&self.namespace);
        }
        scopes
    }
}

// === impl Context ===

impl Context {
    /// Whether this replica may write.
    pub fn is_leader(&self) -> bool {
        self.leadership.is_leader()
    }
}

// === impl Error ===

impl Error {
    /// A fixed word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api(failure) => match failure.kind {
                ApiErrorKind::NoAnswer(_) => "unanswered",
                ApiErrorKind::InvalidResponse => "garbled",
                ApiErrorKind::Oversized => "oversized",
                ApiErrorKind::NotFound => "not_found",
                ApiErrorKind::NamespaceGone | ApiErrorKind::NamespaceTerminating => {
                    "namespace_terminating"
                }
                ApiErrorKind::Conflict => "conflict",
                ApiErrorKind::Invalid => "invalid",
                ApiErrorKind::Forbidden => "forbidden",
                ApiErrorKind::AdmissionDenied(_) => "denied",
                ApiErrorKind::QuotaExceeded => "quota",
                ApiErrorKind::TooManyRequests(_) => "too_many_requests",
                ApiErrorKind::Server(..) => "server_error",
                ApiErrorKind::Refused(..) => "refused",
            },
            Self::NotLeading => "not_leading",
            Self::NotConverged => "unsettled",
            Self::NoNamespace(_) => "no_namespace",
            Self::Entropy(_) => "entropy",
            Self::Hashing(_) => "hashing",
            Self::Generating(_) => "generating",
            Self::Panicked(task) => task,
        }
    }

    /// When to try again.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Api(failure) => match &failure.kind {
                ApiErrorKind::NoAnswer(_)
                | ApiErrorKind::InvalidResponse
                | ApiErrorKind::Oversized
                | ApiErrorKind::NotFound
                | ApiErrorKind::Conflict => Retry::Backoff,
                ApiErrorKind::TooManyRequests(after) | ApiErrorKind::Server(_, after) => {
                    after.map_or(Retry::Backoff, Retry::After)
                }
                ApiErrorKind::Forbidden
                | ApiErrorKind::AdmissionDenied(_)
                | ApiErrorKind::QuotaExceeded
                | ApiErrorKind::Invalid
                | ApiErrorKind::Refused(..) => Retry::Blocked(Barrier::of(failure)),
                ApiErrorKind::NamespaceGone | ApiErrorKind::NamespaceTerminating => Retry::OnChange,
            },
            // A lease that was renewed a moment late is one that the queue never saw lost.
            Self::NotLeading
            | Self::NotConverged
            | Self::NoNamespace(_)
            | Self::Entropy(_)
            | Self::Hashing(_)
            | Self::Generating(_)
            | Self::Panicked(_) => Retry::Backoff,
        }
    }

    /// The blocked reason for the status, if the user can act on it.
    pub fn blocked_reason(&self) -> Option<BlockedReason> {
        let failure = match self {
            Self::Api(failure) => failure,
            Self::NotConverged => return Some(BlockedReason::WriteConflict { object: None }),
            Self::NotLeading
            | Self::NoNamespace(_)
            | Self::Entropy(_)
            | Self::Hashing(_)
            | Self::Generating(_)
            | Self::Panicked(_) => {
                return None;
            }
        };
        Some(failure.blocked_reason())
    }
}
