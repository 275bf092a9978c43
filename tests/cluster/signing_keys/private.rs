//! What of a private key must never be seen: the numbers of PKCS#8 that are in no public key.

use technical_user_operator::domain::crypto::public_key::{Algorithm, PublicKeyParameters};
use technical_user_operator::environment::private_key::PrivateKey;

/// The secret numbers of a private key in DER (RFC 5208, RFC 8017 appendix A.1.2, RFC 5915, RFC 8410).
pub(crate) fn secret_numbers(der: &[u8], algorithm: Algorithm) -> Vec<Vec<u8>> {
    let private = PrivateKey::from_pkcs8(algorithm, der).expect("a private key");
    let public = private.public();
    let known: Vec<&[u8]> = match public.parameters() {
        PublicKeyParameters::Rsa { n, e } => vec![n, e],
        PublicKeyParameters::Ec { x, y } => vec![x, y],
        PublicKeyParameters::Ed25519 { x } => vec![x],
    };
    let mut leaves = Vec::new();
    collect(der, &mut leaves).expect("DER");
    leaves.retain(|leaf| leaf.len() >= SHORTEST && !known.contains(&leaf.as_slice()));
    leaves
}

/// The integers and octet strings in there, without the leading zeros of a positive integer.
fn collect(mut der: &[u8], leaves: &mut Vec<Vec<u8>>) -> Option<()> {
    while !der.is_empty() {
        let (tag, content, rest) = split(der)?;
        der = rest;
        match tag {
            SEQUENCE => collect(content, leaves)?,
            // An octet string may hold another structure, or be the number itself.
            OCTET_STRING => {
                let mut inner = Vec::new();
                match collect(content, &mut inner) {
                    Some(()) if !inner.is_empty() => leaves.append(&mut inner),
                    Some(()) | None => leaves.push(content.to_vec()),
                }
            }
            INTEGER => {
                let zeros = content.iter().take_while(|byte| **byte == 0).count();
                leaves.push(content[zeros..].to_vec());
            }
            // Algorithms, parameters and public keys.
            _ => {}
        }
    }
    Some(())
}

/// Tag, content and what follows.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*length & 0x7f))?;
        // Longer data is no DER but a number that looks like it.
        let is_plausible = digits.len() <= 2;
        let length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (is_plausible.then_some(length)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Shorter ones are versions and exponents.
const SHORTEST: usize = 24;

#[cfg(test)]
mod tests {
    use technical_user_operator::domain::crypto::public_key::KeyType;
    use technical_user_operator::environment::System;
    use technical_user_operator::environment::private_key::KeyPairs;

    use super::*;

    #[tokio::test]
    async fn the_secret_numbers_of_every_algorithm_are_found_and_no_public_one() {
        for (algorithm, lengths) in [
            (Algorithm::RS256, vec![256, 128, 128, 128, 128, 128]),
            (Algorithm::ES256, vec![32]),
            (Algorithm::ES384, vec![48]),
            (Algorithm::ES512, vec![66]),
            (Algorithm::EdDsa, vec![32]),
        ] {
            let shape = KeyType::of(algorithm, None).unwrap();
            let der = System::start().generate("", shape).unwrap();

            let numbers = secret_numbers(der.as_bytes(), algorithm);

            let found: Vec<_> = numbers.iter().map(Vec::len).collect();
            // A number that begins with zeros is shorter.
            assert_eq!(found.len(), lengths.len(), "{algorithm:?}: {found:?}");
            let is_near = |(found, length): (&usize, &usize)| length - found < 3;
            assert!(found.iter().zip(&lengths).all(is_near), "{algorithm:?}: {found:?}");
        }
    }
}
