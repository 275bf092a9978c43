//! Figures that are read when metrics are asked for, and not before.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::http::listener::Listener;
use super::oauth::service::TokenEndpoint;

/// A figure, or one for each of a few things.
pub struct Figure {
    /// Its name in the metrics.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Where it comes from.
    pub source: Value,
}

/// Where a figure comes from.
pub enum Value {
    /// One figure; none while nothing can be said.
    One(Box<dyn Fn() -> Option<f64> + Send + Sync>),
    /// One for each value of that label. Never for what a request can make more of.
    Each(&'static str, Box<dyn Fn() -> Vec<(String, f64)> + Send + Sync>),
    /// The same of what only grows.
    Counted(&'static str, Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync>),
}

impl Figure {
    fn one<F>(name: &'static str, help: &'static str, read: F) -> Self
    where
        F: Fn() -> Option<f64> + Send + Sync + 'static,
    {
        Self { name, help, source: Value::One(Box::new(read)) }
    }
}

/// How much the service knows, how sure it is, and what it can do.
pub fn of_service(service: &Arc<TokenEndpoint>) -> Vec<Figure> {
    let directory = || Arc::clone(&service.directory);
    let (clients, age, series, signing) = (directory(), directory(), directory(), directory());
    let settings = directory();
    let hashing = Arc::clone(service);
    let can_sign = move || {
        let series = series.series().into_iter();
        series.map(|(name, signs)| (name, f64::from(u8::from(signs.is_ok())))).collect()
    };
    vec![
        Figure::one("technical_user_clients", "Clients that this replica knows.", move || {
            figure(clients.count())
        }),
        Figure::one(
            "technical_user_watch_staleness_seconds",
            "Time since the watch that was silent the longest last received something, or since the start for one that \
                never did: beyond --max-staleness nothing is signed that depends on it.",
            move || Some(age.staleness().as_secs_f64()),
        ),
        Figure::one(
            "technical_user_can_sign",
            "Whether tokens can be signed for one SigningKey at least now: 1, or else 0.",
            move || Some(f64::from(u8::from(signing.signing().is_ok()))),
        ),
        Figure {
            name: "technical_user_signing_key_can_sign",
            help: "Whether tokens can be signed for a SigningKey now: 1, or else 0.",
            source: Value::Each("signing_key", Box::new(can_sign)),
        },
        Figure::one(
            "technical_user_settings_mismatches",
            "Flags of this token server that do not agree with those of the operator: /readyz names them.",
            move || figure(settings.mismatches().len()),
        ),
        Figure::one(
            "technical_user_hashing_queue_length",
            "Client secrets that are hashed or wait for it.",
            move || figure(hashing.authenticator.queued_hashes()),
        ),
    ]
}

/// The figures of a listener.
pub fn of_listener(listener: &Listener) -> Vec<Figure> {
    let open = listener.open_connections();
    let closed = open.clone();
    let refused = Figure {
        name: "technical_user_connections_refused",
        help: "Connections that were closed at once, by the reason.",
        source: Value::Counted(
            "reason",
            Box::new(move || vec![("source_limit".to_owned(), closed.refused())]),
        ),
    };
    let responses = listener.responses();
    let open = Figure::one(
        "technical_user_open_connections",
        "Connections of clients that are open.",
        move || figure(open.count()),
    );
    let responses = Figure {
        name: "technical_user_http_responses",
        help: "Responses by status code.",
        source: Value::Counted("code", Box::new(move || responses.counts())),
    };
    let certificate = listener.certificate().map(|certificate| {
        Figure::one(
            "technical_user_certificate_expiry_timestamp_seconds",
            "When the certificate expires that clients are shown.",
            move || certificate.expires_at().map(|at| at.as_secs_f64()),
        )
    });
    [open, refused, responses].into_iter().chain(certificate).collect()
}

impl Collector for Figure {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match &self.source {
            Value::One(read) => {
                let Some(value) = read() else { return Ok(()) };
                let gauge = ConstGauge::new(value);
                let kind = gauge.metric_type();
                gauge.encode(encoder.encode_descriptor(self.name, self.help, None, kind)?)
            }
            Value::Each(label, read) => {
                let kind = MetricType::Gauge;
                let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
                for (of, value) in read() {
                    let labels = [(*label, of.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
                Ok(())
            }
            Value::Counted(label, read) => {
                let kind = MetricType::Counter;
                let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
                for (of, value) in read() {
                    let labels = [(*label, of.as_str())];
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Figure").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Value")
    }
}

fn figure(count: usize) -> Option<f64> {
    u32::try_from(count).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    fn exposed(reading: Figure) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(reading));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let age = |value: Option<f64>| exposed(Figure::one("age", "How old", move || value));

        assert_eq!(age(Some(1.5)), "# HELP age How old\n# TYPE age gauge\nage 1.5\n# EOF\n");
        assert_eq!(age(None), "# EOF\n");
    }

    #[test]
    fn each_has_its_label() {
        let read = || vec![("a".to_owned(), 1.0), ("b\"".to_owned(), 0.0)];
        let source = Value::Each("of", Box::new(read));

        let text = exposed(Figure { name: "age", help: "How old", source });

        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines, ["age{of=\"a\"} 1.0", "age{of=\"b\\\"\"} 0.0", "# EOF"]);
    }
}
