//! Pairs of troubles: the second strikes anywhere in what the first one made of the story.

use std::sync::Mutex;
use std::time::Duration;

use support::faults::Fault;
use tokio::time::Instant;

use crate::harness::faults::{Case, Trouble};
use crate::harness::figures::{
    Baseline, Figures, Part, SEED, baselines, number, say, setting, singles,
};
use crate::harness::run::{Outcome, play};

/// Pairs, each with a number: one of every rank in turn, and spread over each. None is there twice.
///
/// Two choices make them fewer: of faults that the operator does not tell apart one is played, which
/// [`compare`] holds; and of a look that repeats itself the first and the last, which is a choice and
/// no proof, since time goes on meanwhile.
#[derive(Debug)]
struct Pairs {
    /// What may go wrong.
    conditions: Vec<Trouble>,
    firsts: Vec<First>,
    tiers: Vec<Tier>,
}

/// The pairs of one rank.
#[derive(Debug)]
struct Tier {
    rank: Rank,
    /// How many there are up to the end of each first trouble.
    ends: Vec<usize>,
}

/// What a pair is made of.
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
    condition: Trouble,
    requests: Vec<Site>,
}

/// A request at which the second trouble can strike.
#[derive(Clone, Copy, Debug)]
struct Site {
    reads: bool,
    /// Whether the story goes on from here as it does without the first trouble.
    is_calm: bool,
    /// Whether it is one of many like it: the look before and the one after say the same.
    is_repeated: bool,
}

/// Plays pairs of these troubles for `PROVE_SECONDS`, from number `PROVE_FROM` on; only those of one
/// rank or between some troubles, if `PROVE_RANK` or `PROVE_TROUBLES` names any.
pub(crate) fn prove(name: &str, firsts: impl Fn(&[Baseline]) -> Vec<(usize, Case)>) {
    let started = Instant::now();
    let figures = Figures::default();
    let baselines = baselines(&figures);
    let pairs = Pairs::of(&figures, &baselines, &firsts(&baselines));
    let all = pairs.len();
    let tiers = pairs.tiers.iter().map(|tier| format!("{:?}={}", tier.rank, tier.len()));
    let tiers = tiers.collect::<Vec<_>>().join(" ");
    say(&format!("{name}: of={all} firsts={} {tiers}", pairs.firsts.len()));
    assert!(all > 0, "there is no such pair");
    let from = number("PROVE_FROM", 0);
    let until = Instant::now() + Duration::from_secs(number("PROVE_SECONDS", 600));
    let part = Part { range: from..all, until: Some(until) };
    let played = figures.play(&baselines, |number| pairs.case(number), part);
    say(&format!("{name}: pairs={played} of={all} PROVE_FROM={} goes on", from + played));
    figures.conclude(name, &baselines, started);
}

/// Compares the faults that pairs leave out with those whose way they go: all with `PROVE`, else one
/// of each kind.
pub(crate) fn compare(name: &str) {
    let baselines = baselines(&Figures::default());
    let mut cases = Vec::new();
    let mut kinds: Vec<(Fault, bool)> = Vec::new();
    for (story, case) in singles(&baselines) {
        let (index, condition) = case.conditions[0];
        let Trouble::Fault(fault) = condition else { continue };
        let reads = baselines[story].calm.reads[index];
        let Some(like) = fault.like(reads) else { continue };
        if setting("PROVE").is_none() && kinds.contains(&(fault, reads)) {
            continue;
        }
        kinds.push((fault, reads));
        let like = Case { conditions: vec![(index, Trouble::Fault(like))], ..case.clone() };
        cases.push((story, case, like));
    }
    let part = Part { range: 0..cases.len(), until: None };
    part.on_all_cores(|index| {
        let (story, one, other) = &cases[index];
        goes_the_way_of(&baselines[*story], one, other);
    });
    say(&format!("{name}: compared={}", cases.len()));
    assert!(!cases.is_empty());
}

fn goes_the_way_of(baseline: &Baseline, one: &Case, other: &Case) {
    let struck = format!(" {} ", one.conditions[0].0);
    let [(this, said), (that, event)] = [one, other].map(|case| {
        let outcome = play(&baseline.flow, case, SEED, None);
        let said = outcome.trace.iter().filter(|line| !line.contains(&struck)).cloned();
        let said: Vec<_> = said.collect();
        (outcome, said)
    });
    assert_eq!(said, event, "{one} and {other}");
    assert_eq!((this.is_clean(), this.made), (that.is_clean(), that.made), "{one} and {other}");
}

// === impl Pairs ===

impl Pairs {
    /// Plays these single troubles and takes each for the first of pairs.
    fn of(figures: &Figures, baselines: &[Baseline], singles: &[(usize, Case)]) -> Self {
        let conditions = wanted();
        let is_own = |(story, case): &&(usize, Case)| {
            let (index, condition) = case.conditions[0];
            conditions.contains(&condition) && condition.is_own(baselines[*story].calm.reads[index])
        };
        let own: Vec<&(usize, Case)> = singles.iter().filter(is_own).collect();
        let case = |index: usize| own[index].clone();
        let part = Part { range: 0..own.len(), until: None };
        let firsts = Mutex::new(Vec::new());
        figures.play_and_tell(baselines, case, part, |story, case, outcome| {
            let first = First::of(story, case, outcome, &baselines[story].calm);
            firsts.lock().unwrap().extend(first);
        });
        let mut firsts = firsts.into_inner().unwrap();
        // In the order of the cases, whichever thread came first.
        firsts.sort_by_key(|it: &First| (it.story, it.index, it.condition.to_string()));
        let only = setting("PROVE_RANK");
        let is_wanted = |rank: &Rank| only.as_ref().is_none_or(|it| *it == format!("{rank:?}"));
        let tiers = RANKS.into_iter().filter(is_wanted);
        let tiers = tiers.map(|rank| Tier::of(rank, &firsts, &conditions)).collect();
        Self { conditions, firsts, tiers }
    }

    fn len(&self) -> usize {
        self.tiers.iter().map(Tier::len).sum()
    }

    /// The pair of that number, with its story.
    fn case(&self, number: usize) -> (usize, Case) {
        let (tier, number) = self.place(number);
        let number = number * STRIDE % tier.len();
        let position = tier.ends.partition_point(|end| *end <= number);
        let first = &self.firsts[position];
        let before = if position == 0 { 0 } else { tier.ends[position - 1] };
        let second = first.seconds(tier.rank, &self.conditions).nth(number - before).unwrap();
        let conditions = vec![(first.index, first.condition), second];
        (first.story, Case { flow: first.flow.clone(), conditions })
    }

    /// Every tier in turn, until the smallest has no more, and then those that have.
    fn place(&self, number: usize) -> (&Tier, usize) {
        let mut tiers: Vec<&Tier> = self.tiers.iter().collect();
        tiers.sort_by_key(|tier| tier.len());
        let (mut number, mut played) = (number, 0);
        loop {
            let turns = (tiers[0].len() - played) * tiers.len();
            if number < turns {
                return (tiers[number % tiers.len()], played + number / tiers.len());
            }
            number -= turns;
            played = tiers.remove(0).len();
        }
    }
}

// === impl Tier ===

impl Tier {
    fn of(rank: Rank, firsts: &[First], conditions: &[Trouble]) -> Self {
        let ends = firsts.iter().scan(0, |end, first| {
            *end += first.seconds(rank, conditions).count();
            Some(*end)
        });
        let tier = Self { rank, ends: ends.collect() };
        let is_spread = tier.len() == 0 || !tier.len().is_multiple_of(STRIDE);
        assert!(is_spread, "some pairs would never be played");
        tier
    }

    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }
}

// === impl First ===

impl First {
    /// Nothing if the trouble never struck.
    fn of(story: usize, case: &Case, outcome: &Outcome, calm: &Outcome) -> Option<Self> {
        let (index, condition) = *case.conditions.first()?;
        let requests = sites(outcome, calm, index);
        (!requests.is_empty()).then(|| Self {
            story,
            flow: case.flow.clone(),
            index,
            condition,
            requests,
        })
    }

    fn seconds(
        &self,
        rank: Rank,
        conditions: &[Trouble],
    ) -> impl Iterator<Item = (usize, Trouble)> {
        let sites = self.requests.iter().enumerate().filter(|(_, site)| !site.is_repeated);
        sites.flat_map(move |(after, site)| {
            let own = conditions.iter().filter(|it| it.is_own(site.reads));
            // Of two faults with one request only one strikes, and a disturbance comes before both.
            let own =
                own.filter(move |_| after > 0 || matches!(self.condition, Trouble::Disturbance(_)));
            let of_rank =
                own.filter(move |it| Rank::of(self.condition, **it, site.is_calm) == rank);
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
    let Some(names) = setting("PROVE_TROUBLES") else { return Trouble::all() };
    let known = |name: &str| {
        let unknown = || format!("PROVE_TROUBLES: there is no {name}");
        Trouble::named(name).ok_or_else(unknown).unwrap()
    };
    names.split(',').map(known).collect()
}

/// The requests of a run from the first trouble to the end.
fn sites(outcome: &Outcome, calm: &Outcome, from: usize) -> Vec<Site> {
    let end = outcome.points.end.min(outcome.reads.len());
    let (said, said_calmly) = (words(outcome), words(calm));
    let left = calm.points.end.saturating_sub(from + 1);
    let alike = said[..end].iter().rev().zip(said_calmly[..calm.points.end].iter().rev());
    let alike = alike.take(left).take_while(|(one, other)| one.is_some() && one == other).count();
    let site = |index: usize| Site {
        reads: outcome.reads[index],
        is_calm: index + alike >= end,
        is_repeated: (1..=LOOK).any(|it| is_repeated(&said[from..end], index - from, it)),
    };
    (from..end).map(site).collect()
}

/// Whether the `length` requests up to this one, those before and those after say the same.
fn is_repeated(said: &[Option<&str>], index: usize, length: usize) -> bool {
    let Some(from) = (index + 1).checked_sub(2 * length) else { return false };
    let Some(three) = said.get(from..index + 1 + length) else { return false };
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

/// More requests than a look takes in any story.
const LOOK: usize = 24;

/// A prime: unless it divides the number of pairs, each is played once.
const STRIDE: usize = 1_000_003;
