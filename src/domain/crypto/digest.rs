//! Digests for comparing and for names.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a text, as 64 hexadecimal digits.
pub fn digest(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

/// The first 16 bytes of the SHA-256 of a text, as 32 hexadecimal digits.
pub fn short_digest(text: &str) -> String {
    short(&Sha256::digest(text.as_bytes()))
}

/// The first 16 bytes of a digest, as 32 hexadecimal digits.
pub fn short(digest: &[u8]) -> String {
    HEXLOWER.encode(digest.get(..16).unwrap_or(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_digests_keep_their_form() {
        let whole = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

        assert_eq!(digest("hello"), whole);
        assert_eq!(short_digest("hello"), whole[..32]);
    }
}
