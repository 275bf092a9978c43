//! What the tests, the benchmark and the demonstration stand on: a local control plane made of the
//! real programs, an in-memory API server for virtual time, a layer of faults, and a leak scanner.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "support for tests: a panic is a failed test"
)]

pub mod conformance;
pub mod control_plane;
pub mod fake_api_server;
pub mod faults;
pub mod figures;
pub mod leak;
pub mod recipes;
pub mod sources;

/// Runs a story in virtual time: time passes when every task waits. What still runs at its end is dropped.
pub fn in_virtual_time<T>(story: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output");
    let outcome = runtime.block_on(story);
    runtime.shutdown_background();
    outcome
}
