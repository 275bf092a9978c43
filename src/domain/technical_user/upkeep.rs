//! Corrections of the Secret that need no new client secret, and the check whether its data can be changed.

use super::delivered_secret::{Mutability, ObservedSecret};
use super::pacing::secret_is_empty;
use super::step::{Step, Write};
use super::{Context, Outcome, done, recheck};

/// Nothing can be delivered into an immutable Secret.
pub(super) fn secret_is_immutable(view: &Context<'_>) -> Option<Step> {
    let delivered = view.delivered?;
    view.cause()?;
    match delivered.mutability {
        Mutability::Mutable => None,
        Mutability::Unknown => Some(clear_immutable(delivered)),
        Mutability::Immutable => secret_is_empty(view)
            .or_else(|| Some(done(Outcome::SecretImmutable, Some(recheck(view.now))))),
    }
}

/// Labels, annotations and URLs follow what is wanted.
pub(super) fn secret_has_drifted(view: &Context<'_>) -> Option<Step> {
    let delivered = view.delivered?;
    let refresh = view.user.content.refresh(delivered)?;
    let refresh = match delivered.mutability {
        Mutability::Unknown if refresh.changes_data() => return Some(clear_immutable(delivered)),
        Mutability::Immutable => refresh.of_metadata()?,
        Mutability::Mutable | Mutability::Unknown => refresh,
    };
    Some(Step::Write(Write::Refresh(delivered.version.clone(), Box::new(refresh))))
}

fn clear_immutable(delivered: &ObservedSecret) -> Step {
    Step::Write(Write::ClearImmutable(delivered.version.clone()))
}
