//! Logs and traces. No filter lets anything of a request or a response out.
//!
//! Libraries log bodies and headers: `kube_client` writes an answer that it cannot read at `WARN`,
//! and `hyper` and `rustls` write bytes at `TRACE`. A floor under the filter silences them.

use std::any::Any;
use std::io::IsTerminal;
use std::panic::set_hook;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, dynamic_filter_fn, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::cli::LogFormat;

pub use self::traces::{ExportError, Traces};

mod traces;

/// A subscriber that writes to standard error, with the filter `wanted` over the floor, and to `traces`.
pub fn subscriber(
    wanted: Option<&str>,
    format: LogFormat,
    traces: Option<&Traces>,
) -> impl Subscriber + Send + Sync + use<> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let filter = filter.parse_lossy(wanted.unwrap_or_default());
    // A warning names its object and its trace also with the filter `warn`.
    let filter = filter.or(filter_fn(|it| it.is_span() && *it.level() <= Level::INFO));
    let logs = fmt_layer(format).with_filter(filter).with_filter(filter_fn(may_log));
    // A list, and not an `Option` of a layer: beside `None` no call site of a library can be switched off for good.
    let mut layers = vec![logs.boxed()];
    layers.extend(traces.map(|traces| {
        let filter = dynamic_filter_fn(may_export).with_callsite_filter(|metadata| {
            if is_exported(metadata) { Interest::sometimes() } else { Interest::never() }
        });
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter.with_max_level_hint(LevelFilter::INFO))
            .boxed()
    }));
    Registry::default().with(layers)
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata.target()) && *metadata.level() <= Level::INFO
}

/// Whether a span, or an event in it, is a part of a trace. A request to the API server is one as a part of a
/// reconcile or of a request, and never by itself.
fn may_export<S>(metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_root = metadata.is_span() && metadata.name() != "API request";
    is_exported(metadata) && (is_root || context.lookup_current().is_some())
}

/// Logs every panic from now on: its place, its thread, and its message without the data in it.
pub fn log_panics() {
    set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        let reason = message_of(panic.payload());
        tracing::error!(location, thread = thread.name(), reason, "panic");
    }));
}

/// A message without arguments is part of the program. Any other can quote a value, a secret included.
fn message_of(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&'static str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => without_data(text),
        (None, None) => "a value that is no text".to_owned(),
    }
}

/// The plain words of a message. What is quoted, has a digit or a sign in it, or is longer than a word of
/// English, becomes `...`.
fn without_data(message: &str) -> String {
    let unquoted = without_quotes(message);
    let words =
        unquoted.split_whitespace().map(|word| if is_plain(word) { word } else { REPLACEMENT });
    let mut kept: Vec<&str> = words.take(MAX_WORDS).collect();
    kept.dedup_by(|one, other| *one == REPLACEMENT && *other == REPLACEMENT);
    kept.join(" ")
}

fn is_plain(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ',', ':', ';', '!', '?', ')']).trim_start_matches('(');
    let is_of_words = word.chars().all(|it| it.is_ascii_alphabetic() || "-'".contains(it));
    word == REPLACEMENT || (is_of_words && word.len() <= MAX_WORD_LENGTH)
}

/// Text in double quotes or backticks becomes `...`; a quote that does not end takes the rest.
fn without_quotes(message: &str) -> String {
    let mut kept = String::new();
    let mut characters = message.chars();
    while let Some(character) = characters.next() {
        if !['"', '`'].contains(&character) {
            kept.push(character);
            continue;
        }
        kept.push_str(REPLACEMENT);
        while let Some(quoted) = characters.next() {
            match quoted {
                '\\' => drop(characters.next()),
                end if end == character => break,
                _ => {}
            }
        }
    }
    kept
}

/// Whether a line may be written at all: of others, only what this process does itself.
fn may_log(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    is_ours(target)
        || *metadata.level() == Level::ERROR
            && !LIBRARY_TARGETS.iter().any(|it| target.starts_with(it))
}

fn is_ours(target: &str) -> bool {
    target == OURS || target.starts_with("technical_user_operator::")
}

fn fmt_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
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
const REPLACEMENT: &str = "...";
/// Longer than the words of messages, and shorter than a client secret or a part of a token.
const MAX_WORD_LENGTH: usize = 20;
/// A line of a log.
const MAX_WORDS: usize = 60;

/// Libraries that see bodies.
const LIBRARY_TARGETS: [&str; 6] = ["kube", "hyper", "rustls", "h2", "tower", "axum"];

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tracing_subscriber::util::SubscriberInitExt;

    use super::*;

    #[test]
    fn a_message_keeps_its_words_and_loses_its_data() {
        for (message, expected) in [
            (
                "Overlapping method route. Handler for `POST /api/oauth/token` already exists",
                "Overlapping method route. Handler for ... already exists",
            ),
            (
                "called `Result::unwrap()` on an `Err` value: Os { code: 2, message: \"a \\\"b\" }",
                "called ... on an ... value: Os ... code: ... message: ...",
            ),
            ("index out of bounds: the len is 3", "index out of bounds: the len is ..."),
            ("key [48, 130, 4] of http://user:hunter@proxy", "key ... of ..."),
            ("no end \"of this", "no end ..."),
            ("it isn't so (really)", "it isn't so (really)"),
        ] {
            assert_eq!(without_data(message), expected);
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_reason_and_without_its_data() {
        let child = ["--exact", "--ignored", "--nocapture", "process::telemetry::tests::panicking"];
        let output = Command::new(std::env::current_exe().unwrap()).args(child).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();

        assert!(text.contains("\"reason\":\"no literal: the secret is ...\""), "{text}");
        assert!(text.contains("\"reason\":\"Overlapping method route."), "{text}");
        assert!(text.contains("src/process/telemetry.rs:"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    #[ignore = "it panics: another test starts it as a process and reads what it writes"]
    fn panicking() {
        subscriber(None, LogFormat::Json, None).init();
        log_panics();
        let secret = "hunter2".to_owned();
        let _ = std::thread::spawn(move || panic!("no literal: the secret is {secret}")).join();
        let twice = axum::routing::get(async || ());
        let router = axum::Router::<()>::new().route("/api", twice.clone());
        let _ = std::thread::spawn(|| router.route("/api", twice)).join();
    }
}
