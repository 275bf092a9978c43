//! A control plane for a script: prints the path of its kubeconfig, and ends with its standard input or by a signal.

use std::process::ExitCode;

use support::control_plane::ControlPlane;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the script reads it")]
async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let control_plane = ControlPlane::start().await?;
    println!("{}", control_plane.kubeconfig().display());
    let (end, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        // It has no content: the end of the read ends the control plane.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(end);
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = ended => {}
    }
    Ok(())
}
