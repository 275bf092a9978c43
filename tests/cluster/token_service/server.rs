//! Processes of the token service, asked as a client asks them.

use std::ffi::OsString;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use support::control_plane::child::Child;
use support::control_plane::{ControlPlane, User};
use technical_user_operator::domain::crypto::client_secret::ClientSecret;
use technical_user_operator::domain::crypto::jwks;
use technical_user_operator::environment::private_key::verify;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::operator::free_port;
use crate::rights::{self, apply};
use crate::world::until;

/// How to start one, and start it again at the same port.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    command: &'static str,
    kubeconfig: PathBuf,
    log: PathBuf,
    audit: PathBuf,
    issuer: String,
    arguments: Vec<String>,
    variables: Vec<String>,
    files: Option<usize>,
    pub(crate) port: u16,
    health: u16,
    metrics: u16,
}

/// A running one; dropping it kills it.
pub(crate) struct TokenServer {
    child: Child,
    launch: Launch,
}

/// What a request was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Launch {
    /// With the rights of `config/`, which are installed.
    pub(crate) async fn new(control_plane: &ControlPlane, name: &str, issuer: &str) -> Self {
        let rights = include_str!("../../../config/rbac-token-server.yaml");
        Self::with_rights(control_plane, name, issuer, rights).await
    }

    /// For one that serves some namespaces.
    pub(crate) async fn namespaced(control_plane: &ControlPlane, namespaces: &str) -> Self {
        let rights = include_str!("../../../config/rbac-token-server-namespaced.yaml");
        let launch =
            Self::with_rights(control_plane, "namespaced", "https://issuer.example", rights).await;
        launch.with("--watch-namespaces", namespaces)
    }

    async fn with_rights(
        control_plane: &ControlPlane,
        name: &str,
        issuer: &str,
        rights: &str,
    ) -> Self {
        for object in rights::shipped(rights) {
            apply(&control_plane.client().await, object).await;
        }
        let file = |suffix: &str| control_plane.folder().join(format!("{name}.{suffix}"));
        Self {
            command: "token-server",
            kubeconfig: control_plane.kubeconfig_of(User::TokenServer),
            log: file("log"),
            audit: file("audit"),
            issuer: issuer.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            files: None,
            port: free_port(),
            health: free_port(),
            metrics: free_port(),
        }
    }

    pub(crate) fn at(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(crate) fn with(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With an environment variable.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push(format!("{name}={value}"));
        self
    }

    /// Operator and token service in one process, with the rights of the operator.
    pub(crate) fn all_in_one(mut self, control_plane: &ControlPlane) -> Self {
        self.command = "all-in-one";
        self.kubeconfig = control_plane.kubeconfig_of(User::Operator);
        self
    }

    /// With no more open files than that.
    pub(crate) fn with_files(mut self, most: usize) -> Self {
        self.files = Some(most);
        self
    }

    /// Where it listens.
    pub(crate) fn ports(&self) -> [u16; 3] {
        [self.port, self.health, self.metrics]
    }

    pub(crate) fn start(&self) -> TokenServer {
        let mut kubeconfig = OsString::from("KUBECONFIG=");
        kubeconfig.push(&self.kubeconfig);
        let mut words: Vec<OsString> = vec!["/usr/bin/env".into(), kubeconfig];
        words.extend(self.variables.iter().map(OsString::from));
        words.extend(["RUST_LOG=trace".into(), BINARY.into(), self.command.into()]);
        let pairs = [
            ("--issuer", self.issuer.clone()),
            ("--listen", format!("127.0.0.1:{}", self.port)),
            ("--health-listen", format!("127.0.0.1:{}", self.health)),
            ("--metrics-listen", format!("127.0.0.1:{}", self.metrics)),
        ];
        words.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        words.extend(["--audit-log-path".into(), self.audit.clone().into()]);
        words.extend(self.arguments.iter().map(OsString::from));
        if let Some(most) = self.files {
            let limited = format!("ulimit -n {most} && exec \"$@\"");
            let shell = ["/bin/sh".into(), "-c".into(), limited.into(), "sh".into()];
            words.splice(0..0, shell);
        }
        let child = Child::spawn(&words, &self.log).unwrap();
        TokenServer { child, launch: self.clone() }
    }

    /// What it wrote: its log at TRACE, and its audit records.
    pub(crate) fn written(&self) -> Vec<(String, String)> {
        [&self.log, &self.audit]
            .map(|path| {
                let text = std::fs::read(path).unwrap();
                (path.display().to_string(), String::from_utf8_lossy(&text).into_owned())
            })
            .into()
    }

    /// Asks for a token.
    pub(crate) async fn token(&self, client_id: &str, secret: &ClientSecret) -> Option<Answer> {
        self.token_with(client_id, secret, "").await
    }

    /// Asks for a token, with these headers too: whole lines.
    pub(crate) async fn token_with(
        &self,
        client_id: &str,
        secret: &ClientSecret,
        headers: &str,
    ) -> Option<Answer> {
        let pair = STANDARD.encode(format!("{client_id}:{}", secret.reveal()));
        let body = "grant_type=client_credentials";
        let head = format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Basic {pair}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        ask(self.port, &head).await
    }

    /// Waits until a request for a token is answered with that status.
    pub(crate) async fn answers(
        &self,
        status: u16,
        client_id: &str,
        secret: &ClientSecret,
    ) -> Answer {
        until(&format!("a token request that is answered {status}"), || async {
            let answer = self.token(client_id, secret).await?;
            (answer.status == status).then_some(answer)
        })
        .await
    }

    /// Asks where probes ask.
    pub(crate) async fn probe(&self, path: &str) -> Option<Answer> {
        ask(self.health, &get(path)).await
    }

    /// Asks for the metrics.
    pub(crate) async fn scrape(&self) -> Option<Answer> {
        ask(self.metrics, &get("/metrics")).await
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// Fetches the JWKS.
    pub(crate) async fn jwks(&self) -> Option<Answer> {
        ask(self.port, &get("/.well-known/jwks.json")).await
    }
}

impl TokenServer {
    pub(crate) async fn kill(&mut self) {
        self.child.signal("KILL");
        self.child.ended().await;
    }

    /// Returns once it says that it serves and signs.
    pub(crate) async fn ready(&self) {
        for path in ["/readyz", "/readyz/sign"] {
            until(&format!("a token service that answers 200 at {path}"), || async {
                let answer = ask(self.launch.health, &get(path)).await?;
                (answer.status == 200).then_some(())
            })
            .await;
        }
    }
}

impl Answer {
    pub(crate) fn access_token(&self) -> Option<String> {
        let answer: Value = serde_json::from_str(&self.body).ok()?;
        answer["access_token"].as_str().map(str::to_owned)
    }
}

/// The claims of a token, if that key set verifies it.
pub(crate) fn verified(token: &str, jwks: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
    let keys = jwks::keys_of(jwks);
    let key = keys.iter().find(|key| header["kid"] == key.kid().as_str())?;
    let is_right = verify(key, signed.as_bytes(), &decoded(signature)?);
    is_right.then(|| serde_json::from_slice(&decoded(claims).unwrap()).unwrap())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// One request; nothing when the process is not there or dies meanwhile.
async fn ask(port: u16, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

const BINARY: &str = env!("CARGO_BIN_EXE_technical-user-operator");
