//! Writes the JWKS to every place. One namespace that cannot be written never holds up the others.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::Instant;

use super::Memory;
use super::bodies::{JwksMap, jwks_patch};
use crate::controller::{Context, Error};
use crate::domain::conditions::blocked_reason::BlockedReason;
use crate::domain::conditions::unavailable::Unavailable;
use crate::domain::crypto::jwks::Jwks;
use crate::domain::object::Version;
use crate::domain::signing_key::{self, Publication, Series};
use crate::kubernetes::client::{ApiError, ApiErrorKind, ConditionalPatch, ObjectRef};

/// The result of one publication.
enum Outcome {
    Done(Result<(), ApiError>),
    /// There was no time left for it.
    Untried,
}

/// Writes to every namespace, to the operator's namespace first: the token service serves that one.
///
/// # Errors
///
/// The JWKS in the operator's namespace could not be written, or the API server accepts no write at all.
/// Any other place
/// that could not be written is noted in `memory`.
pub(super) async fn publish_all(
    jwks: &str,
    publications: Vec<Publication>,
    series: &Series,
    memory: &mut Memory,
    context: &Context,
) -> Result<(), Error> {
    let map = JwksMap::of(jwks, series);
    let (operator_namespace, others): (Vec<_>, Vec<_>) =
        publications.into_iter().partition(|it| it.namespace() == series.operator_namespace);
    let has_home = !operator_namespace.is_empty();
    let mut condition = Ok(());
    for publication in operator_namespace {
        let outcome = publish_one(&publication, &map, series, context).await;
        if let Err(failure) = outcome {
            condition = condition.and(at_home(&publication, failure, memory));
        }
    }
    let others = memory.without_conflicts(others, &series.config_map_name, &Jwks::digest_of(jwks));
    let outcomes = publish_within(others, &map, series, context).await;
    let all_failed = !outcomes.is_empty()
        && outcomes.iter().all(|(_, outcome)| !matches!(outcome, Outcome::Done(Ok(()))));
    let is_outage = match (&condition, has_home) {
        (Err(_), _) => true,
        (Ok(()), true) => false,
        (Ok(()), false) => all_failed && is_outage(&map, series, context).await,
    };
    for (publication, outcome) in outcomes {
        match outcome {
            Outcome::Done(Ok(())) => {}
            Outcome::Untried => memory.block(&publication, NOT_TRIED),
            Outcome::Done(Err(failure)) => {
                condition = condition.and(elsewhere(&publication, failure, is_outage, memory));
            }
        }
    }
    condition.map_err(Error::from)
}

/// Writes beyond the operator's namespace, for a limited time in all: a webhook may let each write
/// hang.
async fn publish_within(
    publications: Vec<Publication>,
    map: &JwksMap,
    series: &Series,
    context: &Context,
) -> Vec<(Publication, Outcome)> {
    let until = Instant::now() + TIMEOUT;
    let writes = publications.into_iter().map(|publication| async move {
        if Instant::now() >= until {
            return (publication, Outcome::Untried);
        }
        let outcome = publish_one(&publication, map, series, context).await;
        (publication, Outcome::Done(outcome))
    });
    stream::iter(writes).buffered(CONCURRENCY).collect().await
}

fn at_home(
    publication: &Publication,
    failure: ApiError,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    if is_moved_on(&failure.kind) {
        return Ok(());
    }
    if !is_last_word(&failure.kind) {
        return Err(failure);
    }
    memory.block(publication, failure.blocked_reason());
    Ok(())
}

fn elsewhere(
    publication: &Publication,
    failure: ApiError,
    is_outage: bool,
    memory: &mut Memory,
) -> Result<(), ApiError> {
    if is_moved_on(&failure.kind) {
        return Ok(());
    }
    if is_last_word(&failure.kind) {
        memory.block(publication, failure.blocked_reason());
        return Ok(());
    }
    if is_outage {
        return Err(failure);
    }
    // The cause is usually a webhook of that namespace.
    let namespace = publication.namespace();
    let has_hung = matches!(failure.kind, ApiErrorKind::NoAnswer(_));
    if has_hung {
        memory.slow.insert(namespace.to_owned());
    }
    let failures = memory.failures.entry(namespace.to_owned()).or_default();
    *failures += 1;
    if has_hung || *failures >= MAX_FAILURES {
        tracing::warn!(namespace, %failure, "JWKS not written");
        memory.block(publication, failure.blocked_reason());
    }
    Ok(())
}

/// Whether the object changed since it was read, so that the next reconcile decides again.
fn is_moved_on(kind: &ApiErrorKind) -> bool {
    matches!(kind, ApiErrorKind::Conflict | ApiErrorKind::NotFound)
}

/// Whether the API server itself refused, so that an immediate retry is of no use.
fn is_last_word(kind: &ApiErrorKind) -> bool {
    match kind {
        ApiErrorKind::Forbidden
        | ApiErrorKind::AdmissionDenied(_)
        | ApiErrorKind::QuotaExceeded
        | ApiErrorKind::NamespaceGone
        | ApiErrorKind::NamespaceTerminating
        | ApiErrorKind::Invalid
        | ApiErrorKind::Refused(..) => true,
        ApiErrorKind::NoAnswer(_)
        | ApiErrorKind::InvalidResponse
        | ApiErrorKind::Oversized
        | ApiErrorKind::NotFound
        | ApiErrorKind::Conflict
        | ApiErrorKind::TooManyRequests(_)
        | ApiErrorKind::Server(..) => false,
    }
}

// === impl Memory ===

impl Memory {
    /// The publications that are worth a write, those of namespaces that hung before last. A
    /// namespace that needs the same JWKS again and again has another writer.
    fn without_conflicts(
        &mut self,
        publications: Vec<Publication>,
        name: &str,
        digest: &str,
    ) -> Vec<Publication> {
        let mut worthwhile = Vec::new();
        for publication in publications {
            let key = (publication.namespace().to_owned(), digest.to_owned());
            let writes = self.writes.entry(key).or_default();
            *writes += 1;
            if *writes > MAX_REPAIRS {
                let object = Some(place_of(&publication, name).config_map());
                self.block(&publication, BlockedReason::WriteConflict { object });
            } else {
                worthwhile.push(publication);
            }
        }
        worthwhile.sort_by_key(|publication| self.was_slow.contains(publication.namespace()));
        worthwhile
    }

    /// Leaves that place alone until the next reconcile.
    fn block(&mut self, publication: &Publication, blocked_reason: BlockedReason) {
        match publication {
            Publication::Create(namespace) | Publication::Replace(namespace, ..) => {
                self.blocked.insert(namespace.clone(), blocked_reason);
            }
            Publication::Delete(place, _) => {
                self.undeletable.insert(place.clone(), blocked_reason);
            }
        }
    }
}

/// The ConfigMap that is written; `name` is that of the JWKS.
fn place_of(publication: &Publication, name: &str) -> signing_key::ConfigMapRef {
    match publication {
        Publication::Create(namespace) | Publication::Replace(namespace, ..) => {
            signing_key::ConfigMapRef { namespace: namespace.clone(), name: name.to_owned() }
        }
        Publication::Delete(place, _) => place.clone(),
    }
}

/// Probes for an outage: a create of the ConfigMap in the operator's namespace must answer 409,
/// since it exists; anything else means that writes fail.
async fn is_outage(map: &JwksMap, series: &Series, context: &Context) -> bool {
    let at_home = Publication::Create(series.operator_namespace.clone());
    let outcome = publish_one(&at_home, map, series, context).await;
    outcome.is_err_and(|failure| {
        matches!(
            failure.kind,
            ApiErrorKind::Server(..)
                | ApiErrorKind::NoAnswer(_)
                | ApiErrorKind::InvalidResponse
                | ApiErrorKind::TooManyRequests(_)
        )
    })
}

async fn publish_one(
    publication: &Publication,
    map: &JwksMap,
    series: &Series,
    context: &Context,
) -> Result<(), ApiError> {
    let cluster = &context.cluster;
    match publication {
        Publication::Create(namespace) => {
            let at = ObjectRef { namespace, name: &series.config_map_name };
            cluster.create_config_map(at, &map.object).await
        }
        Publication::Replace(namespace, version, surplus) => {
            let at = ObjectRef { namespace, name: &series.config_map_name };
            let is_home = *namespace == series.operator_namespace;
            let patch = ConditionalPatch::new(jwks_patch(map, surplus, is_home), version);
            match cluster.patch_config_map(at, patch).await {
                Err(failure) if failure.kind == ApiErrorKind::Invalid => {
                    replace_immutable(at, version, failure, context).await
                }
                outcome => outcome,
            }
        }
        Publication::Delete(place, version) => {
            let at = ObjectRef { namespace: &place.namespace, name: &place.name };
            cluster.delete_config_map(at, version).await
        }
    }
}

/// It was made immutable: it is deleted at exactly that version, and created again.
async fn replace_immutable(
    at: ObjectRef<'_>,
    version: &Version,
    failure: ApiError,
    context: &Context,
) -> Result<(), ApiError> {
    let map = context.cluster.config_map(at, MAX_BYTES).await?;
    if map.is_some_and(|map| map.immutable == Some(true)) {
        return context.cluster.delete_config_map(at, version).await;
    }
    Err(failure)
}

/// A namespace that fails so often in one reconcile waits for the next.
const MAX_FAILURES: usize = 2;

/// So often one reconcile writes the same JWKS to the same namespace.
const MAX_REPAIRS: usize = 3;

/// So many ConfigMaps are written at once.
const CONCURRENCY: usize = 8;

/// How long writes beyond the operator's namespace may take in all. A reconcile has a minute, and
/// each write ten seconds: those that have begun may end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Nothing that etcd takes is larger, not even as JSON with every character escaped.
const MAX_BYTES: usize = 16 << 20;

const NOT_TRIED: BlockedReason = BlockedReason::ApiServerUnavailable(Unavailable::NotTried);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conditions::unavailable::NoAnswer;

    fn create(namespaces: &[&str]) -> Vec<Publication> {
        namespaces.iter().map(|it| Publication::Create((*it).to_owned())).collect()
    }

    #[test]
    fn a_namespace_that_needs_the_same_jwks_again_and_again_is_left_alone() {
        let mut memory = Memory::default();
        for _ in 0..MAX_REPAIRS {
            assert_eq!(
                memory.without_conflicts(create(&["shop"]), "default-jwks", "digest").len(),
                1
            );
        }

        assert_eq!(memory.without_conflicts(create(&["shop"]), "default-jwks", "digest"), []);
        let object = Some("ConfigMap shop/default-jwks".to_owned());
        assert_eq!(memory.blocked.get("shop"), Some(&BlockedReason::WriteConflict { object }));
        // Another JWKS, as after a revocation, is written all the same.
        assert_eq!(memory.without_conflicts(create(&["shop"]), "default-jwks", "other").len(), 1);
    }

    #[test]
    fn namespaces_that_hung_before_come_last() {
        let mut memory = Memory { was_slow: ["a".to_owned()].into(), ..Memory::default() };

        let worthwhile = memory.without_conflicts(create(&["a", "b", "c"]), "default-jwks", "d");

        assert_eq!(worthwhile, create(&["b", "c", "a"]));
    }

    #[test]
    fn beyond_its_own_namespace_whatever_fails_is_noted_and_holds_up_nobody() {
        for kind in [
            ApiErrorKind::TooManyRequests(None),
            ApiErrorKind::Server(500, None),
            ApiErrorKind::InvalidResponse,
        ] {
            for publication in [
                Publication::Create("shop".to_owned()),
                Publication::Delete(
                    signing_key_place("shop"),
                    Version { uid: "u".to_owned(), resource_version: "1".to_owned() },
                ),
            ] {
                let mut memory = Memory::default();
                let fail = |memory: &mut Memory| {
                    elsewhere(&publication, failure(kind.clone()), false, memory)
                };

                assert_eq!((fail(&mut memory), fail(&mut memory)), (Ok(()), Ok(())));

                let noted = memory.blocked.len() + memory.undeletable.len();
                assert_eq!(noted, 1, "{kind:?}");
                assert!(elsewhere(&publication, failure(kind.clone()), true, &mut memory).is_err());
            }
        }
    }

    #[test]
    fn one_write_that_hangs_is_enough() {
        let mut memory = Memory::default();
        let publication = Publication::Create("shop".to_owned());

        assert_eq!(
            elsewhere(
                &publication,
                failure(ApiErrorKind::NoAnswer(NoAnswer::Timeout)),
                false,
                &mut memory
            ),
            Ok(())
        );

        assert!(memory.slow.contains("shop") && memory.blocked.contains_key("shop"));
    }

    fn signing_key_place(namespace: &str) -> signing_key::ConfigMapRef {
        signing_key::ConfigMapRef {
            namespace: namespace.to_owned(),
            name: "default-jwks".to_owned(),
        }
    }

    fn failure(kind: ApiErrorKind) -> ApiError {
        let operation = crate::kubernetes::client::Operation {
            verb: "create",
            resource: "configmaps",
            namespace: "shop".to_owned(),
            name: "default-jwks".to_owned(),
        };
        ApiError { operation, kind, culprit: None }
    }
}
