//! The `SigningKey` as its users write it: a series of key pairs that sign access tokens, published
//! before they sign and withdrawn after the last token of theirs has expired.
//!
//! The docs of the fields are the manual: they become the text of `kubectl explain`.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CONTROLLER_NAME;
use super::kind::Kind;
use super::schema::{QUALIFIED_NAMES, compared, completed, duration_between};

pub use self::status::{JwksStatus, KeyState, KeyStatus, SigningKeyStatus};

mod status;

/// A series of key pairs that sign access tokens, one after the other.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "iam.cyoda.com",
    version = "v1alpha1",
    kind = "SigningKey",
    status = "SigningKeyStatus",
    derive = "PartialEq",
    shortname = "sk",
    shortname = "sigkey",
    category = "iam",
    selectable = ".spec.algorithm",
    doc = "A SigningKey is a series of key pairs that sign access tokens. Each is published in a JWKS ConfigMap before it signs, signs for one period, and stays published until the last token that it signed has expired, so that no verifier meets an unknown key, unless its copy is older than prePublish or a key was revoked. Three annotations ask for actions: iam.cyoda.com/rotate-requested-at for a new key, which takes over after prePublish; iam.cyoda.com/revoke-requested-at, whose value is the kid of one key of status.keys, for the withdrawal of that key now; iam.cyoda.com/revoke-all-requested-at for the withdrawal of every key now. A value that differs from the last handled one asks; the first and the last of them take any value, for example the output of date +%s.",
    label("app.kubernetes.io/part-of", "technical-user-operator"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#, description = "Whether a key of this series can sign and is published."),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, description = "Why it is ready or not, or which request was refused."),
    printcolumn(name = "Algorithm", type_ = "string", json_path = ".spec.algorithm", description = "The JWS algorithm."),
    printcolumn(name = "Next Rotation", type_ = "string", json_path = ".status.nextRotationTime", description = "When the next key takes over."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Active Key", type_ = "string", json_path = ".status.activeKid", priority = 1, description = "The kid of the key that signs now."),
    printcolumn(name = "JWKS", type_ = "string", json_path = ".status.jwks.configMapName", priority = 1),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.jwks.namespaces", priority = 1),
    printcolumn(name = "Controller", type_ = "string", json_path = ".spec.controllerName", priority = 1),
    printcolumn(name = "Installation", type_ = "string", json_path = ".status.installation.namespace", priority = 1),
    printcolumn(name = "Rotated", type_ = "date", json_path = ".status.lastRotationTime", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name is used as a label value and may have at most 63 characters"),
    validation = Rule::new("self.spec.algorithm == oldSelf.spec.algorithm || (has(oldSelf.status) && has(oldSelf.status.bootstrapped) && oldSelf.status.bootstrapped)").message("spec.algorithm is immutable: create another SigningKey and let the TechnicalUsers refer to it").field_path(".spec.algorithm")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.rsaKeySize) || self.algorithm.startsWith('RS') || self.algorithm.startsWith('PS')").message("rsaKeySize belongs to the RSA algorithms (RS256 to PS512): the other algorithms say the size of their keys themselves, so leave it out")
)]
pub struct SigningKeySpec {
    /// The controller that serves this object, as in Gateway API: an operator ignores every
    /// `SigningKey` that names another controller than its flag `--controller-name`. It cannot be
    /// changed later. Default: `iam.cyoda.com/technical-user-operator`.
    #[serde(default = "default_controller_name")]
    #[schemars(
        length(min = 1, max = 253),
        regex(
            pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/_.~-]+$"
        )
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("controllerName is immutable: create another SigningKey with another name"))]
    pub controller_name: String,

    /// The JWS algorithm (RFC 7518, RFC 8037): `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`,
    /// `ES256`, `ES384`, `ES512` or `EdDSA` (Ed25519). Every verifier knows `RS256`; kube-apiserver
    /// refuses `EdDSA`, Trino and Strimzi do not know it. It cannot be changed later: make another
    /// `SigningKey`. The one exception is the `SigningKey` named `default` that the operator made, as
    /// long as `status.bootstrapped` is true. Default: `RS256`.
    #[serde(default)]
    pub algorithm: Algorithm,

    /// The size of new RSA keys in bits: 2048, 3072 or 4096. Default: 2048.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2048, max = 4096), extend("enum" = [2048, 3072, 4096]))]
    pub rsa_key_size: Option<i32>,

    /// When a new key takes over, and how long before and after that it is published.
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(compared(&["self.prePublish"], "self.acceptOutage || duration(self.prePublish) >= duration('20m')")).message("rotation.prePublish must be at least 20m: Istio and Trino fetch the JWKS every 15 to 20 minutes and refuse tokens of a key they have not fetched. Set rotation.acceptOutage: true if no verifier of yours caches that long"),
        validation = Rule::new(compared(&["self.period"], "self.acceptOutage || duration(self.period) >= duration('1h')")).message("rotation.period must be at least 1h: a key stays in the JWKS for a day and more after it signed last, there is room for 64, and a verifier that caches the JWKS has to fetch each key before it signs. Set rotation.acceptOutage: true if a refused token does no harm"),
        validation = Rule::new(compared(&["self.period", "self.prePublish"], "duration(self.period) > duration(self.prePublish)")).message("rotation.period must be longer than rotation.prePublish: a key has to sign before the next one is published"),
        validation = Rule::new(compared(&["self.grace", "self.period"], "duration(self.grace).getSeconds() <= 24 * duration(self.period).getSeconds()")).message("rotation.grace may be at most 24 times rotation.period: every period leaves a key in the JWKS for the time of grace")
    )]
    pub rotation: KeyRotation,

    /// Where the public keys are published, beyond the token service.
    #[serde(default)]
    pub jwks: JwksTargets,

    /// While true, no key of this series signs and no new one is made. The JWKS stays published, so
    /// that tokens which were issued stay valid. Default: `false`.
    #[serde(default)]
    pub suspend: bool,
}

/// A JWS algorithm for signatures with key pairs (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256 and MGF1 with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384 and MGF1 with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512 and MGF1 with SHA-512.
    PS512,
    /// ECDSA with P-256 and SHA-256.
    ES256,
    /// ECDSA with P-384 and SHA-384.
    ES384,
    /// ECDSA with P-521 and SHA-512.
    ES512,
    /// `EdDSA` with Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// When a new key takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRotation {
    /// How long each key signs, `10s` to `87600h`; less than `1h` only with `acceptOutage`. A
    /// duration such as `720h` or `1h30m`. Each rotation comes up to a sixteenth of `period` earlier, at
    /// most 10 minutes, so that objects that were applied together do not rotate together:
    /// `status.nextRotationTime` has the instant. Default: `2160h`, which is 90 days.
    #[serde(default = "default_period")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("rotation.period", "10s", "87600h"))]
    pub period: String,

    /// How long a key is published before it signs, at most `720h`; less than `20m` only with
    /// `acceptOutage`. Set it longer than the longest JWKS cache of your verifiers (Istio `20m`, Kafka
    /// `60m`: use `90m`). A token server that loses the API server serves a JWKS as old as
    /// `--max-staleness`: docs/signing-keys.md has the sum. Default: `1h`, too short for Kafka.
    #[serde(default = "default_pre_publish")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("rotation.prePublish", "0s", "720h"))]
    pub pre_publish: String,

    /// How long a key stays published after its last signature, at most `8760h`. The operator keeps it
    /// at least as long as its tokens live and a token server may be disconnected (`--max-staleness`).
    /// Default: `1h`.
    #[serde(default = "default_grace")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = duration_between("rotation.grace", "0s", "8760h"))]
    pub grace: String,

    /// Accept that verifiers which cache the JWKS refuse valid tokens for a while after a rotation.
    /// It lifts the lower bounds of `period` and `prePublish`. Default: `false`.
    #[serde(default)]
    pub accept_outage: bool,
}

/// Where the public keys are published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwksTargets {
    /// The name of the JWKS ConfigMap, in the namespace of the operator and in the selected ones.
    /// Renamed, the ConfigMap of the former name is deleted. Default: the name of this object and
    /// `-jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub config_map_name: Option<String>,

    /// The namespaces that get a copy of the JWKS ConfigMap, by their labels: Envoy Gateway reads it
    /// from the namespace of its own policy. An empty selector means all namespaces. Default: none
    /// but that of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
}

/// A selector of namespaces by their labels, as everywhere in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that a namespace must have, at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63, "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}))]
    #[x_kube(
        validation = Rule::new(QUALIFIED_NAMES).message("namespaceSelector.matchLabels: not a valid label name")
    )]
    pub match_labels: BTreeMap<String, String>,

    /// Requirements that a namespace must meet, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<NamespaceRequirement>,
}

/// One requirement on the labels of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : size(self.values) == 0").message("namespaceSelector.matchExpressions: In and NotIn need values, Exists and DoesNotExist have none")
)]
pub struct NamespaceRequirement {
    /// The name of the label.
    #[schemars(
        length(min = 1, max = 317),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: SelectorOperator,
    /// The values for `In` and `NotIn`, at most 32.
    #[serde(default)]
    #[schemars(
        length(max = 32),
        inner(length(max = 63), regex(pattern = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub values: Vec<String>,
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// Returns the `CustomResourceDefinition` of `SigningKey`.
pub fn crd() -> CustomResourceDefinition {
    completed(SigningKey::crd(), "How this series of key pairs shall be made and published.")
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDsa,
    ];

    /// The name in the `alg` member of a JWS header and of a JWK.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl From<&NamespaceSelector> for LabelSelector {
    fn from(selector: &NamespaceSelector) -> Self {
        let requirement = |it: &NamespaceRequirement| LabelSelectorRequirement {
            key: it.key.clone(),
            operator: format!("{:?}", it.operator),
            values: Some(it.values.clone()),
        };
        Self {
            match_labels: Some(selector.match_labels.clone()),
            match_expressions: Some(selector.match_expressions.iter().map(requirement).collect()),
        }
    }
}

impl Default for KeyRotation {
    fn default() -> Self {
        Self {
            period: default_period(),
            pre_publish: default_pre_publish(),
            grace: default_grace(),
            accept_outage: false,
        }
    }
}

fn default_controller_name() -> String {
    CONTROLLER_NAME.to_owned()
}

fn default_period() -> String {
    "2160h".to_owned()
}

fn default_pre_publish() -> String {
    "1h".to_owned()
}

fn default_grace() -> String {
    "1h".to_owned()
}

impl Kind for SigningKey {
    const KIND: &'static str = "SigningKey";
    const PLURAL: &'static str = "signingkeys";
    const STATUS: &'static str = "signingkeys/status";
}
