//! TLS: both protocols, certificates that change, and what is said about those that cannot be used.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use technical_user_operator::server::http::form_request::BodyBounds;
use technical_user_operator::server::http::listener::{Certificates, ListenerLimits};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::subscriber::set_global_default;

use crate::given::{Raw, SHORT, Served, get_multiplexed, multiplexed, serve, within};

type Issue = CertifiedKey<KeyPair>;

fn issue() -> Issue {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// Valid until the first day of that year.
fn issue_until(year: i32) -> Issue {
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_after = date_time_ymd(year, 1, 1);
    let signing_key = KeyPair::generate().unwrap();
    CertifiedKey { cert: parameters.self_signed(&signing_key).unwrap(), signing_key }
}

/// A mounted Secret: the files are symlinks into a folder that is swapped at once.
struct Mounted(TempDir);

impl Mounted {
    fn new(issue: &Issue) -> Self {
        lines();
        let mounted = Self(TempDir::new().unwrap());
        mounted.swap(&issue.cert.pem(), &issue.signing_key.serialize_pem());
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mounted.path(name)).unwrap();
        }
        mounted
    }

    fn swap(&self, certificate: &str, private_key: &str) {
        let folder = TempDir::new_in(&self.0).unwrap().keep();
        fs::write(folder.join("tls.crt"), certificate).unwrap();
        fs::write(folder.join("tls.key"), private_key).unwrap();
        symlink(folder, self.path("..new")).unwrap();
        fs::rename(self.path("..new"), self.path("..data")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Certificates {
        let loaded = Certificates::load(self.path("tls.crt"), self.path("tls.key"));
        loaded.unwrap().with_check_interval(Duration::from_millis(5))
    }

    /// What was logged about these files.
    fn log(&self) -> String {
        let text = String::from_utf8(lines().0.lock().unwrap().clone()).unwrap();
        let folder = self.0.path().to_str().unwrap();
        text.lines().filter(|line| line.contains(folder)).collect::<Vec<_>>().join("\n")
    }

    async fn logged(&self, text: &str) {
        crate::given::until(|| self.log().contains(text)).await;
    }

    fn serve(&self) -> Served {
        serve(ListenerLimits::default(), BodyBounds::default(), Some(self.load()))
    }
}

/// A client that trusts these certificates.
fn client(trusted: &[&Issue], protocol: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for issue in trusted {
        roots.add(issue.cert.der().clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut settings = builder.with_root_certificates(roots).with_no_client_auth();
    settings.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(settings))
}

async fn connect(served: &Served, client: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within(client.connect(name, stream)).await.unwrap()
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone().into_owned()
}

/// Clients that resume nothing, until one sees the certificate.
async fn until_shown(served: &Served, trusted: &[&Issue], expected: &Issue) {
    within(async {
        loop {
            let client = client(trusted, b"http/1.1");
            if shown(&connect(served, &client).await) == *expected.cert.der() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn both_protocols_are_offered() {
    let issue = issue();
    let served = Mounted::new(&issue).serve();

    let stream = connect(&served, &client(&[&issue], b"http/1.1")).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(Raw(stream).get("/hello").await.body, "hello");

    let stream = connect(&served, &client(&[&issue], b"h2")).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, _connection) = multiplexed(stream).await;
    assert_eq!(get_multiplexed(&mut client, "/hello").await, "hello");
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut_off() {
    let limits = ListenerLimits { handshake: SHORT, ..ListenerLimits::default() };
    let issue = issue();
    let served = serve(limits, BodyBounds::default(), Some(Mounted::new(&issue).load()));

    served.connect().await.ended().await;
    let mut plain = served.connect().await;
    plain.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").await;

    // What comes is an alert of TLS, no HTTP.
    let mut rest = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut plain.0, &mut rest)).await;
    assert!(!rest.starts_with(b"HTTP"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_open_connections_go_on() {
    let (old, new) = (issue(), issue());
    let mounted = Mounted::new(&old);
    let served = mounted.serve();
    let client = client(&[&old, &new], b"http/1.1");
    let mut open = Raw(connect(&served, &client).await);
    assert_eq!(open.get("/hello").await.body, "hello");

    mounted.swap(&new.cert.pem(), &new.signing_key.serialize_pem());

    until_shown(&served, &[&old, &new], &new).await;
    assert_eq!(open.get("/hello").await.body, "hello");
    assert_eq!(shown(&open.0), *old.cert.der());
}

#[tokio::test]
async fn a_session_is_resumed_also_after_a_renewal() {
    let (old, new) = (issue(), issue());
    let mounted = Mounted::new(&old);
    let served = mounted.serve();
    let client = client(&[&old, &new], b"http/1.1");
    Raw(connect(&served, &client).await).get("/hello").await;

    mounted.swap(&new.cert.pem(), &new.signing_key.serialize_pem());
    until_shown(&served, &[&old, &new], &new).await;

    let stream = connect(&served, &client).await;
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(Raw(stream).get("/hello").await.body, "hello");
}

#[tokio::test]
async fn files_that_change_one_after_the_other_are_taken_together() {
    let (old, new) = (issue(), issue());
    let mounted = Mounted::new(&old);
    let served = mounted.serve();

    fs::write(mounted.path("tls.crt"), new.cert.pem()).unwrap();
    mounted.logged("refused").await;
    until_shown(&served, &[&old, &new], &old).await;
    fs::write(mounted.path("tls.key"), new.signing_key.serialize_pem()).unwrap();

    until_shown(&served, &[&old, &new], &new).await;
    mounted.logged("certificate renewed").await;
}

#[tokio::test]
async fn a_broken_renewal_keeps_the_old_certificate_and_is_told_once() {
    let (old, new) = (issue(), issue());
    let mounted = Mounted::new(&old);
    let served = mounted.serve();
    let private_key = new.signing_key.serialize_pem();
    let broken = &private_key[..private_key.len() - 40];

    mounted.swap(&new.cert.pem(), broken);
    mounted.logged("tls.key is not well-formed PEM").await;
    // Ten more looks.
    tokio::time::sleep(SHORT).await;
    until_shown(&served, &[&old], &old).await;
    mounted.swap(&new.cert.pem(), &private_key);
    mounted.logged("certificate renewed").await;

    until_shown(&served, &[&new], &new).await;
    let text = mounted.log();
    assert_eq!(text.matches("refused").count(), 1, "{text}");
    let secrets = private_key.lines().filter(|line| !line.starts_with("-----"));
    for line in secrets {
        assert!(!text.contains(line));
    }
}

#[tokio::test]
async fn metrics_say_when_the_certificate_expires_that_is_shown() {
    let (old, new) = (issue_until(2030), issue_until(2031));
    let mounted = Mounted::new(&old);
    let served = mounted.serve();
    let expiry = || served.metric("technical_user_certificate_expiry_timestamp_seconds");
    assert_eq!(expiry(), Some(1_893_456_000.0));

    mounted.swap(&new.cert.pem(), &new.signing_key.serialize_pem());

    until_shown(&served, &[&old, &new], &new).await;
    assert_eq!(expiry(), Some(1_924_992_000.0));
    let plain = crate::given::served(ListenerLimits::default());
    assert_eq!(plain.metric("technical_user_certificate_expiry_timestamp_seconds"), None);
}

#[test]
fn what_cannot_be_used_is_said_in_a_sentence() {
    let (issue, other) = (issue(), issue());
    let (certificate, private_key) = (issue.cert.pem(), issue.signing_key.serialize_pem());
    let cut = |text: &str| text[..text.len() - 40].to_owned();
    let public = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n".to_owned();
    let secret = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n".to_owned();
    let strange = other.signing_key.serialize_pem();
    let cases = [
        (String::new(), private_key.clone(), "tls.crt holds no certificate"),
        (private_key.clone(), certificate.clone(), "tls.crt holds no certificate"),
        (cut(&certificate), private_key.clone(), "tls.crt is not well-formed PEM"),
        (public, private_key.clone(), "the first certificate in"),
        (certificate.clone(), String::new(), "tls.key holds no private key"),
        (certificate.clone(), cut(&private_key), "tls.key is not well-formed PEM"),
        (certificate.clone(), secret, "tls.key cannot be used"),
        (certificate.clone(), strange, "does not belong to the first certificate"),
    ];
    for (certificate, private_key, expected) in cases {
        let mounted = Mounted::new(&issue);
        mounted.swap(&certificate, &private_key);

        let refused = Certificates::load(mounted.path("tls.crt"), mounted.path("tls.key"));

        let text = refused.unwrap_err().to_string();
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let mounted = Mounted::new(&issue);
    let refused = Certificates::load(mounted.path("tls.crt"), mounted.path("none"));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("none cannot be read: No such file"), "{text}");
}

/// Everything that is logged. One subscriber for all tests: one for each misses what another thread logged first.
fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        set_global_default(subscriber.with_writer(move || writer.clone()).finish()).unwrap();
        lines
    })
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
