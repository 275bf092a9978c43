//! Looking a client up at the API server when the watches do not know its client secret yet: a
//! secret works the moment it can be read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::clients::{Known, User, Verifiers};
use super::{Directory, read};
use crate::api::technical_user::TechnicalUser;
use crate::domain::credential::{ClientId, CredentialId};
use crate::stored;

/// Looks clients up, a few at a time.
pub struct Live {
    client: Client,
    directory: Arc<Directory>,
    room: Arc<Semaphore>,
    flights: Mutex<BTreeMap<Sought, Flight>>,
}

/// Nobody could say whether the client secret is right. It can be tried again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotCheck {
    /// The API server did not answer, or not in time.
    #[error("the API server did not answer")]
    Unanswered,
    /// What is stored of the client secret makes no sense.
    #[error("the verifier record cannot be read")]
    Unreadable,
    /// The namespace of the client is not there, which is its tenant.
    #[error("the namespace of the client is not known")]
    NoNamespace,
}

/// The id of the client secret that was presented, and the client.
type Sought = (CredentialId, ClientId);
type Found = Result<Option<Arc<Known>>, CannotCheck>;
type Flight = Shared<BoxFuture<'static, Found>>;

impl Live {
    /// Looks up at the API server behind `client`, for what `directory` does not know.
    pub fn new(client: Client, directory: Arc<Directory>) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self { client, directory, room, flights: Mutex::default() }
    }

    /// The client as the API server has it now, by reads that began after the call; nothing when it
    /// has no client secret of that id. Then nothing is read beyond its record: more would take
    /// longer, and tell that the client exists.
    ///
    /// Whoever asks for the same while it is being looked up waits for that answer, and is only
    /// content with it if `suffices`: it may be of a moment before the secret could be known.
    ///
    /// # Errors
    ///
    /// [`CannotCheck`].
    pub async fn client(&self, sought: &Sought, suffices: impl Fn(&Known) -> bool) -> Found {
        let (flight, is_joined) = self.board(sought);
        let found = self.land(sought, flight).await;
        match &found {
            Ok(Some(known)) if suffices(known) => return found,
            _ if !is_joined => return found,
            _ => {}
        }
        // Whatever is under way now began after the call.
        let (flight, _) = self.board(sought);
        self.land(sought, flight).await
    }

    /// The flight to take, and whether it was under way.
    fn board(&self, sought: &Sought) -> (Flight, bool) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(sought) {
            return (flight.clone(), true);
        }
        let directory = Arc::clone(&self.directory);
        let flight =
            look_up(self.client.clone(), directory, sought.clone(), Arc::clone(&self.room));
        // On its own: what was read must not wait for whoever asks next.
        let flight =
            tokio::spawn(flight).map(|found| found.unwrap_or(Err(CannotCheck::Unanswered)));
        let flight = flight.boxed().shared();
        flights.insert(sought.clone(), flight.clone());
        (flight, false)
    }

    async fn land(&self, sought: &Sought, flight: Flight) -> Found {
        let found = flight.clone().await;
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(sought).is_some_and(|it| it.ptr_eq(&flight)) {
            flights.remove(sought);
        }
        found
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Live")
    }
}

async fn look_up(
    client: Client,
    directory: Arc<Directory>,
    sought: Sought,
    room: Arc<Semaphore>,
) -> Found {
    let looking = async {
        let _permit = room.acquire().await.map_err(|_| CannotCheck::Unanswered)?;
        observe(&client, &directory, &sought).await
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or(Err(CannotCheck::Unanswered))
}

async fn observe(client: &Client, directory: &Directory, (credential, id): &Sought) -> Found {
    let settings = &directory.settings;
    let secrets = Api::<Secret>::namespaced(client.clone(), &settings.namespace);
    let Some(secret) = answer(secrets.get_opt(&id.record_name()).await)? else {
        return Ok(None);
    };
    let (_, record) = stored::record(&secret, Some(id)).map_err(|_| CannotCheck::Unreadable)?;
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
    let user = answer(users.get_opt(name).await)?;
    let user = user.and_then(|user| User::read(&user, settings.token_lifetime));
    let Some(user) = user.filter(|user| user.owns(&record)) else {
        return Ok(None);
    };
    let known = read(&directory.clients).tenant(namespace).cloned();
    let tenant = if let Some(tenant) = known {
        tenant
    } else {
        let namespaces = Api::<Namespace>::all(client.clone());
        let namespace = answer(namespaces.get_metadata_opt(namespace).await)?;
        namespace.and_then(|it| it.metadata.uid).ok_or(CannotCheck::NoNamespace)?
    };
    let scope = read(&directory.clients).scope(namespace);
    let former = directory.client(id);
    Ok(Some(Arc::new(Known::of(&user, (&tenant, scope), &record, former.as_deref()))))
}

/// The error of a client can quote an object; that there was none is all that counts.
fn answer<T>(result: kube::Result<T>) -> Result<T, CannotCheck> {
    result.map_err(|_| CannotCheck::Unanswered)
}

/// As many lookups at once: enough for 20 a second of an API server that takes 100 ms.
const AT_ONCE: usize = 2;

/// How long a lookup may take, waiting included.
const DEADLINE: Duration = Duration::from_secs(3);
