//! Public keys as JWKs (RFC 7517, RFC 7518, RFC 8037), and their ids (RFC 7638).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

pub use crate::api::signing_key::Algorithm;

/// A key id: the RFC 7638 thumbprint of its key, so that no two keys ever share one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Kid(String);

/// The text is no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kid has 1 to 64 letters, digits, '-' or '_'")]
pub struct InvalidKid;

/// The public half of a key pair, with the algorithm that it signs with.
///
/// # Guarantees
///
/// It has no private member, in no form, and its numbers fit its algorithm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    numbers: PublicKeyParameters,
    kid: Kid,
}

/// The numbers of a public key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKeyParameters {
    /// Modulus and exponent.
    Rsa {
        /// The modulus, without leading zeros.
        n: Vec<u8>,
        /// The exponent, without leading zeros.
        e: Vec<u8>,
    },
    /// The coordinates of a point, as long as the curve is wide.
    Ec {
        /// The first coordinate.
        x: Vec<u8>,
        /// The second coordinate.
        y: Vec<u8>,
    },
    /// The public key of Ed25519.
    Ed25519 {
        /// All there is.
        x: Vec<u8>,
    },
}

/// The type of a key pair: the kind of key and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// The curve P-256.
    P256,
    /// The curve P-384.
    P384,
    /// The curve P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

/// A JWK as it is written; the order of its members is that of the struct.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    r#use: String,
    alg: Algorithm,
    kid: Kid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

// === impl Kid ===

impl Kid {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Kid {
    type Err = InvalidKid;

    fn from_str(text: &str) -> Result<Self, InvalidKid> {
        let is_valid = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if is_valid { Ok(Self(text.to_owned())) } else { Err(InvalidKid) }
    }
}

impl<'de> Deserialize<'de> for Kid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

// === impl KeyShape ===

impl KeyType {
    /// The type of a key of that algorithm, or nothing for a size that does not belong to it.
    pub fn of(algorithm: Algorithm, rsa_key_size: Option<i32>) -> Option<Self> {
        let shape = match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => {
                return match rsa_key_size.unwrap_or(2048) {
                    2048 => Some(Self::Rsa(2048)),
                    3072 => Some(Self::Rsa(3072)),
                    4096 => Some(Self::Rsa(4096)),
                    _ => None,
                };
            }
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::ES512 => Self::P521,
            Algorithm::EdDsa => Self::Ed25519,
        };
        rsa_key_size.is_none().then_some(shape)
    }

    /// How many bytes a coordinate of the curve has (RFC 7518 section 6.2.1.2).
    fn coordinate(self) -> Option<usize> {
        match self {
            Self::P256 => Some(32),
            Self::P384 => Some(48),
            Self::P521 => Some(66),
            Self::Rsa(_) | Self::Ed25519 => None,
        }
    }

    fn curve(self) -> Option<&'static str> {
        match self {
            Self::P256 => Some("P-256"),
            Self::P384 => Some("P-384"),
            Self::P521 => Some("P-521"),
            Self::Ed25519 => Some("Ed25519"),
            Self::Rsa(_) => None,
        }
    }
}

// === impl PublicKey ===

impl PublicKey {
    /// An RSA key of 2048 to 4096 bits with the exponent 65537, which is what every verifier takes.
    pub fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let leading = n.first()?.leading_zeros();
        let bits = u32::try_from(n.len()).ok()?.checked_mul(8)?.checked_sub(leading)?;
        let fits = (2048..=4096).contains(&bits) && e == [1, 0, 1];
        let is_rsa = matches!(KeyType::of(algorithm, None)?, KeyType::Rsa(_));
        let numbers = PublicKeyParameters::Rsa { n: n.to_vec(), e: e.to_vec() };
        (fits && is_rsa).then(|| Self::new(algorithm, numbers))
    }

    /// A point of the curve of that algorithm, uncompressed (SEC 1 section 2.3.3).
    pub fn ec(algorithm: Algorithm, point: &[u8]) -> Option<Self> {
        let width = KeyType::of(algorithm, None)?.coordinate()?;
        let (form, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(width)?;
        let fits = *form == 4 && y.len() == width;
        let numbers = PublicKeyParameters::Ec { x: x.to_vec(), y: y.to_vec() };
        fits.then(|| Self::new(algorithm, numbers))
    }

    /// The type of the key pair with this public key.
    pub fn key_type(&self) -> Option<KeyType> {
        match &self.numbers {
            PublicKeyParameters::Rsa { n, .. } => {
                let bytes = i32::try_from(n.len()).ok()?;
                KeyType::of(self.algorithm, Some(bytes.checked_mul(8)?))
            }
            PublicKeyParameters::Ec { .. } | PublicKeyParameters::Ed25519 { .. } => {
                KeyType::of(self.algorithm, None)
            }
        }
    }

    /// A public key of Ed25519 (RFC 8032 section 5.1.5).
    pub fn ed25519(x: &[u8]) -> Option<Self> {
        let numbers = PublicKeyParameters::Ed25519 { x: x.to_vec() };
        (x.len() == 32).then(|| Self::new(Algorithm::EdDsa, numbers))
    }

    /// The algorithm of its signatures.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its numbers.
    pub fn parameters(&self) -> &PublicKeyParameters {
        &self.numbers
    }

    /// Its id.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The compact JWK, always with the same bytes.
    pub fn jwk(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn new(algorithm: Algorithm, numbers: PublicKeyParameters) -> Self {
        let kid = thumbprint(algorithm, &numbers);
        Self { algorithm, numbers, kid }
    }

    fn to_jwk(&self) -> Jwk {
        let encoded = |bytes: &Vec<u8>| Some(URL_SAFE_NO_PAD.encode(bytes));
        let curve = curve_of(self.algorithm).map(str::to_owned);
        let empty = Jwk {
            kty: String::new(),
            r#use: "sig".to_owned(),
            alg: self.algorithm,
            kid: self.kid.clone(),
            n: None,
            e: None,
            crv: None,
            x: None,
            y: None,
        };
        match &self.numbers {
            PublicKeyParameters::Rsa { n, e } => {
                Jwk { kty: "RSA".to_owned(), n: encoded(n), e: encoded(e), ..empty }
            }
            PublicKeyParameters::Ec { x, y } => {
                Jwk { kty: "EC".to_owned(), crv: curve, x: encoded(x), y: encoded(y), ..empty }
            }
            PublicKeyParameters::Ed25519 { x } => {
                Jwk { kty: "OKP".to_owned(), crv: curve, x: encoded(x), ..empty }
            }
        }
    }

    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let decoded = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
        let key = match KeyType::of(jwk.alg, None)? {
            KeyType::Rsa(_) => Self::rsa(jwk.alg, &decoded(&jwk.n)?, &decoded(&jwk.e)?)?,
            KeyType::P256 | KeyType::P384 | KeyType::P521 => {
                let point = [vec![4], decoded(&jwk.x)?, decoded(&jwk.y)?].concat();
                Self::ec(jwk.alg, &point)?
            }
            KeyType::Ed25519 => Self::ed25519(&decoded(&jwk.x)?)?,
        };
        // Any other spelling of the same key is refused.
        let written = key.to_jwk();
        let is_same = serde_json::to_value(&written).ok()? == serde_json::to_value(jwk).ok()?;
        is_same.then_some(key)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_jwk().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = Jwk::deserialize(deserializer)?;
        Self::from_jwk(&jwk).ok_or_else(|| serde::de::Error::custom("not a JWK of this operator"))
    }
}

/// SHA-256 over the required members in lexicographic order, without spaces (RFC 7638 section 3).
fn thumbprint(algorithm: Algorithm, numbers: &PublicKeyParameters) -> Kid {
    let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let curve = curve_of(algorithm).unwrap_or_default();
    let members = match numbers {
        PublicKeyParameters::Rsa { n, e } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encoded(e), encoded(n))
        }
        PublicKeyParameters::Ec { x, y } => {
            format!(r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#, encoded(x), encoded(y))
        }
        PublicKeyParameters::Ed25519 { x } => {
            format!(r#"{{"crv":"{curve}","kty":"OKP","x":"{}"}}"#, encoded(x))
        }
    };
    Kid(URL_SAFE_NO_PAD.encode(Sha256::digest(members.as_bytes())))
}

fn curve_of(algorithm: Algorithm) -> Option<&'static str> {
    KeyType::of(algorithm, None)?.curve()
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
