//! Reading stored objects of any kind.

use serde_json::Value;
use support::fake_api_server::Change;

/// The uid of an object.
pub(crate) fn uid_of(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// The uid of the object that controls another.
pub(crate) fn owner_of(object: &Value) -> Option<String> {
    let references = object["metadata"]["ownerReferences"].as_array()?;
    let controller = references.iter().find(|reference| reference["controller"] == true)?;
    controller["uid"].as_str().map(str::to_owned)
}

/// Whether the operator made the change.
pub(crate) fn is_operator(change: &Change<'_>) -> bool {
    change.agent.starts_with("technical-user-operator")
}

/// The condition of that type.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// The condition `Ready`.
pub(crate) fn ready(object: &Value) -> Result<&Value, String> {
    condition(object, "Ready").ok_or_else(|| "no condition Ready".to_owned())
}

/// Whether an object is ready in its newest generation, and none of these conditions is set.
pub(crate) fn is_ready(object: &Value, troubles: &[&str]) -> Result<(), String> {
    let generation = &object["metadata"]["generation"];
    let ready = ready(object)?;
    is(ready["status"] == "True", &format!("not ready: {}", ready["reason"]))?;
    is(object["status"]["observedGeneration"] == *generation, "observedGeneration")?;
    is(ready["observedGeneration"] == *generation, "observedGeneration of Ready")?;
    for trouble in troubles {
        is(condition(object, trouble).is_none(), trouble)?;
    }
    Ok(())
}

/// Whether the status names the request of that annotation in the field of those that were handled.
pub(crate) fn is_handled(object: &Value, request: &str, field: &str) -> bool {
    let name = format!("iam.cyoda.com/{request}-requested-at");
    let asked = &object["metadata"]["annotations"][name];
    asked.is_null() || object["status"][field] == *asked
}

/// Whether the reason of `Ready` is that.
pub(crate) fn says(object: &Value, reason: &str) -> Result<(), String> {
    let said = &ready(object)?["reason"];
    is(said == reason, &format!("the reason is {said}"))
}

/// What is missing, unless it holds.
pub(crate) fn is(holds: bool, otherwise: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| otherwise.to_owned())
}
