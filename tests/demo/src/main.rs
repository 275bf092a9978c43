//! `make demo`: starts a control plane and the operator, does with them what a user would do, and shows each command
//! with its answer. What it claims it checks, with the very functions that a token service calls.
//!
//! Everything that it starts ends with it, also when it is interrupted or killed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::world::World;

mod keys;
mod kubectl;
mod screen;
mod tokens;
mod tour;
mod world;

/// Shows what technical-user-operator does.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to show.
    operator: PathBuf,
    /// Do not stay up when everything was shown.
    #[arg(long)]
    once: bool,
    /// Where to show it.
    #[arg(long, default_value = "local")]
    cluster: ClusterChoice,
}

/// Where the operator works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClusterChoice {
    /// A control plane on this machine, for this demonstration alone.
    Local,
    /// The one that kubectl uses.
    Current,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    kubectl::must_exist().await?;
    let mut world = tokio::select! {
        world = World::start(arguments) => world?,
        () = signals.next() => bail!("interrupted"),
    };
    let outcome = present(&mut world, &mut signals, arguments.once).await;
    screen::title("Everything ends");
    world.end().await;
    outcome
}

async fn present(world: &mut World, signals: &mut Signals, is_short: bool) -> anyhow::Result<()> {
    tokio::select! {
        ready = world.operator.ready() => ready?,
        () = signals.next() => bail!("interrupted"),
    }
    tokio::select! {
        shown = tour::show(&world.kubectl) => shown?,
        last_words = world.operator.ended() => return Err(last_words),
        () = signals.next() => bail!("interrupted"),
    }
    if is_short {
        return Ok(());
    }
    screen::how_to_go_on(world);
    tokio::select! {
        last_words = world.operator.ended() => Err(last_words),
        () = signals.next() => Ok(()),
    }
}

/// What asks a process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
