//! What the environment says to the program.
#![expect(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::process::Command;

#[test]
fn an_empty_variable_counts_as_unset() {
    let variables = [
        "NAMESPACE",
        "ALLOW_INSECURE_ISSUER",
        "WATCH_NAMESPACES",
        "MAX_ACCESS_TOKEN_TTL",
        "MAX_VIEW_AGE",
        "HEALTH_LISTEN",
        "METRICS_LISTEN",
        "LOG_FORMAT",
        "BCRYPT_COST",
        "BOOTSTRAP_SIGNING_KEY",
        "LISTEN",
        "TLS_CERTIFICATE",
        "TLS_KEY",
        "CLAIMS_PROFILE",
        "AUDIT_LOG",
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
