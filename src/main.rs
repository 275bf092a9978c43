//! Parses flags, builds the real world, and runs until a signal.

use std::process::ExitCode;

use anyhow::Context as _;
use technical_user_operator::api::crds;
use technical_user_operator::cli::{Arguments, Command, LogFormat, log_filter, otel_variables};
use technical_user_operator::process::telemetry::{self, Traces};
use technical_user_operator::process::{operator, token_server};
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
            let _traces =
                init_tracing(arguments.installation.log_format, "technical-user-operator");
            Ok(operator::run(&arguments, None)?)
        }
        Command::TokenServer(arguments) => {
            let format = arguments.installation.log_format;
            let traces = init_tracing(format, "technical-user-token-server");
            Ok(token_server::run(&arguments, traces.as_ref())?)
        }
        Command::AllInOne(arguments) => {
            let format = arguments.controller.installation.log_format;
            let traces = init_tracing(format, "technical-user-operator");
            let service = Some((&arguments.service, traces.as_ref()));
            Ok(operator::run(&arguments.controller, service)?)
        }
    }
}

fn print_crds() -> anyhow::Result<()> {
    let crds = crds::crds_yaml().context("the CustomResourceDefinitions cannot be printed")?;
    std::io::Write::write_all(&mut std::io::stdout(), crds.as_bytes())?;
    Ok(())
}

/// From here on everything is logged, a panic too, and traces are exported if the environment says where. Without
/// traces the process serves all the same: tokens matter more.
fn init_tracing(format: LogFormat, service: &'static str) -> Option<Traces> {
    // An error means that a provider was installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut problem = None;
    let variables = otel_variables().unwrap_or_else(|error| {
        problem = Some(error.to_string());
        None
    });
    let traces = variables.and_then(|variables| {
        Traces::start(&variables, service).map_err(|error| problem = Some(error.to_string())).ok()
    });
    let _ = telemetry::subscriber(log_filter().as_deref(), format, traces.as_ref()).try_init();
    telemetry::log_panics();
    if let Some(problem) = problem {
        tracing::error!(problem, "no traces are exported");
    }
    traces
}

#[expect(clippy::print_stderr, reason = "the last word of a command goes to its user")]
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
