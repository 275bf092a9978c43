//! Who may speak to the API server and by which token; new tokens for every control plane.

use std::{fmt::Write as _, fs, io};

use aws_lc_rs::{
    encoding::{AsDer as _, EcPrivateKeyRfc5915Der},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{User, plan::Plan};

/// A user of the API server, or the one program that is a user too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    Admin,
    Operator,
    TokenServer,
    Nobody,
    ControllerManager,
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        match user {
            User::Admin => Self::Admin,
            User::Operator => Self::Operator,
            User::TokenServer => Self::TokenServer,
            User::Nobody => Self::Nobody,
        }
    }
}

impl Account {
    const ALL: [Self; 5] =
        [Self::Admin, Self::Operator, Self::TokenServer, Self::Nobody, Self::ControllerManager];

    /// The name of its kubeconfig.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::TokenServer => "token-server",
            Self::Nobody => "nobody",
            Self::ControllerManager => "controller-manager",
        }
    }

    fn username(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "system:serviceaccount:technical-user-system:technical-user-operator",
            Self::TokenServer => {
                "system:serviceaccount:technical-user-system:technical-user-token-server"
            }
            Self::Nobody => "nobody",
            Self::ControllerManager => "system:kube-controller-manager",
        }
    }

    /// The API server adds `system:authenticated` by itself.
    fn groups(self) -> &'static str {
        match self {
            // The program's own role expects a ServiceAccount per controller, each with a token to fetch first.
            Self::Admin | Self::ControllerManager => "system:masters",
            Self::Operator | Self::TokenServer => {
                "system:serviceaccounts,system:serviceaccounts:technical-user-system"
            }
            Self::Nobody => "",
        }
    }
}

/// Writes what the programs and their clients read at their start.
pub(super) fn write(plan: &Plan) -> io::Result<()> {
    let mut tokens = String::new();
    for account in Account::ALL {
        let token = format!("{:032x}", rand::random::<u128>());
        let (username, groups) = (account.username(), account.groups());
        let _ = writeln!(tokens, "{token},{username},{username},\"{groups}\"");
        fs::write(plan.kubeconfig(account), kubeconfig(plan, &token))?;
    }
    fs::write(plan.tokens(), tokens)?;
    fs::write(plan.service_account_key(), service_account_key()?)?;
    fs::write(plan.audit_policy(), audit_policy())
}

/// JSON, which is YAML too.
fn kubeconfig(plan: &Plan, token: &str) -> String {
    let name = "control-plane";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": name,
            "cluster": {
                "server": plan.server_url(),
                // The API server makes this file at its first start, later than this one.
                "certificate-authority": plan.server_certificate(),
            },
        }],
        "users": [{ "name": name, "user": { "token": token } }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "current-context": name,
    })
    .to_string()
}

/// In the one form that the API server reads as the private key and as the public one.
fn service_account_key() -> io::Result<String> {
    let key_pair =
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(io::Error::other)?;
    let der: EcPrivateKeyRfc5915Der<'_> =
        key_pair.private_key().as_der().map_err(io::Error::other)?;
    Ok(format!(
        "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(der.as_ref())
    ))
}

/// Who did what to which object, and no bodies.
fn audit_policy() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata" }],
    })
    .to_string()
}
