use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Error,
    api::{ListParams, PostParams, WatchParams},
};
use serde_json::json;
use tower::Layer as _;

use super::{Fault, FaultLayer, FaultPlan, Point};
use crate::fake_api_server::FakeApiServer;

struct World {
    server: FakeApiServer,
    plan: FaultPlan,
    deaths: Arc<AtomicUsize>,
}

impl World {
    fn with(point: Point, fault: Fault) -> Self {
        let deaths = Arc::new(AtomicUsize::new(0));
        let plan = FaultPlan::with(point, fault);
        let count = Arc::clone(&deaths);
        plan.on_kill(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        Self { server: FakeApiServer::builder().build(), plan, deaths }
    }

    fn client(&self) -> Client {
        Client::new(FaultLayer::new(self.plan.clone()).layer(self.server.service()), "default")
    }

    /// The answer to a creation, unless none comes within a minute.
    async fn create(&self, name: &str) -> Option<Result<ConfigMap, Error>> {
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let api = Api::<ConfigMap>::default_namespaced(self.client());
        let parameters = PostParams::default();
        let created = api.create(&parameters, &object);
        tokio::time::timeout(Duration::from_mins(1), created).await.ok()
    }

    fn has(&self, name: &str) -> bool {
        self.server.get("configmaps", "default", name).is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_does_what_its_name_says() {
    for fault in Fault::ALL {
        let world = World::with(Point::Write(0), fault);

        let answer = world.create("x").await;

        let (is_silent, is_applied) = match fault {
            Fault::DieBefore | Fault::Hang => (true, false),
            Fault::DieAfter | Fault::HangApplied => (true, true),
            Fault::DropRequest | Fault::Late { .. } | Fault::Answer(_) => (false, false),
            Fault::DropResponse | Fault::AppliedThen(_) => (false, true),
        };
        assert_eq!(answer.is_none(), is_silent, "{fault}");
        assert_eq!(world.has("x"), is_applied, "{fault}");
        assert_eq!(world.deaths.load(Ordering::SeqCst), usize::from(fault.kills()), "{fault}");
        assert!(!matches!(answer, Some(Ok(_))), "{fault}");
        assert_eq!(world.plan.struck().len(), 1, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_carries_its_code() {
    let world = World::with(Point::Write(0), Fault::Answer(429));

    let answer = world.create("x").await.unwrap().unwrap_err();

    let Error::Api(status) = answer else { panic!("not an answer") };
    assert_eq!((status.code, status.reason.as_str()), (429, "TooManyRequests"));
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_overtaken_by_as_many_as_it_says() {
    let world = World::with(Point::Write(0), Fault::Late { after: 1 });
    world.create("late").await;

    world.create("first").await;
    let is_overtaken = !world.has("late");
    world.create("second").await;

    assert!(is_overtaken);
    assert!(world.has("late"));
}

#[tokio::test(start_paused = true)]
async fn a_late_request_that_nothing_follows_is_flushed() {
    let world = World::with(Point::Write(0), Fault::Late { after: 4 });
    world.create("late").await;
    assert_eq!(world.plan.late(), 1);

    world.plan.flush_late().await;

    assert!(world.has("late"));
}

#[tokio::test(start_paused = true)]
async fn reads_count_as_requests_writes_as_both_and_watches_as_neither() {
    let world = World::with(Point::Request(1), Fault::DropRequest);
    let api = Api::<ConfigMap>::default_namespaced(world.client());
    drop(api.watch(&WatchParams::default(), "0").await.unwrap());
    api.list(&ListParams::default()).await.unwrap();

    let answer = world.create("x").await.unwrap();

    assert!(answer.is_err());
    assert_eq!((world.plan.requests(), world.plan.writes()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn two_faults_make_a_pair() {
    let world = World::with(Point::Write(0), Fault::DropRequest);
    world.plan.arm(Point::Write(1), Fault::DropResponse);

    let answers = (world.create("x").await, world.create("y").await, world.create("z").await);

    assert!(matches!(answers, (Some(Err(_)), Some(Err(_)), Some(Ok(_)))));
    assert_eq!((world.has("x"), world.has("y"), world.has("z")), (false, true, true));
}
