//! The variables of OpenTelemetry that this program reads itself. Its libraries read the others: headers, resource,
//! limits and batches.

use std::time::Duration;

/// Where traces go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelVariables {
    /// Whether an endpoint has `https`.
    pub is_encrypted: bool,
    /// The decision for a trace that begins here.
    pub root: RootSampler,
    /// Whether the decision of the caller counts before that of `root`.
    pub is_parent_based: bool,
    /// The longest time of one export.
    pub timeout: Duration,
    /// Whether the environment names the service.
    pub has_service_name: bool,
}

/// Which traces of those that begin here are exported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RootSampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This part of all, between 0 and 1.
    TraceIdRatio(f64),
}

/// A variable that cannot be used. Its value is quoted, since none of these holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is \"{value}\": {remedy}")]
pub struct InvalidVariable {
    name: &'static str,
    value: String,
    remedy: &'static str,
}

impl OtelVariables {
    /// Reads them from `variable`. `None` if no traces are to be exported: no endpoint is set, or
    /// `OTEL_SDK_DISABLED` or `OTEL_TRACES_EXPORTER` says so.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`]: no traces can be exported with this value.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, InvalidVariable> {
        let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let endpoint = endpoints.iter().find_map(|name| variable(name));
        let is_disabled =
            variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let exporter = variable("OTEL_TRACES_EXPORTER");
        let Some(endpoint) = endpoint.filter(|_| !is_disabled) else { return Ok(None) };
        match exporter.as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                let remedy = "set it to otlp or none";
                return Err(invalid("OTEL_TRACES_EXPORTER", other, remedy));
            }
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(protocol) = variable(name).filter(|it| it != "http/protobuf") {
                let remedy = "set it to http/protobuf, with the HTTP endpoint of the receiver, which most often \
                    has port 4318";
                return Err(invalid(name, &protocol, remedy));
            }
        }
        let (root, is_parent_based) = sampler(&variable)?;
        let names_service =
            |it: String| it.split(',').any(|pair| pair.trim().starts_with("service.name="));
        Ok(Some(Self {
            is_encrypted: endpoint.starts_with("https:"),
            root,
            is_parent_based,
            timeout: timeout(&variable)?,
            has_service_name: variable("OTEL_SERVICE_NAME").is_some()
                || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(names_service),
        }))
    }
}

fn sampler(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(RootSampler, bool), InvalidVariable> {
    let Some(name) = variable("OTEL_TRACES_SAMPLER") else {
        return Ok((RootSampler::AlwaysOn, true));
    };
    let ratio = || {
        let Some(text) = variable("OTEL_TRACES_SAMPLER_ARG") else {
            return Ok(RootSampler::TraceIdRatio(1.0));
        };
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        let ratio = ratio.map(RootSampler::TraceIdRatio);
        ratio.ok_or_else(|| {
            invalid("OTEL_TRACES_SAMPLER_ARG", &text, "set it to a number from 0 to 1")
        })
    };
    Ok(match name.as_str() {
        "always_on" => (RootSampler::AlwaysOn, false),
        "always_off" => (RootSampler::AlwaysOff, false),
        "traceidratio" => (ratio()?, false),
        "parentbased_always_on" => (RootSampler::AlwaysOn, true),
        "parentbased_always_off" => (RootSampler::AlwaysOff, true),
        "parentbased_traceidratio" => (ratio()?, true),
        other => {
            let remedy = "set it to always_on, always_off, traceidratio, parentbased_always_on, \
                parentbased_always_off or parentbased_traceidratio";
            return Err(invalid("OTEL_TRACES_SAMPLER", other, remedy));
        }
    })
}

fn timeout(variable: impl Fn(&str) -> Option<String>) -> Result<Duration, InvalidVariable> {
    for name in ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"] {
        if let Some(text) = variable(name) {
            let milliseconds = text.parse().ok().filter(|it| *it > 0);
            let milliseconds = milliseconds
                .ok_or_else(|| invalid(name, &text, "set it to a number of milliseconds"))?;
            return Ok(Duration::from_millis(milliseconds));
        }
    }
    Ok(DEFAULT_TIMEOUT)
}

fn invalid(name: &'static str, value: &str, remedy: &'static str) -> InvalidVariable {
    InvalidVariable { name, value: value.to_owned(), remedy }
}

/// The default of OTLP.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<OtelVariables>, InvalidVariable> {
        OtelVariables::read(|name| {
            let found = variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318");

    #[test]
    fn without_an_endpoint_or_when_switched_off_there_are_no_traces() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_TRACES_SAMPLER", "wrong")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn the_defaults_are_those_of_opentelemetry() {
        let found = read(&[ENDPOINT]).unwrap().unwrap();

        assert_eq!((found.root, found.is_parent_based), (RootSampler::AlwaysOn, true));
        assert_eq!(found.timeout, Duration::from_secs(10));
        assert!(!found.is_encrypted && !found.has_service_name);
    }

    #[test]
    fn the_variables_of_traces_come_before_those_of_all_signals() {
        let found = read(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://otel/v1/traces"),
            ENDPOINT,
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "900"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=iam"),
        ]);
        let found = found.unwrap().unwrap();

        assert_eq!((found.root, found.is_parent_based), (RootSampler::TraceIdRatio(0.01), false));
        assert_eq!(found.timeout, Duration::from_millis(500));
        assert!(found.is_encrypted && found.has_service_name);
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_with_its_remedy() {
        for (name, value, remedy) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
            ("OTEL_TRACES_SAMPLER", "xray", "parentbased_traceidratio"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
        ] {
            let text = read(&[ENDPOINT, (name, value)]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(value) && text.contains(remedy), "{text}");
        }
        let ratio = ("OTEL_TRACES_SAMPLER_ARG", "2");
        let text = read(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ratio]).unwrap_err();
        assert!(text.to_string().contains("from 0 to 1"), "{text}");
    }
}
