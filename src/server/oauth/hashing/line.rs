//! The line before the hashing threads. Namespaces take turns, and the longest line gives way when
//! there is no place left, so no namespace can keep another one waiting for its whole line.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Jobs that wait, by namespace.
#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: BTreeMap<Arc<str>, VecDeque<T>>,
    /// The namespaces that have a job waiting, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    length: usize,
    working: usize,
    threads: usize,
    most: usize,
}

/// There is no place left for that namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoPlace;

impl<T> Line<T> {
    /// An empty line of at most `most` jobs, for `threads` threads.
    pub(super) fn new(threads: usize, most: usize) -> Self {
        let (waiting, turns) = (BTreeMap::new(), VecDeque::new());
        Self { waiting, turns, length: 0, working: 0, threads, most }
    }

    /// Adds a job. Returns whether the caller has to start a thread that calls [`Line::next`] until
    /// nothing is left. When the line is full, the newest job of the namespace with the most jobs
    /// is dropped in favour of a namespace with fewer.
    ///
    /// # Errors
    ///
    /// [`NoPlace`]: the line is full, and no namespace has more jobs in it than this one.
    pub(super) fn join(&mut self, namespace: &str, job: T) -> Result<bool, NoPlace> {
        if self.length >= self.most {
            self.make_place(namespace)?;
        }
        if let Some(jobs) = self.waiting.get_mut(namespace) {
            jobs.push_back(job);
        } else {
            let namespace = Arc::<str>::from(namespace);
            self.turns.push_back(Arc::clone(&namespace));
            self.waiting.insert(namespace, VecDeque::from([job]));
        }
        self.length += 1;
        let needs_thread = self.working < self.threads;
        self.working += usize::from(needs_thread);
        Ok(needs_thread)
    }

    /// The next job for a thread, of the namespace whose turn it is. When there is none, the thread
    /// no longer counts as working.
    pub(super) fn next(&mut self) -> Option<T> {
        let job = self.turns.pop_front().and_then(|namespace| {
            let jobs = self.waiting.get_mut(&namespace)?;
            let job = jobs.pop_front();
            if jobs.is_empty() {
                self.waiting.remove(&namespace);
            } else {
                self.turns.push_back(namespace);
            }
            job
        });
        let freed = if job.is_some() { &mut self.length } else { &mut self.working };
        *freed = freed.saturating_sub(1);
        job
    }

    /// The jobs that wait, and one for each thread that works.
    pub(super) fn len(&self) -> usize {
        self.length.saturating_add(self.working)
    }

    fn make_place(&mut self, namespace: &str) -> Result<(), NoPlace> {
        let own = self.waiting.get(namespace).map_or(0, VecDeque::len);
        let longest = self.waiting.values_mut().max_by_key(|jobs| jobs.len()).ok_or(NoPlace)?;
        // One more for the own line must not make it the longest.
        if longest.len() <= own.saturating_add(1) {
            return Err(NoPlace);
        }
        longest.pop_back();
        self.length = self.length.saturating_sub(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(most: usize, jobs: &[(&'static str, u8)]) -> Line<(&'static str, u8)> {
        let mut line = Line::new(1, most);
        for &(namespace, job) in jobs {
            line.join(namespace, (namespace, job)).unwrap();
        }
        line
    }

    fn rest(line: &mut Line<(&'static str, u8)>) -> Vec<(&'static str, u8)> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn namespaces_take_turns_whatever_their_lines_are() {
        let mut line = line(10, &[("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)]);

        let order = [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("a", 3)];
        assert_eq!(rest(&mut line), order);
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn a_namespace_that_fills_the_line_gives_way_to_others() {
        let full: Vec<_> = (0..100).map(|job| ("loud", job)).collect();
        let mut line = line(100, &full);

        assert_eq!(line.join("loud", ("loud", 100)), Err(NoPlace));
        assert!(line.join("quiet", ("quiet", 1)).is_ok());
        assert_eq!(line.len(), 100 + 1, "the line keeps its bound, and one job is hashed");

        let order = rest(&mut line);
        assert_eq!(order[1], ("quiet", 1), "it is its turn after one job of the other");
        assert_eq!(order.last(), Some(&("loud", 98)), "the newest job gave way");
    }

    #[test]
    fn a_full_line_ends_up_in_equal_shares() {
        let full: Vec<_> = (0..12).map(|job| ("a", job)).collect();
        let mut line = line(12, &full);

        let joined = |line: &mut Line<_>, namespace| {
            (0..12).filter(|job| line.join(namespace, (namespace, *job)).is_ok()).count()
        };
        assert_eq!(joined(&mut line, "b"), 6);
        assert_eq!(joined(&mut line, "c"), 4);
        assert_eq!(joined(&mut line, "d"), 3);
        let order = rest(&mut line);
        let share = |namespace| order.iter().filter(|(it, _)| *it == namespace).count();
        assert_eq!(["a", "b", "c", "d"].map(share), [3, 3, 3, 3]);
    }

    #[test]
    fn a_thread_is_started_when_one_is_free_and_counts_until_nothing_is_left() {
        let mut line = Line::new(2, 10);

        assert_eq!(["a", "a", "b"].map(|it| line.join(it, it)), [Ok(true), Ok(true), Ok(false)]);
        assert!((0..3).all(|_| line.next().is_some()));
        assert_eq!(line.join("c", "c"), Ok(false), "both threads ask again");
        assert_eq!([line.next(), line.next(), line.next()], [Some("c"), None, None]);
        assert_eq!(line.join("d", "d"), Ok(true));
    }
}
