//! Pairs of troubles: the second strikes anywhere in what the first one made of the story.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::figures::{Baseline, Figures, Part, SEED, number, say, setting, singles};
use crate::run::{Outcome, play};
use crate::trouble::{Case, Trouble};

/// Pairs, each with a number: rank by rank, and spread over each. None is there twice, and none goes
/// the way of another for certain.
#[derive(Debug)]
struct Pairs {
    /// What may go wrong.
    troubles: Vec<Trouble>,
    firsts: Vec<First>,
    /// Of every rank, how many pairs there are up to the end of each first trouble.
    ends: [Vec<usize>; RANKS.len()],
}

/// How much a pair may tell that neither trouble tells alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Two requests go wrong, the second before the story goes on as if nothing had been.
    Soon,
    /// Two requests go wrong, the second after that.
    Late,
    /// Something happens to the world, or twice.
    World,
}

/// A first trouble, and the requests from its own on.
#[derive(Debug)]
struct First {
    story: usize,
    flow: String,
    index: usize,
    trouble: Trouble,
    requests: Vec<Site>,
}

/// A request at which the second trouble can strike.
#[derive(Clone, Copy, Debug)]
struct Site {
    reads: bool,
    /// Whether the story goes on from here as it does without the first trouble.
    is_calm: bool,
    /// Whether it is one of many like it, none of which finds anything else than the one before.
    is_repeated: bool,
}

/// Plays pairs of these troubles for `PROVE_SECONDS`, from number `PROVE_FROM` on; only those between
/// `PROVE_TROUBLES`, if there are any.
pub(crate) fn prove(name: &str, singles: impl Fn(&[Baseline]) -> Vec<(usize, Case)>) {
    let started = Instant::now();
    let figures = Figures::default();
    let baselines = crate::figures::baselines(&figures);
    let pairs = Pairs::of(&figures, &baselines, &singles(&baselines));
    let all = pairs.len();
    let ranks = RANKS.map(|rank| format!("{rank:?}={}", pairs.of_rank(rank))).join(" ");
    say(&format!("{name}: of={all} firsts={} {ranks}", pairs.firsts.len()));
    let from = number("PROVE_FROM", 0);
    let until = Instant::now() + Duration::from_secs(number("PROVE_SECONDS", 600));
    let part = Part { range: from..all, until: Some(until) };
    let played = figures.play(&baselines, |number| pairs.case(number), part);
    say(&format!("{name}: pairs={played} of={all} PROVE_FROM={} goes on", from + played));
    figures.conclude(name, &baselines, started);
}

/// Compares the faults that pairs leave out with those whose way they go: all with `PROVE`, else some.
pub(crate) fn compare(name: &str) {
    let baselines = crate::figures::baselines(&Figures::default());
    let cases: Vec<_> = singles(&baselines)
        .into_iter()
        .filter_map(|(story, case)| {
            let (index, trouble) = case.troubles[0];
            let Trouble::Fault(fault) = trouble else { return None };
            let like = fault.like(baselines[story].calm.reads[index])?;
            let like = Case { troubles: vec![(index, Trouble::Fault(like))], ..case.clone() };
            Some((&baselines[story].flow, index, case, like))
        })
        .collect();
    let step = setting("PROVE").map_or(cases.len() / COMPARED, |_| 1).max(1);
    let mut compared = 0;
    for (flow, index, case, like) in cases.iter().step_by(step) {
        let (one, other) = (play(flow, case, SEED, None), play(flow, like, SEED, None));
        let without = |outcome: &Outcome| {
            let struck = format!(" {index} ");
            let trace = outcome.trace.iter().filter(|line| !line.contains(&struck));
            trace.cloned().collect::<Vec<_>>()
        };
        assert_eq!(without(&one), without(&other), "{case} and {like}");
        assert_eq!((one.is_clean(), one.made), (other.is_clean(), other.made), "{case}");
        compared += 1;
    }
    say(&format!("{name}: compared={compared} of={}", cases.len()));
    assert!(compared >= COMPARED.min(cases.len()), "{compared}");
}

// === impl Pairs ===

impl Pairs {
    /// Plays these single troubles and takes each for the first of pairs.
    fn of(figures: &Figures, baselines: &[Baseline], singles: &[(usize, Case)]) -> Self {
        let firsts = Mutex::new(Vec::new());
        let troubles = wanted();
        let is_own = |(story, case): &&(usize, Case)| {
            let (index, trouble) = case.troubles[0];
            troubles.contains(&trouble) && trouble.is_own(baselines[*story].calm.reads[index])
        };
        let own: Vec<&(usize, Case)> = singles.iter().filter(is_own).collect();
        let case = |index: usize| own[index].clone();
        let part = Part { range: 0..own.len(), until: None };
        figures.play_and_tell(baselines, case, part, |story, case, outcome| {
            let first = First::of(story, case, outcome, &baselines[story].calm);
            firsts.lock().unwrap().extend(first);
        });
        let mut firsts = firsts.into_inner().unwrap();
        // In the order of the cases, whichever thread came first.
        firsts.sort_by_key(|it: &First| (it.story, it.index, it.trouble.to_string()));
        let ends = RANKS.map(|rank| {
            let ends = firsts.iter().scan(0, |end, first| {
                *end += first.seconds(rank, &troubles).count();
                Some(*end)
            });
            ends.collect()
        });
        Self { troubles, firsts, ends }
    }

    fn len(&self) -> usize {
        RANKS.map(|rank| self.of_rank(rank)).iter().sum()
    }

    fn of_rank(&self, rank: Rank) -> usize {
        self.ends[rank as usize].last().copied().unwrap_or_default()
    }

    /// The pair of that number, with its story.
    fn case(&self, number: usize) -> (usize, Case) {
        let mut number = number;
        let has = |rank: &Rank| {
            let is_in = number < self.of_rank(*rank);
            number -= if is_in { 0 } else { self.of_rank(*rank) };
            is_in
        };
        let rank = RANKS.into_iter().find(has).unwrap();
        self.case_of(rank, number * STRIDE % self.of_rank(rank))
    }

    fn case_of(&self, rank: Rank, number: usize) -> (usize, Case) {
        let ends = &self.ends[rank as usize];
        let position = ends.partition_point(|end| *end <= number);
        let first = &self.firsts[position];
        let before = if position == 0 { 0 } else { ends[position - 1] };
        let second = first.seconds(rank, &self.troubles).nth(number - before).unwrap();
        let troubles = vec![(first.index, first.trouble), second];
        (first.story, Case { flow: first.flow.clone(), troubles })
    }
}

// === impl First ===

impl First {
    /// Nothing if the trouble never struck.
    fn of(story: usize, case: &Case, outcome: &Outcome, calm: &Outcome) -> Option<Self> {
        let (index, trouble) = *case.troubles.first()?;
        let struck = index..outcome.points.end;
        let requests = sites(outcome, calm, &struck)?;
        (!requests.is_empty()).then(|| Self {
            story,
            flow: case.flow.clone(),
            index,
            trouble,
            requests,
        })
    }

    fn seconds(&self, rank: Rank, troubles: &[Trouble]) -> impl Iterator<Item = (usize, Trouble)> {
        let sites = self.requests.iter().enumerate().filter(|(_, site)| !site.is_repeated);
        sites.flat_map(move |(after, site)| {
            let own = troubles.iter().filter(|it| it.is_own(site.reads));
            // Of two faults with one request only one strikes, and a disturbance comes before both.
            let own =
                own.filter(move |_| after > 0 || matches!(self.trouble, Trouble::Disturbance(_)));
            let of_rank = own.filter(move |it| Rank::of(self.trouble, **it, site.is_calm) == rank);
            of_rank.map(move |it| (self.index + after, *it))
        })
    }
}

// === impl Rank ===

impl Rank {
    fn of(first: Trouble, second: Trouble, is_calm: bool) -> Self {
        match (first, second) {
            (Trouble::Fault(_), Trouble::Fault(_)) if is_calm => Self::Late,
            (Trouble::Fault(_), Trouble::Fault(_)) => Self::Soon,
            (Trouble::Disturbance(_), _) | (_, Trouble::Disturbance(_)) => Self::World,
        }
    }
}

/// The troubles that `PROVE_TROUBLES` names, or all.
fn wanted() -> Vec<Trouble> {
    let mut troubles = Trouble::all();
    if let Some(names) = setting("PROVE_TROUBLES") {
        troubles.retain(|trouble| names.split(',').any(|name| name == trouble.to_string()));
    }
    troubles
}

/// The requests of a run in that range.
fn sites(outcome: &Outcome, calm: &Outcome, range: &Range<usize>) -> Option<Vec<Site>> {
    let words = words(outcome);
    let (end, calm_end) = (range.end, calm.points.end);
    let calm_words = self::words(calm);
    let left = calm_end.saturating_sub(range.start + 1);
    let alike = words[..end].iter().rev().zip(calm_words[..calm_end].iter().rev());
    let alike = alike.take(left).take_while(|(one, other)| one.is_some() && one == other).count();
    let site = |index: usize| Site {
        reads: outcome.reads[index],
        is_calm: index + alike >= end,
        is_repeated: (1..=LOOK)
            .any(|length| is_repeated(&words[range.start..end], index - range.start, length)),
    };
    (end <= outcome.reads.len()).then(|| range.clone().map(site).collect())
}

/// Whether the `length` requests up to this one, those before and those after say the same.
fn is_repeated(words: &[Option<&str>], index: usize, length: usize) -> bool {
    let Some(from) = (index + 1).checked_sub(2 * length) else { return false };
    let Some(three) = words.get(from..index + 1 + length) else { return false };
    let (former, latter) = (&three[..2 * length], &three[length..]);
    former == latter && former.iter().all(|it| it.is_some_and(|it| it.starts_with("GET ")))
}

/// Of every request, what it was and what came of it.
fn words(outcome: &Outcome) -> Vec<Option<&str>> {
    let mut words = vec![None; outcome.reads.len()];
    for line in &outcome.trace {
        let Some((_, line)) = line.trim_start().split_once(' ') else { continue };
        let Some((index, said)) = line.split_once(' ') else { continue };
        if let Some(place) = index.parse::<usize>().ok().and_then(|index| words.get_mut(index)) {
            *place = Some(said);
        }
    }
    words
}

const RANKS: [Rank; 3] = [Rank::Soon, Rank::Late, Rank::World];

/// As many requests as a look takes at most.
const LOOK: usize = 24;

/// How many faults are compared where no proof is asked for.
const COMPARED: usize = 12;

/// A prime: it has no factor in common with the number of pairs, so each is played once.
const STRIDE: usize = 1_000_003;
