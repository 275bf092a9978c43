//! The trace that a span belongs to, and W3C `traceparent` in the headers of requests.
//!
//! Nothing here has an effect while traces are not exported.

use std::fmt;

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, TraceId};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SamplingDecision, ShouldSample};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Decides which requests are traced, before there is a span.
#[derive(Clone)]
pub struct RequestSampler(Box<dyn ShouldSample>);

impl RequestSampler {
    /// Decides as `sampler` does.
    pub fn new(sampler: impl Into<Box<dyn ShouldSample>>) -> Self {
        Self(sampler.into())
    }

    /// The context of the caller, if the request is traced: by its `traceparent`, or by chance.
    pub fn sample(&self, headers: &HeaderMap) -> Option<Context> {
        let caller = if headers.contains_key(TRACEPARENT) {
            TraceContextPropagator::new()
                .extract_with_context(&Context::new(), &HeaderExtractor(headers))
        } else {
            Context::new()
        };
        let trace_id = match caller.span().span_context() {
            known if known.is_valid() => known.trace_id(),
            _ => RandomIdGenerator::default().new_trace_id(),
        };
        let sampled =
            self.0.should_sample(Some(&caller), trace_id, "", &SpanKind::Server, &[], &[]);
        (sampled.decision == SamplingDecision::RecordAndSample).then_some(caller)
    }
}

impl fmt::Debug for RequestSampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Makes `span` a child of the span of the caller.
pub fn set_parent(span: &Span, caller: Context) {
    // Without the layer of OpenTelemetry there is no trace.
    let _ = span.set_parent(caller);
}

/// Fills the field `trace_id` of `span`, so that log lines name the trace. Nothing if it is not traced.
pub fn record_trace_id(span: &Span) {
    if let Some(trace_id) = trace_id(span) {
        span.record("trace_id", trace_id.to_string());
    }
}

/// The id of the trace of `span`, if it is exported.
pub(crate) fn trace_id(span: &Span) -> Option<TraceId> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_sampled().then(|| context.trace_id())
}

/// Adds `traceparent` (W3C Trace Context) to the headers of a request that `span` makes.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
}

const TRACEPARENT: &str = "traceparent";

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::Sampler;

    use super::*;

    fn with(traceparent: &str) -> HeaderMap {
        [(TRACEPARENT.parse().unwrap(), traceparent.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn the_decision_of_the_caller_comes_first_and_a_malformed_one_is_none() {
        let never = RequestSampler::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
        let always = RequestSampler::new(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let sampled = with("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let unsampled = with("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");

        let caller = never.sample(&sampled).unwrap();
        let trace_id = caller.span().span_context().trace_id().to_string();
        assert_eq!(trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(always.sample(&unsampled).is_none());
        for malformed in
            ["", "00-0-0-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"]
        {
            assert!(never.sample(&with(malformed)).is_none(), "{malformed}");
            assert!(always.sample(&with(malformed)).is_some(), "{malformed}");
        }
    }

    #[test]
    fn chance_selects_a_part_of_the_others() {
        let half = RequestSampler::new(Sampler::TraceIdRatioBased(0.5));

        let sampled = (0..1000).filter(|_| half.sample(&HeaderMap::new()).is_some()).count();

        assert!((350..650).contains(&sampled), "{sampled} of 1000");
    }
}
