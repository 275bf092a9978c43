//! What users may expect once things have come to rest.

use std::time::Duration;

use serde_json::Value;
use technical_user_operator::domain::crypto::jwks::{Jwks, kids_of};
use technical_user_operator::domain::oauth::signer::{Aged, SignerInputs, SigningState, signer};
use technical_user_operator::domain::signing_key::Ledger;
use technical_user_operator::environment::Clock as _;

use crate::harness::stored::{self, condition, is, is_handled, owner_of, uid_of};
use crate::servers::VIEW_AGE;
use crate::stored::{JWKS, NAME, OPERATOR, jwks_of, ledger_of};
use crate::world::World;

/// A state of the cluster that has to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// One key, of that index or later, signs; it is the only one, and everywhere.
    Settled { index: u32, namespaces: &'static [&'static str] },
    /// The key of that index, or a later one, signs, also if there are others.
    Active(u32),
    /// The key of that index, or a later one that lives, has its time.
    Scheduled(u32),
    /// The reason of `Ready` is that.
    Said(&'static str),
    /// Ready, but for a namespace that has no JWKS of ours.
    Incomplete { reason: &'static str },
    /// Nothing is left.
    Gone,
    /// No ledger and no private key is left.
    Swept,
}

impl Goal {
    /// Whether it is reached; if not, what is missing.
    pub(crate) fn check(&self, world: &World) -> Result<(), String> {
        match self {
            Self::Settled { index, namespaces } => {
                is_ready(world)?;
                is_alone(world, *index)?;
                is_everywhere(world, namespaces)?;
                signs(world, *index)
            }
            Self::Active(index) => signs(world, *index),
            Self::Scheduled(index) => {
                let ledger = ledger(world)?;
                let is_later = ledger.live().any(|(it, _)| it > *index);
                is(ledger.entries.contains_key(index) || is_later, "it has no time yet")
            }
            Self::Said(reason) => stored::says(&series(world)?, reason),
            Self::Incomplete { reason } => {
                let series = series(world)?;
                let said = condition(&series, "JWKSIncomplete").ok_or("nothing is incomplete")?;
                is(said["reason"] == *reason, &format!("the reason is {}", said["reason"]))?;
                signs(world, 1)
            }
            Self::Swept => is(world.server.list("secrets").is_empty(), "a Secret is left"),
            Self::Gone => {
                is(world.server.list("signingkeys").is_empty(), "the series is left")?;
                is(world.server.list("secrets").is_empty(), "a Secret is left")?;
                is(world.server.list("configmaps").is_empty(), "a ConfigMap is left")
            }
        }
    }
}

fn is_ready(world: &World) -> Result<(), String> {
    let series = series(world)?;
    let troubles = [
        "Stalled",
        "Reconciling",
        "ClockSkew",
        "RotationInProgress",
        "JWKSIncomplete",
        "JWKSOrphaned",
        "RevokedKeyPublished",
    ];
    stored::is_ready(&series, &troubles)?;
    for (request, field) in [
        ("rotate", "lastHandledRotateAt"),
        ("revoke", "lastHandledRevokeAt"),
        ("revoke-all", "lastHandledRevokeAllAt"),
    ] {
        // A ledger that is made again knows no kid whose pair went with its revocation.
        let is_forgotten = world.has_lost_ledger()
            && request == "revoke"
            && condition(&series, "RevocationRequestInvalid").is_some();
        is(is_handled(&series, request, field) || is_forgotten, field)?;
    }
    Ok(())
}

/// One key lives, and its pair is the only one.
fn is_alone(world: &World, index: u32) -> Result<(), String> {
    let ledger = ledger(world)?;
    let live: Vec<_> = ledger.live().collect();
    is(live.len() == 1, &format!("{} keys live", live.len()))?;
    let (newest, entry) = live[0];
    is(newest >= index, &format!("the index is {newest}"))?;
    is(entry.until.is_none(), "the key ends")?;
    let series = series(world)?;
    let status = &series["status"];
    is(status["activeKid"] == *entry.key.kid().as_str(), "the status has another kid")?;
    let keys = status["keys"].as_array().ok_or("no keys in the status")?;
    let active = keys.iter().filter(|key| key["state"] == "Active").count();
    is(active == 1, &format!("{active} keys are active"))?;
    let prefix = format!("sk-{}-", uid_of(&series));
    let secrets = world.server.list("secrets");
    let names = secrets.iter().filter_map(|it| it["metadata"]["name"].as_str());
    let pairs: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    is(pairs == [format!("{prefix}{newest}")], &format!("key pairs: {pairs:?}"))?;
    let is_counted =
        |it: &&Value| world.is_collecting() || owner_of(it).as_deref() == Some(&uid_of(&series));
    let all = secrets.iter().filter(is_counted).count();
    is(all == 2, &format!("{all} Secrets instead of ledger and key pair"))
}

/// The same bytes in every namespace, and in no other.
fn is_everywhere(world: &World, namespaces: &[&str]) -> Result<(), String> {
    let ledger = ledger(world)?;
    let jwks: Jwks = ledger.live().map(|(_, entry)| entry.key.clone()).collect();
    let bytes = jwks.bytes().ok_or("no key lives")?;
    let uid = uid_of(&series(world)?);
    let mut wanted: Vec<&str> = namespaces.iter().copied().chain([OPERATOR]).collect();
    wanted.sort_unstable();
    let maps = world.server.list("configmaps");
    let found = maps.iter().filter_map(|it| it["metadata"]["namespace"].as_str());
    let found: Vec<_> = found.collect();
    is(found == wanted, &format!("ConfigMaps in {found:?}"))?;
    for map in &maps {
        is(owner_of(map).as_ref() == Some(&uid), "a ConfigMap is not ours")?;
        is(map["metadata"]["name"] == JWKS, "the name of a ConfigMap")?;
        let data = map["data"].as_object().ok_or("no data")?;
        let is_exact = data.len() == 2 && data.values().all(|text| *text == *bytes);
        is(is_exact && map["binaryData"].is_null(), "a JWKS differs")?;
    }
    Ok(())
}

/// A server that sees everything signs with the key of that index, or of a later one.
fn signs(world: &World, index: u32) -> Result<(), String> {
    let ledger = ledger(world)?;
    let home = world.server.get("configmaps", OPERATOR, JWKS).ok_or("no JWKS at home")?;
    let jwks = kids_of(&jwks_of(&home).unwrap_or_default());
    let uid = uid_of(&series(world)?);
    let has_pair =
        |index: u32| world.server.get("secrets", OPERATOR, &format!("sk-{uid}-{index}")).is_some();
    let live = ledger.live().filter(|(index, _)| has_pair(*index));
    let private = live.map(|(_, entry)| entry.key.kid().clone()).collect();
    let age = Duration::ZERO;
    let views = SignerInputs {
        series: Aged { seen: Some(SigningState::Signing), age },
        ledger: Aged { seen: Some(&ledger), age },
        jwks: Aged { seen: &jwks, age },
        private: Aged { seen: &private, age },
    };
    let entry = signer(&views, world.served.now(), VIEW_AGE).map_err(|why| why.to_string())?;
    let signing = ledger.live().find(|(_, it)| it.key.kid() == entry.key.kid());
    let signing = signing.map(|(index, _)| index).unwrap_or_default();
    is(signing >= index, &format!("key {signing} signs"))
}

fn series(world: &World) -> Result<Value, String> {
    world.server.get("signingkeys", "", NAME).ok_or_else(|| "no series".to_owned())
}

/// The ledger of the series.
pub(crate) fn ledger(world: &World) -> Result<Ledger, String> {
    let name = format!("sk-{}", uid_of(&series(world)?));
    let secret = world.server.get("secrets", OPERATOR, &name);
    secret.as_ref().and_then(ledger_of).ok_or_else(|| "no ledger".to_owned())
}
