//! Private keys: made, read and signed with. The signatures are those of JWS (RFC 7518 section 3,
//! RFC 8037 section 3.1).
//!
//! Two of the algorithms draw random numbers for every signature, so they live beside the other doors
//! to randomness.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as GeneratedRsa, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    RsaKeyPair, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use zeroize::Zeroizing;

use super::System;
use crate::domain::crypto::public_key::{Algorithm, KeyType, PublicKey, PublicKeyParameters};

/// Makes key pairs.
pub trait KeyPairs: fmt::Debug + Send + Sync {
    /// Makes a key pair. It blocks, for RSA up to seconds.
    ///
    /// `label` names it, so that a test can hand out the same key pairs in any order in which
    /// they are made. The system's generator ignores it.
    ///
    /// # Errors
    ///
    /// The generator failed.
    fn generate(&self, label: &str, shape: KeyType) -> Result<Pkcs8, KeyError>;
}

/// A private key in DER (RFC 5208), whose memory is zeroed on drop and which cannot be printed.
#[derive(Clone)]
pub struct Pkcs8(Zeroizing<Vec<u8>>);

/// A private key that signs.
///
/// # Guarantees
///
/// It fits its algorithm, and cannot be printed.
pub struct PrivateKey {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key pair could not be made, read or used. It never quotes anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The generator failed.
    #[error("the key generator failed")]
    Generation,
    /// Not a private key of that algorithm in PKCS#8.
    #[error("not a private key of that algorithm")]
    Unfit,
    /// Signing failed.
    #[error("signing failed")]
    Signing,
}

// aws-lc-rs says of most failures that they are `Unspecified`, and of a key at most that it was rejected.

fn generation_failed(_: impl std::error::Error) -> KeyError {
    KeyError::Generation
}

fn unfit(_: impl std::error::Error) -> KeyError {
    KeyError::Unfit
}

fn signing_failed(_: impl std::error::Error) -> KeyError {
    KeyError::Signing
}

// === making ===

impl KeyPairs for System {
    fn generate(&self, _label: &str, shape: KeyType) -> Result<Pkcs8, KeyError> {
        let curve = |algorithm| {
            let key_pair = EcdsaKeyPair::generate(algorithm).map_err(generation_failed)?;
            let document = key_pair.to_pkcs8v1().map_err(generation_failed)?;
            Ok(Pkcs8::new(document.as_ref().to_vec()))
        };
        match shape {
            KeyType::Rsa(bits) => rsa(bits),
            KeyType::P256 => curve(&ECDSA_P256_SHA256_FIXED_SIGNING),
            KeyType::P384 => curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
            KeyType::P521 => curve(&ECDSA_P521_SHA512_FIXED_SIGNING),
            KeyType::Ed25519 => {
                let key_pair = Ed25519KeyPair::generate().map_err(generation_failed)?;
                let document = key_pair.to_pkcs8v1().map_err(generation_failed)?;
                Ok(Pkcs8::new(document.as_ref().to_vec()))
            }
        }
    }
}

fn rsa(bits: u16) -> Result<Pkcs8, KeyError> {
    let size = match bits {
        2048 => KeySize::Rsa2048,
        3072 => KeySize::Rsa3072,
        4096 => KeySize::Rsa4096,
        _ => return Err(KeyError::Generation),
    };
    let key_pair = GeneratedRsa::generate(size).map_err(generation_failed)?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key_pair).map_err(generation_failed)?;
    Ok(Pkcs8::new(der.as_ref().to_vec()))
}

impl Pkcs8 {
    /// Takes over the bytes.
    pub fn new(der: Vec<u8>) -> Self {
        Self(Zeroizing::new(der))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pkcs8 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

// === signing ===

impl PrivateKey {
    /// Reads a private key, and makes sure that it is one of that algorithm.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unfit`].
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let (secret, public) = match KeyType::of(algorithm, None).ok_or(KeyError::Unfit)? {
            KeyType::Rsa(_) => {
                let key_pair = RsaKeyPair::from_pkcs8(der).map_err(unfit)?;
                let public = key_pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let public = PublicKey::rsa(
                    algorithm,
                    n.big_endian_without_leading_zero(),
                    e.big_endian_without_leading_zero(),
                );
                (Secret::Rsa(key_pair), public)
            }
            KeyType::Ed25519 => {
                let key_pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
                let key_pair = key_pair.map_err(unfit)?;
                let public = PublicKey::ed25519(key_pair.public_key().as_ref());
                (Secret::Ed25519(key_pair), public)
            }
            KeyType::P256 | KeyType::P384 | KeyType::P521 => {
                let curve = ecdsa(algorithm).ok_or(KeyError::Unfit)?.0;
                let key_pair = EcdsaKeyPair::from_pkcs8(curve, der);
                let key_pair = key_pair.map_err(unfit)?;
                let public = PublicKey::ec(algorithm, key_pair.public_key().as_ref());
                (Secret::Ec(key_pair), public)
            }
        };
        Ok(Self { public: public.ok_or(KeyError::Unfit)?, secret })
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The JWS signature of a message: of RSASSA-PSS with a salt as long as the hash, of ECDSA as
    /// R and S side by side (RFC 7518 sections 3.4 and 3.5).
    ///
    /// # Errors
    ///
    /// [`KeyError::Signing`]: the generator of random numbers failed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let algorithm = self.public.algorithm();
        match &self.secret {
            Secret::Rsa(key_pair) => {
                let (encoding, _) = rsassa(algorithm).ok_or(KeyError::Signing)?;
                let mut signature = vec![0; key_pair.public_modulus_len()];
                let signed = key_pair.sign(encoding, &random, message, &mut signature);
                signed.map(|()| signature).map_err(signing_failed)
            }
            Secret::Ec(key_pair) => {
                let signature = key_pair.sign(&random, message).map_err(signing_failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Secret::Ed25519(key_pair) => {
                let signature = key_pair.try_sign(message).map_err(signing_failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({}, <redacted>)", self.public.kid())
    }
}

/// Whether the signature of a message is by that key.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let algorithm = key.algorithm();
    let outcome = match key.parameters() {
        PublicKeyParameters::Rsa { n, e } => {
            let Some((_, parameters)) = rsassa(algorithm) else { return false };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
        }
        PublicKeyParameters::Ec { x, y } => {
            let Some((_, curve)) = ecdsa(algorithm) else { return false };
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            UnparsedPublicKey::new(curve, point).verify(message, signature)
        }
        PublicKeyParameters::Ed25519 { x } => {
            UnparsedPublicKey::new(&ED25519, x).verify(message, signature)
        }
    };
    outcome.is_ok()
}

type Ecdsa = (&'static EcdsaSigningAlgorithm, &'static dyn VerificationAlgorithm);

fn ecdsa(algorithm: Algorithm) -> Option<Ecdsa> {
    match KeyType::of(algorithm, None)? {
        KeyType::P256 => Some((&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED)),
        KeyType::P384 => Some((&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED)),
        KeyType::P521 => Some((&ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED)),
        KeyType::Rsa(_) | KeyType::Ed25519 => None,
    }
}

type Rsassa = (&'static dyn RsaEncoding, &'static RsaParameters);

fn rsassa(algorithm: Algorithm) -> Option<Rsassa> {
    let chosen: Rsassa = match algorithm {
        Algorithm::RS256 => (&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => (&signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => (&signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => (&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => (&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => (&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 | Algorithm::EdDsa => return None,
    };
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(algorithm: Algorithm, size: Option<i32>) -> PrivateKey {
        let shape = KeyType::of(algorithm, size).unwrap();
        let der = System::start().generate("", shape).unwrap();
        PrivateKey::from_pkcs8(algorithm, der.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn every_algorithm_verifies_what_it_signed_and_nothing_else() {
        for algorithm in Algorithm::ALL {
            let key = made(algorithm, None);
            let signature = key.sign(b"message").unwrap();
            let mut forged = signature.clone();
            forged[0] ^= 1;

            assert!(verify(key.public(), b"message", &signature), "{algorithm:?}");
            assert!(!verify(key.public(), b"messages", &signature), "{algorithm:?}");
            assert!(!verify(key.public(), b"message", &forged), "{algorithm:?}");
            assert!(!verify(made(algorithm, None).public(), b"message", &signature));
        }
    }

    #[tokio::test]
    async fn rsa_keys_come_in_three_sizes() {
        for size in [3072, 4096] {
            let key = made(Algorithm::PS256, Some(size));
            let signature = key.sign(b"message").unwrap();

            assert_eq!(i32::try_from(signature.len() * 8).unwrap(), size);
            assert!(verify(key.public(), b"message", &signature));
        }
    }

    #[tokio::test]
    async fn a_private_key_of_another_algorithm_is_refused() {
        let der = System::start().generate("", KeyType::P256).unwrap();

        for algorithm in Algorithm::ALL.into_iter().filter(|it| *it != Algorithm::ES256) {
            let read = PrivateKey::from_pkcs8(algorithm, der.as_bytes());
            assert_eq!(read.err(), Some(KeyError::Unfit), "{algorithm:?}");
        }
    }

    #[tokio::test]
    async fn nothing_of_a_private_key_can_be_printed() {
        let der = System::start().generate("", KeyType::Ed25519).unwrap();
        let key = PrivateKey::from_pkcs8(Algorithm::EdDsa, der.as_bytes()).unwrap();

        assert_eq!(format!("{der:?}"), "<redacted>");
        assert_eq!(format!("{key:?}"), format!("PrivateKey({}, <redacted>)", key.public().kid()));
    }
}
