use serde_json::{Value, json};

use super::*;

fn client() -> Client {
    Client {
        id: "billing".parse().unwrap(),
        uid: "u".to_owned(),
        tenant: "org".to_owned(),
        roles: ["ROLE_M2M", "ROLE_BILLING"].map(str::to_owned).into(),
        audiences: ["https://a", "https://b"].map(str::to_owned).into(),
        lifetime: SignedDuration::from_mins(5),
        token_type: None,
        signing_key: "default".to_owned(),
        is_suspended: false,
        created_at: now(),
        revoked_at: None,
    }
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00.75Z".parse().unwrap()
}

fn claims(client: &Client, granted: &Grant<'_>, profile: ClaimsProfile) -> Value {
    let issuer = "https://auth.example.com";
    let id = uuid::Builder::from_random_bytes([0xff; 16]).into_uuid();
    let claims = Claims { issuer, client, granted, profile, issued_at: now(), id };
    serde_json::to_value(claims).unwrap()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_client_that_asks_for_nothing_gets_all_it_has() {
    let client = client();
    let granted = client.grant(&Policy::unbounded(), None, &NOTHING).unwrap();

    assert_eq!(granted.scope().to_string(), "ROLE_M2M ROLE_BILLING");
    assert_eq!(granted.audiences, ["https://a", "https://b"]);
}

#[test]
fn a_client_gets_the_part_that_it_asks_for_once_and_in_our_order() {
    let client = client();
    let granted = client
        .grant(&Policy::unbounded(), Some(" ROLE_BILLING  ROLE_BILLING "), &["https://b"])
        .unwrap();

    assert_eq!(granted.roles, ["ROLE_BILLING"]);
    assert_eq!(granted.audiences, ["https://b"]);
}

#[test]
fn a_client_never_gets_what_it_does_not_have() {
    let client = client();

    assert_eq!(
        client.grant(&Policy::unbounded(), Some("ROLE_M2M ROLE_ADMIN"), &NOTHING),
        Err(ScopeError::Scope)
    );
    assert_eq!(
        client.grant(&Policy::unbounded(), None, &["https://a", "https://c"]),
        Err(ScopeError::Target)
    );
}

#[test]
fn the_claims_are_those_of_the_profile() {
    let client = client();
    let granted = client.grant(&Policy::unbounded(), None, &["https://a"]).unwrap();
    let cloud = claims(&client, &granted, ClaimsProfile::Cloud);
    let cyoda_go = claims(&client, &granted, ClaimsProfile::CyodaGo);

    let expected = json!({
        "iss": "https://auth.example.com",
        "sub": "billing",
        "client_id": "billing",
        "aud": "https://a",
        "caas_user_id": "billing",
        "caas_org_id": "org",
        "user_roles": ["ROLE_M2M", "ROLE_BILLING"],
        "scope": "ROLE_M2M ROLE_BILLING",
        "iat": 1_795_521_600,
        "exp": 1_795_521_900,
        "jti": "ffffffff-ffff-4fff-bfff-ffffffffffff",
    });
    assert_eq!(cloud, expected);
    assert_eq!(cyoda_go["scopes"], expected["user_roles"]);
    assert_eq!(cyoda_go.get("user_roles"), None);
}

#[test]
fn aud_is_absent_a_string_or_a_list() {
    let mut client = client();
    let both = claims(
        &client,
        &client.grant(&Policy::unbounded(), None, &NOTHING).unwrap(),
        ClaimsProfile::Cloud,
    );
    client.audiences.clear();
    let none = claims(
        &client,
        &client.grant(&Policy::unbounded(), None, &NOTHING).unwrap(),
        ClaimsProfile::Cloud,
    );

    assert_eq!(both["aud"], json!(["https://a", "https://b"]));
    assert_eq!(none.get("aud"), None);
}

#[test]
fn a_token_is_header_claims_and_signature_in_base64url() {
    let client = client();
    let granted = client.grant(&Policy::unbounded(), None, &NOTHING).unwrap();
    let issuer = "https://auth.example.com";
    let (issued_at, id) = (now(), Uuid::nil());
    let profile = ClaimsProfile::Cloud;
    let claims = Claims { issuer, client: &client, granted: &granted, profile, issued_at, id };
    let point = [vec![4], vec![1; 64]].concat();
    let key = PublicKey::ec(crate::domain::crypto::public_key::Algorithm::ES256, &point).unwrap();

    let headers = Headers::of(&key);
    let input = claims.signing_input(headers.of_type(AccessTokenType::Jwt)).unwrap();
    let token = signed(&input, b"signature");

    let parts: Vec<_> = token.split('.').map(|it| URL_SAFE_NO_PAD.decode(it).unwrap()).collect();
    let header: Value = serde_json::from_slice(&parts[0]).unwrap();
    assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": key.kid().as_str()}));
    assert_eq!(serde_json::from_slice::<Value>(&parts[1]).unwrap()["sub"], "billing");
    assert_eq!(parts[2], b"signature");
}

#[test]
fn the_header_says_the_type_that_verifiers_look_for() {
    let point = [vec![4], vec![1; 64]].concat();
    let key = PublicKey::ec(crate::domain::crypto::public_key::Algorithm::ES256, &point).unwrap();
    let decoded = URL_SAFE_NO_PAD.decode(Headers::of(&key).of_type(AccessTokenType::AtJwt));

    let header: Value = serde_json::from_slice(&decoded.unwrap()).unwrap();

    assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": key.kid().as_str()}));
}

#[test]
fn the_type_is_that_of_the_client_then_of_the_installation_and_needs_an_audience() {
    use AccessTokenType::{AtJwt, Jwt};
    let of = |own: Option<AccessTokenType>, installation, has_audience: bool| {
        let mut client = Client { token_type: own, ..client() };
        if !has_audience {
            client.audiences.clear();
        }
        let policy = Policy::unbounded();
        let terms = TokenPolicy { profile: ClaimsProfile::Cloud, policy, token_type: installation };
        client.type_of(&client.grant(&terms.policy, None, &NOTHING).unwrap(), &terms)
    };

    assert_eq!(of(None, Jwt, true), Jwt);
    assert_eq!(of(None, AtJwt, true), AtJwt);
    assert_eq!(of(Some(Jwt), AtJwt, true), Jwt);
    assert_eq!(of(Some(AtJwt), Jwt, true), AtJwt);
    assert_eq!(of(Some(AtJwt), AtJwt, false), Jwt, "RFC 9068 demands aud");
}

#[test]
fn no_token_says_more_than_the_installation_allows() {
    let client = client();
    let allow = |roles: &str, audiences: &str| Policy {
        roles: Allowed::roles(roles).unwrap(),
        audiences: Allowed::audiences(audiences).unwrap(),
    };
    let (both, one) = ("https://a,https://b", "https://a");

    let narrowed = allow("ROLE_M2M", both);
    let granted = client.grant(&narrowed, None, &NOTHING).unwrap();
    assert_eq!(granted.scope().to_string(), "ROLE_M2M");
    assert_eq!(granted.audiences, ["https://a", "https://b"]);

    let of = |policy: &Policy, scope, targets: &[&str]| client.grant(policy, scope, targets).err();
    assert_eq!(of(&narrowed, Some("ROLE_BILLING"), &[]), Some(ScopeError::Scope));
    assert_eq!(of(&narrowed, Some("ROLE_M2M"), &["https://a"]), None);
    assert_eq!(of(&allow("OTHER", both), None, &[]), Some(ScopeError::Roles));
    assert_eq!(of(&allow("OTHER", both), Some("ROLE_M2M"), &[]), Some(ScopeError::Scope));
    assert_eq!(of(&allow("*", one), None, &[]), Some(ScopeError::Audiences));
    assert_eq!(of(&allow("*", one), None, &["https://a"]), Some(ScopeError::Audiences));
    assert_eq!(of(&allow("*", one), None, &["https://b"]), Some(ScopeError::Target));
    assert_eq!(of(&allow("*", ""), None, &[]), Some(ScopeError::Audiences));
}

#[test]
fn a_scope_is_left_out_of_the_answer_only_when_it_is_what_was_asked_for() {
    let client = client();
    let granted = client.grant(&Policy::unbounded(), None, &NOTHING).unwrap();

    assert!(granted.is_scope("ROLE_BILLING  ROLE_M2M"));
    for other in ["ROLE_M2M", "ROLE_M2M ROLE_BILLING ROLE_X", ""] {
        assert!(!granted.is_scope(other), "{other}");
    }
}

#[test]
fn a_token_of_the_second_of_a_revocation_counts_as_one_of_before() {
    let client = Client { revoked_at: Some(now()), ..client() };
    let second = now().as_second();

    assert!(client.is_revoked(second - 1));
    assert!(client.is_revoked(second));
    assert!(!client.is_revoked(second + 1));
    assert!(!Client { revoked_at: None, ..client }.is_revoked(0));
}
