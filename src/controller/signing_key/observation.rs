//! From the objects of the API server to what a decision looks at.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::Selector;

use super::Memory;
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::cluster::{Place as At, version_of};
use crate::controller::{Context, Error, Settings};
use crate::domain::jwks::{self, Jwks};
use crate::domain::key_pair::{Algorithm, KeyShape, PublicKey};
use crate::domain::object::Version;
use crate::domain::obstacle::Obstacle;
use crate::domain::schedule::parse_duration;
use crate::domain::signing_key::ledger::Unreadable;
use crate::domain::signing_key::{
    FIRST, Held, KeyPair, Ledger, Observed, Place, Published, Series, Target, drain,
};
use crate::environment::private_key::PrivateKey;

/// What was looked at, and the object that its status goes to.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) observed: Observed,
    pub(super) object: Option<SigningKey>,
}

impl Look {
    /// The object, if it is there and its spec cannot be read.
    pub(super) fn unreadable(&self) -> Option<&SigningKey> {
        self.object.as_ref().filter(|_| self.observed.series.is_none())
    }

    /// The key pair that exists and is not in the ledger yet.
    pub(super) fn next(&self) -> Option<(u32, KeyPair)> {
        let index = match &self.observed.ledger {
            Held::Ledger(_, ledger) => ledger.next_index(),
            Held::Absent => FIRST,
            Held::Unreadable(_) => return None,
        };
        self.observed.key_pairs.get(&index).map(|key_pair| (index, key_pair.clone()))
    }
}

/// Names in the operator's namespace: a uid never comes twice.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(&'a str);

impl<'a> Names<'a> {
    /// Those of the series of that uid.
    pub fn of(uid: &'a str) -> Self {
        Self(uid)
    }

    /// The Secret that holds the ledger.
    pub fn ledger(self) -> String {
        format!("sk-{}", self.0)
    }

    /// The Secret that holds that key pair.
    pub fn key_pair(self, index: u32) -> String {
        format!("sk-{}-{index}", self.0)
    }

    /// What the names of all key pairs begin with.
    pub fn key_pair_prefix(self) -> String {
        format!("sk-{}-", self.0)
    }

    /// The index of a key pair by the name of its Secret.
    pub fn index(self, name: &str) -> Option<u32> {
        name.strip_prefix(&self.key_pair_prefix())?.parse().ok()
    }
}

/// Looks at the series, then at every JWKS, which will be swapped, then at the ledger, which will be
/// swapped as well, then at what both rest upon.
pub(super) async fn look(name: &str, memory: &Memory, context: &Context) -> Result<Look, Error> {
    let cluster = &context.cluster;
    let object = cluster.signing_key(name).await?;
    let object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
    let parsed = object.as_ref().and_then(|object| series(object, &context.settings));
    let (Some(object), Some(series)) = (&object, parsed) else {
        let observed = Observed {
            series: None,
            targets: BTreeMap::new(),
            surplus: Vec::new(),
            ledger: Held::Absent,
            key_pairs: BTreeMap::new(),
        };
        return Ok(Look { observed, object });
    };
    let namespaces = namespaces(object, &series, context).await?;
    let (targets, surplus) = published(&series, namespaces, memory, context).await?;
    let names = Names::of(&series.uid);
    let ledger_name = names.ledger();
    let at = At { namespace: &series.home, name: &ledger_name };
    let secret = cluster.own_secret(at).await?;
    let held = secret.map_or(Held::Absent, |secret| match ledger(&secret, &series.uid) {
        Ok((version, ledger)) => Held::Ledger(version, Box::new(ledger)),
        Err(reason) => Held::Unreadable(reason),
    });
    let key_pairs = key_pairs(&held, &series, context).await?;
    let observed = Observed { series: Some(series), targets, surplus, ledger: held, key_pairs };
    Ok(Look { observed, object: Some(object.clone()) })
}

/// Where the JWKS shall be, by a live list. A namespace that is being deleted needs none.
async fn namespaces(
    object: &SigningKey,
    series: &Series,
    context: &Context,
) -> Result<Namespaces, Error> {
    let home = BTreeSet::from([series.home.clone()]);
    let Some(selector) = selector(object) else {
        return Ok(Namespaces { wanted: home, going: BTreeSet::new() });
    };
    let listed = context.cluster.namespaces(&selector.to_string()).await?;
    let mut namespaces = Namespaces { wanted: home, going: BTreeSet::new() };
    for metadata in listed {
        let is_going = metadata.deletion_timestamp.is_some();
        let Some(name) = metadata.name else { continue };
        if !context.settings.publishes_in(&name) {
            continue;
        }
        if is_going {
            namespaces.going.insert(name)
        } else {
            namespaces.wanted.insert(name)
        };
    }
    Ok(namespaces)
}

/// Where the JWKS shall be, and where nothing can be done any more.
#[derive(Debug)]
pub(super) struct Namespaces {
    pub(super) wanted: BTreeSet<String>,
    pub(super) going: BTreeSet<String>,
}

async fn published(
    series: &Series,
    namespaces: Namespaces,
    memory: &Memory,
    context: &Context,
) -> Result<(BTreeMap<String, Target>, Vec<(Place, Version)>), Error> {
    let cluster = &context.cluster;
    let selector = format!("{}={}", api::SIGNING_KEY, series.name);
    let mut maps = Vec::new();
    for scope in context.settings.scopes_of_jwks() {
        maps.extend(cluster.config_maps(scope, &selector).await?);
    }
    for namespace in &memory.unlabelled {
        let at = At { namespace, name: &series.config_map_name };
        maps.extend(cluster.config_map(at).await?);
    }
    let mut found = BTreeMap::new();
    for map in &maps {
        if let Some((place, target)) = jwks_map(map, &series.name, &series.uid) {
            found.insert(place, target);
        }
    }
    Ok(placed(found, series, &namespaces, memory))
}

/// Sorts what was found into what is wanted and what is too much.
pub(super) fn placed(
    mut found: BTreeMap<Place, Target>,
    series: &Series,
    namespaces: &Namespaces,
    memory: &Memory,
) -> (BTreeMap<String, Target>, Vec<(Place, Version)>) {
    let mut targets = BTreeMap::new();
    for namespace in &namespaces.wanted {
        let name = series.config_map_name.clone();
        let place = Place { namespace: namespace.clone(), name };
        let target = found.remove(&place).unwrap_or(Target::Absent);
        let target = match (memory.blocked.get(namespace), target) {
            (Some(obstacle), Target::Absent | Target::Ours(_)) => Target::Blocked(obstacle.clone()),
            (_, target) => target,
        };
        targets.insert(namespace.clone(), target);
    }
    let surplus = found.into_iter().filter_map(|(place, target)| match target {
        Target::Ours(published) => Some((place, published.version)),
        Target::Absent | Target::Foreign | Target::Blocked(_) => None,
    });
    let surplus = surplus.filter(|(place, _)| {
        !namespaces.going.contains(&place.namespace) && !memory.undeletable.contains(place)
    });
    (targets, surplus.collect())
}

/// The key pairs of the ledger, by their metadata, and the next one with its public half. Without a
/// ledger, all there are.
async fn key_pairs(
    ledger: &Held,
    series: &Series,
    context: &Context,
) -> Result<BTreeMap<u32, KeyPair>, Error> {
    let cluster = &context.cluster;
    let names = Names::of(&series.uid);
    let mut key_pairs = BTreeMap::new();
    let (known, unknown): (Vec<u32>, BTreeSet<u32>) = match ledger {
        Held::Unreadable(_) => return Ok(key_pairs),
        Held::Ledger(_, ledger) if !ledger.entries.is_empty() => {
            (ledger.entries.keys().copied().collect(), BTreeSet::from([ledger.next_index()]))
        }
        Held::Ledger(..) | Held::Absent => {
            let selector = format!("{}={}", api::SIGNING_KEY, series.name);
            let listed = cluster.own_secrets_metadata(&series.home, &selector).await?;
            let found = listed.iter().filter_map(|it| names.index(it.name.as_deref()?));
            (Vec::new(), found.chain([FIRST]).collect())
        }
    };
    for index in known {
        let name = names.key_pair(index);
        let at = At { namespace: &series.home, name: &name };
        let metadata = cluster.secret_metadata(at).await?;
        if let Some(version) = metadata.and_then(|metadata| existing(&metadata)) {
            key_pairs.insert(index, KeyPair { version, public: None });
        }
    }
    for index in unknown {
        let name = names.key_pair(index);
        let at = At { namespace: &series.home, name: &name };
        let Some(secret) = cluster.own_secret(at).await? else { continue };
        let Some(version) = existing(&secret.metadata) else { continue };
        let public = public_half(&secret, series.algorithm);
        key_pairs.insert(index, KeyPair { version, public });
    }
    Ok(key_pairs)
}

// === reading objects ===

/// Reads a `SigningKey`; nothing when it cannot be read although it passed admission.
pub fn series(object: &SigningKey, settings: &Settings) -> Option<Series> {
    let spec = &object.spec;
    let name = object.metadata.name.clone()?;
    let duration = |text: &str| parse_duration(text);
    let grace = duration(&spec.rotation.grace)?;
    let annotation = |name: &str| object.metadata.annotations.as_ref()?.get(name).cloned();
    let config_map_name = spec.jwks.config_map_name.clone();
    Some(Series {
        uid: object.metadata.uid.clone()?,
        generation: object.metadata.generation.unwrap_or_default(),
        algorithm: spec.algorithm,
        shape: KeyShape::of(spec.algorithm, spec.rsa_key_size)?,
        period: duration(&spec.rotation.period)?,
        pre_publish: duration(&spec.rotation.pre_publish)?,
        drain: drain(grace, settings.limits.view_age, settings.limits.token_lifetime),
        home: settings.namespace.clone(),
        config_map_name: config_map_name.unwrap_or_else(|| format!("{name}-jwks")),
        is_suspended: spec.suspend,
        rotate_request: annotation(api::ROTATE_REQUESTED_AT),
        revoke_request: annotation(api::REVOKE_REQUESTED_AT).filter(|kid| !kid.is_empty()),
        name,
    })
}

/// The selector of namespaces, if the JWKS is to be anywhere but at home.
pub(super) fn selector(object: &SigningKey) -> Option<Selector> {
    let selector = LabelSelector::from(object.spec.jwks.namespace_selector.as_ref()?);
    selector.try_into().ok()
}

/// Reads a ledger.
///
/// # Errors
///
/// [`Unreadable`] when it is none; the caller leaves it alone.
pub fn ledger(secret: &Secret, uid: &str) -> Result<(Version, Ledger), Unreadable> {
    if secret.type_.as_deref() != Some(api::LEDGER_TYPE) {
        return Err(Unreadable::Type);
    }
    let version = version_of(&secret.metadata).ok_or(Unreadable::Malformed)?;
    let stored = secret.data.as_ref().and_then(|data| data.get(api::LEDGER_FIELD));
    let stored = stored.ok_or(Unreadable::Missing)?;
    Ok((version, Ledger::from_json(&stored.0, uid)?))
}

/// The version of a key pair, unless it is on its way out.
pub(super) fn existing(metadata: &ObjectMeta) -> Option<Version> {
    if metadata.deletion_timestamp.is_some() { None } else { version_of(metadata) }
}

fn public_half(secret: &Secret, algorithm: Algorithm) -> Option<PublicKey> {
    if secret.type_.as_deref() != Some(api::KEY_PAIR_TYPE) {
        return None;
    }
    let stored = secret.data.as_ref()?.get(api::KEY_PAIR_FIELD)?;
    let private = PrivateKey::from_pkcs8(algorithm, &stored.0).ok()?;
    Some(private.public().clone())
}

/// What a ConfigMap is to a series, and where it is.
pub(super) fn jwks_map(map: &ConfigMap, series: &str, uid: &str) -> Option<(Place, Target)> {
    let metadata = &map.metadata;
    let (namespace, name) = (metadata.namespace.clone()?, metadata.name.clone()?);
    let references = metadata.owner_references.as_deref().unwrap_or_default();
    let controller = references.iter().find(|reference| reference.controller == Some(true));
    let place = Place { namespace, name };
    if controller.is_none_or(|controller| controller.uid != uid) {
        return Some((place, Target::Foreign));
    }
    if metadata.deletion_timestamp.is_some() {
        return Some((place, Target::Blocked(Obstacle::Contended)));
    }
    let version = version_of(metadata)?;
    let (digest, kids) = content(map, series);
    let fields = map.data.iter().flat_map(BTreeMap::keys);
    let surplus_fields = fields.filter(|field| !FIELDS.contains(&field.as_str())).cloned();
    let surplus_fields = surplus_fields.collect();
    Some((place, Target::Ours(Published { version, digest, kids, surplus_fields })))
}

/// The digest of a key set that is exactly as the operator writes it, and the keys in it.
fn content(map: &ConfigMap, series: &str) -> (Option<String>, BTreeSet<jwks::Kid>) {
    let data = map.data.clone().unwrap_or_default();
    let field = data.get(api::JWKS_FIELD).map(String::as_str).unwrap_or_default();
    let kids = jwks::kids_of(field);
    let labels = map.metadata.labels.clone().unwrap_or_default();
    let is_labelled = [(api::MANAGED, "true"), (api::SIGNING_KEY, series)]
        .iter()
        .all(|(name, value)| labels.get(*name).map(String::as_str) == Some(*value));
    let is_exact = is_labelled
        && data.len() == FIELDS.len()
        && data.get(api::JWKS_FILE).map(String::as_str) == Some(field)
        && map.binary_data.as_ref().is_none_or(BTreeMap::is_empty);
    (is_exact.then(|| Jwks::digest_of(field)), kids)
}

const FIELDS: [&str; 2] = [api::JWKS_FIELD, api::JWKS_FILE];
