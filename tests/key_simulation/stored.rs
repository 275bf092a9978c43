//! Reading stored objects, by name and by field.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use support::fake_api_server::View;
use technical_user_operator::domain::oauth::signer::SigningState;
use technical_user_operator::domain::signing_key::Ledger;

use crate::harness::stored::{owner_of, uid_of};
use crate::servers::Ledgers;

/// Where the operator keeps its ledgers, and the token service reads its JWKS.
pub(crate) const OPERATOR: &str = "iam-system";

/// The series of the flows.
pub(crate) const NAME: &str = "default";

/// Its JWKS.
pub(crate) const JWKS: &str = "default-jwks";

/// The name of an object.
pub(crate) fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Its namespace.
pub(crate) fn namespace_of(object: &Value) -> String {
    object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned()
}

/// Whether a Secret is a ledger.
pub(crate) fn is_series(secret: &Value) -> bool {
    secret["type"] == "iam.cyoda.com/signing-key-ledger"
}

/// The key set of a `ConfigMap`.
pub(crate) fn jwks_of(map: &Value) -> Option<String> {
    map["data"]["jwks"].as_str().map(str::to_owned)
}

/// Whether the selector of a series selects a namespace; the flows select by the label `team`.
pub(crate) fn is_selected(series: &Value, namespace: &Value) -> bool {
    let labels = &namespace["metadata"]["labels"];
    let selector = &series["spec"]["jwks"]["namespaceSelector"];
    let required = selector["matchExpressions"].as_array();
    required.is_some_and(|required| {
        required.iter().all(|it| {
            let label = &labels[it["key"].as_str().unwrap_or_default()];
            it["values"].as_array().is_some_and(|values| values.contains(label))
        })
    })
}

/// The ledger that a Secret carries.
pub(crate) fn ledger_of(secret: &Value) -> Option<Ledger> {
    if !is_series(secret) {
        return None;
    }
    let bytes = STANDARD.decode(secret["data"]["ledger.json"].as_str()?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The uid of the `SigningKey`, and whether it may be used.
pub(crate) fn read_series(object: &Value) -> (String, SigningState) {
    let is_suspended = object["spec"]["suspend"] == true;
    (uid_of(object), if is_suspended { SigningState::Suspended } else { SigningState::Signing })
}

/// Every ledger, by the uid of its series.
pub(crate) fn ledgers(state: View<'_>) -> Ledgers {
    let ledgers = state.list("secrets").into_iter().filter_map(ledger_of);
    ledgers.map(|ledger| (ledger.uid.clone(), Arc::new(ledger))).collect()
}

/// How many key pairs of that series there are.
pub(crate) fn pairs_of(state: View<'_>, uid: &str) -> usize {
    let secrets = state.list("secrets").into_iter();
    let pairs = secrets.filter(|it| it["data"]["private-key.der"].is_string());
    pairs.filter(|it| owner_of(it).as_deref() == Some(uid)).count()
}
