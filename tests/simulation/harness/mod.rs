//! The half of a simulation that is the same for every kind of resource: a cluster in memory and in virtual time,
//! operators that start, die and come back in it, everything that can go wrong around them, one run of a story, and
//! the figures of many.
//!
//! A kind adds its `world` (which operator runs, what else it disturbs), `flow` (stories), `goal`, `oracle` (invariants),
//! `mutant` (wrong operators) and `run` (bounds, and what a case excuses).

pub(crate) mod checks;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod disturbance;
pub(crate) mod faults;
pub(crate) mod figures;
pub(crate) mod flow;
pub(crate) mod leases;
pub(crate) mod pairs;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod stored;
