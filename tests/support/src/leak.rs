//! Searches what the programs wrote, said and answered for secrets: as they are, in base64, in hex and as decimal
//! numbers. It keeps little of what it reads, so that gigabytes of logs fit, and never prints a secret.
//!
//! ```text
//! bytes=1073741824 secrets=400 patterns=34017 leaks=0
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aho_corasick::AhoCorasick;

mod forms;
mod shape;

pub use forms::Form;
use forms::{Part, parts};
use shape::{Shape, public_part};

/// The shortest part of a secret that counts as a leak: 14 characters of base62 are 83 bits.
pub const WINDOW: usize = forms::PIECE + forms::STRIDE - 1;

/// A search for registered secrets, and for any text with the shape of a client secret or of a verifier.
///
/// Register everything first, then give it what is to be searched, then ask for the report.
///
/// ```
/// # use support::leak::{Form, LeakScan};
/// let mut scan = LeakScan::new().secret("second of orders/billing", "not to be seen");
/// scan.bytes("log", b"6e6f7420746f206265207365656e");
///
/// assert_eq!(scan.report().leaks[0].form, Form::Hex);
/// ```
pub struct LeakScan {
    secrets: Vec<(String, Vec<u8>)>,
    search: Option<Search>,
    chunk: usize,
    bytes: u64,
    count: u64,
    leaks: Vec<Leak>,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakReport {
    /// How much was searched.
    pub bytes: u64,
    /// How many secrets were registered.
    pub secrets: usize,
    /// How many patterns they make.
    pub patterns: usize,
    /// How many leaks there are in all.
    pub count: u64,
    /// The first [`KEPT`] of them, in the order of the search.
    pub leaks: Vec<Leak>,
}

/// One place where a secret is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The name of what was searched.
    pub source: String,
    /// The name under which the secret was registered.
    pub label: String,
    /// How it is written there.
    pub form: Form,
    /// Where the recognised part begins, in bytes from the start of the source.
    pub offset: u64,
}

/// Leaks kept word for word: a source that repeats one secret must not fill the memory.
pub const KEPT: usize = 1000;

/// The patterns of all secrets.
struct Search {
    text: AhoCorasick,
    text_parts: Vec<Part>,
    /// Decimal numbers are searched without the white space between them.
    numbers: AhoCorasick,
    number_parts: Vec<Part>,
    shapes: AhoCorasick,
    known: BTreeSet<Vec<u8>>,
}

/// A recognised part, at an offset of a buffer.
struct Match {
    label: String,
    form: Form,
    at: usize,
    end: usize,
}

impl LeakScan {
    /// A scan that knows shapes only.
    #[expect(clippy::new_without_default, reason = "a scan without secrets is seldom meant")]
    pub fn new() -> Self {
        Self { secrets: vec![], search: None, chunk: CHUNK, bytes: 0, count: 0, leaks: vec![] }
    }

    /// Registers a client secret, a verifier, or any other text of at least [`WINDOW`] bytes.
    #[must_use]
    pub fn secret(self, label: &str, text: &str) -> Self {
        self.secret_bytes(label, text.as_bytes())
    }

    /// Registers any bytes, such as a number of a private key, of which there are at least [`WINDOW`].
    #[must_use]
    pub fn secret_bytes(mut self, label: &str, bytes: &[u8]) -> Self {
        let length = bytes.len() - public_part(bytes);
        assert!(length >= WINDOW, "{label} is too short to be told from chance");
        self.secrets.push((label.to_owned(), bytes.to_vec()));
        self.search = None;
        self
    }

    /// Searches what a reader gives, in bounded memory.
    ///
    /// # Errors
    /// The reader's own; what came before is searched.
    pub fn reader(&mut self, name: &str, mut reader: impl Read) -> io::Result<()> {
        let search = self.search.take().unwrap_or_else(|| Search::new(&self.secrets));
        let (mut buffer, mut start) = (Vec::new(), 0);
        let mut ends = BTreeMap::new();
        let result = loop {
            let read = match reader.by_ref().take(self.chunk as u64).read_to_end(&mut buffer) {
                Ok(read) => read,
                Err(error) => break Err(error),
            };
            self.bytes += read as u64;
            let until = if read == 0 { buffer.len() } else { buffer.len().saturating_sub(MARGIN) };
            for found in search.matches(&buffer) {
                if found.at < until {
                    self.note(name, start, found, &mut ends);
                }
            }
            if read == 0 {
                break Ok(());
            }
            buffer.drain(..until);
            start += until as u64;
        };
        self.search = Some(search);
        result
    }

    /// Searches bytes in memory.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.reader(name, bytes).expect("memory can be read");
    }

    /// Searches a file, named by its path in the report.
    ///
    /// # Errors
    /// Those of opening and reading it.
    pub fn file(&mut self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        self.reader(&path.display().to_string(), File::open(path)?)
    }

    /// What was found so far.
    pub fn report(&self) -> LeakReport {
        let made = self.search.is_none().then(|| Search::new(&self.secrets));
        let search = self.search.as_ref().or(made.as_ref());
        LeakReport {
            bytes: self.bytes,
            secrets: self.secrets.len(),
            patterns: search.map_or(0, |it| it.text_parts.len() + it.number_parts.len()),
            count: self.count,
            leaks: self.leaks.clone(),
        }
    }

    /// Plants every form of every registered secret (of 50 of them when there are more), and says how many were
    /// found and how many planted. A scan that does not find all says nothing by finding none.
    pub fn prove_itself(&self) -> (usize, usize) {
        let mut scan = Self { secrets: self.secrets.clone(), chunk: 31, ..Self::new() };
        let (mut found, mut planted) = (0, 0);
        for (label, secret) in self.secrets.iter().step_by(self.secrets.len().div_ceil(50).max(1)) {
            for (form, plant) in forms::plants(secret, public_part(secret)) {
                let before = scan.leaks.len();
                scan.bytes("plant", &[&[b' '; 2 * MARGIN], &plant[..], b"\n"].concat());
                let leaks = scan.leaks.split_off(before);
                planted += 1;
                found += usize::from(leaks.iter().any(|it| it.label == *label && it.form == form));
            }
        }
        (found, planted)
    }

    /// Parts of one secret beside each other are one leak.
    fn note(
        &mut self,
        name: &str,
        start: u64,
        found: Match,
        ends: &mut BTreeMap<(String, Form), u64>,
    ) {
        let Match { label, form, at, end } = found;
        let (offset, end) = (start + at as u64, start + end as u64);
        let former = ends.insert((label.clone(), form), end);
        if former.is_some_and(|former| offset <= former + form.gap()) {
            return;
        }
        self.count += 1;
        if self.leaks.len() < KEPT {
            self.leaks.push(Leak { source: name.to_owned(), label, form, offset });
        }
    }
}

impl Search {
    fn new(secrets: &[(String, Vec<u8>)]) -> Self {
        let all = secrets.iter().flat_map(|(label, secret)| {
            let sensitive = &secret[public_part(secret)..];
            parts(sensitive)
                .into_iter()
                .map(|(form, text)| (text, Part { label: label.clone(), form }))
        });
        let (numbers, text): (Vec<_>, Vec<_>) =
            all.partition(|(_, part)| part.form == Form::Decimal);
        let (texts, text_parts): (Vec<_>, _) = text.into_iter().unzip();
        let (digits, number_parts): (Vec<_>, _) = numbers.into_iter().unzip();
        let automaton =
            |patterns: &[Vec<u8>]| AhoCorasick::new(patterns).expect("far below 2^31 states");
        Self {
            text: automaton(&texts),
            text_parts,
            numbers: automaton(&digits),
            number_parts,
            shapes: automaton(&shape::beginnings()),
            known: secrets.iter().map(|(_, secret)| secret.clone()).collect(),
        }
    }

    /// All parts in `data`, in their order.
    fn matches(&self, data: &[u8]) -> Vec<Match> {
        let of =
            |part: &Part, at, end| Match { label: part.label.clone(), form: part.form, at, end };
        let text = self.text.find_iter(data);
        let text = text.map(|it| of(&self.text_parts[it.pattern()], it.start(), it.end()));
        let (places, squeezed): (Vec<_>, Vec<u8>) = data
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, byte)| !byte.is_ascii_whitespace())
            .unzip();
        let numbers = self.numbers.find_iter(&squeezed).map(|it| {
            let end = places[it.end() - 1] + 1;
            of(&self.number_parts[it.pattern()], places[it.start()], end)
        });
        let shapes = self.shapes.find_iter(data).filter_map(|it| {
            let (form, found) = shape::found(it.pattern().as_usize(), data, it.start())?;
            let label = (!self.known.contains(&found)).then(|| Shape::label(&found))?;
            Some(Match { label, form, at: it.start(), end: it.start() + found.len() })
        });
        let mut all: Vec<_> = text.chain(numbers).chain(shapes).collect();
        all.sort_by_key(|it| it.at);
        all
    }
}

impl fmt::Debug for LeakScan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secrets, bytes, count, .. } = self;
        let secrets = secrets.len();
        write!(formatter, "LeakScan {{ secrets: {secrets}, bytes: {bytes}, leaks: {count} }}")
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, secrets, patterns, count, leaks } = self;
        write!(formatter, "bytes={bytes} secrets={secrets} patterns={patterns} leaks={count}")?;
        leaks.iter().try_for_each(|leak| write!(formatter, "\n{leak}"))
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, label, form, offset } = self;
        write!(formatter, "{source}: {label} as {form:?} at byte {offset}")
    }
}

/// Large enough that system calls cost nothing, small enough for any machine.
const CHUNK: usize = 1 << 20;
/// What stays in view from one chunk to the next: more than a part in its longest form.
const MARGIN: usize = 1024;

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn characters(seed: u64, count: usize, of: &[u8]) -> String {
        let mut generator = StdRng::seed_from_u64(seed);
        (0..count).map(|_| char::from(of[generator.random_range(0..of.len())])).collect()
    }

    fn client_secret(seed: u64) -> String {
        let start = format!("tus{}", characters(seed, 53, shape::BASE62));
        let end = shape::checksum(start.as_bytes());
        start + std::str::from_utf8(&end).unwrap()
    }

    fn verifier(seed: u64) -> String {
        format!("$2b$10${}", characters(!seed, 53, shape::BASE62))
    }

    fn found(secret: &str, source: &[u8]) -> Vec<(Form, u64)> {
        let mut scan = LeakScan::new().secret("it", secret);
        scan.bytes("source", source);
        scan.report().leaks.iter().map(|leak| (leak.form, leak.offset)).collect()
    }

    #[test]
    fn every_form_is_found_in_chunks_of_any_size() {
        let scan = LeakScan::new()
            .secret("client secret", &client_secret(1))
            .secret("verifier", &verifier(1))
            .secret_bytes("number of a private key", &[0x81, 0, 0xff, 7].repeat(16));

        assert_eq!(scan.prove_itself(), (42, 42));
    }

    #[test]
    fn every_window_of_the_secret_part_is_found_and_the_public_part_is_not() {
        let text = client_secret(1);
        for window in text.as_bytes()[13..].windows(WINDOW) {
            assert_eq!(found(&text, &[b"id=", window, b"\n"].concat()).len(), 1);
        }
        assert_eq!(found(&text, &text.as_bytes()[..13]), []);
        assert_eq!(found(&verifier(1), b"$2b$10$ and $2b$12$"), []);
    }

    #[test]
    fn two_leaks_are_two_and_one_leak_is_one() {
        let text = client_secret(1);

        let leaks = found(&text, format!("{text} {text}").as_bytes());

        assert_eq!(leaks, [(Form::Raw, 13), (Form::Raw, 76)]);
    }

    #[test]
    fn an_unregistered_secret_is_found_by_its_shape() {
        use base64::Engine as _;
        let mut scan = LeakScan::new();
        scan.bytes("log", format!("level=info secret={}", client_secret(5)).as_bytes());
        scan.bytes("event", format!("stored {}!", verifier(5)).as_bytes());
        for before in ["", "a", "ab"] {
            let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD
                .encode(format!("{before}{}", client_secret(6)));
            scan.bytes("object", encoded.as_bytes());
        }
        scan.bytes("no checksum", format!("tus{}", characters(7, 59, shape::BASE62)).as_bytes());

        let found: Vec<_> = scan.report().leaks.iter().map(ToString::to_string).collect();

        let label = |seed| format!("unregistered client secret {}", &client_secret(seed)[3..13]);
        assert_eq!(found[0], format!("log: {} as Raw at byte 18", label(5)));
        assert_eq!(found[1], "event: unregistered verifier as Raw at byte 7");
        assert!(
            found[2..].iter().all(|it| it.starts_with(&format!("object: {} as Base64", label(6))))
        );
        assert_eq!(found.len(), 5, "{found:?}");
    }

    #[test]
    fn noise_is_no_leak_and_no_secret_is_printed() {
        let mut scan = LeakScan::new();
        for seed in 0..50 {
            scan = scan.secret("it", &client_secret(seed)).secret("it", &verifier(seed));
        }
        let printable: Vec<u8> = (b' '..=b'~').collect();
        scan.bytes("noise", characters(9, 4 << 20, &printable).as_bytes());
        assert_eq!(scan.report().count, 0);

        scan.bytes("log", client_secret(1).as_bytes());
        let printed = format!("{scan:?} {} {:?}", scan.report(), scan.report());
        scan.bytes("what was printed", printed.as_bytes());
        assert_eq!(scan.report().count, 1);
    }
}
