//! kubectl, as a user of this cluster would run it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use technical_user_operator::environment::{Clock, System};
use tokio::process::Command;

use crate::screen;

/// Runs kubectl against one cluster.
#[derive(Debug)]
pub(crate) struct Kubectl {
    /// None for the cluster that kubectl uses anyway.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// For what kubectl remembers of the cluster, which is worth nothing afterwards.
    pub(crate) cache: PathBuf,
}

/// Says in a sentence that kubectl is missing, if it is.
pub(crate) async fn must_exist() -> anyhow::Result<()> {
    let version = Command::new("kubectl").args(["version", "--client"]).output().await;
    match version {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "kubectl is missing, and this shows everything through kubectl. \
             Install it (https://kubernetes.io/docs/tasks/tools) and try again"
        ),
        Err(error) => Err(error).context("kubectl does not start"),
        Ok(_) => Ok(()),
    }
}

/// A value that no request had before, as `$(date +%s)` makes one.
pub(crate) fn seconds() -> String {
    System::start().now().as_second().to_string()
}

impl Kubectl {
    /// Shows the command and what it answers.
    pub(crate) async fn show(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.show_with(arguments, str::to_owned).await.map(drop)
    }

    /// Shows the command and its answer as `mask` leaves it, and returns the answer.
    pub(crate) async fn show_with(
        &self,
        arguments: &[&str],
        mask: impl FnOnce(&str) -> String,
    ) -> anyhow::Result<String> {
        typed(arguments);
        let answer = self.ask(arguments).await?;
        screen::output(&mask(&answer));
        Ok(answer)
    }

    /// Shows a command that must be refused, and how it is.
    pub(crate) async fn show_refusal(&self, arguments: &[&str]) -> anyhow::Result<()> {
        typed(arguments);
        let output = self.run(arguments).await?;
        if output.status.success() {
            bail!("this should have been refused");
        }
        screen::output(&String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Runs the command and returns its answer.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments).await?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {}: {}", arguments.join(" "), reason.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        let mut command = Command::new("kubectl");
        command
            // That of the examples, whatever the context says; what a command names itself counts.
            .arg("--namespace=default")
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .env("KUBECACHEDIR", &self.cache)
            .kill_on_drop(true);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = tokio::time::timeout(MOST, command.output()).await;
        let output = output.with_context(|| format!("kubectl {} hangs", arguments.join(" ")))?;
        output.context("kubectl does not start")
    }
}

fn typed(arguments: &[&str]) {
    let words: Vec<_> = [&["kubectl"], arguments].concat();
    screen::command(&words);
}

/// Longer than any `kubectl wait` here waits.
const MOST: Duration = Duration::from_secs(150);
