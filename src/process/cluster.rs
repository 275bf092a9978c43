//! The cluster and the way to it: the kubeconfig file of `KUBECONFIG`, or the cluster of the Pod.
//!
//! A kubeconfig file holds keys and tokens. An error names its file and line, and quotes nothing of it.

use http::Uri;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Builder;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::config::{Cluster, ExecAuthCluster, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::{BoxError, ServiceBuilder};

use super::proxy::{ProxyError, proxy_for};
use super::tunnel::Tunnel;
use crate::cli::ProxyVariables;
use crate::cli::proxy_variables;
use crate::kubernetes::request_span::RequestSpans;

/// Why there is no way to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No cluster is configured.
    #[error(
        "no cluster is configured: set KUBECONFIG to a kubeconfig file, or run in a cluster ({0})"
    )]
    NotConfigured(String),
    /// A kubeconfig file that is wrong.
    #[error("the kubeconfig file cannot be used: {0}. See what `kubectl config view` says")]
    Kubeconfig(String),
    /// A proxy that is wrong.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A login that does not work.
    #[error(
        "the login that the kubeconfig file names failed: `kubectl version` with the same file says why"
    )]
    Login,
    /// Anything else.
    #[error("the API server cannot be used: {0}")]
    Unusable(String),
}

/// The cluster, with its proxy.
pub(crate) fn cluster() -> Result<Config, ClusterError> {
    let variables = proxy_variables();
    match Kubeconfig::read() {
        Ok(kubeconfig) => of_file(kubeconfig, &variables),
        Err(error @ KubeconfigError::Parse(_)) => Err(ClusterError::Kubeconfig(text(&error))),
        Err(no_file) => {
            let no_pod = |error| {
                ClusterError::NotConfigured(format!("{}; in a Pod: {error}", text(&no_file)))
            };
            let mut config = Config::incluster().map_err(no_pod)?;
            config.proxy_url = proxy_for(&config.cluster_url, None, &variables)?;
            Ok(config)
        }
    }
}

/// The current context of a kubeconfig file, as kube reads it, except for the proxy: kube compares `NO_PROXY`
/// with the proxy instead of the API server, and ends at an empty entry.
fn of_file(kubeconfig: Kubeconfig, variables: &ProxyVariables) -> Result<Config, ClusterError> {
    let wrong = |text: &str| ClusterError::Kubeconfig(text.to_owned());
    let context = kubeconfig.current_context.as_ref();
    let context = context.ok_or_else(|| wrong("it has no current-context"))?;
    let named = kubeconfig.contexts.into_iter().find(|it| it.name == *context);
    let named = named.and_then(|it| it.context);
    let context = named.ok_or_else(|| wrong("it lacks the context of its current-context"))?;
    let cluster = kubeconfig.clusters.into_iter().find(|it| it.name == context.cluster);
    let cluster = cluster.and_then(|it| it.cluster);
    let cluster = cluster.ok_or_else(|| wrong("it lacks the cluster of its current-context"))?;
    let user = kubeconfig.auth_infos.into_iter().find(|it| Some(&it.name) == context.user.as_ref());
    let server = cluster.server.as_ref().and_then(|server| server.parse().ok());
    let server =
        server.ok_or_else(|| wrong("the server of its cluster is missing or not a URL"))?;
    let mut config = Config::new(server);
    config.proxy_url = proxy_for(&config.cluster_url, cluster.proxy_url.as_deref(), variables)?;
    config.auth_info = user.and_then(|user| user.auth_info).unwrap_or_default();
    let shown = shown(&cluster)?;
    config.root_cert = authorities(shown.certificate_authority_data.as_deref())?;
    if let Some(exec) = &mut config.auth_info.exec
        && exec.provide_cluster_info
    {
        exec.cluster = Some(shown);
    }
    config.default_namespace = context.namespace.unwrap_or_else(|| "default".to_owned());
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.disable_compression = cluster.disable_compression.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name;
    Ok(config)
}

/// A cluster as a login plugin is shown it, with the content of its CA file.
fn shown(cluster: &Cluster) -> Result<ExecAuthCluster, ClusterError> {
    ExecAuthCluster::try_from(cluster).map_err(|error| ClusterError::Kubeconfig(text(&error)))
}

fn authorities(pem: Option<&[u8]>) -> Result<Option<Vec<Vec<u8>>>, ClusterError> {
    let Some(pem) = pem else { return Ok(None) };
    let certificates = CertificateDer::pem_slice_iter(pem);
    let certificates: Result<Vec<_>, _> =
        certificates.map(|it| it.map(|certificate| certificate.to_vec())).collect();
    let wrong = "the certificate-authority of its cluster is not PEM";
    // The text of the parser quotes the file.
    certificates.map(Some).map_err(|_| ClusterError::Kubeconfig(wrong.to_owned()))
}

/// A client with that configuration.
pub(super) fn client_of(config: Config) -> Result<Client, ClusterError> {
    let client = match config.proxy_url.clone() {
        Some(proxy) => through(&proxy, &config),
        None => ClientBuilder::try_from(config).map(|it| it.with_layer(&RequestSpans).build()),
    };
    client.map_err(unusable)
}

fn unusable(error: kube::Error) -> ClusterError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of kube that grows")]
    match error {
        kube::Error::InferKubeconfig(error) => ClusterError::Kubeconfig(text(&error)),
        // The text can contain the output of a login plugin.
        kube::Error::Auth(_) => ClusterError::Login,
        kube::Error::RustlsTls(error) => ClusterError::Unusable(error.to_string()),
        _ => ClusterError::Unusable("a client cannot be made of its configuration".to_owned()),
    }
}

/// The client of kube with another way to the API server.
fn through(proxy: &Uri, config: &Config) -> kube::Result<Client> {
    // A proxy with https has TLS of its own, with the same authorities.
    let to_proxy = config.rustls_https_connector()?;
    let tunnel = Tunnel::new(to_proxy, proxy).map_err(kube::Error::HttpError)?;
    let mut connector =
        TimeoutConnector::new(config.rustls_https_connector_with_connector(tunnel)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = Builder::new(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(RequestSpans)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// An error of kube, without the lines of the file that it quotes.
fn text(error: &KubeconfigError) -> String {
    #[expect(clippy::wildcard_enum_match_arm, reason = "an enum of kube that grows")]
    match error {
        KubeconfigError::Parse(error) => {
            let at = error.location().map(|at| format!("at line {}", at.line()));
            format!("it is not the YAML of one {}", at.unwrap_or_default()).trim_end().to_owned()
        }
        other => other.to_string(),
    }
}
