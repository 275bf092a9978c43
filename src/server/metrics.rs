//! The metrics of the token service. No label comes from a request, so that a client cannot make more
//! series.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::audit::Records;
use super::oauth::error::OAuthError;
use crate::domain::oauth::client_authentication::ClientAuthMethod;

/// The metrics of the token service.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    seconds: Histogram,
    discovery: Family<Status, Counter>,
    jwks: Family<Status, Counter>,
    introspection: Family<Status, Counter>,
    records: Records,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    grant_type: &'static str,
    auth_method: &'static str,
    result: &'static str,
    error: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    status: u16,
}

impl Metrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            discovery: Family::default(),
            jwks: Family::default(),
            introspection: Family::default(),
            records: Records::default(),
        };
        registry.register(
            "technical_user_token_requests",
            "Requests for a token, by what came of them, and introspections that were refused",
            metrics.requests.clone(),
        );
        registry.register(
            "technical_user_token_issue_duration_seconds",
            "How long a token took, from the whole request to the whole answer",
            metrics.seconds.clone(),
        );
        registry.register(
            "technical_user_discovery_requests",
            "Requests for the metadata, by status code",
            metrics.discovery.clone(),
        );
        registry.register(
            "technical_user_jwks_requests",
            "Requests for a JWKS, by status code",
            metrics.jwks.clone(),
        );
        registry.register(
            "technical_user_introspection_requests",
            "Requests for an introspection, by status code",
            metrics.introspection.clone(),
        );
        registry.register(
            "technical_user_audit_records_lost",
            "Audit records that were lost because their writer was behind",
            metrics.records.lost.clone(),
        );
        registry.register(
            "technical_user_audit_records_suppressed",
            "Refusals and introspections that left no audit record since there were too many at once",
            metrics.records.suppressed.clone(),
        );
        metrics
    }

    /// The counters of audit records that are not there.
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    pub(super) fn issued(&self, method: ClientAuthMethod, took: Duration) {
        self.count(method, "issued", ("", ""));
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, method: ClientAuthMethod, refusal: &OAuthError) {
        self.count(method, "refused", (refusal.code(), refusal.reason()));
    }

    pub(super) fn discovery_answered(&self, status: StatusCode) {
        self.discovery.get_or_create(&Status::from(status)).inc();
    }

    pub(super) fn jwks_answered(&self, status: StatusCode) {
        self.jwks.get_or_create(&Status::from(status)).inc();
    }

    pub(super) fn introspection_answered(&self, status: StatusCode) {
        self.introspection.get_or_create(&Status::from(status)).inc();
    }

    fn count(
        &self,
        method: ClientAuthMethod,
        result: &'static str,
        (error, reason): (&'static str, &'static str),
    ) {
        let (grant_type, auth_method) = ("client_credentials", method.name());
        let request = Request { grant_type, auth_method, result, error, reason };
        self.requests.get_or_create(&request).inc();
    }
}

impl From<StatusCode> for Status {
    fn from(status: StatusCode) -> Self {
        Self { status: status.as_u16() }
    }
}
