//! A cluster of maps, in which decisions are carried out without a fault.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::signing_key::SigningKeyStatus;
use crate::domain::crypto::public_key::{Algorithm, KeyType, Kid};
use crate::domain::policy::Policy;
use crate::domain::signing_key::ledger::SharedSettings;
use crate::domain::signing_key::*;

/// The existing objects, and the time.
pub(super) struct Given {
    pub(super) series: Series,
    pub(super) targets: BTreeMap<String, ConfigMapState>,
    pub(super) surplus: BTreeMap<ConfigMapRef, StaleCopy>,
    pub(super) sight: Scope,
    pub(super) ledger: LedgerState,
    pub(super) key_pairs: BTreeMap<u32, KeyPair>,
    pub(super) now: Timestamp,
    pub(super) jwks_writes: usize,
    versions: u64,
}

pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Nothing but a series whose JWKS goes to two namespaces.
pub(super) fn nothing() -> Given {
    let targets = ["home", "shop"].map(|namespace| (namespace.to_owned(), ConfigMapState::Absent));
    Given {
        series: Series {
            uid: "u".to_owned(),
            name: "default".to_owned(),
            created_at: "2026-11-23T00:00:00Z".parse().unwrap(),
            generation: 1,
            algorithm: Algorithm::ES256,
            shape: KeyType::P256,
            period: HOUR * 720,
            pre_publish: HOUR,
            retention: retention(HOUR, HOUR, HOUR * 24),
            operator_namespace: "home".to_owned(),
            config_map_name: "default-jwks".to_owned(),
            is_suspended: false,
            rotate_request: None,
            revoke_request: None,
            revoke_all_request: None,
            ignored_requests: Vec::new(),
            origin: Origin::Declared,
            agreement: SharedSettings::of(
                HOUR,
                HOUR * 24,
                "https://iam.example.com",
                &Policy::default(),
            ),
        },
        targets: targets.into(),
        surplus: BTreeMap::new(),
        sight: Scope::AllNamespaces,
        ledger: LedgerState::Absent,
        key_pairs: BTreeMap::new(),
        now: "2026-11-24T00:00:00Z".parse().unwrap(),
        jwks_writes: 0,
        versions: 0,
    }
}

/// A series whose first key signs.
pub(super) fn signing() -> Given {
    let mut given = nothing();
    given.settle();
    given
}

/// A series whose second key signs, the first one in grace.
pub(super) fn rotated() -> Given {
    let mut given = signing();
    given.series.rotate_request = Some("a".to_owned());
    given.settle();
    given.later(HOUR * 2);
    given.settle();
    given
}

/// The public key of that index.
pub(super) fn key(index: u32) -> PublicKey {
    let byte = u8::try_from(index).unwrap();
    PublicKey::ec(Algorithm::ES256, &[vec![4], vec![byte; 64]].concat()).unwrap()
}

pub(super) fn kid(index: u32) -> Kid {
    key(index).kid().clone()
}

impl Given {
    pub(super) fn later(&mut self, by: SignedDuration) {
        self.now += by;
    }

    pub(super) fn observed(&self) -> Observed {
        Observed {
            series: Some(self.series.clone()),
            targets: self.targets.clone(),
            surplus: self.surplus.clone(),
            sight: self.sight,
            ledger: self.ledger.clone(),
            key_pairs: self.key_pairs.clone(),
        }
    }

    pub(super) fn decide(&self) -> Step {
        decide(&self.observed(), Now::at(self.now))
    }

    /// Decides and carries out until there is nothing to do; returns the words for each step.
    pub(super) fn settle(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..50 {
            match self.decide() {
                Step::Done(_) => return words,
                Step::Write(write) => {
                    words.push(word(&write));
                    self.apply(write);
                }
            }
        }
        panic!("does not come to rest: {words:?}");
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.decide() {
            Step::Done(rest) => rest.outcome,
            Step::Write(write) => panic!("not at rest: {write:?}"),
        }
    }

    /// The status once all has converged.
    pub(super) fn status(&self, former: Option<&SigningKeyStatus>) -> SigningKeyStatus {
        status::status(&self.observed(), &self.outcome(), former, Now::at(self.now)).unwrap()
    }

    /// The status for that outcome.
    pub(super) fn status_at_rest(&self, outcome: &Outcome) -> SigningKeyStatus {
        status::status(&self.observed(), outcome, None, Now::at(self.now)).unwrap()
    }

    /// The reasons of the Events that go with it.
    pub(super) fn events(&self, former: Option<&SigningKeyStatus>) -> Vec<&'static str> {
        let events =
            status::events(&self.series.name, &self.outcome(), former, &self.status(former));
        events.into_iter().map(|it| it.reason).collect()
    }

    pub(super) fn apply(&mut self, write: Write) {
        match write {
            Write::CreateLedger(ledger) | Write::PutLedger(_, ledger, _) => {
                self.ledger = LedgerState::Ledger(self.version(), ledger);
            }
            Write::Stage(index) => {
                let key_pair = KeyPair { version: self.version(), public: Some(key(index)) };
                assert!(self.key_pairs.insert(index, key_pair).is_none(), "made twice");
            }
            Write::Publish(jwks, publications) => {
                for publication in publications {
                    self.publish(&jwks, publication);
                }
            }
            Write::DeleteKeyPair(index, version) => {
                let gone = self.key_pairs.remove(&index);
                assert_eq!(gone.map(|it| it.version), Some(version));
            }
        }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        match &self.ledger {
            LedgerState::Ledger(_, ledger) => ledger,
            LedgerState::Absent | LedgerState::Unreadable(_) | LedgerState::Unread => {
                panic!("no ledger")
            }
        }
    }

    pub(super) fn published(&self, namespace: &str) -> Vec<Kid> {
        match &self.targets[namespace] {
            ConfigMapState::Owned(published) => published.kids.iter().cloned().collect(),
            ConfigMapState::Absent
            | ConfigMapState::Orphaned(_)
            | ConfigMapState::Conflict
            | ConfigMapState::Unwritable(..) => Vec::new(),
        }
    }

    pub(super) fn active(&self) -> Option<Kid> {
        self.ledger().active(self.now).map(|(_, entry)| entry.key.kid().clone())
    }

    fn publish(&mut self, jwks: &str, publication: Publication) {
        self.jwks_writes += 1;
        let version = self.version();
        let kids = crate::domain::crypto::jwks::kids_of(jwks);
        assert!(!kids.is_empty(), "an empty key set");
        let digest = Some(Jwks::digest_of(jwks));
        let published = Published { version, digest, kids, surplus_fields: BTreeSet::new() };
        match publication {
            Publication::Create(namespace) | Publication::Replace(namespace, ..) => {
                self.targets.insert(namespace, ConfigMapState::Owned(published));
            }
            Publication::Delete(place, _) => {
                self.surplus.remove(&place);
                if let Some(target @ ConfigMapState::Orphaned(_)) =
                    self.targets.get_mut(&place.namespace)
                {
                    *target = ConfigMapState::Absent;
                }
            }
        }
    }

    pub(super) fn version(&mut self) -> Version {
        self.versions += 1;
        Version { uid: "v".to_owned(), resource_version: self.versions.to_string() }
    }
}

fn word(write: &Write) -> String {
    match write {
        Write::CreateLedger(_) => "create ledger".to_owned(),
        Write::Stage(index) => format!("stage {index}"),
        Write::Publish(_, publications) => format!("publish {}", publications.len()),
        Write::PutLedger(_, _, change) => format!("{change:?}").to_lowercase(),
        Write::DeleteKeyPair(index, _) => format!("delete {index}"),
    }
}
