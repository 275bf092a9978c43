//! One JWKS, and tokens that are to be accepted or refused by each library that reads it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::domain::crypto::jwks::Jwks;
use technical_user_operator::domain::crypto::public_key::{KeyType, PublicKeyParameters};
use technical_user_operator::environment::private_key::{KeyPairs, Pkcs8, PrivateKey};
use technical_user_operator::environment::{Clock, System};
use tempfile::TempDir;

/// What a verifier allows that knows one algorithm.
pub(crate) const ALONE: Algorithm = Algorithm::RS256;

const ISSUER: &str = "https://issuer.example.com";

/// Names a key that is in no set.
const STRANGER: &str = "stranger";

/// RSA keys of every further size, for an algorithm of each padding.
const LONG: [(Algorithm, i32); 2] = [(Algorithm::PS256, 3072), (Algorithm::RS256, 4096)];

/// One of 256 begins with a zero: that so many do not happens once in 10^17 runs.
const MOST_DRAWS: u32 = 10_000;

/// Tokens, and a folder with the files that ask for a judgement about them.
pub(crate) struct Cases {
    pub(crate) signers: Vec<Signer>,
    pub(crate) folder: TempDir,
}

/// The algorithms that a verifier allows.
#[derive(Clone, Copy)]
pub(crate) enum Allowed {
    All,
    /// [`ALONE`].
    Alone,
}

pub(crate) struct Signer {
    pub(crate) pkcs8: Pkcs8,
    pub(crate) cases: Vec<Case>,
    key: PrivateKey,
}

#[derive(Serialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) expected: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Accepted,
    /// The signature is not that of the key.
    Forged,
    /// No key has that id.
    Unknown,
    /// The verifier does not allow the algorithm.
    Excluded,
    /// The text of the library.
    #[serde(untagged)]
    Else(String),
}

impl Cases {
    pub(crate) fn draw() -> Self {
        let plain = Algorithm::ALL.map(|algorithm| Signer::draw(algorithm, None));
        let long = LONG.map(|(algorithm, bits)| Signer::draw(algorithm, Some(bits)));
        let signers: Vec<Signer> = plain.into_iter().chain(long).collect();
        let jwks: Jwks = signers.iter().map(|signer| signer.key.public().clone()).collect();
        let all: Vec<&Case> = signers.iter().flat_map(|signer| &signer.cases).collect();

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        fs::write(&file, jwks.bytes().unwrap()).unwrap();
        let mut asked = json!({"issuer": ISSUER, "jwks": file, "cases": all});
        fs::write(folder.path().join("cases.json"), asked.to_string()).unwrap();
        asked["algorithms"] = json!([ALONE.name()]);
        fs::write(folder.path().join("alone.json"), asked.to_string()).unwrap();
        Self { signers, folder }
    }

    /// What to pass to a program that judges the tokens.
    pub(crate) fn file(&self, allowed: Allowed) -> PathBuf {
        self.folder.path().join(match allowed {
            Allowed::All => "cases.json",
            Allowed::Alone => "alone.json",
        })
    }

    pub(crate) fn kids(&self) -> BTreeSet<String> {
        self.signers.iter().map(|signer| signer.key.public().kid().to_string()).collect()
    }
}

impl Signer {
    /// A key pair whose public key is awkward where that is possible: the first byte of its first
    /// coordinate is zero, and lost by a library that takes it for a number.
    fn draw(algorithm: Algorithm, rsa_key_size: Option<i32>) -> Self {
        let shape = KeyType::of(algorithm, rsa_key_size).unwrap();
        for _ in 0..MOST_DRAWS {
            let pkcs8 = System::start().generate("", shape).unwrap();
            let key = PrivateKey::from_pkcs8(algorithm, pkcs8.as_bytes()).unwrap();
            let is_awkward = match key.public().parameters() {
                PublicKeyParameters::Ec { x, .. } => x[0] == 0,
                PublicKeyParameters::Rsa { .. } | PublicKeyParameters::Ed25519 { .. } => true,
            };
            if is_awkward {
                let mut signer = Self { pkcs8, cases: Vec::new(), key };
                signer.cases = signer.write(shape);
                return signer;
            }
        }
        panic!("of {MOST_DRAWS} public keys of {shape:?} none begins with a zero");
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.key.public().algorithm()
    }

    fn write(&self, shape: KeyType) -> Vec<Case> {
        let kid = self.key.public().kid().as_str();
        let named = |name: &str, token: String, expected: Verdict| {
            let name = format!("{} by {shape:?}: {name}", self.algorithm().name());
            Case { name, token, expected }
        };

        let message = self.message(kid, "client", 0);
        let signature = self.key.sign(message.as_bytes()).unwrap();
        let mut flipped = signature.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let changed = self.message(kid, "admin", 0);
        let strange = self.message(STRANGER, "client", 0);
        let by_a_stranger = self.key.sign(strange.as_bytes()).unwrap();

        vec![
            named("plain", token(&message, &signature), Verdict::Accepted),
            named("leading zero", self.leading_zero(), Verdict::Accepted),
            named("flipped bit", token(&message, &flipped), Verdict::Forged),
            named("changed claim", token(&changed, &signature), Verdict::Forged),
            named("unknown kid", token(&strange, &by_a_stranger), Verdict::Unknown),
        ]
    }

    /// A token whose signature begins with a zero, which must not get lost either.
    fn leading_zero(&self) -> String {
        let kid = self.key.public().kid().as_str();
        let tokens = (1..=MOST_DRAWS).map(|serial| {
            let message = self.message(kid, "client", serial);
            let signature = self.key.sign(message.as_bytes()).unwrap();
            (message, signature)
        });
        let mut awkward = tokens.filter(|(_, signature)| signature[0] == 0);
        let Some((message, signature)) = awkward.next() else {
            panic!("of {MOST_DRAWS} signatures of {kid} none begins with a zero");
        };
        token(&message, &signature)
    }

    fn message(&self, kid: &str, subject: &str, serial: u32) -> String {
        let now = System::start().now().as_second();
        let header = json!({"alg": self.algorithm().name(), "kid": kid, "typ": "JWT"});
        let claims = json!({
            "iss": ISSUER,
            "sub": subject,
            "exp": now + 3600,
            "iat": now,
            "jti": format!("token-{serial}"),
        });
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        format!("{}.{}", encoded(&header), encoded(&claims))
    }
}

fn token(message: &str, signature: &[u8]) -> String {
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
