//! Recognises a client secret and a verifier by their shape, so that one which no test knows of is
//! found too. Written from the format alone: it shares no code with the operator that it judges.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::forms::{Form, base64};

/// The two texts that must never be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `tus`, 10 characters of entry id, 43 secret ones, 6 of checksum; all base62.
    ClientSecret,
    /// A bcrypt hash: `$2b$10$`, then 22 characters of salt and 31 of hash.
    Verifier,
}

impl Shape {
    pub(super) const ALL: &[Self] = &[Self::ClientSecret, Self::Verifier];

    /// What every text of this shape begins with: one of these.
    pub(super) fn beginnings(self) -> &'static [&'static [u8]] {
        match self {
            Self::ClientSecret => &[b"tus"],
            Self::Verifier => &[b"$2a", b"$2b", b"$2x", b"$2y"],
        }
    }

    pub(super) fn length(self) -> usize {
        match self {
            Self::ClientSecret => 62,
            Self::Verifier => 60,
        }
    }

    /// How much of it anyone may see: the entry id stands in an annotation, and all verifiers of
    /// one cost begin alike.
    fn public(self) -> usize {
        match self {
            Self::ClientSecret => 13,
            Self::Verifier => 7,
        }
    }

    pub(super) fn fits(self, text: &[u8]) -> bool {
        self.resembles(text)
            && match self {
                Self::ClientSecret => {
                    let (start, digits) = text.split_at(text.len() - CHECKSUM_DIGITS);
                    digits == checksum(start)
                }
                Self::Verifier => true,
            }
    }

    /// Whether it fits, checksum apart.
    fn resembles(self, text: &[u8]) -> bool {
        if text.len() != self.length() {
            return false;
        }
        match self {
            Self::ClientSecret => {
                text.starts_with(b"tus") && text.iter().all(u8::is_ascii_alphanumeric)
            }
            Self::Verifier => {
                self.beginnings().contains(&&text[..3])
                    && text[3] == b'$'
                    && text[4..6].iter().all(u8::is_ascii_digit)
                    && text[6] == b'$'
                    && text[7..]
                        .iter()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
            }
        }
    }

    /// How a text of this shape that was not registered is called in the report. The entry id of a
    /// client secret is public and says which one it is.
    pub(super) fn label(text: &[u8]) -> String {
        if Self::ClientSecret.fits(text) {
            format!("unregistered client secret {}", String::from_utf8_lossy(&text[3..13]))
        } else {
            "unregistered verifier".to_owned()
        }
    }
}

/// What a text of any shape begins with: as it is, and in base64 with 0, 1 or 2 bytes before it in its group.
pub(super) fn beginnings() -> Vec<Vec<u8>> {
    let all = Shape::ALL.iter().flat_map(|shape| shape.beginnings());
    let forms = |text: &&[u8]| {
        let [none, one, two] = [0, 1, 2].map(|before| base64(text, before)[0].clone());
        [text.to_vec(), none, one, two]
    };
    all.flat_map(forms).collect()
}

/// The text of a shape whose beginning of that index in [`beginnings`] is at `at`.
pub(super) fn found(index: usize, data: &[u8], at: usize) -> Option<(Form, Vec<u8>)> {
    let fits = |text: &[u8]| {
        let shapes = Shape::ALL.iter().map(|shape| (shape, text.get(..shape.length())));
        let mut fitting = shapes.filter(|(shape, text)| text.is_some_and(|text| shape.fits(text)));
        fitting.next().and_then(|(_, text)| text).map(<[u8]>::to_vec)
    };
    let Some(before) = (index % 4).checked_sub(1) else {
        return Some((Form::Raw, fits(&data[at..])?));
    };
    let group = at.checked_sub((8 * before).div_ceil(6))?;
    let rest = data[group..].iter().take((8 * (before + LONGEST)).div_ceil(6)).copied();
    let standard = rest.map(|it| match it {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    });
    let is_base64 = |it: &u8| it.is_ascii_alphanumeric() || b"+/".contains(it);
    let mut characters: Vec<u8> = standard.take_while(is_base64).collect();
    // A lone character is no byte.
    characters.truncate(characters.len() - usize::from(characters.len() % 4 == 1));
    let decoded = LENIENT.decode(characters).ok()?;
    Some((Form::Base64, fits(decoded.get(before..)?)?))
}

/// Bits of the next byte may be left over.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const LONGEST: usize = 62;

/// How many bytes of a registered text are no secret.
pub(super) fn public_part(text: &[u8]) -> usize {
    let shape = Shape::ALL.iter().find(|shape| shape.resembles(text));
    shape.map_or(0, |shape| shape.public())
}

/// 62^6 is the first power above 2^32.
const CHECKSUM_DIGITS: usize = 6;
pub(super) const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// CRC-32 (IEEE 802.3) as six base62 digits, the most significant first.
pub(super) fn checksum(text: &[u8]) -> Vec<u8> {
    let crc = !text.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    });
    (0..CHECKSUM_DIGITS)
        .rev()
        .map(|place| {
            let digit = u64::from(crc) / (0..place).fold(1, |power, _| power * 62) % 62;
            BASE62[usize::try_from(digit).expect("below 62")]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32_in_base62() {
        // 0xcbf43926 is the check value that every description of CRC-32 gives.
        let digits = checksum(b"123456789");

        let value = digits.iter().fold(0, |value, digit| {
            value * 62 + BASE62.iter().position(|other| other == digit).unwrap()
        });
        assert_eq!(value, 0xcbf4_3926);
        assert_eq!(checksum(b""), b"000000");
    }

    #[test]
    fn a_text_with_a_wrong_checksum_is_no_client_secret() {
        let start = [&b"tus0123456789"[..], &[b'a'; 43]].concat();
        let right = [start.clone(), checksum(&start)].concat();
        let mut wrong = right.clone();
        wrong[30] = b'b';

        assert!(Shape::ClientSecret.fits(&right));
        assert!(!Shape::ClientSecret.fits(&wrong));
    }

    #[test]
    fn a_bcrypt_hash_is_a_verifier_and_a_shell_variable_is_not() {
        let hash = b"$2b$10$abcdefghijklmnopqrstuv./ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";

        assert!(Shape::Verifier.fits(&hash[..60]));
        assert!(!Shape::Verifier.fits(&[b"$2 ", &hash[3..60]].concat()));
    }
}
