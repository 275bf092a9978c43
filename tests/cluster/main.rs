//! The operator against a real kube-apiserver, etcd and kube-controller-manager: what users see,
//! what the rights in `config/` allow, and what remains after faults and kills.
//!
//! Without the programs of the control plane every test here skips loudly, and fails in CI.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "support for tests: a panic is a failed test"
)]

mod admission;
mod blocked_reasons;
mod definitions;
mod delivery;
mod faults;
mod figures;
mod installations;
mod issue;
mod kill_targets;
mod kills;
mod leaks;
mod leftovers;
mod load;
mod loss;
mod matrix;
mod namespace;
mod namespaced;
mod operator;
mod oracle;
mod policy;
mod protection;
mod replica;
mod replicas;
mod rights;
mod rotation;
mod signing_keys;
mod token_service;
mod traces;
mod whole;
mod world;
