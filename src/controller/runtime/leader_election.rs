//! Leader election by a Lease, with the algorithm of client-go.
//!
//! For cost and calm only. Every write of the controllers is conditional, so that two leaders waste
//! work and break nothing. The lease has a client of its own, so that renewals never wait behind
//! other calls; its holder stops writing before anybody else may think it gone, by a clock that
//! cannot jump.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::controller::Settings;
use crate::environment::Clock;
use crate::heartbeat::Heartbeats;
use crate::kubernetes::client::no_answer;

/// Keeps trying to hold the lease, and says until when it is held.
#[derive(Clone)]
pub struct LeaderElector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    clock: Arc<dyn Clock>,
    held_until: watch::Sender<Option<Instant>>,
    heartbeats: Heartbeats,
}

/// Whether this replica leads. Cheap to ask, right before every write.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

/// The last observed Lease, and since when it is unchanged.
#[derive(Debug)]
struct ObservedRecord {
    resource_version: Option<String>,
    since: Instant,
    /// As the API server answered when this replica wrote it last.
    mine: Option<Lease>,
}

impl std::fmt::Debug for LeaderElector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LeaderElector")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

// === impl Leadership ===

impl Leadership {
    /// Whether the lease is held right now.
    pub fn is_leader(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Resolves when the lease was won, renewed or lost; never once its candidate is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Until when the Lease is held without a renewal.
    pub fn until(&self) -> Option<Instant> {
        *self.0.borrow()
    }
}

// === impl Candidate ===

impl LeaderElector {
    /// A candidate for the lease `name` in the operator's namespace, and what it wins.
    pub fn new(
        client: Client,
        settings: &Settings,
        name: &str,
        clock: Arc<dyn Clock>,
    ) -> (Self, Leadership) {
        let leases = Api::namespaced(client, &settings.namespace);
        Self::of(leases, (name, &settings.identity), clock)
    }

    fn of(
        leases: Api<Lease>,
        (name, identity): (&str, &str),
        clock: Arc<dyn Clock>,
    ) -> (Self, Leadership) {
        let (held_until, leadership) = watch::channel(None);
        let candidate = Self {
            leases,
            name: name.to_owned(),
            identity: identity.to_owned(),
            clock,
            held_until,
            heartbeats: Heartbeats::default(),
        };
        (candidate, Leadership(leadership))
    }

    /// Neither renews nor tries for the lease while one of these parts stands still.
    #[must_use]
    pub fn with_heartbeats(mut self, heartbeats: Heartbeats) -> Self {
        self.heartbeats = heartbeats;
        self
    }

    /// Tries without end. Dropping the future lets the lease run out.
    pub async fn run(&self) {
        let mut sighting =
            ObservedRecord { resource_version: None, since: Instant::now(), mine: None };
        let mut condition = String::new();
        let mut was_stalled = false;
        loop {
            let stalled = self.heartbeats.stalled();
            if let Some(stalled) = stalled {
                if !was_stalled {
                    tracing::error!(%stalled, lease = self.name, "the lease is left to another replica");
                }
                was_stalled = true;
                self.set_leader_until(None);
                tokio::time::sleep(RETRY_PERIOD).await;
                continue;
            }
            was_stalled = false;
            let sent_at = Instant::now();
            let attempt = tokio::time::timeout(
                CALL_TIMEOUT,
                self.try_acquire_or_renew(&mut sighting, sent_at),
            );
            let until = sent_at + RENEW_DEADLINE;
            let error = match attempt.await {
                Ok(Ok(is_held)) => {
                    self.set_leader_until(is_held.then_some(until));
                    String::new()
                }
                Ok(Err(error)) => text(&error),
                Err(_) => "no answer in time".to_owned(),
            };
            // When it begins, and when it is found to be one that does not pass: there is a try every
            // two seconds.
            let is_new = condition.is_empty() || (error.starts_with('4') && error != condition);
            if is_new && !error.is_empty() {
                tracing::warn!(
                    error,
                    lease = self.name,
                    "leader election failed: cannot get or update the Lease. The operator writes nothing \
                     until it has the Lease. With 403 or 404, check that the namespace of --namespace \
                     exists and that config/rbac.yaml is applied there"
                );
            }
            condition = error;
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    /// Gives the lease up, so that another replica need not wait for it to run out.
    pub async fn release(&self) {
        let was_held = self.held_until.borrow().is_some();
        self.set_leader_until(None);
        if !was_held {
            return;
        }
        let release = async {
            let mut lease = self.leases.get_opt(&self.name).await.ok().flatten()?;
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
            (holder.as_ref() == Some(&self.identity)).then_some(())?;
            let mut spec = lease.spec.take().unwrap_or_default();
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            lease.spec = Some(spec);
            self.leases.replace(&self.name, &PostParams::default(), &lease).await.ok()
        };
        // The result does not matter: the lease runs out by itself.
        if tokio::time::timeout(CALL_TIMEOUT, release).await.is_ok() {
            tracing::info!("lease released");
        }
    }

    /// One try. `Ok(true)` when the lease is held, counted from `sent_at`.
    async fn try_acquire_or_renew(
        &self,
        sighting: &mut ObservedRecord,
        sent_at: Instant,
    ) -> kube::Result<bool> {
        let now = self.clock.now();
        if let Some(mine) = sighting.mine.take() {
            // Usually no other replica has written it: one request instead of two.
            let lease = self.lease(Some(&mine), now);
            match self.leases.replace(&self.name, &PostParams::default(), &lease).await {
                Ok(renewed) => return Ok(sighting.is_acquired(renewed)),
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(present) = self.leases.get_opt(&self.name).await? else {
            let lease = self.lease(None, now);
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return acquired(created, sighting);
        };
        let spec = present.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let is_held_by_other = !holder.is_empty() && holder != self.identity;
        if sighting.resource_version != present.resource_version() {
            sighting.resource_version = present.resource_version();
            sighting.since = Instant::now();
        }
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or(0);
        let lasts = Duration::from_secs(lasts).min(MAX_LEASE_DURATION);
        let has_run_out = sent_at.saturating_duration_since(sighting.since) >= lasts;
        if is_held_by_other && !has_run_out {
            return Ok(false);
        }
        let lease = self.lease(Some(&present), now);
        acquired(self.leases.replace(&self.name, &PostParams::default(), &lease).await, sighting)
    }

    fn lease(&self, present: Option<&Lease>, now: Timestamp) -> Lease {
        let former = present.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_mine = former.holder_identity.as_deref() == Some(&self.identity);
        let transitions = former.lease_transitions.unwrap_or_default();
        let metadata = match present {
            Some(lease) => lease.metadata.clone(),
            None => ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
        };
        let acquired_at = former.acquire_time.filter(|_| is_mine);
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(LEASE_DURATION_SECONDS),
                acquire_time: Some(acquired_at.unwrap_or(MicroTime(now))),
                renew_time: Some(MicroTime(now)),
                lease_transitions: Some(if is_mine || present.is_none() {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
                ..LeaseSpec::default()
            }),
        }
    }

    fn set_leader_until(&self, until: Option<Instant>) {
        let was = self.held_until.send_replace(until);
        match (was, until) {
            (None, Some(_)) => tracing::info!(identity = self.identity, "lease won"),
            (Some(_), None) => tracing::info!(identity = self.identity, "lease lost"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

// === impl Sighting ===

impl ObservedRecord {
    /// This replica is the leader: keeps the Lease that it wrote.
    fn is_acquired(&mut self, lease: Lease) -> bool {
        self.mine = Some(lease);
        true
    }
}

fn acquired(answer: kube::Result<Lease>, sighting: &mut ObservedRecord) -> kube::Result<bool> {
    match answer {
        Ok(lease) => Ok(sighting.is_acquired(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// The code and the reason of an error; its message can quote an object.
fn text(error: &kube::Error) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of kube that grows")]
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        error => format!("no answer: {}", no_answer(error)),
    }
}

/// How long others wait before they take the lease over: client-go's 15 s.
const LEASE_DURATION_SECONDS: i32 = 15;

/// How long the lease of another holder is believed to last. Its own field is not used: it is renewed every few
/// seconds. A leader costs calm when it is doubted, never safety.
const MAX_LEASE_DURATION: Duration = Duration::from_mins(1);

/// How long a renewal is good for, counted from when it was sent: client-go's 10 s.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// How often the lease is renewed or tried for: client-go's 2 s.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use support::fake_api_server::FakeApiServer;

    use super::*;
    use crate::environment::System;

    fn candidate(server: &FakeApiServer, identity: &str) -> (LeaderElector, Leadership) {
        let leases = Api::namespaced(Client::new(server.service(), "system"), "system");
        LeaderElector::of(leases, ("operator", identity), Arc::new(System::start()))
    }

    async fn leads(leadership: &Leadership) {
        while !leadership.is_leader() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_that_stands_still_leaves_its_lease_to_another() {
        let server = FakeApiServer::builder().namespace("system").build();
        let heartbeats = Heartbeats::default();
        let (blocked, leadership) = candidate(&server, "blocked");
        let blocked = blocked.with_heartbeats(heartbeats.clone());
        let mut part =
            Box::pin(heartbeats.watch("the controller of TechnicalUsers", pending::<()>()));
        assert!(futures::poll!(&mut part).is_pending());
        tokio::spawn(async move { blocked.run().await });
        leads(&leadership).await;

        // From now on the part is not polled, and the thread of the Lease goes on.
        let (other, other_leadership) = candidate(&server, "other");
        let began = Instant::now();
        let taking_over = tokio::spawn(async move { other.run().await });
        leads(&other_leadership).await;

        assert!(!leadership.is_leader());
        assert!(began.elapsed() < Duration::from_mins(1));
        taking_over.abort();
        assert!(futures::poll!(&mut part).is_pending());
        leads(&leadership).await;
    }
}
