//! What the installation allows holds for every token, also if a `TechnicalUser` asks for more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use technical_user_operator::domain::oauth::{AccessTokenType, ClaimsProfile, TokenPolicy};
use technical_user_operator::domain::policy::{Allowed, Policy};

use crate::world::{GRANT, TOKEN, TokenServer, World, unbounded};

fn allowing(roles: &str, audiences: &str) -> TokenPolicy {
    let policy = Policy {
        roles: Allowed::roles(roles).unwrap(),
        audiences: Allowed::audiences(audiences).unwrap(),
    };
    TokenPolicy { policy, ..unbounded(ClaimsProfile::Cloud) }
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

async fn is_active(server: &TokenServer, who: &crate::world::Credential, token: &str) -> Value {
    server.post("/oauth2/introspect", who, &format!("token={token}")).await.json()
}

#[tokio::test(start_paused = true)]
async fn without_a_setting_an_editor_of_a_namespace_mints_no_other_role_and_no_audience() {
    let world = World::start().await;
    let terms = TokenPolicy { policy: Policy::default(), ..unbounded(ClaimsProfile::Cloud) };
    let server = world.token_server_on(terms).ready().await;
    let spec = json!({"roles": ["ROLE_ADMIN", "ROLE_M2M"]});
    let narrowed = world.user("orders", "narrowed", &spec).await;
    let admin = world.user("orders", "admin", &json!({"roles": ["ROLE_ADMIN"]})).await;
    let reaching = world.user("shop", "reaching", &json!({"audiences": ["cyoda"]})).await;

    let answer = server.token(&narrowed).await;
    let claims = server.verified(&answer.token()).await.unwrap();
    assert_eq!(answer.json()["scope"], "ROLE_M2M");
    assert_eq!(
        (&claims["user_roles"], &claims["scope"]),
        (&json!(["ROLE_M2M"]), &json!("ROLE_M2M"))
    );

    let refusals = [
        (&narrowed, "&scope=ROLE_ADMIN", "invalid_scope"),
        (&admin, "", "unauthorized_client"),
        (&admin, "&scope=ROLE_ADMIN", "invalid_scope"),
        (&reaching, "", "unauthorized_client"),
        (&reaching, "&audience=cyoda", "invalid_target"),
        (&reaching, "&resource=urn%3Ax", "invalid_target"),
    ];
    for (who, more, error) in refusals {
        let answer = server.post(TOKEN, who, &format!("{GRANT}{more}")).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (400, error), "{more}");
    }
    let requests = server.metric("technical_user_token_requests_total");
    for reason in ["roles_not_allowed", "audiences_not_allowed"] {
        assert!(requests.iter().any(|line| line.contains(reason)), "{requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_audience_that_is_not_allowed_stops_the_tokens_for_the_others_as_well() {
    let world = World::start().await;
    let server = world.token_server_on(allowing("*", "https://a,c")).ready().await;
    let good = world.user("orders", "good", &json!({"audiences": ["https://a"]})).await;
    let bad = world.user("orders", "bad", &json!({"audiences": ["https://a", "b"]})).await;

    let claims = server.verified(&server.token(&good).await.token()).await.unwrap();
    assert_eq!(claims["aud"], "https://a");
    for request in ["", "&audience=https%3A%2F%2Fa"] {
        let answer = server.post(TOKEN, &bad, &format!("{GRANT}{request}")).await;
        let refusal = (answer.status.as_u16(), answer.error());
        assert_eq!(refusal, (400, "unauthorized_client".to_owned()), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_may_have_every_character_of_a_scope() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let strange: String =
        (b'!'..=b'~').map(char::from).filter(|it| !"\"\\".contains(*it)).collect();
    let roles = ["rabbitmq.read:*/*", "rabbitmq.write:%2F/q", &strange];
    let who = world.user("orders", "broker", &json!({"roles": roles})).await;

    let all = server.token(&who).await;
    let claims = server.verified(&all.token()).await.unwrap();
    assert_eq!(claims["user_roles"], json!(roles));
    assert_eq!(claims["scope"], roles.join(" "));
    assert_eq!(all.json()["scope"], roles.join(" "));
    assert_eq!(is_active(&server, &who, &all.token()).await["scope"], roles.join(" "));

    let scope: String = form_urlencoded::byte_serialize(strange.as_bytes()).collect();
    let one = server.post(TOKEN, &who, &format!("{GRANT}&scope={scope}")).await;
    let claims = server.verified(&one.token()).await.unwrap();
    assert_eq!(claims["scope"], strange);
    assert_eq!(one.json().get("scope"), None, "it is what was asked for");
    let records = server.audited(3);
    assert_eq!(records.last().unwrap()["roles"], json!([strange]));
}

#[tokio::test(start_paused = true)]
async fn the_type_of_a_token_is_a_choice_of_the_installation_and_of_each_user() {
    let world = World::start().await;
    let of = |token_type| TokenPolicy { token_type, ..unbounded(ClaimsProfile::Cloud) };
    let plain = world.token_server_on(of(AccessTokenType::Jwt)).ready().await;
    let strict = world.token_server_on(of(AccessTokenType::AtJwt)).ready().await;
    let audience = json!(["https://a"]);
    let spec = |own: &str| json!({"audiences": audience, "accessTokenType": own});
    let default = world.user("orders", "default", &json!({"audiences": audience})).await;
    let jwt = world.user("orders", "jwt", &spec("JWT")).await;
    let at_jwt = world.user("orders", "at-jwt", &spec("at+jwt")).await;
    let open = world.user("orders", "open", &json!({})).await;

    let cases = [
        (&default, "JWT", "at+jwt"),
        (&jwt, "JWT", "JWT"),
        (&at_jwt, "at+jwt", "at+jwt"),
        (&open, "JWT", "JWT"),
    ];
    for (who, on_plain, on_strict) in cases {
        for (server, expected) in [(&plain, on_plain), (&strict, on_strict)] {
            let token = server.token(who).await.token();
            assert_eq!(header(&token)["typ"], expected);
            // RFC 9068 section 2.2: what a token of that profile must have.
            let claims = server.verified(&token).await.unwrap();
            let has = |claim: &str| claims.get(claim).is_some_and(|value| !value.is_null());
            let required = ["iss", "exp", "sub", "client_id", "iat", "jti", "scope"];
            assert!(required.into_iter().all(has), "{claims}");
            assert!(expected == "JWT" || has("aud"), "{claims}");
            let answer = is_active(&plain, who, &token).await;
            assert_eq!(answer["active"], true, "{expected}");
            assert_eq!(answer["scope"], claims["scope"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_differ_from_those_of_the_operator_are_named() {
    let world = World::start().await;
    let same = world.token_server(ClaimsProfile::Cloud).ready().await;
    let narrow = world.token_server_on(allowing("ROLE_M2M", "*")).ready().await;
    let moved = world.token_server_at("https://other.example.com").ready().await;

    let named = |server: &TokenServer| {
        let all = server.directory.mismatches().into_iter();
        all.map(|it| it.to_string()).collect::<Vec<_>>()
    };

    assert_eq!(named(&same), Vec::<String>::new());
    assert_eq!(same.metric("technical_user_settings_mismatches"), [" 0.0"]);
    let roles = "--allowed-roles of this token server is \"ROLE_M2M\", and that of the operator is \
        \"any\": give both processes the same value";
    assert_eq!(named(&narrow), [roles]);
    assert_eq!(narrow.metric("technical_user_settings_mismatches"), [" 1.0"]);
    let [issuer] = &named(&moved)[..] else { panic!("{:?}", named(&moved)) };
    assert!(issuer.starts_with("--issuer of this token server is \"https://other.example.com\""));
}
