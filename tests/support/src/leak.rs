//! Searches what the programs wrote, said and answered for secrets, in every form in which one
//! turns up by accident. It reads each byte once and keeps little of it, so that gigabytes of logs
//! fit; it never prints what it looks for.
//!
//! ```text
//! bytes=1073741824 secrets=400 patterns=34017 leaks=0
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

mod forms;
mod proof;
mod search;
mod shape;

pub use forms::{Form, WINDOW};
use search::{Registered, Search, Seen, Stream, Whose};
use shape::public_part;

/// A search for registered secrets, and for any text that has the shape of a client secret or of a
/// verifier.
///
/// Register everything first, then give it what is to be searched, then ask for the report.
///
/// ```
/// # use support::leak::{Form, LeakScan, plant};
/// let text = "not to be seen anywhere";
/// let mut scan = LeakScan::new().secret("second of orders/billing", text);
/// scan.bytes("log", &plant(Form::HexLower, text));
///
/// assert_eq!(scan.report().leaks[0].form, Form::HexLower);
/// ```
pub struct LeakScan {
    secrets: Vec<Registered>,
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
    /// How many patterns they and the shapes make.
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
    /// Where what was recognised begins, in bytes from the start of the source.
    pub offset: u64,
}

/// Leaks kept word for word; a source that repeats one secret for ever must not fill the memory.
pub const KEPT: usize = 1000;

/// Large enough that system calls cost nothing, small enough for any machine.
const CHUNK: usize = 1 << 20;

/// Makes a leak of a text in a form, for a scanner to find.
pub fn plant(form: Form, text: &str) -> Vec<u8> {
    forms::plant(form, text.as_bytes(), public_part(text.as_bytes()))
}

impl LeakScan {
    /// A scan that knows shapes only.
    #[expect(clippy::new_without_default, reason = "a scan without secrets is seldom meant")]
    pub fn new() -> Self {
        Self::of(vec![])
    }

    fn of(secrets: Vec<Registered>) -> Self {
        Self { secrets, search: None, chunk: CHUNK, bytes: 0, count: 0, leaks: vec![] }
    }

    /// Registers a client secret, a verifier, or any other text of at least [`WINDOW`] bytes.
    #[must_use]
    pub fn secret(self, label: &str, text: &str) -> Self {
        self.secret_bytes(label, text.as_bytes())
    }

    /// Registers any bytes, such as a number of a private key, of which there are at least
    /// [`WINDOW`].
    #[must_use]
    pub fn secret_bytes(mut self, label: &str, bytes: &[u8]) -> Self {
        let text = bytes.to_vec();
        assert!(
            text.len() - public_part(&text) >= WINDOW,
            "{label} is too short to be told from chance"
        );
        self.secrets.push(Registered { label: label.to_owned(), text });
        self.search = None;
        self
    }

    /// Searches what a reader gives, in bounded memory.
    ///
    /// # Errors
    /// The reader's own; what came before is searched.
    pub fn reader(&mut self, name: &str, mut reader: impl Read) -> io::Result<()> {
        let search = self.search.take().unwrap_or_else(|| Search::new(&self.secrets));
        let mut stream = Stream::default();
        let result = loop {
            match stream.fill(&mut reader, self.chunk) {
                Ok(0) => break Ok(()),
                Ok(read) => self.bytes += read,
                Err(error) => break Err(error),
            }
            let until = stream.length().saturating_sub(search.margin());
            self.note(name, &mut stream, until, &search);
            stream.forget(search.margin());
        };
        let until = stream.length();
        self.note(name, &mut stream, until, &search);
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
        let patterns = match &self.search {
            Some(search) => search.patterns(),
            None => Search::new(&self.secrets).patterns(),
        };
        LeakReport {
            bytes: self.bytes,
            secrets: self.secrets.len(),
            patterns,
            count: self.count,
            leaks: self.leaks.clone(),
        }
    }

    /// Plants every form of every registered secret (of 50 of them when there are
    /// more), and of one of each shape that is not registered, and says how many were found and how
    /// many planted. A scan that does not find all says nothing by finding none.
    pub fn prove_itself(&self) -> (usize, usize) {
        proof::found_and_planted(&self.secrets)
    }

    fn note(&mut self, name: &str, stream: &mut Stream, until: usize, search: &Search) {
        for seen in search.run(stream, until) {
            self.count += 1;
            if self.leaks.len() < KEPT {
                let label = match seen.whose {
                    Whose::Registered(index) => self.secrets[index].label.clone(),
                    Whose::Unregistered(label) => label,
                };
                let Seen { form, offset, .. } = seen;
                self.leaks.push(Leak { source: name.to_owned(), label, form, offset });
            }
        }
    }
}

impl fmt::Debug for LeakScan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { secrets, bytes, count, .. } = self;
        write!(
            formatter,
            "LeakScan {{ secrets: {}, bytes: {bytes}, leaks: {count} }}",
            secrets.len()
        )
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, secrets, patterns, count, leaks } = self;
        write!(formatter, "bytes={bytes} secrets={secrets} patterns={patterns} leaks={count}")?;
        for leak in leaks {
            write!(formatter, "\n{leak}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, label, form, offset } = self;
        write!(formatter, "{source}: {label} as {form} at byte {offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proof::{client_secret, noise, verifier};

    fn in_chunks_of(chunk: usize, scan: LeakScan) -> LeakScan {
        LeakScan { chunk, ..scan }
    }

    #[test]
    fn every_form_of_a_client_secret_and_a_verifier_is_found() {
        let scan = LeakScan::new()
            .secret("client secret", &client_secret(1))
            .secret("verifier", &verifier(1))
            .secret("another", &client_secret(2));

        let (found, planted) = scan.prove_itself();

        assert_eq!(format!("planted_found={found}/{planted}"), "planted_found=97/97");
    }

    #[test]
    fn a_leak_is_found_wherever_the_source_is_cut() {
        for text in [client_secret(1), verifier(1)] {
            for form in Form::ALL {
                let leak = plant(*form, &text);
                let source = [noise(3, 5000), leak, noise(4, 5000)].concat();
                for chunk in [5, 61, 64, 1000, 5010] {
                    let mut scan = in_chunks_of(chunk, LeakScan::new().secret("it", &text));

                    scan.bytes("source", &source);

                    assert_eq!(scan.report().count, 1, "{form} in chunks of {chunk}");
                }
            }
        }
    }

    #[test]
    fn every_window_of_the_secret_part_is_found() {
        for text in [client_secret(1), verifier(1)] {
            let public = public_part(text.as_bytes());
            let raw = text.as_bytes()[public..].to_vec();
            let base64 = (0..3)
                .map(|alignment| forms::encode(Form::Base64Standard(alignment), &raw))
                .collect::<Vec<_>>();
            for window in [raw].iter().chain(&base64).flat_map(|whole| whole.windows(WINDOW)) {
                let mut scan = LeakScan::new().secret("it", &text);

                scan.bytes("source", &[b"id=", window, b"\n"].concat());

                assert_eq!(scan.report().count, 1, "a window of {}", text.len());
            }
        }
    }

    #[test]
    fn the_public_part_is_no_leak() {
        let text = client_secret(1);
        let mut scan = LeakScan::new().secret("it", &text).secret("verifier", &verifier(1));

        scan.bytes("annotation", &text.as_bytes()[..13 + WINDOW - 1]);
        scan.bytes("cost", b"$2b$10$ and $2b$12$");

        assert_eq!(scan.report().leaks, []);
    }

    #[test]
    fn an_unregistered_secret_is_found_by_its_shape() {
        let mut scan = LeakScan::new();

        scan.bytes("log", format!("level=info secret={}", client_secret(5)).as_bytes());
        scan.bytes("event", format!("stored {}!", verifier(5)).as_bytes());

        let found = scan.report().leaks.iter().map(Leak::to_string).collect::<Vec<_>>();
        let id = &client_secret(5)[3..13];
        assert_eq!(
            found,
            [
                format!("log: unregistered client secret {id} as Raw at byte 18"),
                "event: unregistered verifier as Raw at byte 7".to_owned(),
            ]
        );
    }

    #[test]
    fn two_leaks_of_one_secret_are_two_and_one_leak_is_one() {
        let text = client_secret(1);
        let mut scan = LeakScan::new().secret("it", &text);

        scan.bytes("log", format!("{text} {text}").as_bytes());
        scan.bytes("wrapped", format!("{}\n{}", &text[..38], &text[38..]).as_bytes());

        let found = scan.report().leaks;
        let places = found.iter().map(|leak| (leak.form, leak.offset)).collect::<Vec<_>>();
        let (raw, window) = (Form::Raw, Form::Window);
        assert_eq!(places, [(raw, 13), (raw, 76), (window, 13), (window, 39)]);
    }

    #[test]
    fn noise_alone_is_no_leak() {
        let mut scan = LeakScan::new();
        for number in 0..50 {
            scan = scan.secret("client secret", &client_secret(number));
            scan = scan.secret("verifier", &verifier(number));
        }

        scan.bytes("noise", &noise(9, 4 << 20));

        let report = scan.report();
        assert_eq!((report.bytes, report.count), (4 << 20, 0));
    }

    #[test]
    fn what_is_sought_is_never_printed() {
        let text = client_secret(1);
        let mut scan = LeakScan::new().secret("it", &text);
        scan.bytes("log", text.as_bytes());

        let printed = format!("{scan:?} {} {:?}", scan.report(), scan.report());

        scan.bytes("what was printed", printed.as_bytes());
        assert_eq!(scan.report().count, 1);
    }
}
