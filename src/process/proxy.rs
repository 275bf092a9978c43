//! The proxy on the way to the API server, chosen as kubectl chooses it: the `proxy-url` of the kubeconfig
//! file, or else the variables of the environment, except for the hosts of `NO_PROXY`.
//!
//! The URL of a proxy can hold a password: no error and no `Debug` shows one.

use std::fmt;
use std::net::IpAddr;

use http::Uri;

use crate::cli::ProxyVariables;

/// Why a proxy cannot be used; the field is where its URL stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL of a proxy.
    #[error(
        "the proxy of {0} is not a URL: write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, \
         with each special character of the password as %XX"
    )]
    NotAUrl(&'static str),
    /// Of a scheme that no proxy speaks.
    #[error("the proxy of {0} must have the scheme http, https, socks5 or socks5h")]
    Scheme(&'static str),
}

/// The proxy for `server`, if there is one.
pub(super) fn proxy_for(
    server: &Uri,
    kubeconfig: Option<&str>,
    variables: &ProxyVariables,
) -> Result<Option<Uri>, ProxyError> {
    // As in client-go, NO_PROXY is for the variables alone.
    if let Some(url) = kubeconfig.filter(|url| !url.is_empty()) {
        return proxy(url, "proxy-url in the kubeconfig file").map(Some);
    }
    let is_https = server.scheme_str() == Some("https");
    let (url, variable) =
        if is_https { (&variables.https, "HTTPS_PROXY") } else { (&variables.http, "HTTP_PROXY") };
    let port = server.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let none_for = variables.none_for.as_deref().unwrap_or_default();
    match url {
        Some(url) if !is_in_no_proxy(none_for, server.host().unwrap_or_default(), port) => {
            proxy(url, variable).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

fn proxy(text: &str, place: &'static str) -> Result<Uri, ProxyError> {
    let text = text.trim();
    // Without a scheme it is an HTTP proxy.
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // What is wrong with a URL is said by its form, and its text can have a password.
    let url: Uri = with_scheme.parse().map_err(|_| ProxyError::NotAUrl(place))?;
    let authority = url.authority().map(ToString::to_string).unwrap_or_default();
    if url.host().is_none_or(str::is_empty) {
        return Err(ProxyError::NotAUrl(place));
    }
    match url.scheme_str().unwrap_or_default() {
        "http" | "https" => Ok(url),
        "socks5" | "socks5h" => {
            let port = if url.port().is_some() { "" } else { ":1080" };
            // The proxy resolves the name either way.
            let socks = format!("socks5://{authority}{port}");
            // As above.
            socks.parse().map_err(|_| ProxyError::NotAUrl(place))
        }
        _ => Err(ProxyError::Scheme(place)),
    }
}

/// Whether no proxy is used for that host, by the rules of Go (`golang.org/x/net/http/httpproxy`).
fn is_in_no_proxy(none_for: &str, host: &str, port: u16) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|it| it.is_loopback()) {
        return true;
    }
    let none_for = none_for.to_ascii_lowercase();
    none_for.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return address.is_some_and(|it| is_in(it, network, bits));
        }
        let (name, only) = host_and_port(entry);
        let is_port = only.is_none_or(|only| only == port.to_string());
        let named = name.parse::<IpAddr>();
        let is_host = named.map_or_else(|_| is_below(&host, name), |named| address == Some(named));
        is_port && is_host
    })
}

fn host_and_port(entry: &str) -> (&str, Option<&str>) {
    let is_address = entry.parse::<IpAddr>().is_ok();
    let (name, port) = match entry.rsplit_once(':').filter(|_| !is_address) {
        Some((name, port)) => (name, Some(port)),
        None => (entry, None),
    };
    (name.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Whether `host` is that domain or below it; `.example.com` and `*.example.com` are what is below alone.
fn is_below(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('*').filter(|it| it.starts_with('.')).unwrap_or(domain);
    let name = domain.strip_prefix('.').unwrap_or(domain);
    let above = host.strip_suffix(name);
    match above {
        Some("") => name == domain && !name.is_empty(),
        Some(above) => above.ends_with('.') && !name.is_empty(),
        None => false,
    }
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let differs = address.to_bits() ^ network.to_bits();
            differs.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

impl fmt::Debug for ProxyVariables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProxyVariables").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(https: &str, none_for: &str) -> ProxyVariables {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        ProxyVariables { https: some(https), http: None, none_for: some(none_for) }
    }

    fn chosen(
        server: &str,
        kubeconfig: Option<&str>,
        variables: &ProxyVariables,
    ) -> Option<String> {
        let chosen = proxy_for(&server.parse().unwrap(), kubeconfig, variables).unwrap();
        chosen.map(|url| url.to_string())
    }

    #[test]
    fn the_kubeconfig_file_comes_first_and_the_variable_follows_no_proxy() {
        let of_variable = variables("http://user:word@proxy:3128", "corp.example");
        let server = "https://api.corp.example:6443";

        assert_eq!(chosen(server, None, &of_variable), None);
        assert_eq!(
            chosen("https://api.other.example", None, &of_variable).as_deref(),
            Some("http://user:word@proxy:3128/")
        );
        let of_file = chosen(server, Some("http://other:80"), &of_variable);
        assert_eq!(of_file.as_deref(), Some("http://other:80/"));
        assert_eq!(chosen(server, Some(""), &of_variable), None);
        // An API server with http has a variable of its own.
        assert_eq!(chosen("http://api.other.example", None, &of_variable), None);
    }

    #[test]
    fn a_proxy_may_lack_its_scheme_and_socks_its_port() {
        for (text, expected) in [
            ("proxy:3128", "http://proxy:3128/"),
            ("user:w%40rd@proxy:3128", "http://user:w%40rd@proxy:3128/"),
            ("https://proxy", "https://proxy/"),
            ("socks5://proxy", "socks5://proxy:1080/"),
            ("socks5h://user:word@proxy:1", "socks5://user:word@proxy:1/"),
        ] {
            assert_eq!(proxy(text, "HTTPS_PROXY").unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_a_sentence_without_its_password() {
        for text in [
            "http://user:hunter^2@proxy:3128",
            "http://user:hunter@",
            "ftp://user:hunter@proxy",
            "socks4://user:hunter@proxy",
            "http://user:hun ter@proxy",
        ] {
            let error = proxy(text, "HTTPS_PROXY").unwrap_err();
            let said = format!("{error} {error:?} {:?}", variables(text, ""));
            assert!(said.contains("HTTPS_PROXY") && !said.contains("hun"), "{said}");
        }
    }

    #[test]
    fn no_proxy_has_the_rules_of_go() {
        for (none_for, host, is) in [
            ("", "api.example.com", false),
            ("", "localhost", true),
            ("", "127.0.0.1", true),
            ("", "[::1]", true),
            ("*", "api.example.com", true),
            ("example.com", "example.com", true),
            ("example.com", "API.example.com", true),
            ("example.com", "badexample.com", false),
            (".example.com", "example.com", false),
            (".example.com", "api.example.com", true),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "example.com", false),
            (" other , ,example.com, ", "example.com", true),
            ("example.com:6443", "example.com", true),
            ("example.com:443", "example.com", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1:6443", "10.0.0.1", true),
            ("10.0.0.1:443", "10.0.0.1", false),
            ("10.0.0.0/8", "10.200.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("fd00::/8", "[fd12::1]", true),
            ("fd12::1", "[fd12::1]", true),
            ("[fd12::1]:6443", "[fd12::1]", true),
            ("10.0.0.0/40", "10.0.0.1", false),
            ("10.0.0.0/8", "api.example.com", false),
            (".", "api.example.com", false),
        ] {
            assert_eq!(is_in_no_proxy(none_for, host, 6443), is, "{none_for} {host}");
        }
    }
}
