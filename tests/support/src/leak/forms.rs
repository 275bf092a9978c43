//! The forms of a secret in output, and the parts of each by which it is recognised.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it is.
    Raw,
    /// Base64 with either alphabet, with any text before the secret.
    Base64,
    /// Hexadecimal digits of either case.
    Hex,
    /// Numbers between commas, with or without white space: `Debug` and JSON print bytes so.
    Decimal,
}

/// A pattern of a secret.
pub(super) struct Part {
    pub(super) label: String,
    pub(super) form: Form,
}

/// The length of a part, in bytes of the secret or in characters of base64: 8 characters of base62 are 48 bits, too
/// many for chance in gigabytes.
pub(super) const PIECE: usize = 8;
/// From the beginning of one part to that of the next.
pub(super) const STRIDE: usize = PIECE - 1;

impl Form {
    /// How far apart two parts of one leak can be.
    pub(super) fn gap(self) -> u64 {
        match self {
            Self::Raw | Self::Base64 => 8,
            Self::Hex => 16,
            Self::Decimal => 8 * 20,
        }
    }
}

/// The patterns of a secret. Any [`super::WINDOW`] bytes (or characters of base64) of it contain one.
pub(super) fn parts(secret: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let pieces = |text: &[u8]| -> Vec<Vec<u8>> {
        text.windows(PIECE).step_by(STRIDE).map(<[u8]>::to_vec).collect()
    };
    let mut all: Vec<_> = pieces(secret).into_iter().map(|it| (Form::Raw, it)).collect();
    for before in 0..3 {
        all.extend(
            base64(secret, before).iter().flat_map(|it| pieces(it)).map(|it| (Form::Base64, it)),
        );
    }
    for piece in pieces(secret) {
        all.extend([hex(&piece), hex(&piece).to_ascii_uppercase()].map(|it| (Form::Hex, it)));
        all.push((Form::Decimal, decimal(&piece, ",")));
    }
    all.sort();
    all.dedup();
    all
}

/// The characters of base64 that `text` determines alone, in both alphabets, when `before` bytes stand before it in
/// its group.
pub(super) fn base64(text: &[u8], before: usize) -> [Vec<u8>; 2] {
    let group = [&[0; 2][..before], text].concat();
    let determined = (8 * before).div_ceil(6)..8 * group.len() / 6;
    [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
        .map(|it| it.encode(&group).as_bytes()[determined.clone()].to_vec())
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

fn decimal(bytes: &[u8], separator: &str) -> Vec<u8> {
    let numbers: Vec<_> = bytes.iter().map(ToString::to_string).collect();
    numbers.join(separator).into_bytes()
}

/// The secret in every form, for a scan to find; a part of it too.
pub(super) fn plants(secret: &[u8], public: usize) -> Vec<(Form, Vec<u8>)> {
    let middle = usize::midpoint(public, secret.len() - super::WINDOW);
    let window = secret[middle..middle + super::WINDOW].to_vec();
    let mut all = vec![(Form::Raw, secret.to_vec()), (Form::Raw, window)];
    for before in ["", ":", "::"] {
        let text = [before.as_bytes(), secret].concat();
        all.push((Form::Base64, STANDARD_NO_PAD.encode(&text).into_bytes()));
        all.push((Form::Base64, URL_SAFE_NO_PAD.encode(&text).into_bytes()));
    }
    let digits = hex(secret);
    all.extend([(Form::Hex, digits.to_ascii_uppercase()), (Form::Hex, digits)]);
    all.extend([",", ", ", ",\n        ", " , "].map(|it| (Form::Decimal, decimal(secret, it))));
    all
}
