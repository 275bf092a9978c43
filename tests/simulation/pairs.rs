//! Pairs of troubles: the second strikes anywhere in what the first one made of the story.

use std::sync::Mutex;

use crate::figures::{Baseline, Figures, Part};
use crate::run::Outcome;
use crate::trouble::{Case, Trouble};

/// Pairs, each with a number. None is there twice, and none goes the way of another for certain.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    firsts: Vec<First>,
    /// How many pairs there are up to the end of each first trouble.
    ends: Vec<usize>,
}

/// A first trouble, and the requests from its own on: whether each is a read.
#[derive(Debug)]
struct First {
    story: usize,
    flow: String,
    index: usize,
    trouble: Trouble,
    reads: Vec<bool>,
}

// === impl Pairs ===

impl Pairs {
    /// Plays these single troubles and takes each for the first of pairs.
    pub(crate) fn of(figures: &Figures, baselines: &[Baseline], singles: &[(usize, Case)]) -> Self {
        let firsts = Mutex::new(Vec::new());
        let case = |index: usize| singles[index].clone();
        let part = Part { range: 0..singles.len(), until: None };
        figures.play_and_tell(baselines, case, part, |story, case, outcome| {
            firsts.lock().unwrap().extend(First::of(story, case, outcome));
        });
        let mut firsts = firsts.into_inner().unwrap();
        // In the order of the cases, whichever thread came first.
        firsts.sort_by_key(|it: &First| (it.story, it.index, it.trouble.to_string()));
        let ends = firsts.iter().scan(0, |end, first| {
            *end += first.seconds().count();
            Some(*end)
        });
        let ends = ends.collect();
        Self { firsts, ends }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The pair of that number, with its story.
    pub(crate) fn case(&self, number: usize) -> (usize, Case) {
        let position = self.ends.partition_point(|end| *end <= number);
        let first = &self.firsts[position];
        let before = if position == 0 { 0 } else { self.ends[position - 1] };
        let second = first.seconds().nth(number - before).unwrap();
        let troubles = vec![(first.index, first.trouble), second];
        (first.story, Case { flow: first.flow.clone(), troubles })
    }
}

// === impl First ===

impl First {
    /// Nothing if the trouble never struck, or goes the way of another one.
    fn of(story: usize, case: &Case, outcome: &Outcome) -> Option<Self> {
        let (index, trouble) = *case.troubles.first()?;
        let reads = outcome.reads.get(index..outcome.points.end)?.to_vec();
        trouble.is_own(*reads.first()?).then_some(())?;
        Some(Self { story, flow: case.flow.clone(), index, trouble, reads })
    }

    fn seconds(&self) -> impl Iterator<Item = (usize, Trouble)> {
        let all = Trouble::all();
        self.reads.iter().enumerate().flat_map(move |(after, reads)| {
            let own = all.clone().into_iter().filter(|it| it.is_own(*reads));
            // Of two faults with one request only one strikes, and a disturbance comes before both.
            let own =
                own.filter(move |_| after > 0 || matches!(self.trouble, Trouble::Disturbance(_)));
            own.map(move |it| (self.index + after, it))
        })
    }
}
