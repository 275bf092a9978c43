//! OpenSSL, which knows neither JWKs nor JWS: private keys in PKCS#8, and bare signatures.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::domain::crypto::public_key::KeyType;
use technical_user_operator::environment::private_key::Pkcs8;

use crate::cases::{Case, Cases, Verdict};
use crate::languages::version_of;
use crate::library::Judgement;

/// What OpenSSL says to those cases that are about signatures. It must find every private key sound.
pub(crate) fn judge(cases: &Cases) -> Option<Judgement> {
    let version = version_of(&["openssl", "version"])?;
    let library = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut outcomes = BTreeMap::new();
    for signer in &cases.signers {
        let public = public_key(&signer.pkcs8);
        fs::write(cases.folder.path().join("public.pem"), public).unwrap();
        for case in signer.cases.iter().filter(|case| case.expected != Verdict::Unknown) {
            let outcome = outcome(cases.folder.path(), signer.algorithm(), case);
            outcomes.insert(case.name.clone(), outcome);
        }
    }
    Some(Judgement { library, outcomes })
}

/// The public half of a private key in PEM, as derived and checked by OpenSSL. The private key goes
/// through a pipe, so that no file ever holds it.
fn public_key(pkcs8: &Pkcs8) -> String {
    let mut command = Command::new("openssl");
    command.args(["pkey", "-inform", "DER", "-check", "-pubout"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(pkcs8.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Key is valid"), "{errors}");
    said[said.find("-----BEGIN").unwrap()..].to_owned()
}

fn outcome(folder: &Path, algorithm: Algorithm, case: &Case) -> Verdict {
    let (message, signature) = case.token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let signature = match KeyType::of(algorithm, None).unwrap() {
        KeyType::P256 | KeyType::P384 | KeyType::P521 => der(&signature),
        KeyType::Rsa(_) | KeyType::Ed25519 => signature,
    };
    fs::write(folder.join("message"), message).unwrap();
    fs::write(folder.join("signature"), signature).unwrap();

    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin"]);
    command.args(["-in", "message", "-sigfile", "signature"]).args(options(algorithm));
    let output = command.current_dir(folder).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    match output.status.success() {
        true => Verdict::Accepted,
        false if said.contains("Signature Verification Failure") => Verdict::Forged,
        false => Verdict::Else(said.into_owned()),
    }
}

fn options(algorithm: Algorithm) -> Vec<String> {
    let options = match algorithm.name().split_at(2) {
        ("RS" | "ES", bits) => format!("-digest sha{bits}"),
        ("PS", bits) => {
            let pss = "-pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest";
            format!("-digest sha{bits} {pss}")
        }
        _ => String::new(),
    };
    options.split_whitespace().map(str::to_owned).collect()
}

/// The two numbers of an ECDSA signature, side by side, as a DER sequence (RFC 3279 section 2.2.3).
fn der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    tagged(0x30, &[integer(r), integer(s)].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let is_negative = digits.first().is_none_or(|byte| *byte >= 0x80);
    tagged(2, &[&[0][..usize::from(is_negative)], digits].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head, content.to_vec()].concat()
}
