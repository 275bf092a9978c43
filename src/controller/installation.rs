//! Whose an object is: settled for every object before anything else is written for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Resource as _;
use kube::core::object::HasStatus as _;
use tokio::time::Instant;

use super::runtime::reconciler::Reconciler;
use super::{Context, Error};
use crate::api::installation::Installation;
use crate::api::kind::{Kind, KindStatus as _};
use crate::api::signing_key::SigningKey;
use crate::domain::installation::{ClaimDecision, Presence, claim_decision, presence};
use crate::kubernetes::client::{ConditionalClient, ObjectRef};
use crate::kubernetes::codec::version_of;

/// The own installation and the known others in the cluster.
#[derive(Debug, Default)]
pub struct Installations(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    own: Option<(Installation, Instant)>,
    others: BTreeMap<Installation, Other>,
}

/// Another installation, and the objects of this operator's scope that it holds.
#[derive(Debug, Default)]
struct Other {
    presence: Option<(Presence, Instant)>,
    asked_at: Option<Instant>,
    objects: BTreeMap<&'static str, BTreeSet<String>>,
}

/// The holder of an object, as far as the watches show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBy {
    /// It belongs to this installation.
    Ours,
    /// It belongs to another one, which lives.
    Foreign,
    /// The API server has to be asked.
    Unknown,
}

/// The outcome for an object whose holder was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimOutcome {
    /// It belongs to this installation: go on.
    Ours,
    /// It was claimed just now: read it again.
    Claimed,
    /// It belongs to another installation: write nothing.
    Left,
}

/// Returns once the operator knows its own installation.
pub(super) async fn refresh(context: &Context) {
    let mut pause = MIN_BACKOFF;
    while let Err(error) =
        context.installations.own(&context.settings.namespace, &context.cluster).await
    {
        tracing::warn!(%error, "the operator's own namespace cannot be read, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_BACKOFF);
    }
}

/// Settles whose the object is, by live reads, and claims it if it is free.
///
/// # Errors
///
/// The namespace of an installation could not be read, or the claim was not written.
pub(super) async fn ensure_claimed<R: Reconciler>(
    object: &R::Resource,
    context: &Context,
) -> Result<ClaimOutcome, Error> {
    let (cluster, installations) = (&context.cluster, &context.installations);
    let own = installations.own(&context.settings.namespace, cluster).await?;
    let holder = holder_of(object);
    let mut known = holder.and_then(|holder| installations.recent(holder));
    loop {
        match (claim_decision(holder, &own, known), holder) {
            (ClaimDecision::Ours, _) => {
                installations.forget(R::NAME, &key(object));
                return Ok(ClaimOutcome::Ours);
            }
            (ClaimDecision::CheckHolder, Some(holder)) => {
                let namespace = cluster.namespace(&holder.namespace).await?;
                let uid = namespace.and_then(|metadata| metadata.uid);
                let answer = presence(holder, uid.as_deref());
                installations.remember(holder, answer);
                known = Some(answer);
            }
            (ClaimDecision::Skip, Some(holder)) => {
                installations.skip::<R>(object, holder);
                return Ok(ClaimOutcome::Left);
            }
            (ClaimDecision::Claim | ClaimDecision::CheckHolder | ClaimDecision::Skip, _) => break,
        }
    }
    if !context.is_leader() {
        return Err(Error::NotLeading);
    }
    let Some(version) = version_of(object.meta()) else { return Ok(ClaimOutcome::Claimed) };
    let mut status = object.status().cloned().unwrap_or_default();
    status.set_installation(own);
    cluster.apply_status::<R::Resource>(ObjectRef::of(object), &version, &status).await?;
    if let Some(holder) = holder {
        tracing::warn!(
            controller = R::NAME,
            object = key(object),
            former = holder.namespace,
            "object taken over from an installation whose namespace is gone"
        );
    }
    installations.forget(R::NAME, &key(object));
    Ok(ClaimOutcome::Claimed)
}

/// The name of an object with its namespace, as the controllers name it.
fn key<K: Kind>(object: &K) -> String {
    let ObjectRef { namespace, name } = ObjectRef::of(object);
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// The installation that the status names.
fn holder_of<K: Kind>(object: &K) -> Option<&Installation> {
    object.status()?.installation()
}

// === impl Installations ===

impl Installations {
    /// The holder, as far as the watches show it. One object for each other installation is read live a
    /// minute, so that its end is noticed and thousands of objects cost one request.
    pub(super) fn held_by<R: Reconciler>(&self, object: &R::Resource) -> HeldBy {
        let Some(holder) = holder_of(object) else { return HeldBy::Unknown };
        let now = Instant::now();
        let mut known = self.locked();
        let is_ours = known.own.as_ref().map(|(own, _)| own == holder);
        match is_ours {
            None => return HeldBy::Unknown,
            Some(true) => {
                known.forget(R::NAME, &key(object));
                return HeldBy::Ours;
            }
            Some(false) => {}
        }
        let other = known.others.entry(holder.clone()).or_default();
        let is_gone = other.presence.is_some_and(|(presence, _)| presence == Presence::Gone);
        let is_asked = other.asked_at.is_some_and(|at| now.duration_since(at) < REFRESH_INTERVAL);
        if is_gone || !is_asked {
            other.asked_at = Some(now);
            return HeldBy::Unknown;
        }
        other.skip(R::NAME, key(object), holder);
        HeldBy::Foreign
    }

    /// Whether this installation signs with the `SigningKey`, once it claims it.
    pub(super) fn serves(&self, key: &SigningKey, controller: &str) -> bool {
        let known = self.locked();
        let own = known.own.as_ref().map(|(own, _)| own);
        key.spec.controller_name == controller
            && holder_of(key).is_none_or(|holder| own.is_none_or(|own| own == holder))
    }

    /// The namespaces of the other installations, each with how many objects it holds.
    pub(super) fn skipped(&self, controller: &str) -> BTreeMap<String, usize> {
        let mut left = BTreeMap::new();
        for (holder, other) in &self.locked().others {
            let count = other.objects.get(controller).map_or(0, BTreeSet::len);
            *left.entry(holder.namespace.clone()).or_default() += count;
        }
        left
    }

    /// One sentence for each kind and other installation that holds objects in the scope of this
    /// operator.
    pub fn readiness_notes(&self) -> Vec<String> {
        let known = self.locked();
        let mut notes = Vec::new();
        for (other, of) in &known.others {
            for (controller, objects) in of.objects.iter().filter(|(_, it)| !it.is_empty()) {
                let first = objects.first().map(String::as_str).unwrap_or_default();
                notes.push(format!(
                    "{} objects of controller {controller} belong to the installation in namespace \
                     {} (uid {}) and are left alone, the first is {first}",
                    objects.len(),
                    other.namespace,
                    other.uid,
                ));
            }
        }
        notes
    }

    /// The object is gone, or is held by this installation.
    pub(super) fn forget(&self, controller: &'static str, object: &str) {
        self.locked().forget(controller, object);
    }

    /// This installation, by a live read of its namespace that is not older than a minute.
    async fn own(
        &self,
        namespace: &str,
        cluster: &ConditionalClient,
    ) -> Result<Installation, Error> {
        let now = Instant::now();
        let known = self.locked().own.clone();
        if let Some((own, _)) = known.filter(|(_, at)| now.duration_since(*at) < REFRESH_INTERVAL) {
            return Ok(own);
        }
        let metadata = cluster.namespace(namespace).await?;
        let uid = metadata.and_then(|metadata| metadata.uid);
        let uid = uid.ok_or_else(|| Error::NoNamespace(namespace.to_owned()))?;
        let own = Installation { namespace: namespace.to_owned(), uid };
        self.locked().own = Some((own.clone(), now));
        Ok(own)
    }

    /// A presence that is recent enough to leave an object alone. Taking over needs a fresh answer.
    fn recent(&self, holder: &Installation) -> Option<Presence> {
        let now = Instant::now();
        let (presence, at) = self.locked().others.get(holder)?.presence?;
        let is_recent = now.duration_since(at) < REFRESH_INTERVAL / 2;
        (is_recent && presence == Presence::Exists).then_some(presence)
    }

    fn remember(&self, holder: &Installation, presence: Presence) {
        let now = Instant::now();
        let mut known = self.locked();
        let other = known.others.entry(holder.clone()).or_default();
        other.presence = Some((presence, now));
        other.asked_at = Some(now);
    }

    fn skip<R: Reconciler>(&self, object: &R::Resource, holder: &Installation) {
        let mut known = self.locked();
        let other = known.others.entry(holder.clone()).or_default();
        other.skip(R::NAME, key(object), holder);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn forget(&mut self, controller: &'static str, object: &str) {
        for other in self.others.values_mut() {
            if let Some(objects) = other.objects.get_mut(controller) {
                objects.remove(object);
            }
        }
    }
}

// === impl Other ===

impl Other {
    fn skip(&mut self, controller: &'static str, object: String, holder: &Installation) {
        let objects = self.objects.entry(controller).or_default();
        // One warning for each kind and installation: the metric counts the others.
        if objects.is_empty() {
            tracing::warn!(
                controller,
                object,
                installation = holder.namespace,
                uid = holder.uid,
                "object left alone, since another installation holds it: give the operators \
                 different --watch-namespaces and --controller-name"
            );
        }
        objects.insert(object);
    }
}

/// How often one object asks whether another installation still exists.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_mins(1);

/// The pauses while the operator's own namespace cannot be read.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
