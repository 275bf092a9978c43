//! The log lines, metrics and Events of writes.

use super::Observation;
use crate::api::technical_user::TechnicalUser;
use crate::controller::Context;
use crate::controller::runtime::events::record;
use crate::domain::technical_user::delivered_secret::Refresh;
use crate::domain::technical_user::verifier_record::{Owner, Record};
use crate::domain::technical_user::{Change, ClientIdReservation, User, status};

/// Reports the change of a verifier record.
pub(super) async fn record_changed(
    change: Change,
    observation: &Observation,
    present: &Record,
    context: &Context,
) {
    let Observation { object, observed, .. } = observation;
    let Some(user) = &observed.user else { return };
    let Owner { namespace, name, .. } = &user.owner;
    let serial = present.serial;
    match change {
        Change::Prune | Change::Complete => {}
        // The replica that delivered it crashed or lost the response; its cause is unknown.
        Change::Promote => {
            let is_first = match &observed.record {
                ClientIdReservation::Held(_, former) => former.current().is_none(),
                ClientIdReservation::Free
                | ClientIdReservation::Taken(..)
                | ClientIdReservation::Unreadable(_) => true,
            };
            tracing::info!(namespace, name, serial, "client secret found issued");
            context.metrics.found_issued();
            record(object, [status::found_issued(user, serial, is_first)], context).await;
        }
        Change::Revoke => {
            tracing::info!(namespace, name, serial, "client secrets revoked");
            record(object, [status::revoked(user)], context).await;
        }
    }
}

/// Reports that a delivered Secret was brought up to date, for example with another issuer.
pub(super) async fn refreshed(
    refresh: &Refresh,
    (object, user): (&TechnicalUser, &User),
    context: &Context,
) {
    let Owner { namespace, name, .. } = &user.owner;
    let secret = &user.secret_name;
    let (fields, labels) = (refresh.fields.len(), refresh.labels.len());
    tracing::info!(namespace, name, secret, fields, labels, "delivered Secret updated");
    if fields > 0 {
        record(object, [status::refreshed(user)], context).await;
    }
}
