//! The fake API server answers what the real one answers.
//!
//! `CONFORMANCE_SEED` and `CONFORMANCE_SEQUENCES` choose what is run, 10,000 of them with `PROVE=1`; a
//! divergence prints both.

use serde_json::json;
use support::{
    conformance,
    control_plane::{ControlPlane, Options},
    figures,
};

/// 1.33 answers a PUT that names the uid of an absent object with 409, later ones with 404, and it
/// lets an update of the status take the ownership of metadata.
const MODELLED_MINOR: &str = "36";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the figures are the result")]
async fn the_fake_answers_random_requests_as_the_real_server_does() {
    let Some(control_plane) = ControlPlane::start_or_skip(Options::default()).await else {
        return;
    };
    let client = control_plane.client().await;
    let version = client.apiserver_version().await.expect("the server tells its version");
    if version.minor != MODELLED_MINOR {
        println!(
            "SKIPPED: the fake answers as 1.{MODELLED_MINOR} does, this is {}",
            version.git_version
        );
        return;
    }
    let all = if number("PROVE", 0) == 1 { 10_000 } else { 300 };
    let sequences = usize::try_from(number("CONFORMANCE_SEQUENCES", all)).expect("fits");
    let seed = number("CONFORMANCE_SEED", 1);

    let report = conformance::run(client, seed, sequences).await;

    println!("{report}");
    figures::keep(
        "conformance",
        &json!({
            "seed": seed, "sequences": report.sequences, "requests": report.requests,
            "lagging": report.lagging, "divergences": report.divergences.len(),
        }),
    );
    assert!(report.divergences.is_empty(), "{} divergences", report.divergences.len());
}

#[expect(clippy::disallowed_methods, reason = "a test has no other settings than these")]
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
