//! Figures that are read when metrics are asked for, and not before.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

/// One figure; none while nothing can be said.
pub struct Reading {
    /// Its name in the metrics.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Reads it.
    pub read: Box<dyn Fn() -> Option<f64> + Send + Sync>,
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(value) = (self.read)() else { return Ok(()) };
        let gauge = ConstGauge::new(value);
        let encoder = encoder.encode_descriptor(self.name, self.help, None, gauge.metric_type())?;
        gauge.encode(encoder)
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reading").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let exposed = |value: Option<f64>| {
            let mut registry = Registry::default();
            let read = Box::new(move || value);
            registry.register_collector(Box::new(Reading { name: "age", help: "How old", read }));
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };

        assert_eq!(exposed(Some(1.5)), "# HELP age How old\n# TYPE age gauge\nage 1.5\n# EOF\n");
        assert_eq!(exposed(None), "# EOF\n");
    }
}
