//! A control plane with the CRDs, the operator's rights and an operator in it; and patience.

use std::time::Duration;

use kube::api::Api;
use support::control_plane::{ControlPlane, Options, Process, User};
use technical_user_operator::api::signing_key::SigningKey;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use crate::operator::{Launch, Operator};
use crate::rights;

/// The namespace of the operator.
pub(crate) const SYSTEM: &str = "technical-user-system";

/// A control plane that tests share, and the operator in it.
pub(crate) struct World {
    pub(crate) control_plane: ControlPlane,
    pub(crate) launch: Launch,
    pub(crate) operator: Mutex<Operator>,
}

/// The world that tests share, made by the first that asks; nothing without its programs. It ends
/// with the process of the tests.
pub(crate) async fn shared() -> Option<&'static World> {
    static SHARED: OnceCell<Option<World>> = OnceCell::const_new();
    SHARED.get_or_init(World::start).await.as_ref()
}

/// A second one without an operator, for tests that bring their own into namespaces of their own.
pub(crate) async fn second() -> Option<&'static ControlPlane> {
    static SECOND: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
    SECOND.get_or_init(|| bare(Options::default())).await.as_ref()
}

/// A third one without an operator, for tests that bring their own for signing keys: those have no
/// namespace, so that an operator meets those of everybody.
pub(crate) async fn third() -> Option<&'static ControlPlane> {
    static THIRD: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
    THIRD.get_or_init(|| bare(Options::default())).await.as_ref()
}

/// A control plane with everything but an operator, for tests that are hard on it.
pub(crate) async fn bare(options: Options) -> Option<ControlPlane> {
    bare_with(options, rights::EVERYWHERE).await
}

/// The same, with these rights of the operator.
pub(crate) async fn bare_with(options: Options, rights: &str) -> Option<ControlPlane> {
    let mut control_plane = ControlPlane::start_or_skip(options).await?;
    rights::install(&control_plane.client().await, rights).await;
    // It looks for new kinds every 30 s; a new process knows the CRDs and collects what its objects own.
    control_plane.restart(Process::ControllerManager).await.unwrap();
    Some(control_plane)
}

impl World {
    async fn start() -> Option<Self> {
        let control_plane = bare(Options { audit: true, ..Options::default() }).await?;
        // The operator that the tests share works under the policy.
        for object in rights::shipped(rights::BOUNDS) {
            rights::apply(&control_plane.client().await, object).await;
        }
        let launch = launch(&control_plane, "operator.log");
        let operator = launch.start();
        operator.ready().await;
        // It is made where there is no other, so before any test makes one.
        let signing_keys = Api::<SigningKey>::all(control_plane.client().await);
        until("the SigningKey named default", || async {
            signing_keys.get_opt("default").await.ok().flatten()
        })
        .await;
        Some(Self { control_plane, launch, operator: Mutex::new(operator) })
    }

    /// Ends the operator in good order and starts it again.
    pub(crate) async fn restart_operator(&self) {
        let mut operator = self.operator.lock().await;
        operator.signal("TERM");
        operator.ended().await;
        *operator = self.launch.start();
        operator.ready().await;
    }
}

pub(crate) fn launch(control_plane: &ControlPlane, log: &str) -> Launch {
    let log = control_plane.folder().join(log);
    Launch::new(control_plane.kubeconfig_of(User::Operator), log)
}

/// Waits for something to become true, and fails with its name when it does not.
pub(crate) async fn until<T, F>(what: &str, attempt: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(outcome) = attempt().await {
            return outcome;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Twice the longest wait of the operator that a test has to sit through, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

const PAUSE: Duration = Duration::from_millis(100);
