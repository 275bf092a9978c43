//! The certificate of a listener, reloaded when it changes.
//!
//! Kubernetes swaps a mounted Secret by a symlink, other tools write one file after the other. So
//! no signal is needed: the contents of the files are compared every few seconds, and used when
//! certificate and private key belong together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// Why a certificate and a private key cannot be used. It never tells what is in a file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Missing, or not for us.
    #[error("{0} cannot be read: {1}. TLS needs a file with {2}, readable by this process")]
    Unreadable(PathBuf, io::Error, &'static str),
    /// Not PEM, or cut short.
    #[error("{0} is not well-formed PEM: write {1} into it")]
    NotPem(PathBuf, &'static str),
    /// No certificate.
    #[error(
        "{0} holds no certificate: it must hold the certificate of this server and then its chain, \
         each in a section that begins with -----BEGIN CERTIFICATE-----"
    )]
    NoCertificate(PathBuf),
    /// No private key.
    #[error(
        "{0} holds no private key: it must hold one that is not encrypted, in a section that begins \
         with -----BEGIN PRIVATE KEY-----, -----BEGIN EC PRIVATE KEY----- or \
         -----BEGIN RSA PRIVATE KEY-----"
    )]
    NoPrivateKey(PathBuf),
    /// A private key that is not supported.
    #[error(
        "the private key in {0} cannot be used: make an ECDSA key on P-256, P-384 or P-521, an Ed25519 \
         key, or an RSA key of 2048 bits or more"
    )]
    UnusablePrivateKey(PathBuf),
    /// The first certificate is not one.
    #[error("the first certificate in {0} cannot be read: issue it again")]
    UnusableCertificate(PathBuf),
    /// They do not belong together.
    #[error(
        "the private key in {private_key} does not belong to the first certificate in {certificate}: \
         write both from the same issue, the certificate of this server before its chain"
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the private key.
        private_key: PathBuf,
    },
    /// No randomness, or no common ground between our own settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate chain and its private key, in two PEM files.
#[derive(Debug)]
pub struct Certificates {
    files: Files,
    current: Arc<Current>,
    settings: Arc<ServerConfig>,
    first: Fingerprint,
    every: Duration,
}

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], one sentence that says which file and what to do.
    pub fn load(certificate: PathBuf, private_key: PathBuf) -> Result<Self, CertificateError> {
        let files =
            Files { certificate, private_key, provider: Arc::new(aws_lc_rs::default_provider()) };
        let read = files.read();
        let first = read.fingerprint();
        let current = Arc::new(Current(RwLock::new(Arc::new(files.pair(read)?))));
        let settings = settings(Arc::clone(&files.provider), Arc::clone(&current))?;
        Ok(Self { files, current, settings: Arc::new(settings), first, every: CHECK_INTERVAL })
    }

    /// How often the files are checked: every 10 seconds by default.
    #[must_use]
    pub fn with_check_interval(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// The certificate that new connections get.
    pub(super) fn current(&self) -> CurrentCertificate {
        CurrentCertificate(Arc::clone(&self.current))
    }

    pub(super) fn settings(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.settings)
    }

    /// Keeps up with the files. Never ends.
    pub(super) async fn reload(&self) {
        let mut looks = interval(self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = self.first;
        let (mut suspected, mut refused) = (None, None);
        loop {
            looks.tick().await;
            let (files, known) = (self.files.clone(), [Some(taken), refused]);
            let look = tokio::task::spawn_blocking(move || files.look(&known));
            let Ok((seen, pair)) = look.await else { continue };
            match pair {
                None => {}
                Some(Ok(pair)) => {
                    self.current.replace(pair);
                    taken = seen;
                    tracing::info!(file = %self.files.certificate.display(), "certificate renewed");
                }
                // Perhaps only one of the files was written yet: read both again before the log says so.
                Some(Err(_)) if suspected != Some(seen) => suspected = Some(seen),
                Some(Err(error)) => {
                    tracing::warn!(%error, "a new certificate was refused, the one before stays");
                    refused = Some(seen);
                }
            }
        }
    }
}

fn settings(
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
) -> Result<ServerConfig, rustls::Error> {
    let mut settings = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(current);
    settings.alpn_protocols = vec![HTTP_2.to_owned(), b"http/1.1".to_vec()];
    // The client keeps the session, sealed by a key that changes every 6 hours: any number of clients
    // can resume, also after a renewal, and none after 12 hours without a connection.
    settings.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(settings)
}

/// The certificate of new connections.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Current {
    fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, pair: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair())
    }
}

/// The certificate that new connections of a listener are shown; it outlives the listener.
#[derive(Clone, Debug)]
pub struct CurrentCertificate(Arc<Current>);

impl CurrentCertificate {
    /// The end of its validity, as the time since 1970.
    pub fn expires_at(&self) -> Option<Duration> {
        let pair = self.0.pair();
        let (_, certificate) = parse_x509_certificate(pair.end_entity_cert().ok()?).ok()?;
        let seconds = certificate.validity().not_after.timestamp();
        Some(Duration::from_secs(u64::try_from(seconds).ok()?))
    }
}

/// The files of the pair, and the provider that checks it.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    private_key: PathBuf,
    provider: Arc<CryptoProvider>,
}

impl Files {
    /// The present contents of the files and, if they are new, whether they can be used.
    fn look(
        &self,
        known: &[Option<Fingerprint>],
    ) -> (Fingerprint, Option<Result<CertifiedKey, CertificateError>>) {
        let read = self.read();
        let seen = read.fingerprint();
        let is_known = known.contains(&Some(seen));
        (seen, (!is_known).then(|| self.pair(read)))
    }

    fn read(&self) -> Read {
        let read = |path: &Path| std::fs::read(path).map(Zeroizing::new);
        Read { certificate: read(&self.certificate), private_key: read(&self.private_key) }
    }

    fn pair(&self, read: Read) -> Result<CertifiedKey, CertificateError> {
        let certificate = || self.certificate.clone();
        let unreadable = |error| CertificateError::Unreadable(certificate(), error, CHAIN);
        let chain = read.certificate.map_err(unreadable)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        // The text of the parser quotes the file.
        let chain = chain.map_err(|_| CertificateError::NotPem(certificate(), CHAIN))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate(certificate()));
        }
        let private_key = self.private_key(read.private_key)?;
        CertifiedKey::from_der(chain, private_key, &self.provider).map_err(|error| {
            let private_key = self.private_key.clone();
            if error == InconsistentKeys::KeyMismatch.into() {
                CertificateError::Mismatch { certificate: certificate(), private_key }
            } else if matches!(error, rustls::Error::InvalidCertificate(_)) {
                CertificateError::UnusableCertificate(certificate())
            } else {
                CertificateError::UnusablePrivateKey(private_key)
            }
        })
    }

    fn private_key(
        &self,
        read: io::Result<Zeroizing<Vec<u8>>>,
    ) -> Result<PrivateKeyDer<'static>, CertificateError> {
        let path = || self.private_key.clone();
        let unreadable = |error| CertificateError::Unreadable(path(), error, PRIVATE_KEY);
        PrivateKeyDer::from_pem_slice(&read.map_err(unreadable)?).map_err(|error| {
            // The other errors repeat what is in the file.
            if matches!(error, pem::Error::NoItemsFound) {
                CertificateError::NoPrivateKey(path())
            } else {
                CertificateError::NotPem(path(), PRIVATE_KEY)
            }
        })
    }
}

/// The contents of the files.
struct Read {
    certificate: io::Result<Zeroizing<Vec<u8>>>,
    private_key: io::Result<Zeroizing<Vec<u8>>>,
}

type Fingerprint = [u8; 32];

impl Read {
    fn fingerprint(&self) -> Fingerprint {
        let mut all = Sha256::new();
        for file in [&self.certificate, &self.private_key] {
            match file {
                Ok(bytes) => all.update(Sha256::digest(bytes)),
                Err(error) => all.update(error.to_string()),
            }
        }
        all.finalize().into()
    }
}

/// As in the negotiation of the protocol (RFC 7301, RFC 9113 section 3.1).
pub(super) const HTTP_2: &[u8] = b"h2";

const CHAIN: &str = "the certificate chain in PEM form";
const PRIVATE_KEY: &str = "the private key in PEM form";
/// The kubelet itself takes about a minute to pass a Secret on.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
