//! What metrics tell of a token service that refuses.

use std::time::Duration;

use serde_json::{Value, json};
use technical_user_operator::domain::crypto::client_secret::ClientId;
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::kubernetes::codec::SecretNames;
use technical_user_operator::server::http::rate_limit::Rate;
use technical_user_operator::server::oauth::authenticator::Rates;

use crate::world::{Credential, RATES, SYSTEM, TokenServer, VIEW_AGE, World, until};

const REQUESTS: &str = "technical_user_token_requests_total";
const CAN_SIGN: &str = "technical_user_signing_key_can_sign";

impl TokenServer {
    /// How many requests were refused for that reason.
    fn refused(&self, error: &str, reason: &str) -> u64 {
        let labels = format!(r#"result="refused",error="{error}",reason="{reason}"}} "#);
        let lines = self.metric(REQUESTS);
        lines.iter().filter_map(|line| line.split_once(&labels)?.1.parse::<u64>().ok()).sum()
    }

    /// Whether metrics say that its first series can sign.
    fn can_sign(&self) -> bool {
        let says = |value: &str| self.metric(CAN_SIGN)[0].ends_with(value);
        assert_ne!(says(" 0.0"), says(" 1.0"), "{:?}", self.metric(CAN_SIGN));
        says(" 1.0")
    }

    fn unavailable(&self, reason: &str) -> u64 {
        self.refused("temporarily_unavailable", reason)
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_sign_says_why() {
    let world = World::start().await;
    let elsewhere = json!({"signingKeyRef": {"name": "elsewhere"}});
    let stray = world.user("orders", "stray", &elsewhere).await;
    let who = world.user("orders", "billing", &json!({})).await;
    world.lose(Some("/signingkeys"));
    let new = world.token_server(ClaimsProfile::Cloud);

    until("its clients", || new.directory.count() == 2).await;
    new.token(&who).await;
    world.lose(None);
    let server = new.ready().await;
    server.token(&stray).await;
    world.kill_operator();
    change(&world, "signingkeys", "", "default", |key| key["spec"]["suspend"] = true.into());
    until("a suspended key", || !server.can_sign()).await;
    server.token(&who).await;
    change(&world, "signingkeys", "", "default", |key| key["spec"]["suspend"] = false.into());
    until("the end of it", || server.can_sign()).await;
    let uid = world.server.get("signingkeys", "", "default").unwrap()["metadata"]["uid"].clone();
    let ledger = SecretNames::of(uid.as_str().unwrap()).ledger();
    let ledger = world.server.delete_raw("secrets", SYSTEM, &ledger).unwrap();
    until("no ledger", || !server.can_sign()).await;
    server.token(&who).await;
    world.server.put_raw("secrets", ledger);
    until("the ledger", || server.can_sign()).await;
    change(&world, "configmaps", SYSTEM, "default-jwks", |map| map["data"] = json!({}));
    until("an empty JWKS", || !server.can_sign()).await;
    server.token(&who).await;
    world.set_away(true);
    tokio::time::sleep(VIEW_AGE + Duration::from_mins(1)).await;
    server.token(&who).await;

    let reasons = [
        "no_ledger",
        "watch_not_synced",
        "signing_key_absent",
        "signing_key_suspended",
        "no_active_key",
        "watch_stale",
    ];
    for reason in reasons {
        assert_eq!(server.unavailable(reason), 1, "{reason}: {:?}", server.metric(REQUESTS));
    }
}

fn change(world: &World, plural: &str, namespace: &str, name: &str, how: impl Fn(&mut Value)) {
    let mut object = world.server.get(plural, namespace, name).unwrap();
    how(&mut object);
    world.server.put_raw(plural, object);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_check_says_why() {
    let world = World::start().await;
    let rates = Rates { lookups: Rate::a_second(1, 1), ..RATES };
    let unlimited = (Rate::a_second(0, 0), Rate::a_second(0, 0));
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, unlimited).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;
    let unknown = Credential { id: "nobody".to_owned(), ..who.clone() };
    let spared = || tokio::time::sleep(Duration::from_secs(2));

    spared().await;
    world.set_away(true);
    for _ in 0..3 {
        server.token(&unknown).await;
    }
    world.set_away(false);

    let unanswered = server.unavailable("lookup_unanswered");
    assert_eq!(unanswered, 2, "one of each share: {:?}", server.metric(REQUESTS));
    assert_eq!(server.unavailable("lookup_rate"), 1, "{:?}", server.metric(REQUESTS));
}

#[tokio::test(start_paused = true)]
async fn a_record_and_a_namespace_that_are_missing_are_told_apart() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;
    world.kill_operator();

    let namespace = world.server.delete_raw("namespaces", "", "orders").unwrap();
    until("no namespace", || server.directory.count() == 0).await;
    server.token(&who).await;
    world.server.put_raw("namespaces", namespace);
    until("the namespace", || server.directory.count() == 1).await;
    let record = who.id.parse::<ClientId>().unwrap().record_name();
    change(&world, "secrets", SYSTEM, &record, |secret| {
        secret["data"] = json!({"record.json": "bm9uZQ=="});
    });
    until("no record", || server.directory.count() == 0).await;
    server.token(&who).await;

    assert_eq!(server.unavailable("namespace_unknown"), 1, "{:?}", server.metric(REQUESTS));
    assert_eq!(server.unavailable("record_unreadable"), 1, "{:?}", server.metric(REQUESTS));
}

#[tokio::test(start_paused = true)]
async fn who_guesses_at_one_client_is_counted_by_that_limit() {
    let world = World::start().await;
    let rates = Rates { failures_of_one: Rate::a_second(1, 1), ..RATES };
    let unlimited = (Rate::a_second(0, 0), Rate::a_second(0, 0));
    let server = world.token_server_with(ClaimsProfile::Cloud, rates, unlimited).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    until("the client", || server.directory.count() == 1).await;
    let wrong = who.forged();

    for _ in 0..2 {
        server.token(&wrong).await;
    }

    assert_eq!(server.refused("invalid_client", ""), 1, "{:?}", server.metric(REQUESTS));
    assert_eq!(server.refused("slow_down", "wrong_secrets_of_client"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_slow_down_is_counted_by_the_limit() {
    let world = World::start().await;
    let rates = Rates { failures_of_all: Rate::a_second(1, 1), ..RATES };
    for (limits, reason) in [
        ((Rate::a_second(1, 1), Rate::a_second(0, 0)), "client_rate"),
        ((Rate::a_second(0, 0), Rate::a_second(1, 1)), "total_rate"),
    ] {
        let server = world.token_server_with(ClaimsProfile::Cloud, rates, limits).ready().await;
        let who = world.user("orders", "billing", &json!({})).await;
        let nobody = Credential { id: "nobody".to_owned(), secret: "x".to_owned() };

        for _ in 0..2 {
            server.token(&who).await;
            server.token(&nobody).await;
        }

        assert_eq!(server.refused("slow_down", reason), 1, "{:?}", server.metric(REQUESTS));
        assert_eq!(server.refused("slow_down", "failures_of_all"), 1);
        assert_eq!(server.refused("invalid_client", ""), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn each_series_says_whether_it_can_sign() {
    let world = World::start().await;
    world.put_key("other", &json!({"algorithm": "ES256", "suspend": true}));
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    until("both series", || server.metric(CAN_SIGN).len() == 2).await;

    let able = server.metric(CAN_SIGN);
    world.set_away(true);
    tokio::time::sleep(VIEW_AGE + Duration::from_mins(1)).await;
    let stale = server.metric(CAN_SIGN);

    assert_eq!(able, [r#"{signing_key="default"} 1.0"#, r#"{signing_key="other"} 0.0"#]);
    assert_eq!(stale, [r#"{signing_key="default"} 0.0"#, r#"{signing_key="other"} 0.0"#]);
    assert_eq!(server.metric("technical_user_hashing_queue_length"), [" 0.0"]);
}
