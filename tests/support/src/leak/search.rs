//! One pass over a source: an automaton meets parts of secrets, and what stands around each part is
//! compared with the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use aho_corasick::{AhoCorasick, Input};

use super::forms::{self, Form, WINDOW};
use super::shape::{Shape, public_part};

/// A secret that the scan looks for.
#[derive(Clone)]
pub(super) struct Registered {
    pub(super) label: String,
    pub(super) text: Vec<u8>,
}

/// A leak as the search meets it.
pub(super) struct Seen {
    pub(super) whose: Whose,
    pub(super) form: Form,
    pub(super) offset: u64,
}

pub(super) enum Whose {
    /// The index of a registered secret.
    Registered(usize),
    /// A name for a text that only its shape betrays.
    Unregistered(String),
}

/// The automaton, and what each of its patterns means.
pub(super) struct Search {
    automaton: AhoCorasick,
    patterns: Vec<Pattern>,
    encoded: Vec<Encoded>,
    known: BTreeMap<Vec<u8>, usize>,
    longest: usize,
    margin: usize,
}

#[derive(Clone, Copy)]
enum Pattern {
    /// Part of an encoding, and where in it.
    Part { encoded: usize, at: usize },
    /// What every text of a shape begins with.
    Beginning { shape: Shape, form: Form },
}

/// The sensitive part of a secret in one form, and how much of it makes a leak.
struct Encoded {
    secret: usize,
    form: Form,
    text: Vec<u8>,
    least: usize,
}

impl Search {
    pub(super) fn new(secrets: &[Registered]) -> Self {
        let encoded = secrets
            .iter()
            .enumerate()
            .flat_map(|(index, secret)| encodings(index, &secret.text))
            .collect::<Vec<_>>();
        let beginnings = Form::READABLE.iter().flat_map(|form| {
            Shape::ALL.iter().flat_map(move |shape| {
                let starts = shape.beginnings().iter();
                let texts = starts.map(|start| beginning(*form, start)).collect::<BTreeSet<_>>();
                let texts = texts.into_iter();
                texts.map(move |text| (text, Pattern::Beginning { shape: *shape, form: *form }))
            })
        });
        let parts = encoded.iter().enumerate().flat_map(|(index, encoded)| {
            let parts = encoded.parts().into_iter();
            parts.map(move |(at, part)| (part.to_vec(), Pattern::Part { encoded: index, at }))
        });
        let (texts, patterns): (Vec<_>, Vec<_>) = beginnings.chain(parts).unzip();
        Self {
            automaton: AhoCorasick::new(&texts).expect("far below 2^31 states"),
            patterns,
            known: secrets.iter().map(|secret| secret.text.clone()).zip(0..).collect(),
            longest: texts.iter().map(Vec::len).max().unwrap_or(0),
            margin: encoded.iter().map(|it| it.text.len()).fold(LONGEST_SHAPE, usize::max),
            encoded,
        }
    }

    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// How much must be in view on both sides of a match.
    pub(super) fn margin(&self) -> usize {
        self.margin
    }

    /// The leaks around every match that begins before `until` and was not looked at yet.
    pub(super) fn run(&self, stream: &mut Stream, until: usize) -> Vec<Seen> {
        if until <= stream.next {
            return vec![];
        }
        let end = stream.buffer.len().min(until + self.longest);
        let input = Input::new(&stream.buffer).span(stream.next..end);
        let mut found = vec![];
        for hit in self.automaton.find_overlapping_iter(input) {
            let start = hit.start();
            if start >= until {
                continue;
            }
            found.extend(match self.patterns[hit.pattern().as_usize()] {
                Pattern::Part { encoded, at } => {
                    let place = Place { encoded, at, start };
                    self.compare(place, &stream.buffer, stream.base, &mut stream.last)
                }
                Pattern::Beginning { shape, form } => {
                    forms::decode(form, &stream.buffer, start, shape.length())
                        .and_then(|text| self.recognise(shape, form, &text))
                        .map(|whose| Seen { whose, form, offset: stream.base + offset(start) })
                }
            });
        }
        stream.next = until;
        found
    }

    /// How far the buffer agrees with an encoding around a part of it; nothing when that is too
    /// little, or was seen before by another part.
    fn compare(
        &self,
        place: Place,
        buffer: &[u8],
        base: u64,
        last: &mut BTreeMap<usize, Extent>,
    ) -> Option<Seen> {
        let Encoded { secret, form, text, least } = &self.encoded[place.encoded];
        let (before, after) = text.split_at(place.at);
        let (to_left, to_right) = buffer.split_at(place.start);
        let left = agreement(before.iter().rev(), to_left.iter().rev());
        let right = agreement(after.iter(), to_right.iter());
        let start = base + offset(place.start - left);
        let end = base + offset(place.start + right);
        if left + right < *least || last.get(&place.encoded) == Some(&(start, end)) {
            return None;
        }
        last.insert(place.encoded, (start, end));
        let form = if left + right == text.len() { *form } else { form.partial() };
        Some(Seen { whose: Whose::Registered(*secret), form, offset: start })
    }

    /// Whose a text is that begins like a shape; nothing when it does not go on like it, or when
    /// it is a registered secret and its parts were sought in this form anyway.
    fn recognise(&self, shape: Shape, form: Form, text: &[u8]) -> Option<Whose> {
        if !shape.fits(text) {
            return None;
        }
        match self.known.get(text) {
            Some(_) if form.is_searched() => None,
            Some(index) => Some(Whose::Registered(*index)),
            None => Some(Whose::Unregistered(shape.label(text))),
        }
    }
}

impl Encoded {
    /// The parts to seek, and where each stands: enough of them that every window has one, else one
    /// at the start and one in the middle.
    fn parts(&self) -> Vec<(usize, &[u8])> {
        let (length, starts) = if self.form.has_windows() {
            (PART, (0..=self.text.len() - PART).step_by(WINDOW - PART + 1).collect())
        } else {
            let length = self.least / 2;
            (length, vec![0, (self.text.len() / 2).min(self.text.len() - length)])
        };
        starts.into_iter().map(|start| (start, &self.text[start..start + length])).collect()
    }
}

/// A view that moves over a source.
#[derive(Default)]
pub(super) struct Stream {
    buffer: Vec<u8>,
    /// Where the buffer begins in the source.
    base: u64,
    /// The first place in the buffer where no match was looked for yet.
    next: usize,
    /// Of each encoding, where it was last seen.
    last: BTreeMap<usize, Extent>,
}

/// Start and end in the source.
type Extent = (u64, u64);

/// A part of an encoding: where it stands in it, and where it was met in the buffer.
#[derive(Clone, Copy)]
struct Place {
    encoded: usize,
    at: usize,
    start: usize,
}

impl Stream {
    /// Takes in at most `chunk` bytes; says how many, none at the end.
    pub(super) fn fill(&mut self, reader: &mut impl Read, chunk: usize) -> io::Result<u64> {
        let limit = u64::try_from(chunk).expect("a usize has at most 64 bits");
        reader.by_ref().take(limit).read_to_end(&mut self.buffer).map(offset)
    }

    pub(super) fn length(&self) -> usize {
        self.buffer.len()
    }

    /// Drops what no match to come can reach back to.
    pub(super) fn forget(&mut self, margin: usize) {
        let cut = self.next.saturating_sub(margin);
        self.buffer.drain(..cut);
        self.base += offset(cut);
        self.next -= cut;
    }
}

/// The length of a part of a windowed form: 8 characters of base62 are 47 bits, so that chance
/// seldom costs a comparison, and every fifth place is enough to have one in each window.
const PART: usize = 8;

/// The longest writing of a shape: 62 numbers, one a line, indented by up to 60.
const LONGEST_SHAPE: usize = 4096;

/// The sensitive part of a text in every form that is searched, each text once.
fn encodings(secret: usize, text: &[u8]) -> Vec<Encoded> {
    let text = &text[public_part(text)..];
    let mut found: Vec<Encoded> = vec![];
    for form in Form::ALL.iter().copied().filter(|form| form.is_searched()) {
        let encoded = forms::encode(form, text);
        let least =
            if form.has_windows() { WINDOW } else { forms::encode(form, &text[..WINDOW]).len() };
        if found.iter().all(|other| other.text != encoded) {
            found.push(Encoded { secret, form, text: encoded, least });
        }
    }
    found
}

/// What tells the beginning of a shape in a form. Lines are indented anyhow, so there the first
/// number must do.
fn beginning(form: Form, start: &[u8]) -> Vec<u8> {
    if form == Form::DecimalLines {
        format!("{},\n", start[0]).into_bytes()
    } else {
        forms::encode(form, start)
    }
}

fn agreement<'a>(left: impl Iterator<Item = &'a u8>, right: impl Iterator<Item = &'a u8>) -> usize {
    left.zip(right).take_while(|(left, right)| left == right).count()
}

fn offset(place: usize) -> u64 {
    u64::try_from(place).expect("a usize has at most 64 bits")
}
