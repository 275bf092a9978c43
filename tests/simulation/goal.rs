//! What users may expect once things have come to rest.

use serde_json::Value;
use support::fake_api_server::View;

use crate::flow::{LAST_APPLIED, USER};
use crate::harness::stored::{self, condition, is, is_handled, owner_of, ready, uid_of};
use crate::oracle::{OPERATOR, agree, entries, field, record_of_user, shown, state_of};
use crate::world::{NAMESPACE, SECRET, World};

/// A state of the cluster that has to be reached.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// The Secret carries the current client secret, and nothing else is accepted.
    Delivered { serial: i64, alias: Option<&'static str> },
    /// As delivered, and no other was issued since.
    Kept(i64),
    /// As delivered, by name of the user alone.
    Served(&'static str),
    /// The client secret works, and its Secret is gone.
    ReadOnce,
    /// As that, unless the next client secret is due already.
    Ignored,
    /// A secret of that serial is current.
    Serial(i64),
    /// Not ready, for that reason.
    Blocked(&'static str),
    /// The reason of `Ready` is that, unless something else brought a secret of that serial.
    Unless(&'static str, i64),
    /// The reason of `Ready` is that.
    Said(&'static str),
    /// The Secret carries the new labels, and the status says that the alias has to wait.
    Labelled,
    /// Nothing is left.
    Gone,
}

/// What is stored when a goal is looked for.
#[derive(Clone, Copy)]
struct Sight<'a> {
    state: View<'a>,
    /// Whether replaced client secrets may be left for a year.
    has_leftovers: bool,
}

impl Goal {
    pub(crate) fn delivered(serial: i64) -> Self {
        Self::Delivered { serial, alias: None }
    }

    /// Whether it is reached; if not, what is missing.
    pub(crate) fn check(&self, world: &World) -> Result<(), String> {
        let has_leftovers = world.keeps_leftovers();
        world.server.read(|state| self.holds(Sight { state, has_leftovers }))
    }

    fn holds(&self, sight: Sight<'_>) -> Result<(), String> {
        match self {
            Self::Delivered { serial, alias } => {
                is_ready(sight, USER)?;
                is_delivered(sight, USER, *serial)?;
                has_alias(sight, *alias)?;
                books_are_tidy(sight)
            }
            Self::Kept(serial) => {
                Self::delivered(*serial).holds(sight)?;
                let secret = secret(sight, USER)?;
                let annotations = &secret["metadata"]["annotations"];
                is(annotations[LAST_APPLIED].is_null(), "a copy of the client secret is left")?;
                is(current(&record(sight, USER)?)?.1["serial"].as_i64() == Some(*serial), "serial")
            }
            Self::Served(name) => {
                is_ready(sight, name)?;
                is_delivered(sight, name, 1)
            }
            Self::ReadOnce => {
                is_ready(sight, USER)?;
                is(sight.state.get("secrets", NAMESPACE, SECRET).is_none(), "the Secret is left")?;
                let record = record(sight, USER)?;
                is_tidy(sight, &record)?;
                books_are_tidy(sight)
            }
            Self::Ignored => Self::ReadOnce.holds(sight).or_else(|_| Self::Serial(2).holds(sight)),
            Self::Serial(serial) => {
                is(current(&record(sight, USER)?)?.1["serial"].as_i64() >= Some(*serial), "serial")
            }
            Self::Blocked(reason) => {
                let user = user(sight, USER)?;
                is(ready(user)?["status"] != "True", "it is ready")?;
                stored::says(user, reason)
            }
            Self::Said(reason) | Self::Unless(reason, _) => {
                stored::says(user(sight, USER)?, reason)
            }
            Self::Labelled => {
                is_ready(sight, USER)?;
                let secret = secret(sight, USER)?;
                is(secret["metadata"]["labels"]["team"] == "shop", "the label is missing")?;
                let user = user(sight, USER)?;
                // A client secret that was issued meanwhile brought the alias along.
                let is_there = field(secret, "password").is_some();
                let is_said = condition(user, "AliasesPending").is_some();
                is(is_said != is_there, "nothing said of the alias")
            }
            Self::Gone => {
                is(sight.state.list("technicalusers").is_empty(), "the user is left")?;
                is(sight.state.list("secrets").is_empty(), "a Secret is left")
            }
        }
    }
}

fn is_ready(sight: Sight<'_>, name: &str) -> Result<(), String> {
    let user = user(sight, name)?;
    stored::is_ready(user, &["Stalled", "Reconciling", "ClockSkew"])?;
    for (request, field) in [("rotate", "lastHandledRotateAt"), ("revoke", "lastHandledRevokeAt")] {
        is(is_handled(user, request, field), field)?;
    }
    Ok(())
}

fn is_delivered(sight: Sight<'_>, name: &str, serial: i64) -> Result<(), String> {
    let user = user(sight, name)?;
    let secret = secret(sight, name)?;
    is(owner_of(secret) == Some(uid_of(user)), "the Secret is not ours")?;
    let record = record(sight, name)?;
    let (id, entry) = current(&record)?;
    is(secret["metadata"]["annotations"]["iam.cyoda.com/credential-id"] == *id, "another id")?;
    let text = shown(secret).unwrap_or_default();
    is(field(secret, "client-secret").as_ref() == Some(&text), "the spellings differ")?;
    let hash = entry["bcrypt"].as_str().unwrap_or_default();
    is(agree(&text, hash), "the current verifier refuses the client secret")?;
    is(entry["serial"].as_i64() >= Some(serial), "the serial is too low")?;
    is(user["status"]["serial"] == record["serial"], "the status has another serial")?;
    is_tidy(sight, &record)
}

fn has_alias(sight: Sight<'_>, alias: Option<&str>) -> Result<(), String> {
    let Some(alias) = alias else { return Ok(()) };
    let secret = secret(sight, USER)?;
    is(field(secret, alias) == shown(secret), "the alias is missing")
}

/// Nothing but the current client secret is accepted.
fn is_tidy(sight: Sight<'_>, record: &Value) -> Result<(), String> {
    let is_tidy = entries(record).len() == 1 || sight.has_leftovers;
    is(is_tidy, "the record is not tidy")
}

/// One record for each user, none besides.
fn books_are_tidy(sight: Sight<'_>) -> Result<(), String> {
    let of_operator = |it: &&Value| it["metadata"]["namespace"] == OPERATOR;
    let secrets = sight.state.list("secrets");
    let records = secrets.into_iter().filter(of_operator).count();
    is(records == sight.state.list("technicalusers").len(), "a record is orphaned")
}

fn user<'a>(sight: Sight<'a>, name: &str) -> Result<&'a Value, String> {
    sight.state.get("technicalusers", NAMESPACE, name).ok_or_else(|| "no user".to_owned())
}

fn secret<'a>(sight: Sight<'a>, name: &str) -> Result<&'a Value, String> {
    let name = format!("{name}-credentials");
    sight.state.get("secrets", NAMESPACE, &name).ok_or_else(|| "no Secret".to_owned())
}

fn record(sight: Sight<'_>, name: &str) -> Result<Value, String> {
    let uid = uid_of(user(sight, name)?);
    let record = record_of_user(sight.state, &uid);
    record.ok_or_else(|| "no record".to_owned())
}

fn current(record: &Value) -> Result<(String, Value), String> {
    let mut entries = entries(record).into_iter();
    let current = entries.find(|(_, entry)| state_of(entry) == "current");
    current.ok_or_else(|| "nothing is current".to_owned())
}

/// How many users say that reason.
pub(crate) fn saying(world: &World, reason: &str) -> usize {
    let users = world.server.list("technicalusers");
    users.iter().filter(|user| stored::says(user, reason).is_ok()).count()
}
