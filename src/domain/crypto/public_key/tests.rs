//! The examples of the RFCs, and what must never be written.

use super::*;

const RFC_7638_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7\
    aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v\
    -65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTW\
    hAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn rfc_7638() -> PublicKey {
    let n = URL_SAFE_NO_PAD.decode(RFC_7638_N).unwrap();
    PublicKey::rsa(Algorithm::RS256, &n, &[1, 0, 1]).unwrap()
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638_section_3_1() {
    assert_eq!(rfc_7638().kid().as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn the_thumbprint_is_that_of_rfc_8037_appendix_a_3() {
    let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();

    let key = PublicKey::ed25519(&x).unwrap();

    assert_eq!(key.kid().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn a_jwk_is_written_the_same_way_every_time_and_read_back() {
    let key = rfc_7638();
    let wanted = format!(
        r#"{{"kty":"RSA","use":"sig","alg":"RS256","kid":"{}","n":"{RFC_7638_N}","e":"AQAB"}}"#,
        key.kid()
    );

    assert_eq!(key.jwk(), wanted);
    assert_eq!(serde_json::from_str::<PublicKey>(&wanted).unwrap(), key);
}

#[test]
fn coordinates_keep_their_leading_zeros() {
    let point = [vec![4], vec![0; 66], vec![1; 66]].concat();

    let jwk = PublicKey::ec(Algorithm::ES512, &point).unwrap().jwk();

    assert!(jwk.contains(&format!(r#""crv":"P-521","x":"{}""#, "A".repeat(88))), "{jwk}");
}

#[test]
fn a_jwk_with_anything_else_in_it_is_refused() {
    let good = rfc_7638().jwk();
    for (from, to) in [
        (r#""e":"AQAB""#, r#""e":"AQAB","d":"AQAB""#),
        (r#""use":"sig""#, r#""use":"enc""#),
        (r#""kid":"N"#, r#""kid":"M"#),
        (r#""alg":"RS256""#, r#""alg":"ES256""#),
        (r#""e":"AQAB""#, r#""e":"Aw""#),
        (r#""kty":"RSA""#, r#""kty":"EC""#),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        assert!(serde_json::from_str::<PublicKey>(&bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_that_do_not_fit_the_algorithm_are_refused() {
    let point = [vec![4], vec![1; 32], vec![1; 32]].concat();
    let short = vec![0xff; 128];

    assert!(PublicKey::ec(Algorithm::ES256, &point).is_some());
    assert!(PublicKey::ec(Algorithm::ES384, &point).is_none());
    assert!(PublicKey::ec(Algorithm::RS256, &point).is_none());
    assert!(PublicKey::ec(Algorithm::ES256, &point[1..]).is_none());
    assert!(PublicKey::rsa(Algorithm::RS256, &short, &[1, 0, 1]).is_none());
    assert!(PublicKey::rsa(Algorithm::ES256, &vec![0xff; 256], &[1, 0, 1]).is_none());
    assert!(PublicKey::rsa(Algorithm::RS256, &vec![0xff; 256], &[3]).is_none());
    assert!(PublicKey::ed25519(&[1; 31]).is_none());
}

#[test]
fn a_size_belongs_to_rsa_alone() {
    assert_eq!(KeyType::of(Algorithm::PS512, Some(4096)), Some(KeyType::Rsa(4096)));
    assert_eq!(KeyType::of(Algorithm::RS256, None), Some(KeyType::Rsa(2048)));
    assert_eq!(KeyType::of(Algorithm::RS256, Some(1024)), None);
    assert_eq!(KeyType::of(Algorithm::ES256, Some(2048)), None);
}
