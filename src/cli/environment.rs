//! The environment variables that are no flags.

use super::otel::{InvalidVariable, OtelVariables};

/// The proxies that the environment names.
#[derive(Clone, Default)]
pub struct ProxyVariables {
    /// For an API server with https.
    pub https: Option<String>,
    /// For an API server with http.
    pub http: Option<String>,
    /// Hosts and networks without a proxy, separated by commas.
    pub none_for: Option<String>,
}

/// The host name of this machine or pod, for readers of the Lease.
#[expect(clippy::disallowed_methods, reason = "this is the reader of the environment")]
pub fn host_name() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let name = name.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    name.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The proxies that the environment names, each by its variable in upper or lower case, as curl and kubectl
/// read them.
#[expect(clippy::disallowed_methods, reason = "this is the reader of the environment")]
pub fn proxy_variables() -> ProxyVariables {
    let of = |name: &str| {
        let names = [name.to_owned(), name.to_ascii_lowercase()];
        names.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
    };
    ProxyVariables { https: of("HTTPS_PROXY"), http: of("HTTP_PROXY"), none_for: of("NO_PROXY") }
}

/// The filter of logs, `RUST_LOG`.
#[expect(clippy::disallowed_methods, reason = "this is the reader of the environment")]
pub fn log_filter() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

/// The variables of OpenTelemetry, an empty one as one that is not set.
///
/// # Errors
///
/// As [`OtelVariables::read`].
#[expect(clippy::disallowed_methods, reason = "this is the reader of the environment")]
pub fn otel_variables() -> Result<Option<OtelVariables>, InvalidVariable> {
    OtelVariables::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}
