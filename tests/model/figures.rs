//! Runs the searches, and says what was searched in lines that a machine can read.

use std::fmt::Write as _;

use serde_json::json;
use stateright::{Checker, HasDiscoveries, Model};
use support::figures::keep;
use tokio::time::Instant;

use crate::search::{Action, Search, Setting};
use crate::state::State;
use crate::wrong::Wrong;
use crate::{INVARIANTS, MODEL};

#[derive(Debug, Default)]
pub(crate) struct Figures {
    states: usize,
    generated: usize,
    depth: usize,
    seconds: f64,
    violations: Vec<String>,
}

impl Figures {
    pub(crate) fn search(&mut self, setting: Setting) {
        let started = Instant::now();
        let checker = Search::new(setting, None)
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let seconds = started.elapsed().as_secs_f64();
        for (property, path) in checker.discoveries() {
            if !is_example(property) {
                self.violations.push(format!("{}: {property}\n{}", setting.name, story(path)));
            }
        }
        for &example in setting.reaches {
            if checker.discovery(example).is_none() {
                self.violations.push(format!("{}: never {example}", setting.name));
            }
        }
        self.states += checker.unique_state_count();
        self.generated += checker.state_count();
        self.depth = self.depth.max(checker.max_depth());
        self.seconds += seconds;
        say(&format!(
            "{MODEL}: {}: states={} generated={} depth={} violations={} seconds={seconds:.1}",
            setting.name,
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            self.violations.len(),
        ));
    }

    pub(crate) fn conclude(&self) {
        say(&format!(
            "{MODEL}: states={} generated={} depth={} violations={} seconds={:.1}",
            self.states,
            self.generated,
            self.depth,
            self.violations.len(),
            self.seconds,
        ));
        keep(
            &file_name(),
            &json!({
                "states": self.states,
                "generated": self.generated,
                "depth": self.depth,
                "violations": self.violations.len(),
                "seconds": self.seconds.round(),
                "thorough": is_thorough(),
            }),
        );
        assert!(self.violations.is_empty(), "{}", self.violations.join("\n"));
    }
}

pub(crate) fn kill(mutants: &[(Wrong, Setting, &'static str)]) {
    let mut killed = 0;
    let mut caught_by = Vec::new();
    let mut survivors = String::new();
    for (wrong, setting, expected) in mutants {
        // One thread: the path is then a shortest one.
        let checker = Search::new(*setting, Some(*wrong))
            .checker()
            .threads(1)
            .finish_when(HasDiscoveries::AnyOf([*expected].into()))
            .spawn_bfs()
            .join();
        let states = checker.unique_state_count();
        let Some(path) = checker.discovery(expected) else {
            let _ = writeln!(survivors, "{wrong:?} is not caught by {expected} ({states} states)");
            continue;
        };
        killed += 1;
        let steps = path.into_actions().len();
        say(&format!(
            "{MODEL}: mutant: {wrong:?}: {expected} after {steps} steps, {states} states"
        ));
        let wrong = format!("{wrong:?}");
        caught_by.push(json!({"mutant": wrong, "property": expected, "steps": steps}));
    }
    say(&format!("{MODEL}: mutants_killed={killed}/{}", mutants.len()));
    keep(
        &format!("{}-mutants", file_name()),
        &json!({"killed": killed, "mutants": mutants.len(), "caught": caught_by}),
    );
    assert!(survivors.is_empty(), "{survivors}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one switch of this test, which has no arguments"
)]
pub(crate) fn is_thorough() -> bool {
    std::env::var("PROVE").is_ok_and(|value| value == "1")
}

/// The name of the model as that of a file.
fn file_name() -> String {
    MODEL.replace(' ', "-")
}

pub(crate) fn is_example(property: &str) -> bool {
    !property.starts_with(INVARIANTS)
}

/// The path as lines: what happened, and the request that was delivered.
pub(crate) fn story(path: stateright::Path<State, Action>) -> String {
    let mut story = String::new();
    for (state, action) in path.into_vec() {
        let _ = match action {
            Some(Action::Deliver(index)) => {
                writeln!(story, "  Deliver {:?}", state.in_flight[index])
            }
            Some(action) => writeln!(story, "  {action:?}"),
            None => writeln!(story, "  {state:#?}"),
        };
    }
    story
}

#[expect(clippy::print_stdout, reason = "figures are for people and scripts")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
