//! The shapes in which a secret text turns up in output: how each looks, how it reads back, and how
//! to plant one. It knows nothing of searching.
//!
//! *Guarantees*: an encoding keeps only the characters that the given bytes determine alone, so that
//! it matches whatever stands before and after them.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// One shape of a leak. The number of an alignment is the place of the first sensitive byte in its
/// group: 0 to 2 for base64, 0 to 4 for base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// The text itself.
    Raw,
    /// `dHVz`, with `+` and `/`.
    Base64Standard(usize),
    /// `dHVz`, with `-` and `_`.
    Base64Url(usize),
    /// `OR2XG`, upper case.
    Base32(usize),
    /// `747573`, letters in lower case.
    HexLower,
    /// `747573`, letters in upper case.
    HexUpper,
    /// `%74%75`, letters in lower case.
    PercentLower,
    /// `%74%75`, letters in upper case.
    PercentUpper,
    /// `\u0074`, letters in lower case.
    JsonLower,
    /// `\u0074`, letters in upper case.
    JsonUpper,
    /// `\x74`, as Rust, C and Python escape a byte.
    RustByte,
    /// `\u{74}`, as Rust escapes a character.
    RustUnicode,
    /// `116, 117`, as `{:?}` prints bytes: so does `Debug` of a Kubernetes Secret.
    DecimalSpaced,
    /// `116,117`, as compact JSON prints bytes.
    DecimalTight,
    /// One number a line, as `{:#?}` and indented JSON print bytes. Seen only where a whole client
    /// secret or verifier is printed.
    DecimalLines,
    /// Part of the raw text, at least [`WINDOW`] bytes of it.
    Window,
    /// Part of a base64 text, at least [`WINDOW`] characters of it.
    Base64Window(usize),
}

/// The shortest part of a raw or base64 text that counts as a leak: 12 characters of base62 are 71
/// bits, too many for chance and enough to help an attacker.
pub const WINDOW: usize = 12;

impl Form {
    /// Every form, each alignment counted apart.
    pub const ALL: &[Self] = &[
        Self::Raw,
        Self::Base64Standard(0),
        Self::Base64Standard(1),
        Self::Base64Standard(2),
        Self::Base64Url(0),
        Self::Base64Url(1),
        Self::Base64Url(2),
        Self::Base32(0),
        Self::Base32(1),
        Self::Base32(2),
        Self::Base32(3),
        Self::Base32(4),
        Self::HexLower,
        Self::HexUpper,
        Self::PercentLower,
        Self::PercentUpper,
        Self::JsonLower,
        Self::JsonUpper,
        Self::RustByte,
        Self::RustUnicode,
        Self::DecimalSpaced,
        Self::DecimalTight,
        Self::DecimalLines,
        Self::Window,
        Self::Base64Window(0),
        Self::Base64Window(1),
        Self::Base64Window(2),
    ];

    /// The forms in which a secret that nobody registered is recognised by its shape. They read
    /// their siblings too: the URL alphabet of base64, hex in upper case.
    pub(super) const READABLE: &[Self] = &[
        Self::Raw,
        Self::Base64Standard(0),
        Self::Base64Standard(1),
        Self::Base64Standard(2),
        Self::HexLower,
        Self::DecimalSpaced,
        Self::DecimalTight,
        Self::DecimalLines,
    ];

    /// What a part of this form is called.
    pub(super) fn partial(self) -> Self {
        match self {
            Self::Raw | Self::Window => Self::Window,
            Self::Base64Standard(alignment)
            | Self::Base64Url(alignment)
            | Self::Base64Window(alignment) => Self::Base64Window(alignment),
            Self::Base32(_)
            | Self::HexLower
            | Self::HexUpper
            | Self::PercentLower
            | Self::PercentUpper
            | Self::JsonLower
            | Self::JsonUpper
            | Self::RustByte
            | Self::RustUnicode
            | Self::DecimalSpaced
            | Self::DecimalTight
            | Self::DecimalLines => self,
        }
    }

    /// Whether any [`WINDOW`] characters of this form must be found, wherever they are cut out.
    pub(super) fn has_windows(self) -> bool {
        self.partial() != self
    }

    /// Whether a text is searched in this form, and not only recognised or derived from another.
    pub(super) fn is_searched(self) -> bool {
        !matches!(self, Self::DecimalLines | Self::Window | Self::Base64Window(_))
    }
}

impl fmt::Display for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// The characters of `form` that `text` determines alone.
pub(super) fn encode(form: Form, text: &[u8]) -> Vec<u8> {
    match form {
        Form::Raw | Form::Window => text.to_vec(),
        Form::Base64Standard(alignment) | Form::Base64Window(alignment) => {
            regroup(text, 6, STANDARD, alignment)
        }
        Form::Base64Url(alignment) => regroup(text, 6, URL, alignment),
        Form::Base32(alignment) => regroup(text, 5, BASE32, alignment),
        Form::HexLower => each(text, "", |out, byte| write!(out, "{byte:02x}")),
        Form::HexUpper => each(text, "", |out, byte| write!(out, "{byte:02X}")),
        Form::PercentLower => each(text, "", |out, byte| write!(out, "%{byte:02x}")),
        Form::PercentUpper => each(text, "", |out, byte| write!(out, "%{byte:02X}")),
        Form::JsonLower => each(text, "", |out, byte| write!(out, "\\u{byte:04x}")),
        Form::JsonUpper => each(text, "", |out, byte| write!(out, "\\u{byte:04X}")),
        Form::RustByte => each(text, "", |out, byte| write!(out, "\\x{byte:02x}")),
        Form::RustUnicode => each(text, "", |out, byte| write!(out, "\\u{{{byte:x}}}")),
        Form::DecimalSpaced => each(text, ", ", |out, byte| write!(out, "{byte}")),
        Form::DecimalTight => each(text, ",", |out, byte| write!(out, "{byte}")),
        Form::DecimalLines => each(text, ",\n        ", |out, byte| write!(out, "{byte}")),
    }
}

/// Reads `count` bytes back from `data`, where their encoding in one of [`Form::READABLE`] begins at
/// `at`, as [`encode`] would begin it.
pub(super) fn decode(form: Form, data: &[u8], at: usize, count: usize) -> Option<Vec<u8>> {
    match form {
        Form::Raw => data.get(at..at.checked_add(count)?).map(<[u8]>::to_vec),
        Form::Base64Standard(alignment) => {
            let group = at.checked_sub((8 * alignment).div_ceil(6))?;
            let characters = (8 * (alignment + count)).div_ceil(6);
            let mut bytes = decode_base64(data.get(group..group.checked_add(characters)?)?)?;
            Some(bytes.drain(alignment..).take(count).collect())
        }
        Form::HexLower | Form::HexUpper => {
            let digits = data.get(at..at.checked_add(2 * count)?)?;
            digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect()
        }
        Form::DecimalSpaced | Form::DecimalTight | Form::DecimalLines => {
            decode_decimals(data.get(at..)?, count)
        }
        Form::Base64Url(_)
        | Form::Base32(_)
        | Form::PercentLower
        | Form::PercentUpper
        | Form::JsonLower
        | Form::JsonUpper
        | Form::RustByte
        | Form::RustUnicode
        | Form::Window
        | Form::Base64Window(_) => None,
    }
}

/// Makes a leak of `text` in `form`, for the scanner to find. The first `public` bytes of the text
/// are not secret: alignments and windows are those of what follows them.
///
/// Base64 comes from its crate and not from [`encode`], so that one mistake cannot hide another.
pub(super) fn plant(form: Form, text: &[u8], public: usize) -> Vec<u8> {
    let led_by = |group: usize, alignment: usize| {
        let filler = (group + alignment - public % group) % group;
        [&b"::::"[..filler], text].concat()
    };
    match form {
        Form::Base64Standard(alignment) => STANDARD_NO_PAD.encode(led_by(3, alignment)).into(),
        Form::Base64Url(alignment) => URL_SAFE_NO_PAD.encode(led_by(3, alignment)).into(),
        Form::Base32(alignment) => regroup(&led_by(5, alignment), 5, BASE32, 0),
        Form::Window => {
            let middle = usize::midpoint(public, text.len() - WINDOW);
            text[middle..middle + WINDOW].to_vec()
        }
        Form::Base64Window(alignment) => {
            let whole = STANDARD_NO_PAD.encode(led_by(3, alignment)).into_bytes();
            let middle = usize::midpoint((public + 3) * 4 / 3 + 1, whole.len() - WINDOW);
            whole[middle..middle + WINDOW].to_vec()
        }
        Form::Raw
        | Form::HexLower
        | Form::HexUpper
        | Form::PercentLower
        | Form::PercentUpper
        | Form::JsonLower
        | Form::JsonUpper
        | Form::RustByte
        | Form::RustUnicode
        | Form::DecimalSpaced
        | Form::DecimalTight
        | Form::DecimalLines => encode(form, text),
    }
}

const STANDARD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Regroups bytes into characters of `bits` bits, as RFC 4648 does, where `alignment` other bytes
/// stand before them in their group; leaves out the characters that neighbours take part in.
fn regroup(text: &[u8], bits: usize, alphabet: &[u8], alignment: usize) -> Vec<u8> {
    let bit = |index: usize| {
        let byte = text[index / 8 - alignment];
        usize::from(byte >> (7 - index % 8) & 1)
    };
    let first = (8 * alignment).div_ceil(bits);
    let last = 8 * (alignment + text.len()) / bits;
    (first..last)
        .map(|character| {
            let value = (character * bits..(character + 1) * bits)
                .fold(0, |value, index| value << 1 | bit(index));
            alphabet[value]
        })
        .collect()
}

fn each(
    text: &[u8],
    separator: &str,
    mut show: impl FnMut(&mut String, u8) -> fmt::Result,
) -> Vec<u8> {
    let mut out = String::new();
    for (index, byte) in text.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        show(&mut out, *byte).expect("a String takes any text");
    }
    out.into_bytes()
}

/// Whole bytes only: bits left over at the end are dropped, whatever they are.
fn decode_base64(characters: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(characters.len() * 3 / 4);
    let mut held: u32 = 0;
    let mut bits = 0;
    for character in characters {
        held = held << 6 | u32::from(sextet(*character)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

fn sextet(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Numbers up to 255 between commas and white space, any amount of it.
fn decode_decimals(data: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut rest = data;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        if !bytes.is_empty() {
            rest = rest.strip_prefix(b",")?.trim_ascii_start();
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = rest.split_at(digits);
        bytes.push(std::str::from_utf8(number).ok()?.parse().ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_agrees_with_rfc_4648() {
        assert_eq!(encode(Form::Base32(0), b"fooba"), b"MZXW6YTB");
        assert_eq!(encode(Form::Base32(0), b"foob"), b"MZXW6Y");
    }

    #[test]
    fn a_form_is_written_as_its_documentation_says() {
        let rows = [
            (Form::HexLower, "6b4a"),
            (Form::HexUpper, "6B4A"),
            (Form::PercentLower, "%6b%4a"),
            (Form::PercentUpper, "%6B%4A"),
            (Form::JsonLower, r"\u006b\u004a"),
            (Form::JsonUpper, r"\u006B\u004A"),
            (Form::RustByte, r"\x6b\x4a"),
            (Form::RustUnicode, r"\u{6b}\u{4a}"),
            (Form::DecimalSpaced, "107, 74"),
            (Form::DecimalTight, "107,74"),
            (Form::DecimalLines, "107,\n        74"),
        ];
        for (form, written) in rows {
            assert_eq!(encode(form, b"kJ"), written.as_bytes(), "{form}");
        }
    }

    #[test]
    fn an_encoding_stands_in_every_plant_of_its_form() {
        let text = b"public-part-and-a-secret-part-of-fair-length";
        for form in Form::ALL.iter().filter(|form| form.is_searched()) {
            for public in 0..12 {
                let planted = plant(*form, text, public);

                let sought = encode(*form, &text[public..]);

                let found = planted.windows(sought.len()).any(|window| window == sought);
                assert!(found, "{form} with {public} public bytes");
            }
        }
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let text = b"$2b$10$abcdefghijkl./ABCDEFGH";
        for form in Form::READABLE {
            let data = [b"====", plant(*form, text, 0).as_slice(), b"===="].concat();
            let start = encode(*form, &text[..3]);
            let at = data.windows(start.len()).position(|window| window == start).unwrap();

            assert_eq!(decode(*form, &data, at, text.len()).as_deref(), Some(&text[..]), "{form}");
        }
    }
}
