//! The operator: looks, has the domain decide, writes, looks again.
//!
//! Only this layer writes to Kubernetes. Watches tell it where to look and never what to do: every
//! decision rests on live reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::api::technical_user::TechnicalUser;
use crate::domain::delivery::Endpoints;
use crate::domain::obstacle::Obstacle;
use crate::environment::{Entropy, EntropyError};

pub mod cluster;
pub mod engine;
pub mod event;
pub mod lease;
pub mod metrics;
mod queue;
pub mod technical_user;
mod views;

use self::cluster::{Cluster, Failure, Kind};
use self::lease::Leadership;
use self::metrics::Metrics;

/// Everything a reconcile needs, and nothing global.
#[derive(Debug)]
pub struct Context {
    /// The API server.
    pub cluster: Cluster,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// What the operator was told at its start.
    pub settings: Settings,
    /// Whether this replica is the one that works. For cost and calm, never for safety.
    pub leadership: Leadership,
    /// Room on the blocking pool: bcrypt must leave a core to everything else.
    pub hashing: Arc<Semaphore>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What the operator was told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's own namespace, where verifier records live.
    pub namespace: String,
    /// Where users are served; everywhere when empty.
    pub watch_namespaces: Vec<String>,
    /// What delivered Secrets say of the token service.
    pub endpoints: Endpoints,
    /// The cost of new verifiers.
    pub bcrypt_cost: u32,
    /// The name of this replica.
    pub identity: String,
}

/// The world did not obey.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to the API server failed.
    #[error(transparent)]
    Call(#[from] Failure),
    /// Another replica leads.
    #[error("another replica leads")]
    NotLeading,
    /// Somebody keeps changing what the operator writes.
    #[error("did not come to rest: somebody else keeps changing the same objects")]
    Unsettled,
    /// The spec passed admission but cannot be read.
    #[error("the spec cannot be read")]
    InvalidSpec(Box<TechnicalUser>),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// No verifier could be made.
    #[error("hashing failed")]
    Hashing,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, then ever later: the world will recover by itself.
    Backoff,
    /// The server said when.
    After(Duration),
    /// Rarely: a person has to act.
    Slowly,
    /// Not before something changes.
    OnChange,
}

// === impl Context ===

impl Context {
    /// Whether this replica may write.
    pub fn leads(&self) -> bool {
        self.leadership.holds()
    }
}

// === impl Error ===

impl Error {
    /// A fixed word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Call(failure) => match failure.kind {
                Kind::Unanswered => "unanswered",
                Kind::Garbled => "garbled",
                Kind::NotFound => "not_found",
                Kind::NamespaceGone | Kind::NamespaceTerminating => "namespace_terminating",
                Kind::Outdated => "conflict",
                Kind::Invalid => "invalid",
                Kind::Forbidden => "forbidden",
                Kind::Quota => "quota",
                Kind::TooManyRequests(_) => "too_many_requests",
                Kind::Server(..) => "server_error",
                Kind::Refused(..) => "refused",
            },
            Self::NotLeading => "not_leading",
            Self::Unsettled => "unsettled",
            Self::InvalidSpec(_) => "invalid_spec",
            Self::Entropy(_) => "entropy",
            Self::Hashing => "hashing",
        }
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Call(failure) => match &failure.kind {
                Kind::Unanswered | Kind::Garbled | Kind::NotFound | Kind::Outdated => {
                    Retry::Backoff
                }
                Kind::TooManyRequests(after) | Kind::Server(_, after) => {
                    after.map_or(Retry::Backoff, Retry::After)
                }
                Kind::Forbidden | Kind::Quota | Kind::Invalid | Kind::Refused(..) => Retry::Slowly,
                Kind::NamespaceGone | Kind::NamespaceTerminating => Retry::OnChange,
            },
            // A lease that was renewed a moment late is one that the queue never saw lost.
            Self::NotLeading | Self::Unsettled | Self::Entropy(_) | Self::Hashing => Retry::Backoff,
            Self::InvalidSpec(_) => Retry::OnChange,
        }
    }

    /// What to tell the user about it, if it is any business of theirs.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let failure = match self {
            Self::Call(failure) => failure,
            Self::Unsettled => return Some(Obstacle::Contended),
            Self::NotLeading | Self::InvalidSpec(_) | Self::Entropy(_) | Self::Hashing => {
                return None;
            }
        };
        let operation = &failure.operation;
        let (verb, resource) = (operation.verb, operation.resource);
        Some(match &failure.kind {
            Kind::Forbidden => {
                Obstacle::Forbidden { verb, resource, namespace: operation.namespace.clone() }
            }
            Kind::Quota => Obstacle::Quota { resource },
            Kind::NamespaceGone | Kind::NamespaceTerminating => Obstacle::NamespaceTerminating,
            Kind::Invalid => Obstacle::Refused { verb, resource, reason: "Invalid".to_owned() },
            Kind::Refused(_, reason) => {
                Obstacle::Refused { verb, resource, reason: reason.clone() }
            }
            Kind::Outdated | Kind::NotFound => Obstacle::Contended,
            Kind::Unanswered | Kind::Garbled | Kind::TooManyRequests(_) | Kind::Server(..) => {
                Obstacle::Unavailable
            }
        })
    }
}
