//! What the environment says to the program.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[test]
fn an_empty_variable_counts_as_unset() {
    let variables = [
        "NAMESPACE",
        "ALLOW_INSECURE_ISSUER",
        "WATCH_NAMESPACES",
        "MAX_ACCESS_TOKEN_TTL",
        "MAX_STALENESS",
        "HEALTH_LISTEN",
        "METRICS_LISTEN",
        "LOG_FORMAT",
        "BCRYPT_COST",
        "BOOTSTRAP_SIGNING_KEY",
        "LISTEN",
        "TLS_CERT_FILE",
        "TLS_PRIVATE_KEY_FILE",
        "CLAIMS_PROFILE",
        "AUDIT_LOG_PATH",
        "CLIENT_RATE",
        "TOTAL_RATE",
        "SOURCE_LIMIT",
        "IDLE_TIMEOUT",
    ];
    // The issuer is looked at when everything else has been read.
    let words = said(&variables, "http://auth.example.com");
    assert!(words.contains("must start with https://"), "{words}");
    assert!(said(&variables, "").contains("--issuer <URL>"));
    assert!(said(&[], "--help").contains("empty counts as unset"));
}

/// What the program says before it does anything.
fn said(empty: &[&str], last: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_technical-user-operator"));
    command.env_clear().arg("all-in-one");
    command.envs(empty.iter().map(|name| (format!("TECHNICAL_USER_{name}"), "")));
    if last == "--help" {
        command.arg(last);
    } else {
        command.env("TECHNICAL_USER_ISSUER", last);
    }
    let output = command.output().unwrap();
    let texts = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    texts.concat()
}

/// A token server that talks to `api.corp.invalid`, with these variables.
fn token_server(folder: &Path, kubeconfig: &str, variables: &[(&str, &str)]) -> Command {
    let file = folder.join("kubeconfig");
    std::fs::write(&file, kubeconfig).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_technical-user-operator"));
    command.env_clear().env("KUBECONFIG", file).env("RUST_LOG", "trace");
    command.args(["token-server", "--issuer", "https://auth.example.com"]);
    for flag in ["--health-listen", "--metrics-listen"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command.env("TECHNICAL_USER_LISTEN", "127.0.0.1:0").envs(variables.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn texts(output: Output) -> String {
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

const KUBECONFIG: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "a",
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "clusters": [{"name": "a", "cluster": {"server": "https://api.corp.invalid:6443"}}],
    "users": [{"name": "a", "user": {"token": "hunter3"}}]}"#;

#[test]
fn the_api_server_is_reached_through_the_proxy_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:hunter2@{}", proxy.local_addr().unwrap());
    // kubectl takes the empty entry of a list, and excepts what it names alone.
    let variables = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "other.invalid,,")];
    let mut child = token_server(folder.path(), KUBECONFIG, &variables).spawn().unwrap();

    let (mut stream, _) = proxy.accept().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
    drop(stream);
    // More than it has watches: it tries again, so that all it says of a failure is written.
    for _ in 0..10 {
        drop(proxy.accept().unwrap());
    }
    child.kill().unwrap();
    let said = texts(child.wait_with_output().unwrap());

    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("CONNECT api.corp.invalid:6443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n"), "{head}");
    assert!(said.contains("token service started") && !said.contains("hunter"), "{said}");
    assert!(!said.contains("dXNlcjpodW50ZXIy"), "{said}");
}

#[test]
fn client_secrets_that_can_be_read_on_the_way_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let warned = |listen: &str| {
        let variables = [("TECHNICAL_USER_LISTEN", listen)];
        let mut child = token_server(folder.path(), KUBECONFIG, &variables).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let lines: Vec<_> =
            lines.take_while(|line| !line.contains("token service started")).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        lines.iter().any(|line| line.contains("WARN") && line.contains("HTTP without TLS"))
    };

    for (listen, is_warned) in [("0.0.0.0:0", true), ("[::]:0", true), ("127.0.0.1:0", false)] {
        assert_eq!(warned(listen), is_warned, "{listen}");
    }
}

#[test]
fn a_proxy_or_a_kubeconfig_file_that_is_wrong_is_a_sentence_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let said = |kubeconfig: &str, proxy: &str| {
        let mut command = token_server(folder.path(), kubeconfig, &[("HTTPS_PROXY", proxy)]);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        texts(output)
    };

    let scheme = said(KUBECONFIG, "ftp://user:hunter@proxy:3128");
    assert!(scheme.contains("the proxy of HTTPS_PROXY must have the scheme http"), "{scheme}");
    let unreadable = said(KUBECONFIG, "http://user:hun^ter@proxy:3128");
    assert!(unreadable.contains("the proxy of HTTPS_PROXY is not a URL"), "{unreadable}");
    let file = said("users:\n- name: a\n  user: {token: hunter\n", "");
    assert!(file.contains("the kubeconfig file cannot be used"), "{file}");
    let context = said("{apiVersion: v1, kind: Config}", "");
    assert!(context.contains("it has no current-context"), "{context}");
    for text in [scheme, unreadable, file, context] {
        assert!(!text.contains("hun"), "{text}");
    }
}
