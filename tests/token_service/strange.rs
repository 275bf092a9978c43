//! Requests that no client would send: the answer is one of the RFC, nothing of the
//! request is in it, and nothing but the right client secret gets a token (reference: RFC 6749
//! section 5).

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use support::figures::keep;
use technical_user_operator::domain::oauth::ClaimsProfile;
use technical_user_operator::domain::oauth::client_authentication::ClientCredentials;
use technical_user_operator::domain::oauth::form::Form;

use crate::world::{Answer, Credential, TOKEN, World};

/// A request by its parts.
#[derive(Clone, Debug)]
struct Strange {
    method: &'static str,
    path: &'static str,
    content_type: Option<String>,
    authorization: Option<Vec<u8>>,
    body: Vec<u8>,
}

const RIGHT_ID: &str = "RIGHTID";
const RIGHT_SECRET: &str = "RIGHTSECRET";

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(RIGHT_ID.to_owned()),
        3 => Just(RIGHT_SECRET.to_owned()),
        2 => Just("client_credentials".to_owned()),
        1 => Just("ROLE_M2M".to_owned()),
        1 => Just(String::new()),
        1 => "[%a-zA-Z0-9+&= ]{0,80}",
        1 => any::<String>(),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("grant_type".to_owned()),
        4 => Just("client_id".to_owned()),
        4 => Just("client_secret".to_owned()),
        1 => Just("scope".to_owned()),
        1 => Just("audience".to_owned()),
        1 => Just("resource".to_owned()),
        1 => Just("token".to_owned()),
        1 => Just("client_assertion".to_owned()),
        1 => "[a-z%]{0,12}",
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let pairs = prop::collection::vec((name(), value()), 0..6);
    let encoded = pairs.prop_map(|pairs| {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(pairs);
        text.finish().into_bytes()
    });
    let raw = prop::collection::vec((name(), value()), 0..6).prop_map(|pairs| {
        let pairs: Vec<_> =
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("&").into_bytes()
    });
    let plain = Just(b"grant_type=client_credentials".to_vec());
    prop_oneof![4 => encoded, 2 => raw, 2 => plain, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

fn authorization() -> impl Strategy<Value = Option<Vec<u8>>> {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let basic =
        (prop_oneof![Just("Basic"), Just("basic"), Just("Bearer"), Just("")], value(), value())
            .prop_map(move |(scheme, id, secret)| {
                Some(format!("{scheme} {}", encode(format!("{id}:{secret}"))).into_bytes())
            });
    let right = Just(Some(b"BASIC-RIGHT".to_vec()));
    let visible = prop::collection::vec(0x20_u8..0x7f, 0..120).prop_map(Some);
    prop_oneof![3 => Just(None), 3 => basic, 2 => right, 1 => visible]
}

fn strange() -> impl Strategy<Value = Strange> {
    let method = prop_oneof![12 => Just("POST"), 1 => Just("GET"), 1 => Just("DELETE"), 1 => Just("OPTIONS")];
    let path = prop_oneof![
        9 => Just(TOKEN),
        3 => Just("/oauth/token"),
        2 => Just(INTROSPECT),
        1 => Just("/iam/oauth2/token/"),
    ];
    let content_type = prop_oneof![
        9 => Just(Some("application/x-www-form-urlencoded".to_owned())),
        1 => Just(Some("application/x-www-form-urlencoded; charset=utf-8".to_owned())),
        1 => Just(Some("application/json".to_owned())),
        1 => Just(None),
        1 => "[ -~]{0,40}".prop_map(Some),
    ];
    (method, path, content_type, authorization(), body()).prop_map(
        |(method, path, content_type, authorization, body)| Strange {
            method,
            path,
            content_type,
            authorization,
            body,
        },
    )
}

impl Strange {
    /// With the right client id and client secret in place of their stand-ins.
    fn request(&self, who: &Credential) -> Request<Body> {
        use base64::Engine as _;
        let body = replaced(&self.body, who);
        let mut request = Request::builder().method(self.method).uri(self.path);
        if let Some(content_type) = &self.content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(authorization) = &self.authorization {
            let engine = base64::engine::general_purpose::STANDARD;
            let value = if authorization == b"BASIC-RIGHT" {
                format!("Basic {}", engine.encode(format!("{}:{}", who.id, who.secret)))
                    .into_bytes()
            } else {
                match authorization.iter().position(|byte| *byte == b' ') {
                    Some(space) => match engine.decode(&authorization[space + 1..]) {
                        Ok(pair) => {
                            let pair = engine.encode(replaced(&pair, who));
                            [&authorization[..=space], pair.as_bytes()].concat()
                        }
                        Err(_) => authorization.clone(),
                    },
                    None => authorization.clone(),
                }
            };
            request = request.header("authorization", value);
        }
        request.body(Body::from(body)).unwrap()
    }

    /// Whether everything is there that gets a token.
    fn is_right(&self, who: &Credential) -> bool {
        let request = self.request(who);
        let is_form = request.headers().get("content-type").is_some_and(|it| {
            let text = it.to_str().unwrap_or_default();
            text.split(';')
                .next()
                .unwrap()
                .trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        let authorization = request.headers().get("authorization").map(|it| it.as_bytes().to_vec());
        let body = replaced(&self.body, who);
        let Ok(form) = Form::read(&body) else { return false };
        let Ok(presented) = ClientCredentials::read(authorization.as_deref(), &form) else {
            return false;
        };
        self.method == "POST"
            && is_form
            && presented.id_and_secret().0.as_str() == who.id
            && presented.id_and_secret().1.reveal() == who.secret
    }
}

fn replaced(bytes: &[u8], who: &Credential) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    text.replace(RIGHT_SECRET, &who.secret).replace(RIGHT_ID, &who.id).into_bytes()
}

/// What RFC 6749, RFC 8707 and RFC 7662 allow.
fn check(strange: &Strange, answer: &Answer, who: &Credential) {
    let status = answer.status.as_u16();
    assert_eq!(answer.header("content-type"), Some("application/json"), "{strange:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{strange:?}");
    assert!(!answer.text.contains(&who.secret), "{strange:?} has its secret in the answer");
    let errors: &[&str] = match status {
        200 => &[""],
        400 => &[
            "invalid_request",
            "invalid_client",
            "unsupported_grant_type",
            "invalid_scope",
            "invalid_target",
        ],
        401 => &["invalid_client"],
        404 | 405 | 415 => &["invalid_request"],
        429 => &["slow_down"],
        503 => &["temporarily_unavailable"],
        _ => panic!("{status} for {strange:?}"),
    };
    assert!(errors.contains(&answer.error().as_str()), "{status} {} for {strange:?}", answer.text);
    let is_challenged = answer.header("www-authenticate").is_some();
    assert_eq!(is_challenged, status == 401, "RFC 9110 section 15.5.2: {strange:?}");
    let in_body = strange.authorization.is_none() && strange.path != INTROSPECT;
    assert!(answer.error() != "invalid_client" || in_body || is_challenged, "{strange:?}");
    assert!(!matches!(status, 429 | 503) || answer.header("retry-after").is_some(), "{strange:?}");
}

const INTROSPECT: &str = "/iam/oauth2/introspect";

fn runner(seed: u8) -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng)
}

/// So many in a normal run, and so many with `PROVE=1`.
#[expect(clippy::disallowed_methods, reason = "tests have settings of their own")]
fn budget(normal: usize, prove: usize) -> usize {
    if std::env::var("PROVE").is_ok_and(|it| it == "1") { prove } else { normal }
}

#[tokio::test(start_paused = true)]
async fn every_strange_request_gets_an_answer_of_the_rfc() {
    let world = World::start().await;
    let server = world.token_server(ClaimsProfile::Cloud).ready().await;
    let who = world.user("orders", "billing", &json!({})).await;
    let requests = budget(5_000, 200_000);
    let (strategy, mut runner) = (strange(), runner(1));
    let (mut tokens, mut refused) = (0, 0);

    for _ in 0..requests {
        let strange = strategy.new_tree(&mut runner).unwrap().current();
        let answer = server.ask(strange.request(&who)).await;
        check(&strange, &answer, &who);
        if answer.status.as_u16() == 200 {
            tokens += 1;
            assert!(strange.is_right(&who), "a false accept: {strange:?}");
            let event = answer.json();
            let is_told = match event.get("access_token").and_then(Value::as_str) {
                Some(token) => server.verified(token).await.is_some_and(|it| it["sub"] == who.id),
                None => event["active"].is_boolean(),
            };
            assert!(is_told, "{} for {strange:?}", answer.text);
        } else {
            refused += 1;
        }
        // A little time passes, so that the rate limit ends.
        tokio::time::advance(std::time::Duration::from_millis(2)).await;
    }

    keep(
        "fuzz_service",
        &json!({"requests": requests, "accepted": tokens, "refused": refused, "outsideTheRfc": 0, "falseAccepts": 0}),
    );
    println!(
        "service requests {requests}: {tokens} answered 200, {refused} refused, 0 panics, 0 outside the RFC, 0 false accepts"
    );
    assert!(tokens > requests / 100, "the right client secret has to get through: {tokens}");
}

#[test]
fn no_bytes_break_the_parser() {
    let executions = budget(200_000, 10_000_000);
    let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &[7; 16]);
    let seeds: [&[u8]; 6] = [
        b"grant_type=client_credentials&scope=a+b",
        b"client_id=billing&client_secret=tus0000000000&audience=x&resource=https%3A%2F%2Fa",
        b"Basic YmlsbGluZzp0dXM=",
        b"%%%&=&;=%u0000",
        b"token=eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
        b"",
    ];
    let mut buffer = Vec::new();
    for round in 0..executions {
        buffer.clear();
        buffer.extend_from_slice(seeds[round % seeds.len()]);
        for _ in 0..rng.next_u32() % 6 {
            let at = rng.next_u32() as usize % (buffer.len() + 1);
            let byte = rng.next_u32().to_le_bytes()[0];
            match rng.next_u32() % 3 {
                0 => buffer.insert(at, byte),
                1 if at < buffer.len() => buffer[at] = byte,
                _ => buffer.truncate(at),
            }
        }
        if let Ok(form) = Form::read(&buffer) {
            let header = seeds[round / 7 % seeds.len()];
            let _ = ClientCredentials::read(Some(&buffer), &form);
            let _ = ClientCredentials::read(Some(header), &form);
            let _ = ClientCredentials::read(None, &form);
        }
    }
    keep("fuzz_parser", &json!({"executions": executions, "panics": 0}));
    println!("parser executions {executions}: 0 panics");
}
