//! Why the API server is unavailable. Nothing here holds a text of a server, a file or a request: those can
//! quote values.

use std::fmt;

/// The kind of a failure that is not about the object of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No answer came: the request may have been carried out.
    NoAnswer(NoAnswer),
    /// The answer cannot be read.
    InvalidResponse,
    /// The answer is too large.
    Oversized,
    /// The server is overloaded (429).
    TooManyRequests,
    /// The server failed with this status code.
    Server(u16),
    /// There was no time left for the request.
    NotTried,
}

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The name of the server has no address.
    Dns,
    /// Nothing listens at the address.
    Refused,
    /// No route leads to the address.
    Unreachable,
    /// The connection broke.
    Closed,
    /// No answer came in time.
    Timeout,
    /// TLS failed.
    Tls(TlsFailure),
    /// The proxy does not let the connection through, for this reason.
    Proxy(&'static str),
    /// The login of the kubeconfig file failed.
    Login,
    /// Anything else.
    Unknown,
}

/// Why a TLS handshake failed (RFC 8446).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// No configured authority issued the certificate of the server.
    UnknownIssuer,
    /// The certificate of the server has expired.
    Expired,
    /// The certificate of the server is not valid yet.
    NotYetValid,
    /// The certificate of the server is for other names.
    Name,
    /// The certificate of the server is not valid for another reason.
    Certificate,
    /// The server refused the handshake, often for lack of a client certificate that it accepts.
    Alert,
    /// The two sides do not speak the same protocol.
    Protocol,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(cause) => write!(formatter, "no answer: {cause}"),
            Self::InvalidResponse => formatter.write_str("an answer that cannot be read"),
            Self::Oversized => formatter.write_str("an answer that is too large"),
            Self::TooManyRequests => formatter.write_str("429 too many requests"),
            Self::Server(code) => write!(formatter, "status {code}"),
            Self::NotTried => formatter.write_str("requests take too long"),
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Dns => "the name of the server has no address (DNS)",
            Self::Refused => "connection refused",
            Self::Unreachable => "the address cannot be reached",
            Self::Closed => "the connection was closed",
            Self::Timeout => "timeout",
            Self::Tls(failure) => return write!(formatter, "TLS: {failure}"),
            Self::Proxy(reason) => return write!(formatter, "proxy: {reason}"),
            Self::Login => "the login that the kubeconfig file names failed",
            Self::Unknown => "the connection failed",
        })
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownIssuer => "the certificate of the server has an unknown issuer",
            Self::Expired => "the certificate of the server has expired",
            Self::NotYetValid => "the certificate of the server is not valid yet",
            Self::Name => "the certificate of the server is for another name",
            Self::Certificate => "the certificate of the server is not valid",
            Self::Alert => "the server refused the handshake",
            Self::Protocol => "the handshake failed",
        })
    }
}
