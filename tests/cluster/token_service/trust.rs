//! An API server that trusts our issuer accepts a technical user as a user of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use support::control_plane::{ControlPlane, Options, User};
use support::recipes;
use technical_user_operator::domain::crypto::client_secret::ClientSecret;

use super::server::Launch;
use crate::namespace::Namespace;
use crate::operator::free_port;
use crate::rights::{apply, role, rule};
use crate::world::{SYSTEM, bare, launch, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_kubectl_get_pods_as_its_own_user() {
    if !are_there(&["curl", "kubectl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let issuer = format!("https://127.0.0.1:{port}");
    let recipe = Recipe::new(folder.path(), &issuer);
    let configuration = recipe.file.display();
    let options = Options {
        api_server_arguments: vec![format!("--authentication-config={configuration}")],
        ..Options::default()
    };
    let Some(control_plane) = bare(options).await else {
        return;
    };
    let operator = launch(&control_plane, "operator.log").with(ALLOWED, "kubernetes");
    let operator = operator.with("--allowed-roles", &format!("ROLE_M2M,{STRANGE}")).start();
    operator.ready().await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let launch = Launch::new(&control_plane, "token-server", &issuer).await.at(port);
    let launch = launch
        .with("--tls-cert-file", &file("tls.crt"))
        .with("--tls-private-key-file", &file("tls.key"));
    let server = launch.with(ALLOWED, "kubernetes");
    let server = server.with("--allowed-roles", &format!("ROLE_M2M,{STRANGE}")).start();
    server.ready().await;
    let namespace = Namespace::with(control_plane.client().await, "trust", SYSTEM).await;
    namespace.apply("deployer", json!({"audiences": ["kubernetes"], "roles": ROLES})).await;
    namespace.ready("deployer").await;
    let client_id = namespace.client_id("deployer").await.to_string();
    let secret = namespace.shown("deployer-credentials").await;

    let token =
        until("a token", || async { fetch(&issuer, &file("tls.crt"), &client_id, &secret) }).await;
    let kubectl = |arguments: &[&str]| kubectl(&control_plane, &token, arguments);
    // The API server fetches discovery and JWKS when it starts, and again every ten seconds.
    let who = || kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).ok();
    let name = until("the API server trusts the issuer", || async { who() }).await;
    assert_eq!(name, format!("technical-user:{client_id}"));
    let pods = ["get", "pods", "--namespace", "trust"];
    let refused = kubectl(&pods).unwrap_err();
    assert!(refused.contains("Forbidden") || refused.contains("forbidden"), "{refused}");

    let_read_pods(&control_plane, &name).await;
    until("the right", || async { kubectl(&pods).ok() }).await;
    let groups = kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"]).unwrap();
    is_in(&groups, "technical-user:");

    let elsewhere = kubectl(&["get", "pods", "--namespace", "default"]).unwrap_err();
    assert!(elsewhere.contains("forbidden"), "{elsewhere}");
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let forged = self::kubectl(&control_plane, &forged, &pods).unwrap_err();
    assert!(forged.contains("Unauthorized") || forged.contains("logged in"), "{forged}");

    let tenant = namespace.uid().await;
    recipe.name_tenants();
    let named = format!("technical-user:{tenant}:{client_id}");
    until("names with the tenant", || async { who().filter(|name| *name == named) }).await;
    let groups = kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"]).unwrap();
    is_in(&groups, &format!("technical-user:{tenant}:"));
    assert!(kubectl(&pods).unwrap_err().contains("forbidden"), "that name has no right");

    recipe.let_in("another");
    until("another tenant alone", || async { who().is_none().then_some(()) }).await;
    recipe.let_in(&tenant);
    until("this tenant alone", || async { who().filter(|it| *it == name) }).await;
}

async fn let_read_pods(control_plane: &ControlPlane, name: &str) {
    let subject = json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    for object in role("trust", &[rule("", "pods", &["get", "list"])], &subject) {
        apply(&control_plane.client().await, object).await;
    }
}

/// Whether every role is one of the groups, letter by letter.
fn is_in(groups: &str, prefix: &str) {
    let groups: Vec<String> = serde_json::from_str(groups).unwrap();
    for role in ROLES {
        assert!(groups.contains(&format!("{prefix}{role}")), "{prefix}{role} not in {groups:?}");
    }
}

/// The configuration of the API server as docs/token-service.md has it, letter by letter, but for
/// the issuer and its certificate.
struct Recipe {
    file: PathBuf,
    plain: String,
    mappings: String,
    rule: String,
}

impl Recipe {
    /// Writes the certificate of the token service, and the plain form.
    fn new(folder: &Path, issuer: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), signing_key.serialize_pem()).unwrap();
        let mut blocks = recipes::blocks("kube-apiserver", "yaml", issuer).into_iter();
        let mut block = || blocks.next().unwrap();
        let (plain, mappings, rule) = (block(), block(), block());
        let indented = cert.pem().replace('\n', "\n        ");
        let stand_in = "-----BEGIN CERTIFICATE-----\n        ...";
        assert!(plain.contains(stand_in), "{plain}");
        let plain = plain.replace(stand_in, indented.trim_end());
        let recipe = Self { file: folder.join("authentication.yaml"), plain, mappings, rule };
        recipe.write(&recipe.plain);
        recipe
    }

    /// Names with the tenant in them.
    fn name_tenants(&self) {
        let (before, rest) = self.plain.split_once("    claimMappings:").unwrap();
        let (_, after) = rest.split_once("    userValidationRules:").unwrap();
        self.write(&format!("{before}{}    userValidationRules:{after}", self.mappings));
    }

    /// The plain form for that tenant alone.
    fn let_in(&self, tenant: &str) {
        self.write(&format!("{}{}", self.plain, self.rule.replace("<uid>", tenant)));
    }

    /// Whole at once: the API server watches the file.
    fn write(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

/// Whether these programs can be started; said loudly when not, and a failure in CI.
#[expect(clippy::disallowed_methods, reason = "tests have settings of their own")]
fn are_there(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| Command::new(program).arg("--help").output().is_err();
    let Some(missing) = programs.iter().find(is_missing) else {
        return true;
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing} is missing");
    // Past the capture of test output, which hides what succeeds.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {missing} is missing ***\n");
    false
}

/// A token by a client that none of us wrote.
fn fetch(issuer: &str, ca: &str, client_id: &str, secret: &ClientSecret) -> Option<String> {
    let curl = Command::new("curl")
        .args(["--silent", "--cacert", ca, "--user", &format!("{client_id}:{}", secret.reveal())])
        .args(["--data", "grant_type=client_credentials", &format!("{issuer}/oauth2/token")])
        .output()
        .expect("curl is there");
    let answer: serde_json::Value = serde_json::from_slice(&curl.stdout).ok()?;
    answer["access_token"].as_str().map(str::to_owned)
}

/// `kubectl` with that token and nothing else.
fn kubectl(
    control_plane: &ControlPlane,
    token: &str,
    arguments: &[&str],
) -> Result<String, String> {
    let kubeconfig = control_plane.kubeconfig_of(User::Nobody);
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    let output = Command::new("kubectl")
        .env("KUBECONFIG", &path)
        .env("HOME", folder.path())
        .args(arguments)
        .output()
        .expect("kubectl is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A role whose characters mean something to CEL, to URLs and to shells.
const STRANGE: &str = "rabbitmq.read:%2F/'x'";

const ROLES: [&str; 2] = ["ROLE_M2M", STRANGE];

const ALLOWED: &str = "--allowed-audiences";
