//! An operator inside the test, so that a layer of faults fits between it and the API server.

use std::sync::Arc;

use kube::Client;
use prometheus_client::registry::Registry;
use support::faults::{FaultLayer, FaultPlan};
use technical_user_operator::controller::cluster::Cluster;
use technical_user_operator::controller::engine::Synced;
use technical_user_operator::controller::lease::Candidate;
use technical_user_operator::controller::metrics::Metrics;
use technical_user_operator::controller::technical_user;
use technical_user_operator::controller::{Context, Limits, Settings};
use technical_user_operator::domain::delivery::Endpoints;
use technical_user_operator::environment::System;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tower::Layer;

use crate::namespace::Namespace;
use crate::operator::ISSUER;

/// A running operator; dropping it is a crash.
pub(crate) struct Replica {
    tasks: JoinSet<()>,
    engine: AbortHandle,
}

impl Replica {
    /// Starts an operator for that namespace, under a lease that nobody else wants: every write is
    /// conditional, so that several may lead.
    pub(crate) fn start(
        client: &Client,
        namespace: &Namespace,
        lease: &str,
        plan: &FaultPlan,
    ) -> Self {
        let clock = Arc::new(System::start());
        let settings = Settings {
            namespace: namespace.system.clone(),
            watch_namespaces: vec![namespace.name.clone()],
            endpoints: Endpoints { issuer: ISSUER.to_owned() },
            // The least there is: hashing is not what is tested here.
            bcrypt_cost: 4,
            identity: lease.to_owned(),
            limits: Limits::default(),
            bootstrap_signing_key: false,
        };
        let inner = client.clone();
        let inner = tower::service_fn(move |request| {
            let inner = inner.clone();
            async move { inner.send(request).await }
        });
        let faulty = FaultLayer::new(plan.clone()).layer(inner);
        let faulty = Client::new(faulty, "default");
        let (candidate, leadership) =
            Candidate::new(client.clone(), &settings, lease, Arc::clone(&clock) as _);
        let context = Arc::new(Context {
            cluster: Cluster::new(faulty.clone(), Arc::clone(&clock) as _),
            entropy: Arc::clone(&clock) as _,
            key_pairs: clock,
            leadership,
            settings,
            hashing: Arc::new(Semaphore::new(1)),
            metrics: Metrics::register(&mut Registry::default()),
        });
        let (synced, _) = watch::channel(Synced(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { candidate.run().await });
        let engine =
            tasks.spawn(technical_user::run(faulty, context, synced, std::future::pending()));
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
