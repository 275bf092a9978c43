//! What is shown, in order. Each step is a command, its answer, and a sentence; what is claimed is checked.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use technical_user_operator::domain::crypto::client_secret::{ClientId, ClientSecret};
use technical_user_operator::domain::technical_user::verifier_record::Record;
use technical_user_operator::environment::{Clock as _, System};

use crate::kubectl::{Kubectl, seconds};
use crate::screen::{self, holds, meaning, title};
use crate::{keys, tokens};

/// Shows everything.
pub(crate) async fn show(kubectl: &Kubectl) -> anyhow::Result<()> {
    let first = issued(kubectl).await?;
    let record_name = verifiers(kubectl, &first).await?;
    let second = rotated(kubectl, &record_name, &first).await?;
    let third = healed(kubectl, &record_name, &second).await?;
    revoked(kubectl, &record_name, &[first, second, third]).await?;
    refused(kubectl).await?;
    keys::show(kubectl).await?;
    tokens::show(kubectl).await?;
    event(kubectl).await
}

async fn issued(kubectl: &Kubectl) -> anyhow::Result<ClientSecret> {
    title("1. A machine identity is a few lines of YAML");
    screen::file(
        "examples/technical-user.yaml",
        include_str!("../../../examples/technical-user.yaml"),
    );
    kubectl.show(&["apply", "-f", "examples/technical-user.yaml"]).await?;
    kubectl.show(&["wait", "--for=condition=Ready", "tu/billing", "--timeout=60s"]).await?;
    kubectl.show(&["get", "tu", "billing"]).await?;
    meaning("`Ready` means: the client secret in that Secret works.");

    title("2. What the workload mounts");
    kubectl.show(&["describe", "secret", "billing-credentials"]).await?;
    meaning(
        "Each value under the spellings that OAuth libraries and the Service Binding specification look for.",
    );

    kubectl
        .show_with(&["get", "secret", "billing-credentials", "-o", CLIENT_ID], str::to_owned)
        .await?;
    let secret = delivered(kubectl, true).await?;
    meaning(
        "256 random bits, its public id in front, a checksum at the end. Masked here, not in the Secret.",
    );
    Ok(secret)
}

async fn verifiers(kubectl: &Kubectl, first: &ClientSecret) -> anyhow::Result<String> {
    title("3. What the operator keeps");
    let client_id =
        kubectl.ask(&["get", "tu", "billing", "-o", "jsonpath={.status.clientID}"]).await?;
    let name = client_id.parse::<ClientId>()?.record_name();
    let arguments = ["get", "secret", &name, "-n", "technical-user-system", "-o", RECORD];
    kubectl.show_with(&arguments, without_verifiers).await?;
    meaning(
        "A bcrypt verifier (masked). It tells a right client secret from a wrong one, and is no use to a thief.",
    );

    let record = record(kubectl, &name).await?;
    check("the delivered client secret is accepted", accepts(&record, first))?;
    check(
        "with one character changed it is refused, without hashing",
        !is_well_formed(&altered(first)),
    )?;
    Ok(name)
}

async fn rotated(
    kubectl: &Kubectl,
    record_name: &str,
    first: &ClientSecret,
) -> anyhow::Result<ClientSecret> {
    title("4. Rotation without a gap");
    request(kubectl, "rotate-requested-at", "lastHandledRotateAt").await?;
    let second = delivered(kubectl, true).await?;
    kubectl.show(&["get", "tu", "billing", "-o", CREDENTIALS]).await?;
    meaning(
        "The one before ends after spec.rotation.overlap, 24h by default: workloads need not hurry.",
    );

    let record = record(kubectl, record_name).await?;
    check("there is a new client secret", second != *first)?;
    check("it is accepted", accepts(&record, &second))?;
    check("and so is the one before it", accepts(&record, first))?;
    Ok(second)
}

async fn healed(
    kubectl: &Kubectl,
    record_name: &str,
    second: &ClientSecret,
) -> anyhow::Result<ClientSecret> {
    title("5. Somebody deletes the Secret");
    kubectl.show(&["delete", "secret", "billing-credentials"]).await?;
    kubectl
        .show(&["wait", "--for=jsonpath={.status.serial}=3", "tu/billing", "--timeout=60s"])
        .await?;
    let third = delivered(kubectl, true).await?;
    meaning(
        "A lost client secret cannot be brought back, since nobody kept it. So there is another one.",
    );

    let record = record(kubectl, record_name).await?;
    check("it is accepted", accepts(&record, &third))?;
    check("a process that still holds the deleted one goes on working", accepts(&record, second))?;
    Ok(third)
}

async fn revoked(
    kubectl: &Kubectl,
    record_name: &str,
    earlier: &[ClientSecret],
) -> anyhow::Result<()> {
    title("6. A client secret leaked");
    request(kubectl, "revoke-requested-at", "lastHandledRevokeAt").await?;
    kubectl.show(&["wait", "--for=condition=Ready", "tu/billing", "--timeout=60s"]).await?;
    kubectl.show(&["get", "tu", "billing", "-o", CREDENTIALS]).await?;
    meaning("All ended at once, then a new one was issued.");

    let last = delivered(kubectl, false).await?;
    let record = record(kubectl, record_name).await?;
    for (index, secret) in earlier.iter().enumerate() {
        check(
            &format!("client secret number {} is refused", index + 1),
            !accepts(&record, secret),
        )?;
    }
    check("the new one is accepted", accepts(&record, &last))
}

async fn refused(kubectl: &Kubectl) -> anyhow::Result<()> {
    title("7. A mistake is refused in a sentence, before anything happens");
    let patch = r#"{"spec":{"rotation":{"period":"1h"}}}"#;
    kubectl.show_refusal(&["patch", "tu", "billing", "--type=merge", "-p", patch]).await?;
    kubectl.show(&["explain", "tu.spec.rotation"]).await
}

async fn event(kubectl: &Kubectl) -> anyhow::Result<()> {
    title("15. What people see");
    kubectl.show(&["apply", "-f", "examples"]).await?;
    kubectl.show(&["wait", "--for=condition=Ready", "tu", "--all", "--timeout=60s"]).await?;
    kubectl.show(&["wait", "--for=condition=Ready", "sk", "--all", "--timeout=60s"]).await?;
    kubectl.show(&["get", "tu", "-o", "wide"]).await?;
    kubectl.show(&["get", "iam"]).await?;
    let selector = "--field-selector=involvedObject.kind=TechnicalUser,involvedObject.name=billing";
    let events = kubectl.show_with(&["get", "events", selector], str::to_owned).await?;
    for reason in ["CredentialIssued", "CredentialRotated", "CredentialsRevoked"] {
        check(&format!("there is an Event {reason}"), events.contains(reason))?;
    }
    Ok(())
}

// === the steps in small ===

/// Asks by annotation, as kubectl and GitOps can, and waits for the answer in the status.
async fn request(kubectl: &Kubectl, annotation: &str, answer: &str) -> anyhow::Result<()> {
    let value = seconds();
    let annotation = format!("iam.cyoda.com/{annotation}={value}");
    kubectl.show(&["annotate", "--overwrite", "tu", "billing", &annotation]).await?;
    let answer = format!("--for=jsonpath={{.status.{answer}}}={value}");
    kubectl.show(&["wait", &answer, "tu/billing", "--timeout=60s"]).await
}

/// The client secret as a workload finds it.
pub(crate) async fn delivered(kubectl: &Kubectl, is_shown: bool) -> anyhow::Result<ClientSecret> {
    let arguments = ["get", "secret", "billing-credentials", "-o", CLIENT_SECRET];
    let text = if is_shown {
        kubectl
            .show_with(&arguments, |text| {
                text.parse().map_or_else(|_| UNREADABLE.to_owned(), |it| screen::masked(&it))
            })
            .await?
    } else {
        kubectl.ask(&arguments).await?
    };
    text.parse().context("what was delivered is not a client secret")
}

async fn record(kubectl: &Kubectl, name: &str) -> anyhow::Result<Record> {
    let text =
        kubectl.ask(&["get", "secret", name, "-n", "technical-user-system", "-o", RECORD]).await?;
    Ok(Record::from_json(text.as_bytes(), None)?)
}

/// What a token service asks before it issues a token.
fn accepts(record: &Record, secret: &ClientSecret) -> bool {
    let now = System::start().now();
    let verifier = record.verifier(&secret.id(), now);
    verifier.is_some_and(|verifier| verifier.accepts(secret))
}

pub(crate) fn check(claim: &str, is_so: bool) -> anyhow::Result<()> {
    ensure!(is_so, "this is not so: {claim}");
    holds(claim);
    Ok(())
}

/// The record with its verifiers cut to what says that they are bcrypt.
fn without_verifiers(text: &str) -> String {
    fn cut(value: &mut Value) {
        match value {
            Value::String(text) if text.starts_with("$2") => {
                let start: String = text.chars().take(7).collect();
                *text = start + &"*".repeat(20);
            }
            Value::Array(values) => values.iter_mut().for_each(cut),
            Value::Object(fields) => fields.values_mut().for_each(cut),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let Ok(mut record) = serde_json::from_str(text) else {
        return UNREADABLE.to_owned();
    };
    cut(&mut record);
    format!("{record:#}")
}

fn altered(secret: &ClientSecret) -> String {
    let text = secret.reveal();
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "x" { "y" } else { "x" })
}

fn is_well_formed(text: &str) -> bool {
    text.parse::<ClientSecret>().is_ok()
}

const CLIENT_ID: &str = "go-template={{.data.client_id | base64decode}}{{\"\\n\"}}";
const CLIENT_SECRET: &str = "go-template={{.data.client_secret | base64decode}}";
const RECORD: &str = "go-template={{index .data \"record.json\" | base64decode}}";
const CREDENTIALS: &str = r#"jsonpath={range .status.credentials[*]}{.id}{"\t"}{.serial}{"\t"}{.state}{"\t"}{.expiresAt}{"\n"}{end}"#;
const UNREADABLE: &str = "(unreadable, and not shown)";
