//! The JWKS ConfigMaps of a series: their namespaces, and the relation of each to the series.
//!
//! Every user may put a label on a ConfigMap. So they are not listed by a label. Each is read by its name in the
//! namespaces of the selector, and in those where a watch on metadata showed one that this series owns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;

use super::Memory;
use super::observed_config_map::ObservedConfigMap;
use crate::api::signing_key::SigningKey;
use crate::controller::{Context, Error};
use crate::domain::conditions::unavailable::NoAnswer;
use crate::domain::signing_key::{ConfigMapRef, ConfigMapState, Scope, Series, StaleCopy};
use crate::kubernetes::client::{ApiError, ApiErrorKind, ObjectRef as At, Operation};

/// The JWKS that were read.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) targets: BTreeMap<String, ConfigMapState>,
    pub(super) surplus: BTreeMap<ConfigMapRef, StaleCopy>,
    pub(super) sight: Scope,
    /// Why only the JWKS in the operator's namespace was read.
    pub(super) condition: Option<Error>,
}

/// Reads the JWKS in the operator's namespace, and then all others.
///
/// # Errors
///
/// The one in the operator's namespace could not be read. Errors of the others are part of the result.
pub(super) async fn placement(
    object: &SigningKey,
    series: &Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<Placement, Error> {
    memory.hidden.clear();
    memory.foreign.clear();
    memory.contents.clear();
    let operator_namespace = place_in(&series.operator_namespace, series);
    let mut maps = Vec::new();
    if let Reading::Found(map) =
        read(operator_namespace.clone(), Extent::Whole, series, context).await?.1
    {
        maps.push(*map);
    }
    let others = elsewhere(object, series, memory, context);
    let others = tokio::time::timeout(TIMEOUT, others).await;
    let others = others.unwrap_or_else(|_| Err(too_slow().into()));
    let (namespaces, sight, condition) = match others {
        Ok((others, namespaces)) => {
            maps.extend(others);
            (namespaces, Scope::AllNamespaces, None)
        }
        Err(error) => (Namespaces::of(series, []), Scope::OperatorNamespace, Some(error)),
    };
    let mut found = BTreeMap::new();
    for map in maps {
        let target = map.seen_by(series);
        if target == ConfigMapState::Conflict {
            memory.foreign.insert(map.place.clone());
        }
        found.insert(map.place.clone(), target);
        let map = if map.place.namespace == series.operator_namespace { map } else { map.small() };
        memory.contents.insert(map.place, map.published);
    }
    let (targets, surplus) = placed(found, series, &namespaces, memory);
    Ok(Placement { targets, surplus, sight, condition })
}

/// The ConfigMaps of other namespaces, and the namespaces that should have one.
async fn elsewhere(
    object: &SigningKey,
    series: &Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<(Vec<ObservedConfigMap>, Namespaces), Error> {
    let operator_namespace = place_in(&series.operator_namespace, series);
    let known = memory.known.iter().filter(|it| **it != operator_namespace).cloned().collect();
    let mut found = read_all((known, Extent::Metadata), series, memory, context).await?;
    // After the list of namespaces: a ConfigMap in a namespace that was selected just now is not surplus.
    let namespaces = namespaces(object, series, context).await?;
    let wanted = namespaces.wanted.iter().map(|namespace| place_in(namespace, series));
    let wanted = wanted.filter(|place| *place != operator_namespace).collect();
    found.extend(read_all((wanted, Extent::Whole), series, memory, context).await?);
    Ok((found, namespaces))
}

async fn read_all(
    (places, extent): (Vec<ConfigMapRef>, Extent),
    series: &Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<Vec<ObservedConfigMap>, Error> {
    let reads = places.into_iter().map(|place| read(place, extent, series, context));
    let mut reads = stream::iter(reads).buffered(CONCURRENCY);
    let mut found = Vec::new();
    while let Some(read) = reads.next().await {
        match read? {
            (_, Reading::Absent) => {}
            (_, Reading::Found(map)) => found.push(*map),
            (place, Reading::Forbidden(failure)) => {
                memory.hidden.insert(place.namespace, failure.blocked_reason());
            }
        }
    }
    Ok(found)
}

/// How much of a ConfigMap is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    Metadata,
}

/// The result of reading one ConfigMap.
enum Reading {
    Absent,
    Found(Box<ObservedConfigMap>),
    /// The rights are gone in a namespace that is not the operator's own.
    Forbidden(ApiError),
}

async fn read(
    place: ConfigMapRef,
    extent: Extent,
    series: &Series,
    context: &Context,
) -> Result<(ConfigMapRef, Reading), Error> {
    let at = At { namespace: &place.namespace, name: &place.name };
    let is_home = place.namespace == series.operator_namespace;
    let limit = if is_home { MAX_BYTES_OWN } else { MAX_BYTES_OTHER };
    let outcome = match extent {
        Extent::Metadata => metadata(at, context).await,
        Extent::Whole => match whole(at, limit, context).await {
            // Its other fields are not read. A write puts the right ones into it.
            Err(ApiError { kind: ApiErrorKind::Oversized, .. }) => metadata(at, context).await,
            outcome => outcome,
        },
    };
    let reading = match outcome {
        Ok(None) => Reading::Absent,
        Ok(Some(map)) => Reading::Found(Box::new(map)),
        Err(failure) if failure.kind == ApiErrorKind::Forbidden && !is_home => {
            Reading::Forbidden(failure)
        }
        Err(failure) => return Err(failure.into()),
    };
    Ok((place, reading))
}

async fn whole(
    at: At<'_>,
    limit: usize,
    context: &Context,
) -> Result<Option<ObservedConfigMap>, ApiError> {
    let map = context.cluster.config_map(at, limit).await?;
    Ok(map.and_then(|map| ObservedConfigMap::of(&map)))
}

async fn metadata(at: At<'_>, context: &Context) -> Result<Option<ObservedConfigMap>, ApiError> {
    let metadata = context.cluster.config_map_metadata(at).await?;
    Ok(metadata.and_then(|metadata| ObservedConfigMap::of_metadata(&metadata)))
}

/// The error of namespaces that could not be read in time.
fn too_slow() -> ApiError {
    let (namespace, name) = (String::new(), String::new());
    let operation = Operation { verb: "list", resource: "configmaps", namespace, name };
    ApiError { operation, kind: ApiErrorKind::NoAnswer(NoAnswer::Timeout), culprit: None }
}

/// The namespaces that should have the JWKS, by a live list. A namespace that is being deleted needs none.
async fn namespaces(
    object: &SigningKey,
    series: &Series,
    context: &Context,
) -> Result<Namespaces, Error> {
    let Some(selector) = selector(object) else {
        return Ok(Namespaces::of(series, []));
    };
    let listed = context.cluster.namespaces(&selector.to_string()).await?;
    let selected = listed.into_iter().filter_map(|metadata| {
        let is_going = metadata.deletion_timestamp.is_some();
        let name = metadata.name.filter(|name| context.settings.publishes_in(name))?;
        Some((name, is_going))
    });
    Ok(Namespaces::of(series, selected))
}

/// The namespaces that should have the JWKS, and those that are being deleted.
#[derive(Debug)]
pub(super) struct Namespaces {
    wanted: BTreeSet<String>,
    going: BTreeSet<String>,
}

impl Namespaces {
    /// The operator's own, and those that are selected, each with whether it is being deleted.
    pub(super) fn of(series: &Series, selected: impl IntoIterator<Item = (String, bool)>) -> Self {
        let mut namespaces = Self {
            wanted: BTreeSet::from([series.operator_namespace.clone()]),
            going: BTreeSet::new(),
        };
        for (name, is_going) in selected {
            let set = if is_going { &mut namespaces.going } else { &mut namespaces.wanted };
            set.insert(name);
        }
        namespaces
    }
}

/// Separates wanted and surplus ConfigMaps.
pub(super) fn placed(
    mut found: BTreeMap<ConfigMapRef, ConfigMapState>,
    series: &Series,
    namespaces: &Namespaces,
    memory: &Memory,
) -> (BTreeMap<String, ConfigMapState>, BTreeMap<ConfigMapRef, StaleCopy>) {
    found.retain(|place, _| !memory.hidden.contains_key(&place.namespace));
    let mut targets = BTreeMap::new();
    for namespace in &namespaces.wanted {
        let place = place_in(namespace, series);
        let target = found.remove(&place).unwrap_or(ConfigMapState::Absent);
        let hindered = match &target {
            ConfigMapState::Absent | ConfigMapState::Owned(_) => {
                memory.hidden.get(namespace).or_else(|| memory.blocked.get(namespace))
            }
            ConfigMapState::Orphaned(_) => memory.undeletable.get(&place),
            ConfigMapState::Conflict | ConfigMapState::Unwritable(..) => None,
        };
        let target = match (hindered, target) {
            (Some(blocked_reason), ConfigMapState::Owned(published)) => {
                ConfigMapState::Unwritable(blocked_reason.clone(), published.kids)
            }
            (Some(blocked_reason), _) => {
                ConfigMapState::Unwritable(blocked_reason.clone(), BTreeSet::new())
            }
            (None, target) => target,
        };
        targets.insert(namespace.clone(), target);
    }
    found.retain(|place, _| !namespaces.going.contains(&place.namespace));
    let surplus = found.into_iter().filter_map(|(place, target)| match target {
        ConfigMapState::Owned(published) => {
            let hindered = memory.undeletable.get(&place).cloned();
            let deletable = || StaleCopy::Deletable(published.version);
            let surplus = hindered.map_or_else(deletable, StaleCopy::Blocked);
            Some((place, surplus))
        }
        ConfigMapState::Absent
        | ConfigMapState::Orphaned(_)
        | ConfigMapState::Conflict
        | ConfigMapState::Unwritable(..) => None,
    });
    (targets, surplus.collect())
}

/// The place of the JWKS in that namespace.
pub(super) fn place_in(namespace: &str, series: &Series) -> ConfigMapRef {
    ConfigMapRef { namespace: namespace.to_owned(), name: series.config_map_name.clone() }
}

/// The selector of namespaces, if the JWKS is published in other namespaces.
pub(super) fn selector(object: &SigningKey) -> Option<Selector> {
    let selector = LabelSelector::from(object.spec.jwks.namespace_selector.as_ref()?);
    selector.try_into().ok()
}

/// So many ConfigMaps are read at once.
const CONCURRENCY: usize = 8;

/// How long reading the other namespaces may take. A reconcile has a minute, and what is revoked must
/// leave the JWKS in the operator's namespace within it.
const TIMEOUT: Duration = Duration::from_secs(25);

/// No object in etcd is larger, not even as JSON with every character escaped.
const MAX_BYTES_OWN: usize = 16 << 20;

/// Sixty-four keys of 4096 bits, twice, make a tenth of that.
const MAX_BYTES_OTHER: usize = 2 << 20;
