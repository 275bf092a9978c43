//! Whether libraries of other families, and those that people use most, get tokens and verify them,
//! from the issuer alone: against `all-in-one` as it is shipped, on a real API server.

mod curl;
mod forgeries;
mod kafka;
mod load;
mod peer;
mod rust;
mod trial;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;

use serde_json::{Value, json};

use self::peer::{PEERS, Peer};
use self::trial::{Trial, Users};
use self::world::{World, until};

/// Named by audience in a token.
const AUDIENCES: [&str; 2] = ["https://api.example.com", "orders"];
const ROLES: [&str; 2] = ["ROLE_M2M", "orders:read"];

#[test]
fn libraries_of_every_language_get_tokens_and_verify_them() {
    let Some(world) = World::start() else { return };
    furnish(&world);
    let issuer = world.issuer.as_str();
    let mut peers: Vec<Peer> = thread::scope(|scope| {
        let peers = PEERS.map(|start| scope.spawn(move || start(issuer)));
        peers.into_iter().filter_map(|peer| peer.join().unwrap()).collect()
    });
    for peer in &peers {
        world.apply_user(peer.user, &json!({"roles": ROLES}));
    }
    let own = peers.iter().map(|peer| peer.user);
    let users = own.chain(SHARED.map(|(name, ..)| name)).chain([RFC_9068]);
    let users: Users = users
        .map(|name| (name, until(&format!("a Secret of {name}"), || world.credential(name))))
        .collect();

    let trials: Vec<Trial<'_>> = thread::scope(|scope| {
        let tenant = world.tenant();
        let trials = peers.iter_mut().map(|peer| {
            let mut trial = Trial::new(issuer, tenant.clone(), &users);
            scope.spawn(|| {
                trial.run(peer, &world);
                trial
            })
        });
        let trials: Vec<_> = trials.collect();
        trials.into_iter().map(|trial| trial.join().unwrap()).collect()
    });
    let loads = load::through_rotations(&world, &mut peers, &users);
    let foreign = peers.first_mut().unwrap().token(trial::of(&users["es256"]));
    let followed = kafka::follow(&world, &foreign.unwrap());

    let mut faults = Vec::new();
    let mut text = "\ntokens".to_owned();
    if let Some((library, wrong)) = followed {
        let _ = write!(text, "\n{library}: the recipe, letter by letter");
        faults.extend(wrong.into_iter().map(|fault| format!("{library}: {fault}")));
    }
    for ((peer, trial), load) in peers.iter().zip(trials).zip(loads) {
        let _ = write!(
            text,
            "\n{}: {} cases, {} tokens through both rotations",
            peer.libraries, trial.cases, load.tokens
        );
        if !peer.lacks.is_empty() {
            let lacks: Vec<_> = peer.lacks.iter().map(String::as_str).collect();
            let _ = write!(text, ", without {}", lacks.join(" and "));
        }
        let all = trial.faults.into_iter().chain(load.faults);
        faults.extend(all.map(|fault| format!("{}: {fault}", peer.libraries)));
    }
    // Past the capture of test output, which hides what succeeds.
    let _ = writeln!(io::stderr(), "{text}\n");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A name, the algorithm that signs for it, and how many audiences it has.
const SHARED: [(&str, &str, usize); 2] = [("es256", "ES256", 1), ("eddsa", "EdDSA", 2)];

/// A user whose tokens have `typ: at+jwt`.
const RFC_9068: &str = "rfc9068";

/// Makes a key of each kind, and a user for each; the default key takes over at once, since no client has to
/// wait an hour.
fn furnish(world: &World) {
    let rotation = json!({"acceptOutage": true, "prePublish": "1s"});
    world.apply_key("default", &json!({"rotation": rotation}));
    for (name, algorithm, audiences) in SHARED {
        world.apply_key(name, &json!({"algorithm": algorithm}));
        let audiences = &AUDIENCES[..audiences];
        let key = json!({"name": name});
        world.apply_user(name, &json!({"signingKeyRef": key, "audiences": audiences}));
    }
    let (key, audiences) = (json!({"name": "es256"}), &AUDIENCES[..1]);
    let spec = json!({
        "signingKeyRef": key, "audiences": audiences, "roles": ROLES, "accessTokenType": "at+jwt",
    });
    world.apply_user(RFC_9068, &spec);
    for series in ["default", "es256", "eddsa"] {
        until(&format!("a key of {series}"), || world.active_kid(series));
    }
}

/// What is in one part of a token, unverified.
fn part(token: &str, index: usize) -> BTreeMap<String, Value> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
