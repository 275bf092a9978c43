//! What users may expect once things have come to rest.

use serde_json::Value;

use crate::flow::USER;
use crate::oracle::{OPERATOR, entries, field, owner_of, record_of_user, shown, state_of, uid_of};
use crate::world::{NAMESPACE, SECRET, World};

/// A state of the cluster that has to be reached.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// The Secret carries the current client secret, and nothing else is accepted.
    Delivered { serial: i64, alias: Option<&'static str> },
    /// As delivered, by name of the user alone.
    Served(&'static str),
    /// The client secret works, and its Secret is gone.
    ReadOnce,
    /// A secret of that serial is current.
    Serial(i64),
    /// Not ready, for that reason.
    Blocked(&'static str),
    /// The reason of `Ready` is that.
    Said(&'static str),
    /// The Secret carries the new labels, and the status says that the alias has to wait.
    Labelled,
    /// Nothing is left.
    Gone,
}

impl Goal {
    pub(crate) fn delivered(serial: i64) -> Self {
        Self::Delivered { serial, alias: None }
    }

    /// Whether it is reached; if not, what is missing.
    pub(crate) fn check(&self, world: &World) -> Result<(), String> {
        match self {
            Self::Delivered { serial, alias } => {
                is_ready(world, USER)?;
                is_delivered(world, USER, *serial)?;
                has_alias(world, *alias)?;
                books_are_tidy(world)
            }
            Self::Served(name) => {
                is_ready(world, name)?;
                is_delivered(world, name, 1)
            }
            Self::ReadOnce => {
                is_ready(world, USER)?;
                is(world.server.get("secrets", NAMESPACE, SECRET).is_none(), "the Secret is left")?;
                let record = record(world, USER)?;
                is_tidy(world, &record)?;
                books_are_tidy(world)
            }
            Self::Serial(serial) => {
                is(current(&record(world, USER)?)?.1["serial"].as_i64() >= Some(*serial), "serial")
            }
            Self::Blocked(reason) => {
                is(ready(world, USER)?["status"] != "True", "it is ready")?;
                says(world, reason)
            }
            Self::Said(reason) => says(world, reason),
            Self::Labelled => {
                is_ready(world, USER)?;
                let secret = secret(world, USER)?;
                is(secret["metadata"]["labels"]["team"] == "shop", "the label is missing")?;
                let user = user(world, USER)?;
                // A client secret that was issued meanwhile brought the alias along.
                let is_there = field(&secret, "password").is_some();
                let is_said = condition(&user, "AliasesPending").is_some();
                is(is_said != is_there, "nothing said of the alias")
            }
            Self::Gone => {
                is(world.server.list("technicalusers").is_empty(), "the user is left")?;
                is(world.server.list("secrets").is_empty(), "a Secret is left")
            }
        }
    }
}

fn is_ready(world: &World, name: &str) -> Result<(), String> {
    let user = user(world, name)?;
    let generation = &user["metadata"]["generation"];
    let ready = ready(world, name)?;
    is(ready["status"] == "True", &format!("not ready: {}", ready["reason"]))?;
    is(user["status"]["observedGeneration"] == *generation, "observedGeneration")?;
    is(ready["observedGeneration"] == *generation, "observedGeneration of Ready")?;
    for trouble in ["Stalled", "Reconciling", "ClockSkew"] {
        is(condition(&user, trouble).is_none(), trouble)?;
    }
    for (annotation, field) in [
        ("iam.cyoda.com/rotate-requested-at", "lastHandledRotateAt"),
        ("iam.cyoda.com/revoke-requested-at", "lastHandledRevokeAt"),
    ] {
        let asked = &user["metadata"]["annotations"][annotation];
        is(asked.is_null() || user["status"][field] == *asked, field)?;
    }
    Ok(())
}

fn is_delivered(world: &World, name: &str, serial: i64) -> Result<(), String> {
    let user = user(world, name)?;
    let secret = secret(world, name)?;
    is(owner_of(&secret) == Some(uid_of(&user)), "the Secret is not ours")?;
    let record = record(world, name)?;
    let (id, entry) = current(&record)?;
    is(secret["metadata"]["annotations"]["iam.cyoda.com/credential-id"] == *id, "another id")?;
    let text = shown(&secret).unwrap_or_default();
    is(field(&secret, "client-secret").as_ref() == Some(&text), "the spellings differ")?;
    let hash = entry["bcrypt"].as_str().unwrap_or_default();
    is(world.oracle().agree(&text, hash), "the current verifier refuses the client secret")?;
    is(entry["serial"].as_i64() >= Some(serial), "the serial is too low")?;
    is(user["status"]["serial"] == record["serial"], "the status has another serial")?;
    is_tidy(world, &record)
}

fn has_alias(world: &World, alias: Option<&str>) -> Result<(), String> {
    let Some(alias) = alias else { return Ok(()) };
    let secret = secret(world, USER)?;
    is(field(&secret, alias) == shown(&secret), "the alias is missing")
}

/// Nothing but the current client secret is accepted.
fn is_tidy(world: &World, record: &Value) -> Result<(), String> {
    let is_tidy = entries(record).len() == 1 || world.keeps_leftovers();
    is(is_tidy, "the record is not tidy")
}

/// One record for each user, none besides.
fn books_are_tidy(world: &World) -> Result<(), String> {
    let of_operator = |it: &&Value| it["metadata"]["namespace"] == OPERATOR;
    let secrets = world.server.list("secrets");
    let records = secrets.iter().filter(of_operator).count();
    is(records == world.server.list("technicalusers").len(), "a record is orphaned")
}

fn says(world: &World, reason: &str) -> Result<(), String> {
    let ready = ready(world, USER)?;
    is(ready["reason"] == *reason, &format!("the reason is {}", ready["reason"]))
}

fn user(world: &World, name: &str) -> Result<Value, String> {
    world.server.get("technicalusers", NAMESPACE, name).ok_or_else(|| "no user".to_owned())
}

fn secret(world: &World, name: &str) -> Result<Value, String> {
    let name = format!("{name}-credentials");
    world.server.get("secrets", NAMESPACE, &name).ok_or_else(|| "no Secret".to_owned())
}

fn record(world: &World, name: &str) -> Result<Value, String> {
    let uid = uid_of(&user(world, name)?);
    let record = world.server.read(|state| record_of_user(state, &uid));
    record.ok_or_else(|| "no record".to_owned())
}

fn current(record: &Value) -> Result<(String, Value), String> {
    let mut entries = entries(record).into_iter();
    let current = entries.find(|(_, entry)| state_of(entry) == "current");
    current.ok_or_else(|| "nothing is current".to_owned())
}

fn ready(world: &World, name: &str) -> Result<Value, String> {
    condition(&user(world, name)?, "Ready").ok_or_else(|| "no condition Ready".to_owned())
}

fn condition(user: &Value, type_: &str) -> Option<Value> {
    let conditions = user["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_).cloned()
}

fn is(holds: bool, otherwise: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| otherwise.to_owned())
}
