//! Variants that leave out one of two locks.

use stateright::{Checker, HasDiscoveries, Model};

use crate::MODEL;
use crate::figures::{is_example, say, story};
use crate::search::{Search, Setting};
use crate::wrong::Wrong;

/// Searches variants that are wrong, but not wrong enough to break anything.
pub(crate) fn survive(variants: &[(Wrong, Setting)]) {
    for (wrong, setting) in variants {
        let checker = Search::new(*setting, Some(*wrong))
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let states = checker.unique_state_count();
        for (property, path) in checker.discoveries() {
            assert!(is_example(property), "{wrong:?}: {property}\n{}", story(path));
        }
        say(&format!(
            "{MODEL}: variant: {wrong:?}: {}: states={states} violations=0",
            setting.name
        ));
    }
}
