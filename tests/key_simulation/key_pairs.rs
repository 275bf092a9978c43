//! Key pairs that are the same in every run: those of Ed25519 are made of their label, those of RSA
//! come out of a pool that is filled once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use technical_user_operator::domain::crypto::public_key::KeyType;
use technical_user_operator::environment::System;
use technical_user_operator::environment::private_key::{KeyError, KeyPairs, Pkcs8};

/// Makes key pairs that depend on nothing but the seed, the label and how often it was asked for.
#[derive(Debug)]
pub(crate) struct Seeded {
    seed: u64,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    times: BTreeMap<String, u64>,
    from_pool: usize,
    private: BTreeSet<String>,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, made: Mutex::default() }
    }

    /// Every private key that was made, in the spellings in which it could leak.
    pub(crate) fn private(&self) -> BTreeSet<String> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).private.clone()
    }
}

impl KeyPairs for Seeded {
    fn generate(&self, label: &str, shape: KeyType) -> Result<Pkcs8, KeyError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let times = made.times.entry(label.to_owned()).or_default();
        *times += 1;
        let text = format!("{}/{label}/{times}", self.seed);
        let der = match shape {
            KeyType::Ed25519 => {
                let seed = Sha256::digest(text.as_bytes());
                made.private.insert(URL_SAFE_NO_PAD.encode(seed));
                made.private.insert(hex(&seed));
                [PREFIX.as_slice(), seed.as_slice()].concat()
            }
            KeyType::Rsa(2048) => {
                made.from_pool += 1;
                pool().get(made.from_pool - 1).ok_or(KeyError::Generation)?.clone()
            }
            KeyType::Rsa(_) | KeyType::P256 | KeyType::P384 | KeyType::P521 => {
                return Err(KeyError::Generation);
            }
        };
        // What comes first is the same in all of Ed25519, and the public modulus in those of RSA.
        let public = if shape == KeyType::Ed25519 { 18 } else { 330 };
        made.private.insert(STANDARD.encode(&der[public..]));
        made.private.insert(hex(&der[public..]));
        Ok(Pkcs8::new(der))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// RSA keys cannot be made of a seed; which of them a run gets, and when, is the same in every run.
fn pool() -> &'static [Vec<u8>] {
    static POOL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    POOL.get_or_init(|| {
        let made = (0..POOLED).map(|_| System::start().generate("", KeyType::Rsa(2048)));
        made.map(|key_pair| key_pair.unwrap().as_bytes().to_vec()).collect()
    })
}

/// What a PKCS#8 document of Ed25519 begins with (RFC 8410 section 7); 32 bytes follow.
const PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// More than any run of the one story with RSA asks for.
const POOLED: usize = 12;
