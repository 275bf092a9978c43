//! The metrics of the controllers, under the names of controller-runtime where it has one.
//!
//! No label is ever taken from a value that a user or a client chose, so that the number of series
//! stays bounded.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::stats::Totals;
use crate::controller::Error;
use crate::domain::technical_user::Cause;

/// The metrics of the controllers.
#[derive(Clone, Debug)]
pub struct Metrics {
    reconciles: Family<Reconciled, Counter>,
    errors: Family<Failed, Counter>,
    seconds: Family<Controller, Histogram>,
    active: Family<Controller, Gauge>,
    depth: Family<WorkQueue, Gauge>,
    leader: Family<LeaderName, Gauge>,
    rotations: Family<Rotation, Counter>,
    objects: Family<Controller, Gauge>,
    ready: Family<ReadyLabels, Gauge>,
    unready: Family<Unready, Gauge>,
    next_rotation: Family<Controller, Gauge>,
    skew: Gauge<f64, AtomicU64>,
    skipped: Family<Skipped, Gauge>,
}

/// The namespace is the one of another operator, as a status names it that only operators write.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Skipped {
    controller: &'static str,
    installation: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

/// `name` as client-go has it, `controller` as controller-runtime adds it.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WorkQueue {
    name: &'static str,
    controller: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reconciled {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Failed {
    controller: &'static str,
    category: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReadyLabels {
    controller: &'static str,
    ready: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Unready {
    controller: &'static str,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeaderName {
    name: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rotation {
    kind: &'static str,
    trigger: &'static str,
    result: &'static str,
}

/// The present load of a controller.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    /// Reconciles that are running.
    pub(crate) active: usize,
    /// Objects that wait for a reconcile.
    pub(crate) depth: usize,
    /// Objects that there are.
    pub(crate) objects: usize,
    /// How they stand.
    pub(crate) totals: Totals,
}

impl Metrics {
    /// Registers the metrics of the controllers.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 2.0, 16))
            }),
            active: Family::default(),
            depth: Family::default(),
            leader: Family::default(),
            rotations: Family::default(),
            objects: Family::default(),
            ready: Family::default(),
            unready: Family::default(),
            next_rotation: Family::default(),
            skew: Gauge::default(),
            skipped: Family::default(),
        };
        metrics.register_reconciles(registry);
        metrics.register_objects(registry);
        registry.register(
            "leader_election_master_status",
            "Whether this replica leads",
            metrics.leader.clone(),
        );
        registry.register(
            "technical_user_rotations",
            "Client secrets issued and signing keys scheduled or revoked, by kind and trigger. The \
             trigger `recovered` counts client secrets whose delivery was confirmed by a later reconcile",
            metrics.rotations.clone(),
        );
        registry.register(
            "technical_user_operator_clock_skew_seconds",
            "How far the clocks of the operator and the API server are apart",
            metrics.skew.clone(),
        );
        metrics
    }

    fn register_reconciles(&self, registry: &mut Registry) {
        registry.register(
            "controller_runtime_reconcile",
            "Reconciliations by result",
            self.reconciles.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_errors",
            "Reconciliations that failed, by what went wrong",
            self.errors.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconciliation takes",
            self.seconds.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciliations running now",
            self.active.clone(),
        );
        registry.register(
            "workqueue_depth",
            "Objects that wait to be looked at",
            self.depth.clone(),
        );
    }

    fn register_objects(&self, registry: &mut Registry) {
        registry.register(
            "technical_user_operator_objects",
            "Objects that the watches received",
            self.objects.clone(),
        );
        registry.register(
            "technical_user_operator_objects_ready",
            "Objects by whether their condition Ready is true",
            self.ready.clone(),
        );
        registry.register(
            "technical_user_operator_objects_skipped",
            "Objects that another installation holds, by the namespace of that installation",
            self.skipped.clone(),
        );
        registry.register(
            "technical_user_operator_objects_unready",
            "Objects whose condition Ready is not true, by its reason",
            self.unready.clone(),
        );
        // An instant and not a delay: it stays right while the operator has nothing to do.
        registry.register(
            "technical_user_operator_next_rotation_timestamp_seconds",
            "When the first rotation of all is due; in the past, one is overdue",
            self.next_rotation.clone(),
        );
    }

    pub(crate) fn issued(&self, cause: Cause) {
        let trigger = match cause {
            Cause::Unissued => "initial",
            Cause::Due => "scheduled",
            Cause::Requested => "requested",
            Cause::Deleted => "deleted",
            Cause::Altered => "altered",
            Cause::Unknown => "unknown",
        };
        self.rotated(TECHNICAL_USER, trigger);
    }

    pub(crate) fn found_issued(&self) {
        self.rotated(TECHNICAL_USER, "recovered");
    }

    pub(crate) fn key_scheduled(&self, is_requested: bool) {
        let trigger = if is_requested { "requested" } else { "scheduled" };
        self.rotated(SIGNING_KEY, trigger);
    }

    pub(crate) fn key_revoked(&self) {
        self.rotated(SIGNING_KEY, "emergency");
    }

    fn rotated(&self, kind: &'static str, trigger: &'static str) {
        self.rotations.get_or_create(&Rotation { kind, trigger, result: "success" }).inc();
    }

    pub(crate) fn reconciled(
        &self,
        controller: &'static str,
        error: Option<&Error>,
        took: Duration,
    ) {
        let result = if error.is_some() { "error" } else { "success" };
        self.reconciles.get_or_create(&Reconciled { controller, result }).inc();
        if let Some(error) = error {
            let category = error.category();
            self.errors.get_or_create(&Failed { controller, category }).inc();
        }
        self.seconds.get_or_create(&Controller { controller }).observe(took.as_secs_f64());
    }

    pub(crate) fn set_stats(&self, controller: &'static str, load: Stats) {
        let controller = Controller { controller };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.active.get_or_create(&controller).set(number(load.active));
        self.depth
            .get_or_create(&WorkQueue {
                name: controller.controller,
                controller: controller.controller,
            })
            .set(number(load.depth));
        self.objects.get_or_create(&controller).set(number(load.objects));
        match load.totals.first_due_at {
            Some(due_at) => {
                self.next_rotation.get_or_create(&controller).set(due_at.as_second());
            }
            None => {
                self.next_rotation.remove(&controller);
            }
        }
        let controller = controller.controller;
        for (ready, count) in [("true", load.totals.ready), ("false", load.totals.unready)] {
            self.ready.get_or_create(&ReadyLabels { controller, ready }).set(number(count));
        }
        for (reason, count) in load.totals.reasons {
            self.unready.get_or_create(&Unready { controller, reason }).set(number(count));
        }
    }

    pub(crate) fn leading(&self, leads: bool) {
        let name = crate::api::MANAGER;
        self.leader.get_or_create(&LeaderName { name }).set(i64::from(leads));
    }

    pub(crate) fn skipped(&self, controller: &'static str, left: BTreeMap<String, usize>) {
        for (installation, count) in left {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.skipped.get_or_create(&Skipped { controller, installation }).set(count);
        }
    }

    pub(crate) fn clock_skew(&self, seconds: f64) {
        self.skew.set(seconds);
    }
}

const TECHNICAL_USER: &str = "TechnicalUser";

const SIGNING_KEY: &str = "SigningKey";
