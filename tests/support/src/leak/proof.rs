//! Plants leaks and counts those that a scan finds.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::forms::{self, Form};
use super::search::Registered;
use super::shape::{Shape, checksum, public_part};
use super::{Leak, LeakScan};

/// Plants every form of a sample of the secrets and of texts nobody registered, each in a source of
/// its own, between noise and across the boundary of two chunks. Says how many are found under the
/// right name and in the right form, and how many there are.
pub(super) fn found_and_planted(secrets: &[Registered]) -> (usize, usize) {
    let mut scan = LeakScan { chunk: CHUNK, ..LeakScan::of(secrets.to_vec()) };
    let (mut found, mut planted) = (0, 0);
    for secret in secrets.iter().step_by(secrets.len().div_ceil(SAMPLE).max(1)) {
        for form in forms_of(&secret.text) {
            let leaks = leaks_of(form, &secret.text, &mut scan);
            planted += 1;
            found += usize::from(leaks.iter().any(|leak| {
                leak.label == secret.label && looks_alike(leak.form, form, &secret.text)
            }));
        }
    }
    for text in [client_secret(u64::MAX), verifier(u64::MAX)].map(String::into_bytes) {
        for form in Form::READABLE {
            let leaks = leaks_of(*form, &text, &mut scan);
            planted += 1;
            found += usize::from(leaks.iter().any(|leak| leak.label.starts_with("unregistered")));
        }
    }
    (found, planted)
}

/// A client secret, the same for the same seed.
pub(super) fn client_secret(seed: u64) -> String {
    let start = format!("tus{}", word(seed, 53));
    let end = String::from_utf8(checksum(start.as_bytes())).expect("base62");
    start + &end
}

/// A text that looks like a bcrypt hash, the same for the same seed.
pub(super) fn verifier(seed: u64) -> String {
    format!("$2b$10${}", word(!seed, 53))
}

/// Printable text without meaning, the same for the same seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut generator = StdRng::seed_from_u64(seed);
    (0..length).map(|_| generator.random_range(b' '..=b'~')).collect()
}

/// Secrets for which every form is planted; more would say nothing new.
const SAMPLE: usize = 50;

/// Shorter than most plants, so that they lie across boundaries.
const CHUNK: usize = 31;

/// More than the search keeps in view at once, so that it has to move on in the middle of a leak.
const AROUND: usize = 5000;

fn word(seed: u64, length: usize) -> String {
    // Two in three printable characters are letters or digits.
    let letters = noise(seed, length * 8).into_iter().filter(u8::is_ascii_alphanumeric);
    letters.take(length).map(char::from).collect()
}

/// The forms in which a text can be found: one number a line is read by its shape alone.
fn forms_of(text: &[u8]) -> impl Iterator<Item = Form> {
    let has_shape = Shape::ALL.iter().any(|shape| shape.fits(text));
    Form::ALL.iter().copied().filter(move |form| has_shape || *form != Form::DecimalLines)
}

fn leaks_of(form: Form, text: &[u8], scan: &mut LeakScan) -> Vec<Leak> {
    let leak = forms::plant(form, text, public_part(text));
    let source = [noise(1, AROUND), leak, noise(2, AROUND)].concat();
    scan.leaks.clear();
    scan.bytes("planted", &source);
    scan.leaks.clone()
}

/// Whether two forms write this text with the same characters, as both alphabets of base64 do when
/// neither `+` nor `/` occurs.
fn looks_alike(left: Form, right: Form, text: &[u8]) -> bool {
    let secret = &text[public_part(text)..];
    left == right
        || left.is_searched()
            && right.is_searched()
            && forms::encode(left, secret) == forms::encode(right, secret)
}
