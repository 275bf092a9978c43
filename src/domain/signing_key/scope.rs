//! Decisions while only the JWKS in the operator's own namespace can be read.
//!
//! Tenants write the other namespaces. A revocation must not wait until these can be read.

use super::requests::{revocation_of_all_requested, revocation_requested};
use super::{
    Context, Step, key_has_vanished, key_is_needed, key_is_published, ledger_was_lost,
    published_differs,
};

/// The checks that depend only on the objects in the operator's namespace.
pub(super) const CHECKS_AT_HOME: &[fn(&Context<'_>) -> Option<Step>] = &[
    recovery_has_to_wait,
    revocation_of_all_requested,
    revocation_requested,
    key_has_vanished,
    published_differs,
    only_key_is_published, // so that the only key that there is can sign
    only_key_is_needed,    // so that what was revoked leaves the JWKS
];

/// Without a ledger nothing says which keys stay published, until every JWKS was read.
fn recovery_has_to_wait(view: &Context<'_>) -> Option<Step> {
    ledger_was_lost(view).map(|_| view.converged())
}

fn only_key_is_published(view: &Context<'_>) -> Option<Step> {
    if view.ledger.newest().is_none() { key_is_published(view) } else { None }
}

fn only_key_is_needed(view: &Context<'_>) -> Option<Step> {
    if view.ledger.newest().is_none() { key_is_needed(view) } else { None }
}
