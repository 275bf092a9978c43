//! Logs. Whatever filter is asked for, nothing of a request or an answer gets out.
//!
//! Libraries log bodies and headers: `kube_client` writes an answer that it cannot read at `WARN`,
//! and `hyper` and `rustls` write bytes at `TRACE`. A floor under the filter silences them.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::args::LogFormat;

/// A subscriber that writes to standard error, with the filter `wanted` over the floor.
pub fn subscriber(wanted: Option<&str>, format: LogFormat) -> impl Subscriber + Send + Sync {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let filter = filter.parse_lossy(wanted.unwrap_or_default());
    Registry::default().with(lines(format).with_filter(filter).with_filter(filter_fn(is_discreet)))
}

/// Whether a line may be written at all: of others, only what this process does itself.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours = target == OURS || target.starts_with("technical_user_operator::");
    is_ours
        || *metadata.level() == Level::ERROR && !CHATTERS.iter().any(|it| target.starts_with(it))
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => {
            let is_for_people = std::io::stderr().is_terminal();
            fmt::layer().with_ansi(is_for_people).with_writer(std::io::stderr).boxed()
        }
    }
}

const OURS: &str = "technical_user_operator";

/// Libraries that see bodies.
const CHATTERS: [&str; 6] = ["kube", "hyper", "rustls", "h2", "tower", "axum"];
