//! What the demonstration looks like: readable without colours, and never a client secret in the clear.

use anstream::{eprintln, println};
use technical_user_operator::domain::crypto::client_secret::ClientSecret;

use crate::world::World;

/// Opens a step.
pub(crate) fn title(text: &str) {
    println!("\n\x1b[1;32m== {text}\x1b[0m");
}

/// A file as a user would look at it.
pub(crate) fn file(path: &str, text: &str) {
    command(&["cat", path]);
    output(text);
}

/// A command as a user would type it.
pub(crate) fn command(words: &[&str]) {
    let line: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    println!("\n   \x1b[1m$ {}\x1b[0m", line.join(" "));
}

/// What a command answered.
pub(crate) fn output(text: &str) {
    for line in text.trim_end().lines() {
        println!("   {}", line.trim_end());
    }
}

/// What it means, in a sentence.
pub(crate) fn meaning(text: &str) {
    println!("\n   \x1b[36m-> {text}\x1b[0m");
}

/// Something that was checked and is so.
pub(crate) fn holds(text: &str) {
    println!("   \x1b[32m[ok]\x1b[0m {text}");
}

/// One line on what goes on.
pub(crate) fn progress(text: &str) {
    println!("   {text}");
}

/// The last words.
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("\n\x1b[1;31mThe demonstration failed:\x1b[0m {error:#}");
}

/// A client secret with its public part only.
pub(crate) fn masked(secret: &ClientSecret) -> String {
    format!("tus{}{}", secret.id(), "*".repeat(49))
}

pub(crate) fn how_to_go_on(world: &World) {
    title("Your turn: it stays up until Ctrl-C");
    println!("\n   In another terminal, in this folder:\n");
    if let Some(kubeconfig) = world.kubeconfig() {
        println!("     export KUBECONFIG={}", kubeconfig.display());
    }
    for line in BY_HAND.trim().lines() {
        println!("     {line}");
    }
    println!("\n   The log of the operator: {}", world.operator.log().display());
    println!("   Its metrics: curl http://{}/metrics", world.operator.metrics());
}

fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_./=:@,$".contains(it);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{word}'") }
}

const BY_HAND: &str = r#"
kubectl get tu -n default --watch
kubectl annotate -n default --overwrite tu billing iam.cyoda.com/rotate-requested-at="$(date +%s)"
kubectl annotate -n default --overwrite tu billing iam.cyoda.com/revoke-requested-at="$(date +%s)"
kubectl delete secret -n default shop-oauth
kubectl edit tu -n default shop
kubectl delete tu -n default partner
kubectl get secrets --namespace technical-user-system
"#;
