//! Plays many cases on a few threads, and says in lines and in JSON what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use support::figures::keep;
use support::leak::LeakScan;
use tokio::time::Instant;

use crate::flow::{self, Flow};
use crate::harness::faults::{Case, Trouble};
use crate::harness::run::{Outcome, play};
use crate::run::{COUNTED, TARGET};

/// The seed of every random byte.
pub(crate) const SEED: u64 = 20_261_124;

/// A story as it goes when nothing goes wrong.
pub(crate) struct Baseline {
    pub(crate) flow: Flow,
    pub(crate) calm: Outcome,
}

/// Which cases are played: those numbers, as far as the time allows.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) range: Range<usize>,
    pub(crate) until: Option<Instant>,
}

/// What many runs came to.
#[derive(Default)]
pub(crate) struct Figures {
    inner: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    runs: usize,
    violations: usize,
    stuck: usize,
    extra: usize,
    failures: Vec<String>,
    secrets: BTreeSet<String>,
    public: BTreeSet<String>,
    public_bytes: usize,
    scanned: u64,
    leaks: u64,
    slowest: Duration,
    slowest_case: String,
}

/// Plays every story without trouble, and tells where something can go wrong.
pub(crate) fn baselines(figures: &Figures) -> Vec<Baseline> {
    flow::all()
        .into_iter()
        .map(|flow| {
            let case = Case { flow: flow.name.to_owned(), conditions: Vec::new() };
            let calm = play(&flow, &case, SEED, None);
            let baseline = Baseline { flow, calm };
            figures.add(&baseline, &case, &baseline.calm);
            baseline
        })
        .collect()
}

/// Every single trouble at every request of every story.
pub(crate) fn singles(baselines: &[Baseline]) -> Vec<(usize, Case)> {
    let mut cases = Vec::new();
    for (story, baseline) in baselines.iter().enumerate() {
        for index in baseline.calm.points.clone() {
            for condition in Trouble::all() {
                let flow = baseline.flow.name.to_owned();
                cases.push((story, Case { flow, conditions: vec![(index, condition)] }));
            }
        }
    }
    cases
}

impl Part {
    /// Does it with every number, as far as the time allows, and returns with how many.
    pub(crate) fn on_all_cores(self, act: impl Fn(usize) + Sync) -> usize {
        let Self { range, until } = self;
        let next = AtomicUsize::new(range.start);
        let done = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while until.is_none_or(|until| Instant::now() < until) {
                        // Afterwards: what was taken is done, so that all before the last are.
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= range.end {
                            return;
                        }
                        act(index);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        done.into_inner()
    }
}

impl Figures {
    /// Plays that part of the cases and returns how many they were.
    pub(crate) fn play(
        &self,
        baselines: &[Baseline],
        case: impl Fn(usize) -> (usize, Case) + Sync,
        part: Part,
    ) -> usize {
        self.play_and_tell(baselines, case, part, |_, _, _| ())
    }

    /// Plays as [`Self::play`] does, and tells what came of each.
    pub(crate) fn play_and_tell(
        &self,
        baselines: &[Baseline],
        case: impl Fn(usize) -> (usize, Case) + Sync,
        part: Part,
        tell: impl Fn(usize, &Case, &Outcome) + Sync,
    ) -> usize {
        part.on_all_cores(|index| {
            let (story, case) = case(index);
            let started = Instant::now();
            let outcome = play(&baselines[story].flow, &case, SEED, None);
            self.time(&case, started.elapsed());
            tell(story, &case, &outcome);
            self.add(&baselines[story], &case, &outcome);
        })
    }

    fn time(&self, case: &Case, took: Duration) {
        let mut sums = self.inner.lock().unwrap();
        if took > sums.slowest {
            sums.slowest = took;
            sums.slowest_case = case.to_string();
        }
    }

    fn add(&self, baseline: &Baseline, case: &Case, outcome: &Outcome) {
        let mut sums = self.inner.lock().unwrap();
        let is_off = case.keeps_count(&baseline.flow) && outcome.made != baseline.calm.made;
        let is_off = is_off && outcome.is_clean();
        sums.runs += 1;
        sums.violations += outcome.violations.len();
        sums.stuck += usize::from(outcome.stuck.is_some());
        sums.extra += usize::from(is_off);
        if !outcome.is_clean() || is_off {
            let wanted = is_off.then_some(baseline.calm.made);
            let story = story(case, outcome, wanted);
            // At once, so that a reader who does not wait for the end sees it too.
            if sums.failures.len() < SHOWN {
                say(&story);
            }
            sums.failures.push(story);
        }
        sums.secrets.extend(outcome.secrets.iter().cloned());
        for line in &outcome.public {
            if sums.public.insert(line.clone()) {
                sums.public_bytes += line.len();
            }
        }
        if sums.public_bytes > MOST_KEPT {
            sums.scan();
        }
        if sums.runs.is_multiple_of(REPORTED) {
            let Sums { runs, violations, stuck, leaks, .. } = *sums;
            say(&format!(
                "so far: runs={runs} violations={violations} stuck={stuck} leaks={leaks}"
            ));
        }
    }

    /// Prints, writes and asserts.
    pub(crate) fn conclude(&self, name: &str, baselines: &[Baseline], started: Instant) {
        let mut sums = self.inner.lock().unwrap();
        sums.scan();
        let leaks = sums.leaks;
        say(&format!("leak scan: bytes={} secrets={}", sums.scanned, sums.secrets.len()));
        let points: usize = baselines.iter().map(|baseline| baseline.calm.points.len()).sum();
        let faults = Trouble::all().len();
        let seconds = started.elapsed().as_secs_f64();
        say(&format!(
            "{name}: flows={} points={points} faults={faults} runs={} violations={} stuck={} \
             extra_{COUNTED}={} leaks={leaks} seed={SEED} seconds={seconds:.1}",
            baselines.len(),
            sums.runs,
            sums.violations,
            sums.stuck,
            sums.extra,
        ));
        say(&format!(
            "{name}: slowest={} seconds={:.2}",
            sums.slowest_case,
            sums.slowest.as_secs_f64()
        ));
        keep(
            name,
            &json!({
                "flows": baselines.len(), "points": points, "faults": faults, "runs": sums.runs,
                "violations": sums.violations, "stuck": sums.stuck,
                format!("extra_{COUNTED}"): sums.extra, "leaks": leaks, "seed": SEED, "seconds": seconds,
            }),
        );
        assert!(sums.failures.is_empty(), "{}", sums.summary());
        assert_eq!(leaks, 0, "something private was found where anybody may look");
    }
}

impl Sums {
    /// Searches what is kept for everything that is known to be secret, and keeps it no longer: the
    /// secrets of a run are known before what it stored.
    fn scan(&mut self) {
        let mut scan = LeakScan::new();
        for (index, secret) in self.secrets.iter().enumerate() {
            scan = scan.secret(&format!("secret {index}"), secret);
        }
        self.public_bytes = 0;
        for line in std::mem::take(&mut self.public) {
            scan.bytes("stored object", line.as_bytes());
        }
        let report = scan.report();
        for leak in report.leaks.iter().take(SHOWN) {
            say(&format!("leak: {leak:?}"));
        }
        self.scanned += report.bytes;
        self.leaks += report.count;
    }

    fn summary(&self) -> String {
        let mut kinds = BTreeMap::<&str, usize>::new();
        for failure in &self.failures {
            *kinds.entry(failure.lines().next().unwrap_or_default()).or_default() += 1;
        }
        kinds.iter().take(400).fold(String::new(), |mut text, (kind, count)| {
            let _ = writeln!(text, "{count} x {kind}");
            text
        })
    }
}

/// What failed, the trace of requests, and how to play it again.
pub(crate) fn story(case: &Case, outcome: &Outcome, wanted: Option<usize>) -> String {
    let mut text = format!("case {case} seed={SEED}");
    for what in outcome.violations.iter().chain(&outcome.stuck) {
        let _ = write!(text, " | {what}");
    }
    if let Some(wanted) = wanted {
        let _ = write!(text, " | count: {} {COUNTED} instead of {wanted}", outcome.made);
    }
    let skipped = outcome.trace.len().saturating_sub(MOST_LINES);
    for line in outcome.trace.iter().skip(skipped) {
        let _ = write!(text, "\n  {line}");
    }
    let _ = write!(
        text,
        "\nreplay: SIMULATE='{case}' cargo test --test {TARGET} replay -- --nocapture"
    );
    text
}

/// A setting of the environment.
#[expect(clippy::disallowed_methods, reason = "a test has no arguments of its own")]
pub(crate) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A number of the environment, or another one.
pub(crate) fn number<T: FromStr>(name: &str, otherwise: T) -> T {
    let Some(text) = setting(name) else { return otherwise };
    text.parse().map_err(|_| format!("{name} is no number: {text}")).unwrap()
}

#[expect(clippy::print_stdout, reason = "the figures are what the test is run for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

const SHOWN: usize = 3;

/// So many bytes are kept to be searched together.
const MOST_KEPT: usize = 64 << 20;

/// After so many runs a line says how things stand.
const REPORTED: usize = 10_000;

const MOST_LINES: usize = 120;
