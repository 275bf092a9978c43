//! The issuer: a URL that every verifier of a token compares byte by byte.

/// Why an issuer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Not a URL.
    #[error("--issuer {0} is not a URL: write it like https://auth.example.com")]
    NotAUrl(String),
    /// Not https.
    #[error(
        "--issuer {0} must start with https://. For trying out on this machine, an http issuer on \
         127.0.0.1, [::1] or localhost is accepted with --allow-insecure-issuer"
    )]
    NotHttps(String),
    /// Something that verifiers refuse.
    #[error(
        "--issuer {0} must have a host and no user, query, fragment or trailing slash: it is \
         compared byte by byte by every verifier of a token"
    )]
    NotPlain(String),
    /// A path that is not the same for everyone.
    #[error(
        "--issuer {0} has a path that clients and proxies change on the way: write it without empty \
         segments, `.` and `..`, and with letters, digits, %XX and -._~!$&'()*+,;=:@ alone"
    )]
    Path(String),
}

pub(super) fn check_issuer(issuer: &str, is_insecure_allowed: bool) -> Result<String, IssuerError> {
    // The message shows the value, without a password.
    let url: http::Uri = issuer.parse().map_err(|_| IssuerError::NotAUrl(shown(issuer)))?;
    let host = url.host().unwrap_or_default();
    let is_loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|it: std::net::IpAddr| it.is_loopback());
    match url.scheme_str() {
        Some("https") => {}
        Some("http") if is_insecure_allowed && is_loopback => {}
        Some(_) => return Err(IssuerError::NotHttps(shown(issuer))),
        None => return Err(IssuerError::NotAUrl(shown(issuer))),
    }
    let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let is_plain = !host.is_empty()
        && !has_user
        && url.query().is_none()
        && !issuer.contains('#')
        && !issuer.ends_with('/')
        && issuer.len() <= MAX_ISSUER_LENGTH;
    if !is_plain {
        return Err(IssuerError::NotPlain(shown(issuer)));
    }
    let segments = url.path().strip_prefix('/').unwrap_or_default();
    let is_kept = segments.is_empty() || segments.split('/').all(is_kept_segment);
    if is_kept { Ok(issuer.to_owned()) } else { Err(IssuerError::Path(shown(issuer))) }
}

/// As an error shows it: what stands before an `@` can be a password.
fn shown(issuer: &str) -> String {
    issuer.rsplit_once('@').map_or_else(|| issuer.to_owned(), |(_, rest)| format!("...@{rest}"))
}

/// Whether everybody leaves a segment of a path as it is (RFC 3986 sections 3.3 and 5.2.4).
fn is_kept_segment(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let is_character = |(at, byte): (usize, &u8)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit)),
        _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(byte),
    };
    let dots = segment.to_ascii_lowercase().replace("%2e", ".");
    !["", ".", ".."].contains(&dots.as_str()) && bytes.iter().enumerate().all(is_character)
}

/// The bound of Envoy Gateway.
const MAX_ISSUER_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_plain_https_url() {
        for good in [
            "https://auth.example.com",
            "https://auth.example.com:8443/iam",
            "https://auth.example.com/api",
            "https://auth.example.com/:t/*",
            "https://auth.example.com/a%20b/..c",
        ] {
            assert_eq!(check_issuer(good, false), Ok(good.to_owned()));
        }
        for bad in [
            "auth.example.com",
            "http://auth.example.com",
            "http://127.0.0.1:8080",
            "https://auth.example.com/",
            "https://auth.example.com?tenant=a",
            "https://auth.example.com#a",
            "https://user@auth.example.com",
            "ftp://auth.example.com",
            "https://auth.example.com/{t}",
            "https://auth.example.com/a%2",
            "https://auth.example.com/a//b",
            "https://auth.example.com/a/../b",
            "https://auth.example.com/%2E%2e",
            "https://auth.example.com/a|b",
            "",
        ] {
            assert!(check_issuer(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_shows_no_password() {
        for issuer in ["https://user:hunter@a.example", "http://user:hunter@a", "user:hun^ter@a"] {
            let error = check_issuer(issuer, false).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hun"), "{error}");
        }
    }

    #[test]
    fn an_insecure_issuer_is_accepted_on_loopback_and_only_when_allowed() {
        for good in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"] {
            assert_eq!(check_issuer(good, true), Ok(good.to_owned()));
        }
        let elsewhere = "http://auth.example.com".to_owned();
        assert_eq!(check_issuer(&elsewhere, true), Err(IssuerError::NotHttps(elsewhere)));
    }
}
