//! The fake API server answers what the real one answers.
//!
//! `CONFORMANCE_SEED` and `CONFORMANCE_SEQUENCES` choose what is run; a divergence prints both.

use support::{conformance, control_plane::ControlPlane};

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other settings than these"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str, otherwise: u64) -> u64 {
    setting(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the figures are the result")]
async fn the_fake_answers_random_requests_as_the_real_server_does() {
    let control_plane = match ControlPlane::start().await {
        Ok(control_plane) => control_plane,
        Err(error) if setting("CI").as_deref() == Some("true") => panic!("{error}"),
        Err(error) => {
            println!("SKIPPED: conformance needs a control plane ({error})");
            return;
        }
    };
    let sequences = usize::try_from(number("CONFORMANCE_SEQUENCES", 300)).expect("fits");

    let report = conformance::run(
        control_plane.client().await,
        number("CONFORMANCE_SEED", 1),
        sequences,
    )
    .await;

    println!("{report}");
    assert!(
        report.divergences.is_empty(),
        "{} divergences",
        report.divergences.len()
    );
}
