//! What can go wrong with a control plane.

use std::{io, path::PathBuf, time::Duration};

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// Neither `KUBEBUILDER_ASSETS` nor `make control-plane` has provided the programs.
    #[error(
        "no {program} in {}: run `make control-plane`, or let KUBEBUILDER_ASSETS name a folder that holds it",
        folder.display()
    )]
    Absent {
        /// What is missing.
        program: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A program ended without a request.
    #[error("{program} ended before it was ready; its last words:\n{last_words}")]
    Ended {
        /// Which.
        program: &'static str,
        /// The end of its log.
        last_words: String,
    },
    /// A program runs and does not become ready.
    #[error("{program} is not ready after {} s; its last words:\n{last_words}", within.as_secs())]
    NotReady {
        /// Which.
        program: &'static str,
        /// How long it was waited for.
        within: Duration,
        /// The end of its log.
        last_words: String,
    },
    /// A file or a process could not be made.
    #[error("cannot {act}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// What came of it.
        #[source]
        source: io::Error,
    },
}

/// Names what was tried, for use with `map_err`.
pub(super) fn because(act: &'static str) -> impl FnOnce(io::Error) -> ControlPlaneError {
    move |source| ControlPlaneError::Io { act, source }
}
