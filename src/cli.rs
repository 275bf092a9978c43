//! Flags and environment to typed settings. The only reader of the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use self::issuer::check_issuer;
use self::values::{address, at_least_one_second, controller_name, dns_label};
use crate::api::technical_user::AccessTokenType;
use crate::domain::policy::{Allowed, InvalidList, Policy};

pub use self::environment::{
    ProxyVariables, host_name, log_filter, otel_variables, proxy_variables,
};
pub use self::issuer::IssuerError;
pub use self::otel::{InvalidVariable, OtelVariables, RootSampler};

mod environment;
mod issuer;
mod otel;
mod values;

/// Machine-to-machine identity as Kubernetes resources.
///
/// Applied to a cluster, a `TechnicalUser` becomes an OAuth 2.0 client id and a client secret in a
/// Kubernetes Secret, of which only a bcrypt verifier is kept, and a `SigningKey` becomes a series of
/// key pairs whose public halves are published in a JWKS ConfigMap. The token service turns client id
/// and client secret into a short-lived JWT.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    styles = Styles::styled().header(AnsiColor::Green.on_default().bold()).literal(AnsiColor::Cyan.on_default()),
    after_help = "The cluster is that of `KUBECONFIG` or ~/.kube/config, or the one the operator runs in. \
        The way to it can be a proxy: `proxy-url` there, or HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
)]
pub struct Arguments {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What to run.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the operator: issue, rotate and revoke credentials and signing keys.
    Controller(ControllerArguments),
    /// Run the token service: tokens, discovery, JWKS and introspection. It only reads, and can be
    /// run as often as is needed.
    TokenServer(TokenServerArguments),
    /// Run everything in one process, and make what is missing: for trying out and small clusters.
    AllInOne(AllInOneArguments),
    /// Print the CustomResourceDefinitions, ready for `kubectl apply -f -`.
    Crd,
}

/// Settings that every process of an installation shares.
#[derive(Clone, Debug, Args)]
pub struct Installation {
    /// The operator's own namespace: verifier records, signing keys and the Lease live there.
    #[arg(long, env = "TECHNICAL_USER_NAMESPACE", default_value = "technical-user-system", value_parser = dns_label, value_name = "NAME")]
    pub namespace: String,

    /// The controller name of this installation. It serves the `SigningKey`s whose
    /// `spec.controllerName` is this one, and ignores all others.
    #[arg(long, env = "TECHNICAL_USER_CONTROLLER_NAME", default_value = crate::api::CONTROLLER_NAME, value_parser = controller_name, value_name = "DOMAIN/PATH")]
    pub controller_name: String,

    /// The issuer of access tokens, an https URL without query or fragment, as delivered to users
    /// and named in tokens.
    #[arg(long, env = "TECHNICAL_USER_ISSUER", value_name = "URL")]
    pub issuer: String,

    /// Accept an issuer with http, if its host is a loopback address: for trying out.
    #[arg(long, env = "TECHNICAL_USER_ALLOW_INSECURE_ISSUER")]
    pub allow_insecure_issuer: bool,

    /// Serve only these namespaces, separated by commas. Default: all.
    #[arg(long, env = "TECHNICAL_USER_WATCH_NAMESPACES", value_delimiter = ',', value_parser = dns_label, value_name = "NAMES")]
    pub watch_namespaces: Vec<String>,

    /// The longest lifetime of an access token, also if a `TechnicalUser` asks for more. A key stays in the
    /// JWKS that long after its last token; the operator and the token service need the same value.
    #[arg(long, env = "TECHNICAL_USER_MAX_ACCESS_TOKEN_TTL", default_value = "24h", value_parser = at_least_one_second, value_name = "DURATION")]
    pub max_access_token_ttl: SignedDuration,

    /// How long a token service may be disconnected from the API server and still sign. A key stays
    /// in the JWKS that much longer; the operator and the token service need the same value.
    #[arg(long, env = "TECHNICAL_USER_MAX_STALENESS", default_value = "1h", value_parser = at_least_one_second, value_name = "DURATION")]
    pub max_staleness: SignedDuration,

    /// The roles that access tokens may carry, separated by commas, or * for any. A `TechnicalUser`
    /// with other roles gets none of them. The operator and the token service need the same value.
    #[arg(long, env = "TECHNICAL_USER_ALLOWED_ROLES", default_value = "ROLE_M2M", value_parser = roles, value_name = "ROLES")]
    pub allowed_roles: Allowed,

    /// The audiences that access tokens may carry, separated by commas, or * for any. A `TechnicalUser`
    /// with another audience gets no token. Default: none. The operator and the token service need the
    /// same value.
    #[arg(long, env = "TECHNICAL_USER_ALLOWED_AUDIENCES", default_value = "", hide_default_value = true, value_parser = audiences, value_name = "AUDIENCES")]
    pub allowed_audiences: Allowed,

    /// Where /livez and /readyz answer; for a token service also /readyz/sign.
    #[arg(
        long,
        env = "TECHNICAL_USER_HEALTH_LISTEN",
        default_value = "127.0.0.1:8081",
        value_parser = address,
        value_name = "ADDRESS"
    )]
    pub health_listen: SocketAddr,

    /// Where /metrics answers, in the OpenMetrics format.
    #[arg(
        long,
        env = "TECHNICAL_USER_METRICS_LISTEN",
        default_value = "127.0.0.1:8082",
        value_parser = address,
        value_name = "ADDRESS"
    )]
    pub metrics_listen: SocketAddr,

    /// How to write logs. What is logged is set by `RUST_LOG`, `info` by default.
    #[arg(long, env = "TECHNICAL_USER_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Settings of the operator.
#[derive(Clone, Debug, Args)]
pub struct ControllerArguments {
    /// What the whole installation shares.
    #[command(flatten)]
    pub installation: Installation,

    /// The bcrypt cost of new verifiers. Client secrets have 256 bits, so 10 is enough.
    #[arg(long, env = "TECHNICAL_USER_BCRYPT_COST", default_value_t = 10, value_parser = clap::value_parser!(u32).range(10..=14), value_name = "COST")]
    pub bcrypt_cost: u32,

    /// Create a `SigningKey` named `default` if there is none of that name, also if there are others.
    /// An operator with a `--controller-name` of its own never does.
    #[arg(long, env = "TECHNICAL_USER_BOOTSTRAP_SIGNING_KEY", default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_name = "BOOLEAN")]
    pub bootstrap_signing_key: bool,
}

/// Settings of the token service.
#[derive(Clone, Debug, Args)]
pub struct ServiceArguments {
    /// Where the token service answers.
    #[arg(
        long,
        env = "TECHNICAL_USER_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = address,
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,

    /// A file with the certificate chain in PEM, for TLS. It is read again when it changes. Without it
    /// the token service speaks HTTP, for a proxy that ends TLS.
    #[arg(
        long,
        env = "TECHNICAL_USER_TLS_CERT_FILE",
        requires = "tls_private_key_file",
        value_name = "FILE"
    )]
    pub tls_cert_file: Option<PathBuf>,

    /// A file with the private key of the certificate in PEM.
    #[arg(
        long,
        env = "TECHNICAL_USER_TLS_PRIVATE_KEY_FILE",
        requires = "tls_cert_file",
        value_name = "FILE"
    )]
    pub tls_private_key_file: Option<PathBuf>,

    /// Which claims say what a client may do: `cloud` has the roles in `user_roles`, `cyoda-go` in
    /// `scopes`, so that cyoda-go takes the client for a service and not for a person.
    #[arg(
        long,
        env = "TECHNICAL_USER_CLAIMS_PROFILE",
        default_value = "cloud",
        value_name = "PROFILE"
    )]
    pub claims_profile: ClaimsProfile,

    /// The `typ` in the header of access tokens, unless `spec.accessTokenType` says otherwise: `at+jwt`
    /// for verifiers that follow RFC 9068. A token without an audience is a `JWT` always.
    #[arg(
        long,
        env = "TECHNICAL_USER_ACCESS_TOKEN_TYPE",
        default_value = "JWT",
        value_name = "TYPE"
    )]
    pub access_token_type: TokenType,

    /// Where one line of JSON goes for every token: `-` is standard output, `none` is nowhere, and
    /// anything else is a file.
    #[arg(long, env = "TECHNICAL_USER_AUDIT_LOG_PATH", default_value = "-", value_name = "FILE")]
    pub audit_log_path: String,

    /// How many tokens a second one client gets, and twice as many at once; 0 is no limit.
    #[arg(long, env = "TECHNICAL_USER_CLIENT_RATE", default_value_t = 1000, value_name = "TOKENS")]
    pub client_rate: u32,

    /// How many tokens a second all clients get together, and twice as many at once; 0 is no limit.
    #[arg(long, env = "TECHNICAL_USER_TOTAL_RATE", default_value_t = 0, value_name = "TOKENS")]
    pub total_rate: u32,

    /// How many connections one source address may have, and how many requests at once; 0 is no limit.
    /// A proxy is one source, a network of 64 bits is one in IPv6; one of 48 bits has half of all
    /// connections at most, unless this is 0.
    #[arg(
        long,
        env = "TECHNICAL_USER_SOURCE_LIMIT",
        default_value_t = 1000,
        value_name = "CONNECTIONS"
    )]
    pub source_limit: u32,

    /// How long a connection may stay without a request. It has to be longer than the proxy or load
    /// balancer before it keeps one, so that it never sends a request into a connection that closes.
    #[arg(long, env = "TECHNICAL_USER_IDLE_TIMEOUT", default_value = "620s", value_parser = at_least_one_second, value_name = "DURATION")]
    pub idle_timeout: SignedDuration,
}

/// Settings of the token service in a process of its own.
#[derive(Clone, Debug, Args)]
pub struct TokenServerArguments {
    /// What the whole installation shares.
    #[command(flatten)]
    pub installation: Installation,

    /// Settings of the token service.
    #[command(flatten)]
    pub service: ServiceArguments,
}

/// Settings of everything in one process.
#[derive(Clone, Debug, Args)]
pub struct AllInOneArguments {
    /// Settings of the operator.
    #[command(flatten)]
    pub controller: ControllerArguments,

    /// Settings of the token service.
    #[command(flatten)]
    pub service: ServiceArguments,
}

/// Which claims say what a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClaimsProfile {
    /// Roles in `user_roles`.
    Cloud,
    /// Roles in `scopes`, and no `user_roles`.
    CyodaGo,
}

/// The `typ` in the header of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenType {
    /// Every verifier accepts it.
    #[value(name = "JWT")]
    Jwt,
    /// RFC 9068 requires it.
    #[value(name = "at+jwt")]
    AtJwt,
}

/// How to write logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Arguments {
    /// Reads flags and environment.
    ///
    /// # Errors
    ///
    /// The error of a flag, or the text of `--help` and `--version`.
    pub fn read() -> Result<Self, clap::Error> {
        let command = Self::command().mut_subcommands(without_empty_variables);
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

/// An empty variable is how a manifest says nothing: it counts as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.after_help("An environment variable that is empty counts as unset.").mut_args(|flag| {
        let value = flag.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) { flag.env(Resettable::Reset) } else { flag }
    })
}

impl Installation {
    /// The issuer, checked (OpenID Connect Discovery 1.0 section 3: https, no query, no fragment).
    ///
    /// # Errors
    ///
    /// [`IssuerError`], one sentence that says what to do.
    pub fn checked_issuer(&self) -> Result<String, IssuerError> {
        check_issuer(&self.issuer, self.allow_insecure_issuer)
    }

    /// The allowed roles and audiences of access tokens.
    pub fn policy(&self) -> Policy {
        Policy { roles: self.allowed_roles.clone(), audiences: self.allowed_audiences.clone() }
    }
}

fn roles(text: &str) -> Result<Allowed, InvalidList> {
    Allowed::roles(text)
}

fn audiences(text: &str) -> Result<Allowed, InvalidList> {
    Allowed::audiences(text)
}

impl From<TokenType> for AccessTokenType {
    fn from(type_: TokenType) -> Self {
        match type_ {
            TokenType::Jwt => Self::Jwt,
            TokenType::AtJwt => Self::AtJwt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_flag_is_a_sentence() {
        let parse = |flags: &[&str]| {
            let words = ["technical-user-operator", "controller"].iter().chain(flags);
            Arguments::try_parse_from(words).unwrap_err().to_string()
        };

        assert!(parse(&[]).contains("--issuer <URL>"));
        assert!(parse(&["--issuer", "https://a", "--bcrypt-cost", "4"]).contains("10..=14"));
        assert!(parse(&["--issuer", "https://a", "--namespace", "A_b"]).contains("lower-case"));
        assert!(parse(&["--issuer", "https://a", "--max-staleness", "0s"]).contains("at least 1s"));
        assert!(parse(&["--issuer", "https://a", "--controller-name", "a"]).contains("DNS name"));
        assert!(parse(&["--issuer", "https://a", "--health-listen", "[::]"]).contains("[::]:8080"));
        let roles = parse(&["--issuer", "https://a", "--allowed-roles", "ROLE_M2M,*"]);
        assert!(roles.contains("\"*\" is not a role"), "{roles}");
        let audiences = parse(&["--issuer", "https://a", "--allowed-audiences", "a b"]);
        assert!(audiences.contains("\"a b\" is not an audience"), "{audiences}");
    }

    #[test]
    fn what_tokens_may_say_is_the_same_flag_of_every_process() {
        for command in ["controller", "token-server", "all-in-one"] {
            let policy = |flags: &[&str]| {
                let words = ["technical-user-operator", command, "--issuer", "https://a"];
                let parsed = Arguments::try_parse_from(words.iter().chain(flags)).unwrap();
                match parsed.command {
                    Command::Controller(it) => it.installation.policy(),
                    Command::TokenServer(it) => it.installation.policy(),
                    Command::AllInOne(it) => it.controller.installation.policy(),
                    Command::Crd => panic!("no process"),
                }
            };

            assert_eq!(policy(&[]), Policy::default());
            let open = policy(&["--allowed-roles=*", "--allowed-audiences=*"]);
            assert_eq!(open, Policy::unbounded());
            let some = policy(&["--allowed-roles=a,b", "--allowed-audiences", "https://a"]);
            assert!(some.roles.includes("b") && !some.roles.includes("ROLE_M2M"));
            assert!(some.audiences.includes("https://a"));
        }
    }
}
