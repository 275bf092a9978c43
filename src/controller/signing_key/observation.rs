//! From the objects of the API server to what a decision looks at.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::Selector;
use zeroize::Zeroize;

use super::Memory;
use crate::api;
use crate::api::signing_key::SigningKey;
use crate::controller::cluster::{Kind, Place as At};
use crate::controller::ownership::Ownership;
use crate::controller::{Context, Error, Settings};
use crate::domain::jwks::{self, Jwks};
use crate::domain::key_pair::{KeyShape, PublicKey};
use crate::domain::object::{Belongs, Version};
use crate::domain::obstacle::Obstacle;
use crate::domain::schedule::parse_duration;
use crate::domain::signing_key::{
    FIRST, Held, KeyPair, Observed, Place, Published, Series, Surplus, Target, drain,
};
use crate::stored::{Names, config_map_name, ledger, private_key, version_of};

/// What was looked at, and the object that its status goes to.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) observed: Observed,
    pub(super) object: SigningKey,
    pub(super) series: Series,
}

impl Look {
    /// A look that knows the series and nothing else yet.
    pub(super) fn begun(object: SigningKey, series: Series) -> Self {
        let observed = Observed {
            series: Some(series.clone()),
            targets: BTreeMap::new(),
            surplus: BTreeMap::new(),
            ledger: Held::Absent,
            key_pairs: BTreeMap::new(),
        };
        Self { observed, object, series }
    }

    /// Looks at every JWKS, which will be swapped, then at the ledger, which will be swapped as
    /// well, then at what both rest upon.
    pub(super) async fn complete(
        &mut self,
        memory: &mut Memory,
        context: &Context,
    ) -> Result<(), Error> {
        let series = &self.series;
        let (targets, surplus) = published(&self.object, series, memory, context).await?;
        let ledger_name = Names::of(&series.uid).ledger();
        let at = At { namespace: &series.home, name: &ledger_name };
        let secret = context.cluster.own_secret(at).await?;
        let held = secret.map_or(Held::Absent, |secret| match ledger(&secret, &series.uid) {
            Ok((version, ledger)) => Held::Ledger(version, Box::new(ledger)),
            Err(reason) => Held::Unreadable(reason),
        });
        let key_pairs = key_pairs(&held, series, context).await?;
        let is_left = targets.values().any(|target| matches!(target, Target::Left(_)));
        // Unless the name still has that uid, the JWKS may be the one of a successor.
        let lives = !is_left || {
            let present = context.cluster.signing_key(&series.name).await?;
            present.is_some_and(|it| it.metadata.uid.as_ref() == Some(&series.uid))
        };
        let series = lives.then(|| series.clone());
        self.observed = Observed { series, targets, surplus, ledger: held, key_pairs };
        Ok(())
    }

    /// The next key pair, if it exists and is not in the ledger yet.
    pub(super) fn next(&self) -> Option<(Version, PublicKey)> {
        let Held::Ledger(_, ledger) = &self.observed.ledger else {
            return None;
        };
        let next = self.observed.key_pairs.get(&ledger.next_index())?;
        Some((next.version.clone(), next.public.clone()?))
    }
}

/// Where the JWKS shall be, by a live list. A namespace that is being deleted needs none.
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

/// Where the JWKS shall be, and where nothing can be done any more.
#[derive(Debug)]
pub(super) struct Namespaces {
    wanted: BTreeSet<String>,
    going: BTreeSet<String>,
}

impl Namespaces {
    /// The operator's own, and those that are selected, each with whether it is being deleted.
    pub(super) fn of(series: &Series, selected: impl IntoIterator<Item = (String, bool)>) -> Self {
        let mut namespaces =
            Self { wanted: BTreeSet::from([series.home.clone()]), going: BTreeSet::new() };
        for (name, is_going) in selected {
            let set = if is_going { &mut namespaces.going } else { &mut namespaces.wanted };
            set.insert(name);
        }
        namespaces
    }
}

async fn published(
    object: &SigningKey,
    series: &Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<(BTreeMap<String, Target>, BTreeMap<Place, Surplus>), Error> {
    let cluster = &context.cluster;
    let selector = format!("{}={}", api::SIGNING_KEY, series.name);
    let mut maps = Vec::new();
    memory.hidden.clear();
    for scope in context.settings.scopes_of_jwks() {
        match cluster.config_maps(scope, &selector).await {
            Ok(found) => maps.extend(found),
            // One namespace whose rights are gone does not hold up the others.
            Err(failure) if failure.kind == Kind::Forbidden && is_foreign(scope, series) => {
                memory.hidden.insert(scope.to_owned(), failure.obstacle());
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    for namespace in &memory.unlabelled {
        let at = At { namespace, name: &series.config_map_name };
        maps.extend(cluster.config_map(at).await?);
    }
    // Afterwards: what was published before a namespace was selected is not too much.
    let namespaces = namespaces(object, series, context).await?;
    let mut found = BTreeMap::new();
    for map in &maps {
        if let Some(map) = FoundMap::of(map) {
            found.insert(map.place.clone(), map.seen_by(series));
        }
    }
    Ok(placed(found, series, &namespaces, memory))
}

/// Whether it is one namespace of several, and not the operator's own.
fn is_foreign(scope: &str, series: &Series) -> bool {
    !scope.is_empty() && scope != series.home
}

/// Sorts what was found into what is wanted and what is too much.
pub(super) fn placed(
    mut found: BTreeMap<Place, Target>,
    series: &Series,
    namespaces: &Namespaces,
    memory: &Memory,
) -> (BTreeMap<String, Target>, BTreeMap<Place, Surplus>) {
    found.retain(|place, _| !memory.hidden.contains_key(&place.namespace));
    let mut targets = BTreeMap::new();
    for namespace in &namespaces.wanted {
        let name = series.config_map_name.clone();
        let place = Place { namespace: namespace.clone(), name };
        let target = found.remove(&place).unwrap_or(Target::Absent);
        let hindered = match &target {
            Target::Absent | Target::Ours(_) => {
                memory.hidden.get(namespace).or_else(|| memory.blocked.get(namespace))
            }
            Target::Left(_) => memory.undeletable.get(&place),
            Target::Foreign | Target::Blocked(..) => None,
        };
        let target = match (hindered, target) {
            (Some(obstacle), Target::Ours(published)) => {
                Target::Blocked(obstacle.clone(), published.kids)
            }
            (Some(obstacle), _) => Target::Blocked(obstacle.clone(), BTreeSet::new()),
            (None, target) => target,
        };
        targets.insert(namespace.clone(), target);
    }
    found.retain(|place, _| !namespaces.going.contains(&place.namespace));
    let surplus = found.into_iter().filter_map(|(place, target)| match target {
        Target::Ours(published) => {
            let hindered = memory.undeletable.get(&place).cloned();
            let deletable = || Surplus::Deletable(published.version);
            let surplus = hindered.map_or_else(deletable, Surplus::Blocked);
            Some((place, surplus))
        }
        Target::Absent | Target::Left(_) | Target::Foreign | Target::Blocked(..) => None,
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
            let listed = cluster.secrets_of_type(&series.home, api::KEY_PAIR_TYPE).await?;
            let indices = listed.iter().filter_map(|it| names.index(it.name.as_deref()?));
            (Vec::new(), indices.chain([FIRST]).collect())
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
        let Some(mut secret) = cluster.own_secret(at).await? else { continue };
        let public = private_key(&secret, series.algorithm).map(|it| it.public().clone());
        secret.data.iter_mut().flat_map(BTreeMap::values_mut).for_each(|it| it.0.zeroize());
        let Some(version) = existing(&secret.metadata) else { continue };
        key_pairs.insert(index, KeyPair { version, public });
    }
    Ok(key_pairs)
}

// === reading objects ===

/// Reads a `SigningKey`; nothing when it cannot be read although it passed admission.
pub fn series(object: &SigningKey, settings: &Settings) -> Option<Series> {
    let spec = &object.spec;
    let name = object.metadata.name.clone()?;
    let grace = parse_duration(&spec.rotation.grace)?;
    let annotation = |name: &str| object.metadata.annotations.as_ref()?.get(name).cloned();
    Some(Series {
        uid: object.metadata.uid.clone()?,
        created_at: object.metadata.creation_timestamp.as_ref()?.0,
        generation: object.metadata.generation.unwrap_or_default(),
        algorithm: spec.algorithm,
        shape: KeyShape::of(spec.algorithm, spec.rsa_key_size)?,
        period: parse_duration(&spec.rotation.period)?,
        pre_publish: parse_duration(&spec.rotation.pre_publish)?,
        drain: drain(grace, settings.limits.view_age, settings.limits.token_lifetime),
        home: settings.namespace.clone(),
        config_map_name: config_map_name(&name, spec),
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

/// The version of a key pair, unless it is on its way out.
pub(super) fn existing(metadata: &ObjectMeta) -> Option<Version> {
    if metadata.deletion_timestamp.is_some() { None } else { version_of(metadata) }
}

/// A ConfigMap that may be the JWKS of a series, in its small form.
#[derive(Debug)]
pub(super) struct FoundMap {
    pub(super) place: Place,
    ownership: Option<Ownership>,
    is_going: bool,
    published: Published,
}

impl FoundMap {
    pub(super) fn of(map: &ConfigMap) -> Option<Self> {
        let metadata = &map.metadata;
        let place = Place { namespace: metadata.namespace.clone()?, name: metadata.name.clone()? };
        let ownership = Ownership::of("SigningKey", metadata);
        let series = ownership.as_ref().and_then(|it| it.name.as_deref());
        let (digest, kids) = content(map, series.unwrap_or_default());
        let fields = map.data.iter().flat_map(BTreeMap::keys);
        let surplus_fields = fields.filter(|field| !FIELDS.contains(&field.as_str())).cloned();
        let surplus_fields = surplus_fields.collect();
        let version = version_of(metadata)?;
        let published = Published { version, digest, kids, surplus_fields };
        let is_going = metadata.deletion_timestamp.is_some();
        Some(Self { place, ownership, is_going, published })
    }

    /// Without the ids of its keys, for whoever compares digests alone.
    pub(super) fn small(mut self) -> Self {
        self.published.kids = BTreeSet::new();
        self
    }

    /// What it is to that series.
    pub(super) fn seen_by(&self, series: &Series) -> Target {
        let Some(ownership) = &self.ownership else { return Target::Foreign };
        match ownership.seen_by(&series.uid, &series.name) {
            Belongs::Ours if self.is_going => {
                Target::Blocked(Obstacle::Contended, self.published.kids.clone())
            }
            Belongs::Ours => Target::Ours(self.published.clone()),
            Belongs::Predecessor if self.is_going => {
                Target::Blocked(Obstacle::AwaitingCollection, BTreeSet::new())
            }
            Belongs::Predecessor => Target::Left(self.published.version.clone()),
            Belongs::Foreign => Target::Foreign,
        }
    }
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
