//! Runs the searches, and says what was searched in lines that a machine can read.

use std::fmt::Write as _;

use serde_json::json;
use stateright::{Checker, HasDiscoveries, Model, Path};
use support::figures::keep;
use tokio::time::Instant;

use super::{Action, ActionOf, Kind, Search, StateOf};
use crate::{say, setting};

#[derive(Debug, Default)]
struct Figures {
    states: usize,
    generated: usize,
    depth: usize,
    seconds: f64,
    violations: Vec<String>,
}

/// Searches the small settings, and with `PROVE=1` the large ones too.
pub fn prove<K: Kind>(small: &[K::Setting], large: &[K::Setting]) {
    let mut figures = Figures::default();
    let large = if is_thorough() { large } else { &[] };
    for setting in small.iter().chain(large) {
        figures.search::<K>(setting);
    }
    figures.conclude::<K>();
}

impl Figures {
    fn search<K: Kind>(&mut self, setting: &K::Setting) {
        let name = K::frame(setting).name;
        let started = Instant::now();
        let checker = explored::<K>(setting, None, 2, HasDiscoveries::AnyFailures);
        let seconds = started.elapsed().as_secs_f64();
        for (property, path) in checker.discoveries() {
            if !is_example::<K>(property) {
                self.violations.push(format!("{name}: {property}\n{}", story::<K>(path)));
            }
        }
        for &example in K::frame(setting).reaches {
            if checker.discovery(example).is_none() {
                self.violations.push(format!("{name}: never {example}"));
            }
        }
        self.states += checker.unique_state_count();
        self.generated += checker.state_count();
        self.depth = self.depth.max(checker.max_depth());
        self.seconds += seconds;
        say(&format!(
            "{}: {name}: states={} generated={} depth={} violations={} seconds={seconds:.1}",
            K::NAME,
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            self.violations.len(),
        ));
    }

    fn conclude<K: Kind>(&self) {
        say(&format!(
            "{}: states={} generated={} depth={} violations={} seconds={:.1}",
            K::NAME,
            self.states,
            self.generated,
            self.depth,
            self.violations.len(),
            self.seconds,
        ));
        keep(
            &file_name::<K>(),
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

/// Wants each wrong variant caught by the property beside it.
pub fn kill<K: Kind>(mutants: &[(K::Wrong, K::Setting, &'static str)]) {
    let mut killed = 0;
    let mut caught_by = Vec::new();
    let mut survivors = String::new();
    for (wrong, setting, expected) in mutants {
        // One thread: the path is then a shortest one.
        let until = HasDiscoveries::AnyOf([*expected].into());
        let checker = explored::<K>(setting, Some(*wrong), 1, until);
        let states = checker.unique_state_count();
        let Some(path) = checker.discovery(expected) else {
            let _ = writeln!(survivors, "{wrong:?} is not caught by {expected} ({states} states)");
            continue;
        };
        killed += 1;
        let steps = path.into_actions().len();
        say(&format!(
            "{}: mutant: {wrong:?}: {expected} after {steps} steps, {states} states",
            K::NAME
        ));
        let wrong = format!("{wrong:?}");
        caught_by.push(json!({"mutant": wrong, "property": expected, "steps": steps}));
    }
    say(&format!("{}: mutants_killed={killed}/{}", K::NAME, mutants.len()));
    keep(
        &format!("{}-mutants", file_name::<K>()),
        &json!({"killed": killed, "mutants": mutants.len(), "caught": caught_by}),
    );
    assert!(survivors.is_empty(), "{survivors}");
}

/// Searches variants that are wrong, but not wrong enough to break anything.
pub fn survive<K: Kind>(variants: &[(K::Wrong, K::Setting)]) {
    for (wrong, setting) in variants {
        let checker = explored::<K>(setting, Some(*wrong), 2, HasDiscoveries::AnyFailures);
        let states = checker.unique_state_count();
        for (property, path) in checker.discoveries() {
            assert!(is_example::<K>(property), "{wrong:?}: {property}\n{}", story::<K>(path));
        }
        let (model, name) = (K::NAME, K::frame(setting).name);
        say(&format!("{model}: variant: {wrong:?}: {name}: states={states} violations=0"));
    }
}

/// Whether large settings are searched, and mutants that take long to catch.
pub fn is_thorough() -> bool {
    setting("PROVE").is_some_and(|value| value == "1")
}

fn explored<K: Kind>(
    setting: &K::Setting,
    wrong: Option<K::Wrong>,
    threads: usize,
    until: HasDiscoveries,
) -> impl Checker<Search<K>> {
    let builder = Search::<K>::new(setting, wrong).checker();
    builder.threads(threads).finish_when(until).spawn_bfs().join()
}

/// The name of the model as that of a file.
fn file_name<K: Kind>() -> String {
    K::NAME.replace(' ', "-")
}

fn is_example<K: Kind>(property: &str) -> bool {
    !property.starts_with(K::INVARIANTS)
}

/// The path as lines: what happened, and the request that was delivered.
fn story<K: Kind>(path: Path<StateOf<K>, ActionOf<K>>) -> String {
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
