//! Looking a client up at the API server when the watches do not know its client secret yet: a
//! secret works the moment it can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::Status;
use kube::{Api, Client};
use tokio::sync::{Semaphore, oneshot};
use tracing::Instrument as _;

use super::clients::{RegisteredClient, User, Verifiers};
use super::{Directory, read, write};
use crate::api::technical_user::TechnicalUser;
use crate::domain::conditions::unavailable::NoAnswer;
use crate::domain::crypto::client_secret::{ClientId, CredentialId};
use crate::kubernetes::client::no_answer;
use crate::kubernetes::codec;

/// Reads clients from the API server, a few at a time.
pub struct ClientLookup {
    client: Client,
    directory: Arc<Directory>,
    first: Arc<Semaphore>,
    repeated: Arc<Semaphore>,
    flights: Arc<SingleFlight>,
}

/// Which share of the lookups a request draws from. Each share has places of its own, so that
/// lookups that find nothing cannot take those of a fresh client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The source of the request has no recent lookup that found nothing.
    First,
    /// The source has one, or its address is not known.
    Repeated,
}

/// The client secret could not be checked. It can be tried again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// There are too many lookups. The next one is possible after this time.
    #[error("too many lookups at the API server")]
    Limited(Duration),
    /// The API server did not answer, or not in time.
    #[error("no answer of the API server: {0}")]
    Unanswered(NoAnswer),
    /// The API server refused the read: a right of the token service is missing.
    #[error("the API server refused the read: the token service lacks a right")]
    Forbidden,
    /// The API server, or a proxy before it, answered with an error that says nothing about the
    /// object.
    #[error("the API server answered with an error")]
    Failed,
    /// The stored verifier is malformed.
    #[error("the verifier record cannot be read")]
    Unreadable,
    /// The namespace of the client is not there, which is its tenant.
    #[error("the namespace of the client is not known")]
    NoNamespace,
    /// The namespace of that name has another uid than the verifier record says.
    #[error("the namespace of the client has another uid than its verifier record says")]
    OtherNamespace,
}

/// The id of the client secret that was presented, and the client.
type LookupKey = (CredentialId, ClientId);
type LookupResult = Result<Option<Arc<RegisteredClient>>, LookupError>;
type Lookup = Shared<BoxFuture<'static, LookupResult>>;

/// The lookups under way.
#[derive(Default)]
struct SingleFlight(Mutex<BTreeMap<LookupKey, Lookup>>);

/// Removes a lookup from those under way when it ends, whether or not a request still waits for it.
struct RemoveOnDrop {
    flights: Arc<SingleFlight>,
    sought: LookupKey,
}

// === impl Live ===

impl ClientLookup {
    /// Reads from the API server behind `client` the clients that `directory` does not know.
    pub fn new(client: Client, directory: Arc<Directory>) -> Self {
        let places = || Arc::new(Semaphore::new(CONCURRENCY));
        let (first, repeated) = (places(), places());
        Self { client, directory, first, repeated, flights: Arc::default() }
    }

    /// The client as the API server has it now; nothing when it has no client secret of that id. Then
    /// nothing is read beyond its record: more would take longer, and tell that the client exists.
    ///
    /// Requests for the same client secret share one lookup. A request that joins a lookup under way
    /// is content with its result if `suffices`, and else asks again: the lookup may have read before
    /// the secret could be known. A result that is complete is never used for a later request.
    ///
    /// `admit` is asked for each lookup that begins, not for each request.
    ///
    /// # Errors
    ///
    /// [`LookupError`].
    pub async fn client(
        &self,
        sought: &LookupKey,
        share: Share,
        suffices: impl Fn(&RegisteredClient) -> bool,
        admit: impl Fn() -> Result<(), Duration>,
    ) -> LookupResult {
        let (flight, is_joined) = self.join(sought, share, &admit)?;
        let found = flight.await;
        match &found {
            Ok(Some(known)) if suffices(known) => return found,
            _ if !is_joined => return found,
            _ => {}
        }
        // Every lookup that is under way now began after the call.
        let (flight, _) = self.join(sought, share, &admit)?;
        flight.await
    }

    /// How many lookups are under way.
    pub fn in_flight(&self) -> usize {
        self.flights.lock().len()
    }

    /// The flight to take, and whether it was under way.
    fn join(
        &self,
        sought: &LookupKey,
        share: Share,
        admit: impl Fn() -> Result<(), Duration>,
    ) -> Result<(Lookup, bool), LookupError> {
        let (tell, event) = oneshot::channel();
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(sought) {
            return Ok((flight.clone(), true));
        }
        if flights.len() >= MAX_IN_FLIGHT {
            return Err(LookupError::Limited(TIMEOUT));
        }
        admit().map_err(LookupError::Limited)?;
        let flight = event.map(|found| found.unwrap_or(Err(TOO_LATE)));
        let flight = flight.boxed().shared();
        flights.insert(sought.clone(), flight.clone());
        drop(flights);
        let landing = RemoveOnDrop { flights: Arc::clone(&self.flights), sought: sought.clone() };
        let places = match share {
            Share::First => &self.first,
            Share::Repeated => &self.repeated,
        };
        let (client, directory) = (self.client.clone(), Arc::clone(&self.directory));
        let found = look_up(client, directory, sought.clone(), Arc::clone(places));
        // In a task of its own: clients may hang up, and the result must not wait for the next one.
        let lookup = async move {
            let found = found.await;
            drop(landing);
            let _ = tell.send(found);
        };
        tokio::spawn(lookup.in_current_span());
        Ok((flight, false))
    }
}

impl fmt::Debug for ClientLookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Live")
    }
}

impl SingleFlight {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LookupKey, Lookup>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let landed = self.flights.lock().remove(&self.sought);
        drop(landed);
    }
}

async fn look_up(
    client: Client,
    directory: Arc<Directory>,
    sought: LookupKey,
    places: Arc<Semaphore>,
) -> LookupResult {
    let lookup = async {
        // A closed semaphore: the process ends.
        let _permit = places.acquire().await.map_err(|_| TOO_LATE)?;
        observe(&client, &directory, &sought).await
    };
    tokio::time::timeout(TIMEOUT, lookup).await.unwrap_or(Err(TOO_LATE))
}

async fn observe(
    client: &Client,
    directory: &Directory,
    (credential, id): &LookupKey,
) -> LookupResult {
    let settings = &directory.settings;
    let secrets = Api::<Secret>::namespaced(client.clone(), &settings.namespace);
    let record_name = id.record_name();
    let secret = secrets.get(&record_name).await;
    let Some(secret) = existing(secret, "secrets", &record_name)? else {
        return Ok(None);
    };
    // The operator reports the reason in the status of the TechnicalUser.
    let (_, record) = codec::record(&secret, Some(id)).map_err(|_| LookupError::Unreadable)?;
    let record = Verifiers::from(record);
    if !record.has(credential) {
        return Ok(None);
    }
    let (namespace, name) = (&record.owner.namespace, &record.owner.name);
    let is_served =
        settings.watch_namespaces.is_empty() || settings.watch_namespaces.contains(namespace);
    if !is_served {
        return Ok(None);
    }
    let users = Api::<TechnicalUser>::namespaced(client.clone(), namespace);
    let user = existing(users.get(name).await, "technicalusers", name)?;
    let Some(user) = user.filter(|user| user.metadata.deletion_timestamp.is_none()) else {
        return Ok(None);
    };
    let user = User::read(&user, settings.token_lifetime).ok_or(LookupError::Unreadable)?;
    if !user.owns(&record) {
        return Ok(None);
    }
    let own = own(client, directory).await?;
    if !user.is_served_by(Some(&own)) {
        return Ok(None);
    }
    let tenant = tenant(client, directory, &record).await?;
    if !record.names_tenant() {
        // The namespace may have been made again since the user was read.
        let again = existing(users.get(name).await, "technicalusers", name)?;
        if again.and_then(|user| user.metadata.uid).as_ref() != Some(&record.owner.uid) {
            return Ok(None);
        }
    }
    let scope = read(&directory.clients).scope(namespace);
    let former = read(&directory.clients).former(id).cloned();
    let known = Arc::new(RegisteredClient::of(&user, (&tenant, scope), &record, former.as_deref()));
    write(&directory.clients).keep_looked_up(&known, directory.clock.elapsed());
    Ok(Some(known))
}

/// The uid of this installation, from the watch if it is there.
async fn own(client: &Client, directory: &Directory) -> Result<String, LookupError> {
    let known = read(&directory.clients).own().map(str::to_owned);
    if let Some(known) = known {
        return Ok(known);
    }
    let operator_namespace = &directory.settings.namespace;
    let metadata = Api::<Namespace>::all(client.clone()).get_metadata(operator_namespace).await;
    let metadata = existing(metadata, "namespaces", operator_namespace)?;
    metadata.and_then(|it| it.metadata.uid).ok_or(LookupError::NoNamespace)
}

/// The uid of the namespace that the record belongs to. The watch is asked first, and believed only when
/// it says what the record says: it may be of a former namespace of that name.
async fn tenant(
    client: &Client,
    directory: &Directory,
    record: &Verifiers,
) -> Result<String, LookupError> {
    let namespace = &record.owner.namespace;
    if record.names_tenant() {
        let clients = read(&directory.clients);
        if let Some(tenant) = clients.tenant(namespace).and_then(|it| record.tenant(it)) {
            return Ok(tenant.to_owned());
        }
    }
    let namespaces = Api::<Namespace>::all(client.clone());
    let metadata = namespaces.get_metadata(namespace).await;
    let metadata = existing(metadata, "namespaces", namespace)?;
    let uid = metadata.and_then(|it| it.metadata.uid).ok_or(LookupError::NoNamespace)?;
    record.tenant(&uid).map(str::to_owned).ok_or(LookupError::OtherNamespace)
}

/// The object, or nothing when the API server says that this very object is absent. The text of an
/// error can quote an object, so only its kind is kept.
fn existing<T>(
    result: kube::Result<T>,
    resource: &str,
    name: &str,
) -> Result<Option<T>, LookupError> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if is_absence(&status, resource, name) => Ok(None),
        Err(kube::Error::Api(status))
            if matches!(&*status.reason, "Forbidden" | "Unauthorized") =>
        {
            Err(LookupError::Forbidden)
        }
        Err(kube::Error::Api(_)) => Err(LookupError::Failed),
        Err(kube::Error::SerdeError(_)) => Err(LookupError::Unreadable),
        Err(error) => Err(LookupError::Unanswered(no_answer(&error))),
    }
}

/// Whether the answer says that the object of that name is absent. A proxy, or an API server that
/// has not loaded a resource yet, answers 404 as well and names no object.
fn is_absence(status: &Status, resource: &str, name: &str) -> bool {
    let names_it = |details: &kube::core::response::StatusDetails| {
        details.name == name && details.kind == resource
    };
    status.code == 404 && status.details.as_ref().is_some_and(names_it)
}

const TOO_LATE: LookupError = LookupError::Unanswered(NoAnswer::Timeout);

/// Lookups of one share at the same time: enough for 20 a second of an API server that takes 100 ms.
const CONCURRENCY: usize = 2;

/// How long a lookup may take, waiting included.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A bound on memory, far above what the rates of lookups allow within the deadline.
const MAX_IN_FLIGHT: usize = 1000;
