//! The acts about signing keys.

use std::collections::BTreeSet;

use anyhow::ensure;
use technical_user_operator::domain::crypto::jwks::{Kid, kids_of};

use crate::kubectl::{Kubectl, seconds};
use crate::screen::{self, meaning, title};
use crate::tour::check;

/// Shows the default key, a rotation, the states in between, and a revocation.
pub(crate) async fn show(kubectl: &Kubectl) -> anyhow::Result<()> {
    published(kubectl).await?;
    rotating(kubectl).await?;
    taken_over(kubectl).await?;
    revoked(kubectl).await
}

async fn published(kubectl: &Kubectl) -> anyhow::Result<()> {
    title("8. The key that signs access tokens, and where verifiers find it");
    kubectl.show(&["wait", "--for=condition=Ready", "sk/default", "--timeout=60s"]).await?;
    kubectl.show(&["get", "sk"]).await?;
    let jwks = jwks(kubectl, "default-jwks").await?;
    meaning(
        "Made by the operator where there was none. The ConfigMap has public keys alone, under the name that Envoy Gateway reads.",
    );
    let active = active(kubectl, "default").await?;
    check("the key that signs is published", kids_of(&jwks).contains(&active))?;
    check("nothing private is", ["\"d\":", "\"p\":", "\"q\":"].iter().all(|it| !jwks.contains(it)))
}

async fn rotating(kubectl: &Kubectl) -> anyhow::Result<()> {
    title("9. A new key is published for an hour before it signs");
    let before = active(kubectl, "default").await?;
    kubectl.show(&["annotate", "--overwrite", "sk", "default", &rotation()]).await?;
    let progress = "--for=condition=RotationInProgress";
    kubectl.show(&["wait", progress, "sk/default", "--timeout=60s"]).await?;
    kubectl.show(&["get", "sk", "default", "-o", KEYS]).await?;
    meaning(
        "Istio and Trino ask for the JWKS every 15 to 20 minutes. No verifier ever meets a key that it does not know.",
    );
    let jwks = kids_of(&jwks(kubectl, "default-jwks").await?);
    check("both keys are published", jwks.len() == 2)?;
    check("the one before still signs", active(kubectl, "default").await? == before)
}

async fn taken_over(kubectl: &Kubectl) -> anyhow::Result<()> {
    title("10. The states in between, without the hour");
    screen::file(
        "examples/signing-key-gateway.yaml",
        include_str!("../../../examples/signing-key-gateway.yaml"),
    );
    kubectl.show(&["apply", "-f", "examples/signing-key-gateway.yaml"]).await?;
    kubectl.show(&["wait", "--for=condition=Ready", "sk/gateway", "--timeout=60s"]).await?;
    let patch = r#"{"spec":{"rotation":{"acceptOutage":true,"prePublish":"0s"}}}"#;
    kubectl.show(&["patch", "sk", "gateway", "--type=merge", "-p", patch]).await?;
    kubectl.show(&["annotate", "--overwrite", "sk", "gateway", &rotation()]).await?;
    let in_grace = "--for=jsonpath={.status.keys[?(@.index==1)].state}=Grace";
    kubectl.show(&["wait", in_grace, "sk/gateway", "--timeout=60s"]).await?;
    kubectl.show(&["get", "sk", "gateway", "-o", KEYS]).await?;
    meaning(
        "The former key signs no more. It stays published until its last token has expired, wherever that was issued.",
    );
    check("it is still published", kids_of(&jwks(kubectl, "token-jwks").await?).len() == 2)
}

async fn revoked(kubectl: &Kubectl) -> anyhow::Result<()> {
    title("11. A private key leaked");
    let leaked = active(kubectl, "gateway").await?;
    let request = format!("iam.cyoda.com/revoke-requested-at={leaked}");
    kubectl.show(&["annotate", "--overwrite", "sk", "gateway", &request]).await?;
    let answer = format!("--for=jsonpath={{.status.lastHandledRevokeAt}}={leaked}");
    kubectl.show(&["wait", &answer, "sk/gateway", "--timeout=60s"]).await?;
    kubectl.show(&["get", "sk", "gateway", "-o", KEYS]).await?;
    meaning(
        "Out of the JWKS at once. The key before it takes over: every verifier knows that one.",
    );
    let left: BTreeSet<Kid> = kids_of(&jwks(kubectl, "token-jwks").await?);
    check("the leaked key is not published any more", !left.contains(&leaked))?;
    check("another one signs", left.contains(&active(kubectl, "gateway").await?))
}

// === the steps in small ===

fn rotation() -> String {
    format!("iam.cyoda.com/rotate-requested-at={}", seconds())
}

async fn active(kubectl: &Kubectl, name: &str) -> anyhow::Result<Kid> {
    let text = kubectl.ask(&["get", "sk", name, "-o", "jsonpath={.status.activeKid}"]).await?;
    ensure!(!text.is_empty(), "no key of {name} signs");
    Ok(text.parse()?)
}

async fn jwks(kubectl: &Kubectl, name: &str) -> anyhow::Result<String> {
    let arguments = ["get", "configmap", name, "-n", "technical-user-system", "-o", JWKS];
    kubectl.show_with(&arguments, str::to_owned).await
}

const JWKS: &str = "jsonpath={.data.jwks}";
const KEYS: &str = r#"jsonpath={range .status.keys[*]}{.index}{"\t"}{.kid}{"\t"}{.state}{"\t"}{.activationTime}{"\t"}{.removalTime}{"\n"}{end}"#;
