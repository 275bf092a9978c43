//! From the errors of the transport to their kind. No text of an error is kept: texts of kube, serde and servers can
//! quote values.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use crate::domain::conditions::unavailable::{NoAnswer, TlsFailure};

/// Why a proxy does not let a connection through.
#[derive(Debug, thiserror::Error)]
#[error("proxy: {0}")]
pub(crate) struct ProxyRefusal(pub(crate) &'static str);

/// The kind of an error of the transport, by the errors that caused it.
pub(crate) fn no_answer(error: &(dyn Error + 'static)) -> NoAnswer {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(kind) = kind(error) {
            return kind;
        }
        next = cause(error);
    }
    NoAnswer::Unknown
}

/// The cause of an error. `io::Error` passes over the error that it holds.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source())
}

fn kind(error: &(dyn Error + 'static)) -> Option<NoAnswer> {
    if let Some(kube::Error::Auth(_)) = error.downcast_ref() {
        return Some(NoAnswer::Login);
    }
    if let Some(ProxyRefusal(reason)) = error.downcast_ref() {
        return Some(NoAnswer::Proxy(reason));
    }
    if let Some(error) = error.downcast_ref() {
        return Some(NoAnswer::Tls(tls(error)));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        let is_closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
        return match (error.is_timeout(), is_closed) {
            (true, _) => Some(NoAnswer::Timeout),
            (false, true) => Some(NoAnswer::Closed),
            (false, false) => None,
        };
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // The error that it holds says more.
        let held = error.get_ref().and_then(|held| kind(held));
        return held.or_else(|| of_io(error.kind()));
    }
    // The type is private to hyper-util; its text is fixed.
    (error.to_string() == "dns error").then_some(NoAnswer::Dns)
}

fn of_io(kind: io::ErrorKind) -> Option<NoAnswer> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of std that grows")]
    match kind {
        io::ErrorKind::ConnectionRefused => Some(NoAnswer::Refused),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Some(NoAnswer::Unreachable),
        io::ErrorKind::TimedOut => Some(NoAnswer::Timeout),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Some(NoAnswer::Closed),
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> TlsFailure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "enums of rustls that grow")]
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            // A bad signature is that of an authority with the name of a configured one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                TlsFailure::UnknownIssuer
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsFailure::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFailure::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::Name
            }
            _ => TlsFailure::Certificate,
        },
        rustls::Error::AlertReceived(_) => TlsFailure::Alert,
        _ => TlsFailure::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use kube::{Client, Config};
    use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    /// What a client says of a server that does `serve` with each connection.
    async fn of<F>(
        scheme: &str,
        authority: Option<&Issuer>,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> NoAnswer
    where
        F: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream).await;
            }
        });
        let told = asked(&format!("{scheme}://{address}"), authority).await;
        server.abort();
        told
    }

    async fn asked(url: &str, authority: Option<&Issuer>) -> NoAnswer {
        // The second call finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::new(url.parse().unwrap());
        config.read_timeout = Some(Duration::from_millis(500));
        config.root_cert = authority.map(|it| vec![it.der().to_vec()]);
        let client = Client::try_from(config).unwrap();
        let request = http::Request::get("/version").body(Vec::new()).unwrap();
        let error = client.request::<serde_json::Value>(request).await.unwrap_err();
        no_answer(&error)
    }

    fn issuer() -> Issuer {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn params(name: &str) -> CertificateParams {
        CertificateParams::new([name.to_owned()]).unwrap()
    }

    /// A TLS server with that certificate; it wants client certificates of the issuer if `wants_client`.
    fn tls_server(params: &CertificateParams, issuer: &Issuer, wants_client: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = if wants_client {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        } else {
            config.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
    }

    async fn of_tls(server: TlsAcceptor, trusted: &Issuer) -> NoAnswer {
        of("https", Some(trusted), move |stream| {
            let server = server.clone();
            async move {
                if let Ok(mut stream) = server.accept(stream).await {
                    let _ = stream.read(&mut [0; 1024]).await;
                }
            }
        })
        .await
    }

    #[tokio::test]
    async fn each_failure_of_a_connection_has_its_kind() {
        let closed: SocketAddr = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };

        assert_eq!(asked(&format!("http://{closed}"), None).await, NoAnswer::Refused);
        assert_eq!(asked("http://no-such-host.invalid", None).await, NoAnswer::Dns);
        assert_eq!(of("http", None, |stream| async { drop(stream) }).await, NoAnswer::Closed);
        let silent = |stream| async move {
            let _kept: TcpStream = stream;
            std::future::pending::<()>().await;
        };
        assert_eq!(of("http", None, silent).await, NoAnswer::Timeout);
    }

    #[tokio::test]
    async fn each_failure_of_tls_has_its_kind() {
        let (issuer, other) = (issuer(), issuer());
        let local = || params("127.0.0.1");
        let server = |params: &CertificateParams| tls_server(params, &issuer, false);
        let (mut expired, mut early) = (local(), local());
        expired.not_after = date_time_ymd(2001, 1, 1);
        early.not_before = date_time_ymd(4000, 1, 1);
        early.not_after = date_time_ymd(4001, 1, 1);
        let kind = NoAnswer::Tls;

        assert_eq!(of_tls(server(&local()), &other).await, kind(TlsFailure::UnknownIssuer));
        assert_eq!(of_tls(server(&expired), &issuer).await, kind(TlsFailure::Expired));
        assert_eq!(of_tls(server(&early), &issuer).await, kind(TlsFailure::NotYetValid));
        assert_eq!(of_tls(server(&params("other.example")), &issuer).await, kind(TlsFailure::Name));
        let wants_client = tls_server(&local(), &issuer, true);
        assert_eq!(of_tls(wants_client, &issuer).await, kind(TlsFailure::Alert));
        let plain = |mut stream: TcpStream| async move {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        };
        assert_eq!(of("https", Some(&issuer), plain).await, kind(TlsFailure::Protocol));
    }

    #[test]
    fn a_proxy_that_refuses_says_why() {
        let error = io::Error::new(io::ErrorKind::ConnectionRefused, ProxyRefusal("no"));

        assert_eq!(no_answer(&error), NoAnswer::Proxy("no"));
    }
}
