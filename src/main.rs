//! Parses flags, builds the real world, and runs until a signal.

use std::process::ExitCode;

use anyhow::Context as _;
use technical_user_operator::api::crds;
use technical_user_operator::cli::{Arguments, Command, LogFormat, log_filter};
use technical_user_operator::process::{operator, telemetry, token_server};
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let arguments = Arguments::read().unwrap_or_else(|error| error.exit());
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crd => print_crds(),
        Command::Controller(arguments) => {
            init_tracing(arguments.installation.log_format);
            Ok(operator::run(&arguments, None)?)
        }
        Command::TokenServer(arguments) => {
            init_tracing(arguments.installation.log_format);
            Ok(token_server::run(&arguments)?)
        }
        Command::AllInOne(arguments) => {
            init_tracing(arguments.controller.installation.log_format);
            Ok(operator::run(&arguments.controller, Some(&arguments.service))?)
        }
    }
}

fn print_crds() -> anyhow::Result<()> {
    let crds = crds::crds_yaml().context("the CustomResourceDefinitions cannot be printed")?;
    std::io::Write::write_all(&mut std::io::stdout(), crds.as_bytes())?;
    Ok(())
}

/// From here on everything is logged, a panic too.
fn init_tracing(format: LogFormat) {
    let _ = telemetry::subscriber(log_filter().as_deref(), format).try_init();
    telemetry::log_panics();
}

#[expect(clippy::print_stderr, reason = "the last word of a command goes to its user")]
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
