//! The `TechnicalUser` as its users write it: a machine identity with a client id, a client secret
//! that is delivered once, and the roles its access tokens carry.
//!
//! The docs of the fields are the manual: they become the text of `kubectl explain`.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::schema::{OBJECT_NAME, QUALIFIED_NAMES, compared, completed, duration_between};

pub use self::status::{Binding, CredentialState, CredentialStatus, TechnicalUserStatus};

mod status;

/// A machine identity: a client id and a client secret, delivered once in a Kubernetes Secret, with
/// which a workload obtains short-lived access tokens.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "iam.cyoda.com",
    version = "v1alpha1",
    kind = "TechnicalUser",
    namespaced,
    status = "TechnicalUserStatus",
    derive = "PartialEq",
    shortname = "tu",
    shortname = "techuser",
    category = "iam",
    selectable = ".spec.clientID",
    selectable = ".spec.signingKeyRef.name",
    doc = "A TechnicalUser is a machine identity: the operator generates a client id and a client secret for it, keeps only a bcrypt verifier, and delivers the client secret exactly once, in a Kubernetes Secret of the same namespace. Two annotations ask for actions: iam.cyoda.com/rotate-requested-at for a new client secret, with overlap; iam.cyoda.com/revoke-requested-at for the end of all client secrets now. A value that differs from the last handled one asks, for example the output of date +%s.",
    label("servicebinding.io/provisioned-service", "true"),
    label("app.kubernetes.io/part-of", "technical-user-operator"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether the delivered client secret works and its SigningKey signs, or the suspension is in effect."),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is ready, or is not."),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.binding.name", description = "The Secret that carries the client secret."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Client ID", type_ = "string", json_path = ".status.clientID", priority = 1, description = "The OAuth 2.0 client id."),
    printcolumn(name = "Signing Key", type_ = "string", json_path = ".spec.signingKeyRef.name", priority = 1),
    printcolumn(name = "Roles", type_ = "string", json_path = ".spec.roles", priority = 1),
    printcolumn(name = "Serial", type_ = "integer", json_path = ".status.serial", priority = 1),
    printcolumn(name = "Installation", type_ = "string", json_path = ".status.installation.namespace", priority = 1),
    printcolumn(name = "Rotated", type_ = "date", json_path = ".status.lastRotationTime", priority = 1),
    printcolumn(name = "Next Rotation", type_ = "string", json_path = ".status.nextRotationTime", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name is used as a label value and may have at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.clientID) == has(oldSelf.clientID)").message("clientID is immutable: it cannot be added or removed; create a new TechnicalUser instead"),
    validation = Rule::new("!has(self.accessTokenType) || self.accessTokenType != 'at+jwt' || (has(self.audiences) && size(self.audiences) > 0)").message("accessTokenType at+jwt needs an entry in audiences: RFC 9068 demands the claim aud")
)]
pub struct TechnicalUserSpec {
    /// The OAuth 2.0 client id, 1 to 100 letters and digits. It is unique in the cluster and cannot
    /// be changed, added or removed later. Choose one if it has to outlive this object, for example a
    /// restore into another cluster. A chosen client id is free again once this object is deleted, and
    /// another namespace can then choose it. It cannot have the form of a derived one. Default: `tu`
    /// and 24 characters derived from the uid of this object, which no other object ever has.
    #[serde(default, rename = "clientID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[A-Za-z0-9]{1,100}$"))]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("clientID is immutable: create a new TechnicalUser instead"),
        validation = Rule::new("!self.matches('^tu[0-9a-v]{24}$')").message("clientID must not be tu and 24 characters of 0-9 and a-v: that is the form of client ids that the operator derives. Choose another one, or leave it out")
    )]
    pub client_id: Option<String>,

    /// What this identity is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,

    /// The roles that access tokens carry in `user_roles` and in `scope`, at most 16, for example
    /// `ROLE_M2M`. A role has 1 to 100 printable ASCII characters, without space, `"` and `\`. Tokens
    /// carry only the roles that the installation allows (`--allowed-roles` of the token service and
    /// of the operator, `ROLE_M2M` alone unless an administrator says otherwise). The condition `Ready`
    /// names the others. Default: `ROLE_M2M`.
    #[serde(default = "default_roles")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 100), regex(pattern = r"^[!#-\[\]-~]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<String>,

    /// The audiences an access token may be issued for, at most 8, for example
    /// `https://api.example.com`. The installation must allow each of them (`--allowed-audiences` of
    /// the token service and of the operator, none unless an administrator says otherwise): with one
    /// that is not allowed, no token is issued, and the condition `Ready` names it. Without any
    /// audience, tokens carry no `aud` claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 253), regex(pattern = r"^[!#-\[\]-~]+$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub audiences: Vec<String>,

    /// The `typ` in the header of access tokens: `JWT`, which every verifier accepts, or `at+jwt`, which
    /// verifiers that follow RFC 9068 may demand and others refuse. `at+jwt` needs an audience. Default:
    /// that of the installation (`--access-token-type` of the token service), which is `JWT` unless an
    /// administrator says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AccessTokenType")]
    pub access_token_type: Option<AccessTokenType>,

    /// How long an access token is valid, `1m` to `24h`. The token service shortens it to its
    /// `--max-access-token-ttl`. A duration such as `90s`, `5m` or `1h30m`. Default: `5m`.
    #[serde(default = "default_access_token_ttl", rename = "accessTokenTTL")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("accessTokenTTL", "1m", "24h"))]
    pub access_token_ttl: String,

    /// The `SigningKey` that signs the access tokens. Default: the one named `default`.
    #[serde(default)]
    pub signing_key_ref: SigningKeyReference,

    /// The shape of the delivered Secret: its name, further fields, labels and annotations.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("has(self.name) == has(oldSelf.name)").message("secretTemplate.name is immutable: it cannot be added or removed; create a new TechnicalUser instead"),
        validation = Rule::new("!has(self.name) || !has(oldSelf.name) || self.name == oldSelf.name").message("secretTemplate.name is immutable: create a new TechnicalUser instead")
    )]
    pub secret_template: SecretTemplate,

    /// How the client secret reaches its user, and what the loss of the delivered Secret means.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new("self.mode == 'OneTime' || self.ttl == '24h'").message("delivery.ttl is for the mode OneTime: set delivery.mode to OneTime, or remove delivery.ttl")
    )]
    pub delivery: Delivery,

    /// When a new client secret replaces the present one, and how long both work.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(format!("!has(self.period) || {}", compared(&["self.period", "self.overlap"], "duration(self.overlap) < duration(self.period)"))).message("rotation.overlap (default 24h) must be shorter than rotation.period: the previous client secret has to end before the next rotation")
    )]
    pub rotation: Rotation,

    /// While true, the token service refuses this identity, and nothing is issued, rotated or
    /// deleted. Default: `false`.
    #[serde(default)]
    pub suspend: bool,
}

/// The `typ` of an access token.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum AccessTokenType {
    /// A JWT (RFC 7519 section 5.1).
    #[default]
    #[serde(rename = "JWT")]
    Jwt,
    /// A JWT of the profile for access tokens (RFC 9068 section 2.1).
    #[serde(rename = "at+jwt")]
    AtJwt,
}

/// Which `SigningKey` signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyReference {
    /// The name of the `SigningKey`. Default: `default`.
    #[serde(default = "default_signing_key")]
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub name: String,
}

/// The shape of the delivered Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// The name of the delivered Secret. It cannot be changed, added or removed later. Default: the
    /// name of this object and `-credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: Option<String>,

    /// Further fields of the delivered Secret, at most 32, each a copy of one that is always there:
    /// `client_id`, `client_secret`, `token_url`, `issuer` or `jwks_uri`. For example
    /// `CLIENT_ID: client_id` for `envFrom`. A further field for the client secret itself
    /// appears with the next client secret, since the operator does not hold the present one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(
        validation = Rule::new("self.all(k, k.size() <= 253 && k.matches('^[-._a-zA-Z0-9]+$') && k != '.' && !k.startsWith('..'))").message("secretTemplate.keys: a field of a Secret has at most 253 letters, digits, '-', '_' or '.', and is not '.' and does not begin with '..'"),
        validation = Rule::new("self.all(k, !(k in ['client_id','client-id','client_secret','client-secret','token_url','token-uri','issuer','issuer-uri','jwk-set-uri','jwks_uri','type','provider','authorization-grant-type','client-authentication-method']))").message("secretTemplate.keys: this field is always written by the operator; choose another name")
    )]
    pub keys: BTreeMap<String, CredentialField>,

    /// Labels of the delivered Secret, at most 32. Those of GitOps tools (`argocd.argoproj.io/`,
    /// `kustomize.toolkit.fluxcd.io/`, `app.kubernetes.io/instance`) and those of this operator
    /// (`iam.cyoda.com/`) are refused. Labels that you set on the Secret yourself survive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}))]
    #[x_kube(
        validation = Rule::new(QUALIFIED_NAMES).message("secretTemplate.labels: not a valid label name"),
        validation = Rule::new("self.all(k, !k.startsWith('iam.cyoda.com/') && !k.startsWith('argocd.argoproj.io/') && !k.startsWith('kustomize.toolkit.fluxcd.io/') && !k.startsWith('helm.toolkit.fluxcd.io/') && !k.startsWith('app.kubernetes.io/'))").message("secretTemplate.labels: labels of iam.cyoda.com/, app.kubernetes.io/ and of GitOps tools would make others delete the Secret; choose another name")
    )]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the delivered Secret, at most 32, for example
    /// `reloader.stakater.com/match: "true"`. The same prefixes are refused as for labels, and
    /// those of kubectl and Helm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[x_kube(
        validation = Rule::new(QUALIFIED_NAMES).message("secretTemplate.annotations: not a valid annotation name"),
        validation = Rule::new("self.all(k, !k.startsWith('iam.cyoda.com/') && !k.startsWith('argocd.argoproj.io/') && !k.startsWith('kustomize.toolkit.fluxcd.io/') && !k.startsWith('helm.toolkit.fluxcd.io/') && !k.startsWith('meta.helm.sh/') && !k.startsWith('kubectl.kubernetes.io/'))").message("secretTemplate.annotations: annotations of iam.cyoda.com/, kubectl, Helm and GitOps tools would make others change the Secret; choose another name")
    )]
    pub annotations: BTreeMap<String, String>,
}

/// A value of the credential that a further field of the delivered Secret may carry.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum CredentialField {
    /// The client id.
    #[serde(rename = "client_id")]
    ClientId,
    /// The client secret.
    #[serde(rename = "client_secret")]
    ClientSecret,
    /// The URL of the token endpoint.
    #[serde(rename = "token_url")]
    TokenUrl,
    /// The issuer.
    #[serde(rename = "issuer")]
    Issuer,
    /// The URL of the JWKS.
    #[serde(rename = "jwks_uri")]
    JwksUri,
}

/// How the client secret reaches its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// `Retained`: the Secret stays, for workloads to mount. `OneTime`: the Secret goes after
    /// `ttl`, or when its reader deletes it, and is not written again until the next rotation. While
    /// it waits, `Ready` has the reason `AwaitingReader` and names the deadline; afterwards
    /// `DeliveredOnce`, or `NotCollected` if no reader deleted it in time.
    /// Default: `Retained`.
    #[serde(default)]
    pub mode: DeliveryMode,

    /// How long a `OneTime` Secret stays, `1m` to `720h`. Any other value than the default is refused in
    /// the mode `Retained`, where the Secret stays. Default: `24h`.
    #[serde(default = "default_ttl")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("delivery.ttl", "1m", "720h"))]
    pub ttl: String,

    /// What a deleted or altered Secret means in `Retained` mode. `Rotate`: a new client secret is
    /// issued, since the present one cannot be recovered. `Ignore`: nothing happens until the next
    /// rotation. Default: `Rotate`.
    #[serde(default)]
    pub on_deleted: OnDeleted,
}

/// Whether the delivered Secret stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeliveryMode {
    /// It stays.
    #[default]
    Retained,
    /// It goes once read, or after a while.
    OneTime,
}

/// What a deleted or altered Secret means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeleted {
    /// A new client secret is issued.
    #[default]
    Rotate,
    /// Nothing happens until the next rotation.
    Ignore,
}

/// When a new client secret replaces the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// How often a new client secret is issued, `2m` to `87600h`, for example `720h` for 30 days.
    /// Each rotation comes up to a sixteenth of `period` earlier, at most 10 minutes, so that objects
    /// that were applied together do not rotate together: `status.nextRotationTime` has the instant.
    /// Default: only on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("rotation.period", "2m", "87600h"))]
    pub period: Option<String>,

    /// How long the previous client secret stays valid after a rotation, `1m` to `8760h`, and
    /// shorter than `period`. Default: `24h`.
    #[serde(default = "default_overlap")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("rotation.overlap", "1m", "8760h"))]
    pub overlap: String,
}

/// Returns the `CustomResourceDefinition` of `TechnicalUser`.
pub fn crd() -> CustomResourceDefinition {
    completed(TechnicalUser::crd(), "What this identity shall be.")
}

impl AccessTokenType {
    /// The value of `typ`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::AtJwt => "at+jwt",
        }
    }
}

impl Default for SigningKeyReference {
    fn default() -> Self {
        Self { name: default_signing_key() }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self { mode: DeliveryMode::Retained, ttl: default_ttl(), on_deleted: OnDeleted::Rotate }
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self { period: None, overlap: default_overlap() }
    }
}

fn default_ttl() -> String {
    "24h".to_owned()
}

fn default_overlap() -> String {
    "24h".to_owned()
}

fn default_roles() -> Vec<String> {
    vec!["ROLE_M2M".to_owned()]
}

fn default_access_token_ttl() -> String {
    "5m".to_owned()
}

fn default_signing_key() -> String {
    "default".to_owned()
}

impl Kind for TechnicalUser {
    const KIND: &'static str = "TechnicalUser";
    const PLURAL: &'static str = "technicalusers";
    const STATUS: &'static str = "technicalusers/status";
}
