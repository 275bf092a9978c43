//! The keys: series, their ledgers, key pairs and JWKS ConfigMaps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::api;
use crate::api::signing_key::SigningKey;
use crate::domain::crypto::jwks::{self, Jwks};
use crate::domain::crypto::public_key::{Algorithm, Kid, PublicKey};
use crate::domain::installation::is_served;
use crate::domain::oauth;
use crate::domain::oauth::signer::{
    Aged, SignerInputs, SigningState, SigningUnavailable, check_settings, signer,
};
use crate::domain::signing_key::Ledger;
use crate::domain::signing_key::ledger::SharedSettings;
use crate::environment::private_key::{Pkcs8, PrivateKey};
use crate::kubernetes::codec::{SecretNames, algorithm_of, config_map_name, controller_of};
use crate::kubernetes::watch::{Store, WatchEvent};

/// A key that signs, with the header of its tokens.
#[derive(Debug)]
pub struct Signer {
    /// The private half.
    pub key: PrivateKey,
    /// The JOSE headers of its tokens.
    pub headers: oauth::Headers,
}

/// The keys of all series, as verifiers fetch them.
#[derive(Debug)]
pub struct Published {
    /// The set.
    pub keys: Jwks,
    /// Its bytes: of one series, those of its ConfigMap.
    pub bytes: Bytes,
    /// A strong validator of the bytes (RFC 9110 section 8.8.3).
    pub etag: String,
    /// The algorithms that tokens are or will be signed with.
    pub algorithms: BTreeSet<Algorithm>,
}

/// The ages of the watches that a signer depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) series: Duration,
    pub(super) ledgers: Duration,
    pub(super) jwks: Duration,
    pub(super) key_pairs: Duration,
}

/// Everything that the watches received of keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    series: Store<String, Series>,
    ledgers: Store<String, Option<Ledger>>,
    pairs: Store<String, Pair>,
    maps: Store<String, Map>,
    signing: BTreeMap<String, Arc<Signing>>,
    published: Option<Arc<Published>>,
    /// The uid of this installation.
    own: Option<String>,
}

/// One series, ready to sign.
#[derive(Debug)]
pub(super) struct Signing {
    usage: SigningState,
    ledger: Option<Ledger>,
    jwks: BTreeSet<Kid>,
    private: BTreeSet<Kid>,
    signers: BTreeMap<Kid, Arc<Signer>>,
    pairs: BTreeMap<String, (String, Kid)>,
    published: Option<Arc<Published>>,
}

/// A `SigningKey`, as far as signing needs it.
#[derive(Debug)]
pub(super) struct Series {
    uid: String,
    algorithm: Algorithm,
    usage: SigningState,
    config_map: String,
    /// The uid of the installation that holds the series.
    holder: Option<String>,
}

/// A key pair as it is stored.
#[derive(Debug)]
pub(super) struct Pair {
    uid: String,
    algorithm: Option<Algorithm>,
    der: Pkcs8,
}

/// A JWKS ConfigMap, and the uid of the series that controls it.
#[derive(Debug)]
pub(super) struct Map {
    owner: String,
    keys: Vec<PublicKey>,
}

// === reading objects ===

/// The series by its name, unless it is one of another controller.
pub(super) fn read_series(object: &SigningKey, controller: &str) -> Option<(String, Series)> {
    let name = object.metadata.name.clone()?;
    let spec = &object.spec;
    if spec.controller_name != controller {
        return None;
    }
    let holder = object.status.as_ref().and_then(|status| status.installation.as_ref());
    let series = Series {
        uid: object.metadata.uid.clone()?,
        algorithm: spec.algorithm,
        usage: if spec.suspend { SigningState::Suspended } else { SigningState::Signing },
        config_map: config_map_name(&name, spec),
        holder: holder.map(|holder| holder.uid.clone()),
    };
    Some((name, series))
}

/// The key pair by the name of its Secret.
pub(super) fn read_pair(mut secret: Secret) -> Option<(String, Pair)> {
    let uid = secret.metadata.uid.clone()?;
    let algorithm = algorithm_of(&secret.metadata);
    let der = secret.data.as_mut()?.remove(api::KEY_PAIR_FIELD)?;
    Some((secret.metadata.name?, Pair { uid, algorithm, der: Pkcs8::new(der.0) }))
}

/// The JWKS by the name of its ConfigMap.
pub(super) fn read_map(map: &ConfigMap) -> Option<(String, Map)> {
    let owner = controller_of(&map.metadata)?;
    let text = map.data.as_ref().and_then(|data| data.get(api::JWKS_FIELD));
    let keys = jwks::keys_of(text.map(String::as_str).unwrap_or_default());
    Some((map.metadata.name.clone()?, Map { owner: owner.uid.clone(), keys }))
}

// === impl Keys ===

impl Keys {
    pub(super) fn register_watches(&mut self) {
        self.series.register_watch(0);
        self.ledgers.register_watch(0);
        self.pairs.register_watch(0);
        self.maps.register_watch(0);
    }

    /// The kinds that are not synced yet.
    pub(super) fn not_synced(&self) -> Vec<&'static str> {
        let kinds = [
            ("signingkeys", self.series.is_synced()),
            ("ledgers", self.ledgers.is_synced()),
            ("key pairs", self.pairs.is_synced()),
            ("configmaps", self.maps.is_synced()),
        ];
        kinds.into_iter().filter(|(_, is_synced)| !is_synced).map(|(kind, _)| kind).collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.served().map(|(name, _)| name.clone()).collect()
    }

    /// The settings of the operator, as the ledgers have them.
    pub(super) fn shared_settings(&self) -> Vec<SharedSettings> {
        let ledgers = self.signing.values().filter_map(|it| it.ledger.as_ref());
        ledgers.filter_map(|ledger| ledger.agreement.clone()).collect()
    }

    /// The series that this installation serves.
    fn served(&self) -> impl Iterator<Item = (&String, &Series)> {
        let own = self.own.as_deref();
        self.series.iter().filter(move |(_, series)| is_served(series.holder.as_deref(), own))
    }

    /// Takes in the uid of this installation.
    pub(super) fn apply_own(&mut self, own: Option<&str>) {
        if self.own.as_deref() != own {
            self.own = own.map(str::to_owned);
            self.compose();
        }
    }

    /// The series of that name, once the watches are synced.
    pub(super) fn signing(&self, name: &str) -> Result<Arc<Signing>, SigningUnavailable> {
        let unknown = || {
            self.not_synced()
                .first()
                .map_or(SigningUnavailable::Absent, |kind| SigningUnavailable::NotSynced(kind))
        };
        self.signing.get(name).cloned().ok_or_else(unknown)
    }

    pub(super) fn published(&self) -> Option<Arc<Published>> {
        self.published.clone()
    }

    pub(super) fn apply_signing_key(&mut self, event: WatchEvent<String, Series>) {
        self.series.apply_event(0, event);
        self.compose();
    }

    pub(super) fn apply_ledger(&mut self, event: WatchEvent<String, Option<Ledger>>) {
        self.ledgers.apply_event(0, event);
        self.compose();
    }

    pub(super) fn apply_key_pair(&mut self, event: WatchEvent<String, Pair>) {
        self.pairs.apply_event(0, event);
        self.compose();
    }

    pub(super) fn apply_config_map(&mut self, event: WatchEvent<String, Map>) {
        self.maps.apply_event(0, event);
        self.compose();
    }

    /// Rebuilds everything: there are few series, and they change rarely.
    fn compose(&mut self) {
        if !self.not_synced().is_empty() {
            return;
        }
        let mut signing = BTreeMap::new();
        let mut published = Vec::new();
        for (name, series) in self.served() {
            let one = self.signing_of(series, self.signing.get(name).map(AsRef::as_ref));
            published.extend(one.published.iter().flat_map(|it| it.keys.keys().cloned()));
            signing.insert(name.clone(), Arc::new(one));
        }
        self.signing = signing;
        self.published = Published::renewed(self.published.as_ref(), published);
    }

    fn signing_of(&self, series: &Series, former: Option<&Signing>) -> Signing {
        let names = SecretNames::of(&series.uid);
        let ledger = self.ledgers.get(&names.ledger()).cloned().flatten();
        let prefix = names.key_pair_prefix();
        let pairs =
            self.pairs.from(prefix.clone()).take_while(|(name, _)| name.starts_with(&prefix));
        let mut signers = BTreeMap::new();
        let mut read = BTreeMap::new();
        for (name, pair) in pairs {
            // The keys of a series may have several algorithms: the one that signs is not the next.
            let in_ledger = ledger.as_ref().and_then(|ledger| {
                let entry = ledger.entries.get(&names.index(name)?)?;
                Some(entry.key.algorithm())
            });
            let algorithm = in_ledger.or(pair.algorithm).unwrap_or(series.algorithm);
            let known = former.and_then(|former| former.signer_of(name, &pair.uid));
            let known = known.filter(|it| it.key.public().algorithm() == algorithm);
            let Some(signer) = known.or_else(|| Signer::of(algorithm, pair)) else {
                tracing::warn!(
                    secret = name,
                    "a key pair is none of its algorithm and is left alone"
                );
                continue;
            };
            let kid = signer.key.public().kid().clone();
            read.insert(name.clone(), (pair.uid.clone(), kid.clone()));
            signers.insert(kid, signer);
        }
        let private: BTreeSet<Kid> = signers.keys().cloned().collect();
        let public = self.public_keys(series, ledger.as_ref(), &private);
        let published = former.and_then(|former| former.published.as_ref());
        Signing {
            usage: series.usage,
            published: Published::renewed(published, public),
            ledger,
            jwks: self.jwks_of(series).iter().map(|key| key.kid().clone()).collect(),
            private,
            signers,
            pairs: read,
        }
    }

    fn jwks_of(&self, series: &Series) -> &[PublicKey] {
        let map = self.maps.get(&series.config_map);
        map.filter(|map| map.owner == series.uid).map(|map| map.keys.as_slice()).unwrap_or_default()
    }

    /// The public keys of one `SigningKey`: those of its ConfigMap, and those of the ledger, should the
    /// ConfigMap be away for a moment; never what has left. A key of the ConfigMap alone counts only
    /// with its private half in the store: the right to write ConfigMaps must not make tokens valid.
    fn public_keys(
        &self,
        series: &Series,
        ledger: Option<&Ledger>,
        private: &BTreeSet<Kid>,
    ) -> Vec<PublicKey> {
        let mut keys = self.jwks_of(series).to_vec();
        let known = ledger.into_iter().flat_map(|ledger| ledger.entries.values());
        let known: BTreeSet<_> = known.map(|entry| entry.key.kid()).chain(private).collect();
        keys.retain(|key| known.contains(key.kid()));
        let Some(ledger) = ledger else { return keys };
        keys.extend(ledger.live().map(|(_, entry)| entry.key.clone()));
        let gone = ledger.entries.values().filter(|entry| entry.withdrawal.is_some());
        let gone: BTreeSet<_> = gone.map(|entry| entry.key.kid()).collect();
        keys.retain(|key| !gone.contains(key.kid()));
        keys
    }
}

// === impl Signing ===

impl Signing {
    pub(super) fn signer(
        &self,
        ages: &Ages,
        now: Timestamp,
        most_age: Duration,
        token_lifetime: SignedDuration,
    ) -> Result<Arc<Signer>, SigningUnavailable> {
        if let Some(ledger) = &self.ledger {
            check_settings(ledger, most_age, token_lifetime)?;
        }
        let views = SignerInputs {
            series: Aged { seen: Some(self.usage), age: ages.series },
            ledger: Aged { seen: self.ledger.as_ref(), age: ages.ledgers },
            jwks: Aged { seen: &self.jwks, age: ages.jwks },
            private: Aged { seen: &self.private, age: ages.key_pairs },
        };
        let entry = signer(&views, now, most_age)?;
        self.signers.get(entry.key.kid()).cloned().ok_or(SigningUnavailable::NoKey)
    }

    pub(super) fn published(&self) -> Option<Arc<Published>> {
        self.published.clone()
    }

    fn signer_of(&self, secret: &str, uid: &str) -> Option<Arc<Signer>> {
        let (_, kid) = self.pairs.get(secret).filter(|(known, _)| known == uid)?;
        self.signers.get(kid).cloned()
    }
}

// === impl Signer ===

impl Signer {
    fn of(algorithm: Algorithm, pair: &Pair) -> Option<Arc<Self>> {
        let key = PrivateKey::from_pkcs8(algorithm, pair.der.as_bytes()).ok()?;
        let headers = oauth::Headers::of(key.public());
        Some(Arc::new(Self { key, headers }))
    }
}

// === impl Published ===

impl Published {
    /// The former one where it has these keys.
    fn renewed(former: Option<&Arc<Self>>, keys: Vec<PublicKey>) -> Option<Arc<Self>> {
        let keys: Jwks = keys.into_iter().collect();
        let same = former.filter(|former| former.keys == keys).cloned();
        same.or_else(|| Self::of(keys).map(Arc::new))
    }

    fn of(keys: Jwks) -> Option<Self> {
        let text = keys.bytes()?;
        let etag = format!("\"{}\"", Jwks::digest_of(&text));
        let bytes = Bytes::from(text);
        let algorithms = keys.keys().map(PublicKey::algorithm).collect();
        Some(Self { keys, bytes, etag, algorithms })
    }
}
