//! Client ids, client secrets and their verifiers.
//!
//! A client secret is `tus`, the 10 characters of its public id, 43 random characters and 6 of
//! checksum: 62 letters and digits, so that every OAuth client encodes it alike, bcrypt (72 bytes)
//! sees all of it, secret scanners recognise it, and garbage is refused without hashing.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_DNSSEC;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::digest::digest;

/// The public name of one client secret: 10 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(String);

/// A client secret in the clear. It cannot be printed, and its memory is zeroed on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(Zeroizing<String>);

/// An OAuth 2.0 client id: 1 to 100 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(String);

/// A bcrypt verifier of one client secret. It cannot be printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verifier(String);

/// Why a text is no credential. It never quotes the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCredential {
    /// Not 10 letters and digits.
    #[error("a credential id has 10 letters and digits")]
    CredentialId,
    /// Not of the form of a client secret.
    #[error("a client secret has 62 letters and digits and starts with `tus`")]
    ClientSecret,
    /// Of the form of a client secret, but never issued.
    #[error("the checksum of the client secret is wrong")]
    Checksum,
    /// Not 1 to 100 letters and digits.
    #[error("a client id has 1 to 100 letters and digits")]
    ClientId,
    /// Not a bcrypt hash.
    #[error("a verifier is a bcrypt hash such as `$2b$10$…`")]
    Verifier,
    /// The cost is not one that bcrypt has.
    #[error("bcrypt takes a cost of 4 to 31")]
    Cost,
}

// === impl CredentialId ===

impl CredentialId {
    /// How many characters it has.
    pub const LENGTH: usize = 10;

    /// Turns random bytes into an id, or nothing when too few of them are usable.
    pub fn draw(bytes: &[u8]) -> Option<Self> {
        base62_characters(bytes, Self::LENGTH).map(|characters| Self(characters.to_string()))
    }

    /// The 10 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CredentialId {
    type Err = MalformedCredential;

    fn from_str(text: &str) -> Result<Self, MalformedCredential> {
        let is_valid =
            text.len() == Self::LENGTH && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(MalformedCredential::CredentialId) }
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// === impl ClientSecret ===

impl ClientSecret {
    /// How many random characters it has: 43 of base 62 carry 256 bits.
    pub const RANDOM_LENGTH: usize = 43;

    /// Makes the client secret of `id` from random bytes, or nothing when too few are usable.
    pub fn draw(id: &CredentialId, bytes: &[u8]) -> Option<Self> {
        let random = base62_characters(bytes, Self::RANDOM_LENGTH)?;
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        text.push_str(id.as_str());
        text.push_str(&random);
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Some(Self(text))
    }

    /// The id that names its verifier.
    pub fn id(&self) -> CredentialId {
        CredentialId(self.0.chars().skip(PREFIX.len()).take(CredentialId::LENGTH).collect())
    }

    /// The 62 characters, for the one request that carries them and for bcrypt.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientSecret {
    type Err = MalformedCredential;

    /// Parses without hashing: what is garbage or a guess is refused here.
    fn from_str(text: &str) -> Result<Self, MalformedCredential> {
        let is_shaped = text.len() == LENGTH
            && text.starts_with(PREFIX)
            && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_shaped {
            return Err(MalformedCredential::ClientSecret);
        }
        let (body, claimed) = text.split_at(LENGTH - CHECKSUM_LENGTH);
        if claimed != checksum(body) {
            return Err(MalformedCredential::Checksum);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

// === impl ClientId ===

impl ClientId {
    /// The client id of an object that chose none: `tu` and 24 characters of base32hex (RFC 4648
    /// section 7, lower case) over the SHA-256 of its uid.
    pub fn derived_from(uid: &str) -> Self {
        let digest = Sha256::digest(uid.as_bytes());
        let bytes = digest.get(..15).unwrap_or_default();
        // The alphabet of DNSSEC is base32hex in lower case, without padding.
        Self(format!("tu{}", BASE32_DNSSEC.encode(bytes)))
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has the form of a derived client id, so that no user may choose it.
    pub fn looks_derived(&self) -> bool {
        let digits = self.0.strip_prefix("tu").unwrap_or_default();
        digits.len() == 24 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'v'))
    }

    /// The name of the Secret that claims this client id for the whole cluster.
    pub fn record_name(&self) -> String {
        format!("verifier-{}", digest(&self.0))
    }
}

impl FromStr for ClientId {
    type Err = MalformedCredential;

    fn from_str(text: &str) -> Result<Self, MalformedCredential> {
        let is_valid =
            (1..=100).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(MalformedCredential::ClientId) }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// === impl Verifier ===

impl Verifier {
    /// Hashes a client secret: about 45 ms of one core at cost 10, twice that per step of cost.
    ///
    /// # Errors
    ///
    /// [`MalformedCredential::Cost`] when bcrypt does not know the cost.
    pub fn of(
        secret: &ClientSecret,
        cost: u32,
        salt: [u8; 16],
    ) -> Result<Self, MalformedCredential> {
        bcrypt::non_truncating_hash_with_salt(secret.reveal(), cost, salt)
            .map(|parts| Self(parts.to_string()))
            // Of what a caller can get wrong, the cost is all there is.
            .map_err(|_| MalformedCredential::Cost)
    }

    /// Whether this is the verifier of that client secret. Costs as much as making it did.
    pub fn accepts(&self, secret: &ClientSecret) -> bool {
        bcrypt::non_truncating_verify(secret.reveal(), &self.0).unwrap_or(false)
    }

    /// The hash, for the record that keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Verifier {
    type Err = MalformedCredential;

    fn from_str(text: &str) -> Result<Self, MalformedCredential> {
        // The text of bcrypt quotes the hash.
        text.parse::<bcrypt::HashParts>().map_err(|_| MalformedCredential::Verifier)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<redacted>")
    }
}

// === private ===

const PREFIX: &str = "tus";
const CHECKSUM_LENGTH: usize = 6;
const LENGTH: usize =
    PREFIX.len() + CredentialId::LENGTH + ClientSecret::RANDOM_LENGTH + CHECKSUM_LENGTH;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Rejection sampling: the bytes from 248 on would favour the first characters.
fn base62_characters(bytes: &[u8], count: usize) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(count));
    let usable = bytes.iter().filter(|byte| **byte < 248);
    for character in usable.filter_map(|byte| BASE62.get(usize::from(byte % 62))).take(count) {
        text.push(char::from(*character));
    }
    (text.len() == count).then_some(text)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        let index = usize::try_from(rest % 62).unwrap_or_default();
        *digit = BASE62.get(index).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> ClientSecret {
        let id = CredentialId::draw(&[7; 10]).unwrap();
        ClientSecret::draw(&id, &(0..64).collect::<Vec<u8>>()).unwrap()
    }

    #[test]
    fn a_client_secret_has_62_letters_and_digits() {
        let text = secret().reveal().to_owned();

        assert_eq!(text.len(), 62);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(text.starts_with("tus7777777777"));
    }

    #[test]
    fn a_client_secret_survives_parsing_and_any_changed_character_is_refused() {
        let text = secret().reveal().to_owned();

        assert_eq!(text.parse::<ClientSecret>().unwrap(), secret());
        for index in 3..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(
                changed.parse::<ClientSecret>(),
                Err(MalformedCredential::Checksum),
                "at {index}"
            );
        }
        assert_eq!("".parse::<ClientSecret>(), Err(MalformedCredential::ClientSecret));
        assert_eq!(
            format!("{text}0").parse::<ClientSecret>(),
            Err(MalformedCredential::ClientSecret)
        );
    }

    #[test]
    fn the_id_is_part_of_the_client_secret() {
        assert_eq!(secret().id().as_str(), "7777777777");
    }

    #[test]
    fn a_verifier_accepts_its_client_secret_and_no_other() {
        let verifier = Verifier::of(&secret(), 4, [1; 16]).unwrap();
        let other = ClientSecret::draw(&secret().id(), &[9; 64]).unwrap();

        assert!(verifier.accepts(&secret()));
        assert!(!verifier.accepts(&other));
        assert_eq!(verifier.as_str().parse::<Verifier>().unwrap(), verifier);
    }

    #[test]
    fn neither_client_secret_nor_verifier_can_be_printed() {
        let verifier = Verifier::of(&secret(), 4, [1; 16]).unwrap();

        assert_eq!(format!("{:?} {verifier:?}", secret()), "<redacted> <redacted>");
    }

    #[test]
    fn too_few_usable_bytes_give_nothing() {
        assert_eq!(CredentialId::draw(&[255; 64]), None);
        assert!(ClientSecret::draw(&secret().id(), &[0; 42]).is_none());
    }

    #[test]
    fn a_derived_client_id_is_stable_and_has_26_letters_and_digits() {
        let id = ClientId::derived_from("6d9a0b1e-5a4c-4d1e-9f6b-1f0f5f0c8d11");

        assert_eq!(id, ClientId::derived_from("6d9a0b1e-5a4c-4d1e-9f6b-1f0f5f0c8d11"));
        assert_eq!(id.as_str().len(), 26);
        assert!(id.looks_derived());
        for chosen in ["tu", "billing", "tu0123456789abcdefghijklmw", "Tu0123456789abcdefghijklmn"]
        {
            assert!(!chosen.parse::<ClientId>().unwrap().looks_derived(), "{chosen}");
        }
        assert_eq!(id.as_str().parse::<ClientId>().unwrap(), id);
    }

    #[test]
    fn the_record_of_a_client_id_is_named_by_its_hash() {
        let id: ClientId = "Billing".parse().unwrap();

        assert_eq!(id.record_name().len(), "verifier-".len() + 64);
        assert_ne!(id.record_name(), "billing".parse::<ClientId>().unwrap().record_name());
    }
}
