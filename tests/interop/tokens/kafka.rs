//! Kafka's own handlers, of a client and of a broker, follow the recipe of docs/token-service.md letter
//! by letter, but for the issuer and the credential.

use std::fs;

use serde::Deserialize;
use serde_json::json;
use support::recipes;

use super::world::{World, until};
use crate::languages::{JAVA, run};

const USER: &str = "kafka";

#[derive(Deserialize)]
struct Said {
    library: String,
    /// The principal of its own token, or `refused`.
    own: String,
    /// The same of a forged one, and of those that it was given.
    others: Vec<String>,
}

/// What went wrong, after which library; `foreign` is a token for another audience. Nothing where the
/// language is absent.
pub(crate) fn follow(world: &World, foreign: &str) -> Option<(String, Vec<String>)> {
    let java = JAVA.installed()?;
    world.apply_user(USER, &json!({"audiences": ["kafka"]}));
    let credential = until("a Secret for Kafka", || world.credential(USER));
    let block = |language: &str| recipes::blocks("Kafka", language, &world.issuer).swap_remove(0);
    let stand_in = r#"clientId="..." clientSecret="...";"#;
    let (recipe, allowed) = (block("properties"), block("sh"));
    assert!(recipe.contains(stand_in), "{recipe}");
    let (id, secret) = (&credential.id, credential.secret.reveal());
    let recipe = recipe.replace(stand_in, &format!(r#"clientId="{id}" clientSecret="{secret}";"#));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recipe.properties");
    fs::write(&file, recipe).unwrap();

    let mut kafka = java.program("Kafka");
    kafka.arg(&file).arg(foreign).env("JAVA_TOOL_OPTIONS", allowed.trim());
    let said: Said = serde_json::from_str(&run(&mut kafka)).unwrap();
    let mut faults = Vec::new();
    if said.own != *id {
        faults.push(format!("its own token is of {}, not of {id}", said.own));
    }
    if said.others != ["refused", "refused"] {
        faults.push(format!("forged and foreign: {:?}", said.others));
    }
    Some((said.library, faults))
}
