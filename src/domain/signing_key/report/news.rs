//! What of a change of the status is worth an Event.

use super::Verdict;
use crate::api::signing_key::{KeyState, KeyStatus, SigningKeyStatus};
use crate::domain::news::{News, troubles, was_in_trouble};
use crate::domain::readiness::Progress;

/// What is worth an Event once `present` has taken the place of `former`.
pub fn news(
    verdict: &Verdict,
    former: Option<&SigningKeyStatus>,
    present: &SigningKeyStatus,
) -> Vec<News> {
    let conditions = former.map(|former| former.conditions.as_slice()).unwrap_or_default();
    let known = |kid: &str| former.and_then(|former| former.keys.iter().find(|it| it.kid == kid));
    let keys = present.keys.iter().rev().filter_map(|key| turn(known(&key.kid), key));
    let readiness = verdict.readiness();
    let is_told = match verdict {
        // A key that begins is told as such; one that signs again ends the trouble that was told.
        Verdict::Signing(kid) => {
            let is_former = known(kid.as_str()).is_some_and(|it| it.state == KeyState::Active);
            is_former && was_in_trouble(conditions)
        }
        Verdict::Gone
        | Verdict::Suspended
        | Verdict::NoActiveKey(_)
        | Verdict::KeyLost(..)
        | Verdict::KeyUnreadable { .. }
        | Verdict::TooManyKeys
        | Verdict::LedgerUnreadable(_)
        | Verdict::JwksConflict
        | Verdict::InvalidSpec
        | Verdict::Blocked { .. } => true,
    };
    let ready = (is_told && readiness.is_news(conditions)).then(|| readiness.into());
    keys.chain(ready).chain(troubles(conditions, &present.conditions)).collect()
}

/// A change of the state of a key.
fn turn(known: Option<&KeyStatus>, key: &KeyStatus) -> Option<News> {
    if known.is_some_and(|known| known.state == key.state) {
        return None;
    }
    let kid = &key.kid;
    let at = key.activation_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    let (reason, message) = match key.state {
        KeyState::Published => {
            ("KeyPublished", format!("Key {kid} is in the JWKS and takes over at {at}."))
        }
        KeyState::Active => ("KeyActivated", format!("Key {kid} signs since {at}.")),
        KeyState::Grace => (
            "KeyInGrace",
            format!("Key {kid} has a successor; its tokens verify until they expire."),
        ),
        KeyState::Retired => {
            ("KeyRetired", format!("Key {kid} left the JWKS: its last token has expired."))
        }
        // Told when it was done, a revocation loudly.
        KeyState::Staged | KeyState::Revoked => return None,
    };
    Some(News { reason, message, progress: Progress::Done })
}
