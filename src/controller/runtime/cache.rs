//! The resources that the watches showed, and the check whether one of them has converged.
//!
//! A cache never decides. It answers one question: would a decision on the cached objects write nothing,
//! and is its status written already? If not, the API server is asked.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::core::object::HasStatus as _;

use super::reconciler::{Reconciler, Report};
use super::stats::{ObjectStats, ReadyState, Totals};
use crate::api::SIGNING_KEY_REQUESTS;
use crate::api::kind::Kind;
use crate::controller::Context;
use crate::controller::installation::HeldBy;
use crate::domain::conditions::status::{invalid_spec, is_same};
use crate::domain::request::shortened;
use crate::domain::schedule::Now;
use crate::domain::step::Step;
use crate::kubernetes::watch::{Store, WatchEvent};

/// The resources of one kind, and their totals.
#[derive(Debug)]
pub(in crate::controller) struct Resources<K, R> {
    store: Store<K, Box<R>>,
    stats: ObjectStats<K>,
}

impl<K, R> Default for Resources<K, R> {
    fn default() -> Self {
        Self { store: Store::default(), stats: ObjectStats::default() }
    }
}

impl<K: Clone + Ord, R: Kind> Resources<K, R> {
    /// Expects one more watch to fill it.
    pub(in crate::controller) fn register_watch(&mut self, watch: usize) {
        self.store.register_watch(watch);
    }

    /// Whether every watch is synced.
    pub(in crate::controller) fn is_synced(&self) -> bool {
        self.store.is_synced()
    }

    /// Applies an event of one watch. Returns the keys that may have changed.
    pub(in crate::controller) fn apply_event(
        &mut self,
        watch: usize,
        event: WatchEvent<K, Box<R>>,
    ) -> Vec<K> {
        let keys = self.store.apply_event(watch, event);
        for key in &keys {
            self.stats.record(key, self.store.get(key).map(|it| ReadyState::of(it.status())));
        }
        keys
    }

    /// The resources.
    pub(in crate::controller) fn iter(&self) -> impl Iterator<Item = (&K, &R)> {
        self.store.iter().map(|(key, object)| (key, &**object))
    }

    /// The keys of all of them.
    pub(in crate::controller) fn keys(&self) -> Vec<K> {
        self.store.iter().map(|(key, _)| key.clone()).collect()
    }

    /// The number of them.
    pub(in crate::controller) fn len(&self) -> usize {
        self.store.len()
    }

    /// One of them.
    pub(in crate::controller) fn get(&self, key: &K) -> Option<&R> {
        self.store.get(key).map(|it| &**it)
    }

    /// Their totals.
    pub(in crate::controller) fn totals(&self) -> Totals {
        self.stats.totals()
    }
}

/// The result of a check of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) enum CacheState {
    /// It has converged, until time alone changes that.
    UpToDate(Option<Timestamp>),
    /// Only the status is stale, and it follows the object of that name, as the status of many others may: they
    /// are reconciled a few at a time.
    StatusStale(String),
    /// The API server has to be asked.
    Stale,
    /// Another installation holds it.
    HeldByOther,
    /// There is no such resource.
    NotFound,
}

/// Whether the resource has converged as far as the watches know.
pub(super) fn check<R: Reconciler>(
    reconciler: &R,
    key: &R::Key,
    context: &Context,
    now: Now,
) -> CacheState {
    let (settings, installations) = (&context.settings, &context.installations);
    let object = reconciler.resources().get(key).filter(|it| R::is_served(it, settings));
    let Some(object) = object else {
        installations.forget(R::NAME, &key.to_string());
        return CacheState::NotFound;
    };
    if object.meta().deletion_timestamp.is_some() {
        return CacheState::UpToDate(None);
    }
    match installations.held_by::<R>(object) {
        HeldBy::Ours => {}
        HeldBy::Foreign => return CacheState::HeldByOther,
        HeldBy::Unknown => return CacheState::Stale,
    }
    let Some(spec) = R::spec(object, settings) else {
        return check_invalid::<R>(object, now);
    };
    let Some((observed, facts)) = reconciler.observe_cached(object, spec) else {
        return CacheState::Stale;
    };
    let Step::Done(done) = R::decide(&observed, now) else {
        return CacheState::Stale;
    };
    let (observed, facts, outcome) = (&observed, &facts, &done.outcome);
    let report = Report { object, observed, facts, outcome, settings, now };
    let (Some(wanted), Some(present)) = (R::status(&report), object.status()) else {
        return CacheState::Stale;
    };
    if is_same(&wanted, present) {
        return CacheState::UpToDate(done.requeue_at);
    }
    R::follows(&report, present).map_or(CacheState::Stale, CacheState::StatusStale)
}

/// Whether the status reports the mistake in the spec.
fn check_invalid<R: Reconciler>(object: &R::Resource, now: Now) -> CacheState {
    let generation = object.meta().generation.unwrap_or_default();
    let readiness = R::invalid_spec(object);
    let (status, _) = invalid_spec(readiness, generation, object.status(), now);
    let is_reported = object.status().is_some_and(|present| is_same(present, &status));
    if is_reported { CacheState::UpToDate(None) } else { CacheState::Stale }
}

/// Drops from the metadata of a resource what no decision needs. What is left has a bound: users write
/// annotations of a quarter of a megabyte, and labels and owner references as large as an object can be.
pub(crate) fn prune_metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.labels = None;
    metadata.finalizers = None;
    metadata.owner_references = None;
    metadata.generate_name = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| SIGNING_KEY_REQUESTS.contains(&name.as_str()));
        for value in annotations.values_mut() {
            *value = shortened(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ROTATE_REQUESTED_AT;

    #[test]
    fn what_is_kept_of_the_metadata_of_a_resource_has_a_bound() {
        let long = "x".repeat(200_000);
        let metadata = json!({
            "name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1", "generation": 1,
            "generateName": long, "finalizers": [long], "labels": {"team": long},
            "annotations": {"note": long, ROTATE_REQUESTED_AT: long},
            "managedFields": [{"manager": long}],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": long, "uid": long}],
        });
        let mut metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();

        prune_metadata(&mut metadata);

        let kept = serde_json::to_string(&metadata).unwrap();
        assert!(kept.len() < 1000, "{kept}");
        assert!(metadata.annotations.unwrap().contains_key(ROTATE_REQUESTED_AT));
    }
}
