//! An operator inside the test, so that a layer of faults fits between it and the API server.

use std::sync::Arc;
use std::time::Duration;

use http::header::{DATE, HeaderValue};
use http::{Request, Response};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use prometheus_client::registry::Registry;
use support::faults::{FaultLayer, FaultPlan};
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::runtime::leader_election::LeaderElector;
use technical_user_operator::controller::runtime::metrics::Metrics;
use technical_user_operator::controller::{Context, Settings, TokenLimits};
use technical_user_operator::controller::{signing_key, technical_user};
use technical_user_operator::domain::schedule::saturating_add;
use technical_user_operator::domain::technical_user::delivered_secret::Endpoints;
use technical_user_operator::environment::{Clock, System};
use technical_user_operator::kubernetes::client::ConditionalClient;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tower::Layer;

use crate::namespace::Namespace;
use crate::operator::ISSUER;

/// The controller of the `SigningKey` in [`Replica::start`], so that no other operator claims that key.
pub(crate) const OF_TEST_KEY: &str = "example.com/test-key";

/// A running operator; dropping it is a crash.
pub(crate) struct Replica {
    tasks: JoinSet<()>,
    engine: AbortHandle,
}

/// An operator of one signing key: it sees no other, though they have no namespace.
#[derive(Clone)]
pub(crate) struct KeysBrief<'a> {
    pub(crate) client: &'a Client,
    /// The only one that it sees.
    pub(crate) name: &'a str,
    /// Its own namespace.
    pub(crate) system: &'a str,
    /// Where it may publish.
    pub(crate) namespaces: Vec<String>,
    pub(crate) limits: TokenLimits,
    /// How far its time is ahead, and that of the API server as it sees it.
    pub(crate) ahead: SignedDuration,
}

/// A clock that is ahead.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    system: System,
    by: SignedDuration,
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        saturating_add(self.system.now(), self.by)
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed()
    }
}

impl Replica {
    /// Starts an operator for that namespace, under a lease that no other operator wants: every write is
    /// conditional, so that several may lead.
    pub(crate) fn start(
        client: &Client,
        namespace: &Namespace,
        lease: &str,
        plan: &FaultPlan,
    ) -> Self {
        let inner = client.clone();
        let inner = tower::service_fn(move |request| {
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        let faulty = Client::new(FaultLayer::new(plan.clone()).layer(inner), "default");
        let namespaces = vec![namespace.name.clone()];
        let settings = Settings {
            controller_name: OF_TEST_KEY.to_owned(),
            ..settings(&namespace.system, namespaces, lease, TokenLimits::default())
        };
        let (mut tasks, context) = prepared(client, &faulty, settings, SignedDuration::ZERO);
        let (synced, _) = watch::channel(Synced(false));
        let engine =
            tasks.spawn(technical_user::run(faulty, context, synced, std::future::pending()));
        Self { tasks, engine }
    }

    /// Starts an operator of one signing key, under a lease of its own.
    pub(crate) fn of_keys(brief: &KeysBrief<'_>, lease: &str, plan: &FaultPlan) -> Self {
        let (inner, name, ahead) = (brief.client.clone(), brief.name.to_owned(), brief.ahead);
        let inner = tower::service_fn(move |request| {
            let (inner, request) = (inner.clone(), narrowed(request, &name));
            async move {
                let mut answer = inner.send(request).await?;
                put_ahead(&mut answer, ahead);
                Ok::<_, tower::BoxError>(answer)
            }
        });
        let faulty = Client::new(FaultLayer::new(plan.clone()).layer(inner), "default");
        let settings = settings(brief.system, brief.namespaces.clone(), lease, brief.limits);
        let (mut tasks, context) = prepared(brief.client, &faulty, settings, ahead);
        let (synced, _) = watch::channel(Synced(false));
        let engine = tasks.spawn(signing_key::run(faulty, context, synced, std::future::pending()));
        Self { tasks, engine }
    }

    /// What kills it in the middle of a request.
    pub(crate) fn engine(&self) -> AbortHandle {
        self.engine.clone()
    }

    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn settings(
    system: &str,
    namespaces: Vec<String>,
    identity: &str,
    limits: TokenLimits,
) -> Settings {
    Settings {
        namespace: system.to_owned(),
        controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
        watch_namespaces: namespaces,
        endpoints: Endpoints { issuer: ISSUER.to_owned() },
        policy: technical_user_operator::domain::policy::Policy::unbounded(),
        // The least there is: hashing is not what is tested here.
        bcrypt_cost: 4,
        identity: identity.to_owned(),
        limits,
        bootstrap_signing_key: false,
    }
}

/// Everything but the engine. The lease has a client without faults.
fn prepared(
    client: &Client,
    faulty: &Client,
    settings: Settings,
    ahead: SignedDuration,
) -> (JoinSet<()>, Arc<Context>) {
    let system = System::start();
    let clock = Arc::new(Ahead { system, by: ahead });
    let lease = settings.identity.clone();
    let (candidate, leadership) =
        LeaderElector::new(client.clone(), &settings, &lease, Arc::clone(&clock) as _);
    let context = Arc::new(Context {
        cluster: ConditionalClient::new(faulty.clone(), clock),
        entropy: Arc::new(system),
        key_pairs: Arc::new(system),
        leadership,
        settings,
        hashing: Arc::new(Semaphore::new(1)),
        metrics: Metrics::register(&mut Registry::default()),
        installations: Arc::default(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { candidate.run().await });
    (tasks, context)
}

/// Lists and watches of signing keys see the one of that name alone.
fn narrowed(mut request: Request<Body>, name: &str) -> Request<Body> {
    let uri = request.uri();
    if uri.path().ends_with("/signingkeys") {
        let query = uri.query().unwrap_or_default();
        let narrowed = format!("{}?{query}&fieldSelector=metadata.name%3D{name}", uri.path());
        *request.uri_mut() = narrowed.parse().unwrap();
    }
    request
}

fn put_ahead<T>(answer: &mut Response<T>, by: SignedDuration) {
    let Some(date) = answer.headers().get(DATE).and_then(|date| date.to_str().ok()) else {
        return;
    };
    let date = saturating_add(rfc2822::parse(date).unwrap().timestamp(), by);
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    answer.headers_mut().insert(DATE, HeaderValue::from_str(&date).unwrap());
}
