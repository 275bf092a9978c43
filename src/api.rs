//! The vocabulary of the API: the group, the names of labels and annotations, and conditions.
//!
//! What users see is spelt here once. Nothing in this layer decides or does anything.

#[expect(unreachable_pub, reason = "KubeSchema derives a hidden twin of every struct")]
pub mod condition;
pub mod crds;
#[expect(unreachable_pub, reason = "KubeSchema derives a hidden twin of every struct")]
pub mod installation;
pub mod kind;
mod schema;
#[expect(unreachable_pub, reason = "KubeSchema derives a hidden twin of every struct")]
pub mod signing_key;
#[expect(unreachable_pub, reason = "KubeSchema derives a hidden twin of every struct")]
pub mod technical_user;

/// The API group of every resource of this project.
pub const GROUP: &str = "iam.cyoda.com";
/// The version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// The field manager of every write, and the `provider` entry of a delivered Secret.
pub const MANAGER: &str = "technical-user-operator";

/// The controller that serves a `SigningKey` which names none.
pub const CONTROLLER_NAME: &str = "iam.cyoda.com/technical-user-operator";

/// Annotation on a `TechnicalUser`: a value that differs from the last handled one asks for a new client
/// secret, with overlap. On a `SigningKey` it asks for a new key. An empty value asks for nothing.
pub const ROTATE_REQUESTED_AT: &str = "iam.cyoda.com/rotate-requested-at";
/// Annotation on a `TechnicalUser`: a value that differs from the last handled one ends every client secret
/// now and asks for a new one. On a `SigningKey`: the kid that is to leave the JWKS at once.
pub const REVOKE_REQUESTED_AT: &str = "iam.cyoda.com/revoke-requested-at";

/// The annotations that ask for something.
pub const REQUESTS: [&str; 2] = [ROTATE_REQUESTED_AT, REVOKE_REQUESTED_AT];

/// Annotation on a `SigningKey`: any new value revokes every key of the series at once.
pub const REVOKE_ALL_REQUESTED_AT: &str = "iam.cyoda.com/revoke-all-requested-at";

/// The annotations that ask for something of a `SigningKey`. They include those of a `TechnicalUser`.
pub const SIGNING_KEY_REQUESTS: [&str; 3] =
    [ROTATE_REQUESTED_AT, REVOKE_REQUESTED_AT, REVOKE_ALL_REQUESTED_AT];

/// Annotation on a delivered Secret: the id of the credential that it carries.
pub const CREDENTIAL_ID: &str = "iam.cyoda.com/credential-id";
/// Annotation on a delivered Secret: the fields, separated by commas, that carry the client secret.
pub const CLIENT_SECRET_FIELDS: &str = "iam.cyoda.com/client-secret-fields";
/// Annotation on a delivered Secret: a digest of everything in it but the client secret.
pub const CONTENT_DIGEST: &str = "iam.cyoda.com/content-digest";
/// Annotation on a delivered Secret: moved to make a delivery that may be in flight impossible.
pub const DELIVERY_ATTEMPT: &str = "iam.cyoda.com/delivery-attempt";

/// Annotation of `kubectl apply`: a copy of the applied object. On a delivered Secret that copy can
/// hold the client secret, so the operator removes the annotation.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Annotation on a ledger or a key pair: when it was first seen without its `SigningKey`.
pub const OWNERLESS_SINCE: &str = "iam.cyoda.com/ownerless-since";
/// Label on a key pair: its algorithm.
pub const ALGORITHM: &str = "iam.cyoda.com/algorithm";

/// Label on everything the operator makes. The watch on delivered Secrets selects by it.
pub const MANAGED: &str = "iam.cyoda.com/managed";
/// Label on a delivered Secret: the name of its `TechnicalUser`.
pub const TECHNICAL_USER: &str = "iam.cyoda.com/technical-user";
/// Label on a JWKS ConfigMap, a ledger and a key pair: the name of its `SigningKey`.
pub const SIGNING_KEY: &str = "iam.cyoda.com/signing-key";
/// Label on a key pair: its index in the series.
pub const KEY_INDEX: &str = "iam.cyoda.com/key-index";
/// Prefix of every label and annotation that belongs to the operator.
pub const RESERVED_PREFIX: &str = "iam.cyoda.com/";

/// The type of a delivered Secret, after the Service Binding specification.
pub const DELIVERED_TYPE: &str = "servicebinding.io/oauth2";
/// The type of a verifier record.
pub const RECORD_TYPE: &str = "iam.cyoda.com/verifier";
/// The one field of a verifier record.
pub const RECORD_FIELD: &str = "record.json";

/// The type of the ledger of a `SigningKey`.
pub const LEDGER_TYPE: &str = "iam.cyoda.com/signing-key-ledger";
/// The one field of a ledger.
pub const LEDGER_FIELD: &str = "ledger.json";
/// The type of a Secret with one key pair.
pub const KEY_PAIR_TYPE: &str = "iam.cyoda.com/signing-key-pair";
/// The one field of a key pair, PKCS#8 (RFC 5208) in DER.
pub const KEY_PAIR_FIELD: &str = "private-key.der";
/// The field of a JWKS ConfigMap that Envoy Gateway reads.
pub const JWKS_FIELD: &str = "jwks";
/// The same bytes for workloads that mount the ConfigMap as files.
pub const JWKS_FILE: &str = "jwks.json";
