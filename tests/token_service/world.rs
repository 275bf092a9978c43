//! An API server in memory, both controllers, and a token service that is asked without a network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::task::{Context as Poll_, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use kube::Client;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use support::fake_api_server::{FakeApiServer, FakeService};
use technical_user_operator::api::{signing_key, technical_user};
use technical_user_operator::controller::runtime::Synced;
use technical_user_operator::controller::runtime::leader_election::LeaderElector;
use technical_user_operator::controller::runtime::metrics::Metrics as ControllerMetrics;
use technical_user_operator::controller::{
    Context, Settings, TokenLimits, signing_key as keys, technical_user as users,
};
use technical_user_operator::directory::{self, ClientLookup, Directory};
use technical_user_operator::domain::crypto::client_secret::ClientSecret;
use technical_user_operator::domain::crypto::jwks;
use technical_user_operator::domain::oauth::{AccessTokenType, ClaimsProfile, TokenPolicy};
use technical_user_operator::domain::policy::Policy;
use technical_user_operator::domain::technical_user::delivered_secret::Endpoints;
use technical_user_operator::environment::private_key::verify;
use technical_user_operator::environment::{Clock as _, System};
use technical_user_operator::kubernetes::client::ConditionalClient;
use technical_user_operator::server::audit::Audit;
use technical_user_operator::server::figures;
use technical_user_operator::server::http::rate_limit::Rate;
use technical_user_operator::server::metrics::Metrics;
use technical_user_operator::server::oauth::authenticator::{Authenticator, Rates};
use technical_user_operator::server::oauth::discovery::MetadataCache;
use technical_user_operator::server::oauth::hashing::Hashing;
use technical_user_operator::server::oauth::router::router;
use technical_user_operator::server::oauth::service::{Issuer, TokenEndpoint, Tokens};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower::{BoxError, ServiceExt as _};

use crate::clock::WallClock;
use crate::environment::Seeded;

pub(crate) const SYSTEM: &str = "technical-user-system";
pub(crate) const ISSUER: &str = "https://auth.example.com/iam";
pub(crate) const TOKEN: &str = "/iam/oauth2/token";
/// Where every request comes from.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
pub(crate) const GRANT: &str = "grant_type=client_credentials";

/// S, in these worlds.
pub(crate) const VIEW_AGE: Duration = Duration::from_hours(1);

/// Everything in a run.
pub(crate) struct World {
    pub(crate) server: FakeApiServer,
    pub(crate) clock: WallClock,
    network: Arc<Mutex<Network>>,
    operator: Mutex<Vec<JoinHandle<()>>>,
}

/// One replica of the token service.
#[derive(Clone)]
pub(crate) struct TokenServer {
    router: Router,
    pub(crate) service: Arc<TokenEndpoint>,
    pub(crate) directory: Arc<Directory>,
    audit: Written,
    registry: Arc<Mutex<Registry>>,
}

/// What a client was delivered.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Credential {
    /// With a secret of the same id that was never issued.
    pub(crate) fn forged(&self) -> Self {
        let id = self.secret.parse::<ClientSecret>().unwrap().id();
        let secret = ClientSecret::draw(&id, &[5; 64]).unwrap().reveal().to_owned();
        Self { secret, ..self.clone() }
    }
}

// === impl World ===

impl World {
    /// A world with an operator and a key that signs.
    pub(crate) async fn start() -> Self {
        let clock = WallClock::start();
        let time = clock.clone();
        let server = FakeApiServer::builder()
            .crd(&json!(technical_user::crd()))
            .crd(&json!(signing_key::crd()))
            .namespace(SYSTEM)
            .namespace("orders")
            .namespace("shop")
            .clock(Arc::new(move || time.now()))
            .build();
        let world = Self { server, clock, network: Arc::default(), operator: Mutex::default() };
        world.put_key("default", &json!({"algorithm": "ES256"}));
        world.start_operator();
        until("a first key", || !world.kids("default").is_empty()).await;
        world
    }

    /// Starts both controllers.
    pub(crate) fn start_operator(&self) {
        for run in [true, false] {
            let settings = Settings {
                namespace: SYSTEM.to_owned(),
                controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
                watch_namespaces: Vec::new(),
                endpoints: Endpoints { issuer: ISSUER.to_owned() },
                policy: Policy::unbounded(),
                bcrypt_cost: 4,
                identity: format!("operator-{run}"),
                limits: TokenLimits::default(),
                bootstrap_signing_key: false,
            };
            let clock = Arc::new(self.clock.clone());
            let name = format!("lease-{run}");
            let (candidate, leadership) =
                LeaderElector::new(self.client(), &settings, &name, Arc::clone(&clock) as _);
            let context = Arc::new(Context {
                cluster: ConditionalClient::new(self.client(), clock),
                entropy: Arc::new(Seeded::new(1)),
                key_pairs: Arc::new(System::start()),
                leadership,
                settings,
                hashing: Arc::new(Semaphore::new(1)),
                metrics: ControllerMetrics::register(&mut Registry::default()),
                installations: Arc::default(),
            });
            let (synced, _) = watch::channel(Synced(false));
            let client = self.client();
            let running = async move {
                let forever = std::future::pending();
                let work: BoxFuture<'static, ()> = if run {
                    Box::pin(users::run(client, context, synced, forever))
                } else {
                    Box::pin(keys::run(client, context, synced, forever))
                };
                tokio::join!(work, candidate.run());
            };
            self.operator.lock().unwrap().push(tokio::spawn(running));
        }
    }

    /// Kills the operator.
    pub(crate) fn kill_operator(&self) {
        self.operator.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    /// A replica of the token service that is ready, or will be once it can.
    pub(crate) fn token_server(&self, profile: ClaimsProfile) -> TokenServer {
        self.token_server_with(profile, RATES, UNLIMITED)
    }

    /// One with another issuer than the operator has.
    pub(crate) fn token_server_at(&self, issuer: &str) -> TokenServer {
        self.run_at(issuer, everywhere(), unbounded(ClaimsProfile::Cloud), RATES, UNLIMITED)
    }

    /// One that serves these namespaces alone.
    pub(crate) fn token_server_of(&self, namespaces: &[&str]) -> TokenServer {
        let watch_namespaces = namespaces.iter().map(|&it| it.to_owned()).collect();
        let settings = directory::Settings { watch_namespaces, ..everywhere() };
        self.run(settings, unbounded(ClaimsProfile::Cloud), RATES, UNLIMITED)
    }

    /// One that believes its views for that long.
    pub(crate) fn token_server_believing(&self, view_age: Duration) -> TokenServer {
        let settings = directory::Settings { max_staleness: view_age, ..everywhere() };
        self.run(settings, unbounded(ClaimsProfile::Cloud), RATES, UNLIMITED)
    }

    pub(crate) fn token_server_with(
        &self,
        profile: ClaimsProfile,
        rates: Rates,
        of_one_and_all: (Rate, Rate),
    ) -> TokenServer {
        self.run(everywhere(), unbounded(profile), rates, of_one_and_all)
    }

    /// One whose tokens say what these terms allow.
    pub(crate) fn token_server_on(&self, terms: TokenPolicy) -> TokenServer {
        self.run(everywhere(), terms, RATES, UNLIMITED)
    }

    fn run(
        &self,
        settings: directory::Settings,
        terms: TokenPolicy,
        rates: Rates,
        of_one_and_all: (Rate, Rate),
    ) -> TokenServer {
        self.run_at(ISSUER, settings, terms, rates, of_one_and_all)
    }

    #[expect(clippy::too_many_arguments, reason = "a world has many settings")]
    fn run_at(
        &self,
        issuer: &str,
        settings: directory::Settings,
        terms: TokenPolicy,
        rates: Rates,
        (of_one, of_all): (Rate, Rate),
    ) -> TokenServer {
        let clock = Arc::new(self.clock.clone());
        let (issuer, policy) = (issuer.to_owned(), terms.policy.clone());
        let settings = directory::Settings { issuer: issuer.clone(), policy, ..settings };
        let directory = Arc::new(Directory::new(settings, Arc::clone(&clock) as _));
        let live = ClientLookup::new(self.client(), Arc::clone(&directory));
        let entropy = Arc::new(System::start());
        let (time, hashing) = (Arc::clone(&clock) as _, Hashing::default());
        let authenticator =
            Authenticator::new(Arc::clone(&directory), live, hashing, (time, &*entropy), rates);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let audit = Written::default();
        let service = TokenEndpoint {
            directory: Arc::clone(&directory),
            authenticator: authenticator.unwrap(),
            issuer: Issuer::new(issuer),
            terms,
            metadata: MetadataCache::default(),
            tokens: Tokens { of_one, of_all, count: AtomicU64::new(0) },
            clock,
            entropy,
            audit: Audit::to(audit.clone(), metrics.records()).unwrap(),
            metrics,
        };
        tokio::spawn(directory::run_watches(Arc::clone(&directory), self.client()));
        let service = Arc::new(service);
        for reading in figures::of_service(&service) {
            registry.register_collector(Box::new(reading));
        }
        let registry = Arc::new(Mutex::new(registry));
        let router = router(Arc::clone(&service), None);
        TokenServer { router, service, directory, audit, registry }
    }

    /// The API server goes, with every watch, or comes back.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.lose(is_away.then_some(""));
    }

    /// It answers no request whose path and query have that in it, and ends every watch.
    pub(crate) fn lose(&self, requests: Option<&'static str>) {
        self.network.lock().unwrap().lost = requests;
        self.server.close_watches();
    }

    /// It answers no new request, or answers again; watches that are open stay so.
    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        self.network.lock().unwrap().lost = is_deaf.then_some("");
    }

    /// It answers requests whose path and query have that in it with this status and body.
    pub(crate) fn answer_with(&self, answer: Option<(&'static str, u16, String)>) {
        self.network.lock().unwrap().answer = answer;
    }

    /// Every answer takes that long.
    pub(crate) fn set_slow(&self, delay: Duration) {
        self.network.lock().unwrap().delay = delay;
    }

    fn client(&self) -> Client {
        let service = Remote { service: self.server.service(), network: Arc::clone(&self.network) };
        Client::new(service, SYSTEM)
    }

    /// Writes a user.
    pub(crate) fn put_user(&self, namespace: &str, name: &str, spec: &Value) {
        let former = self.server.get("technicalusers", namespace, name).unwrap_or_default();
        let mut user = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "TechnicalUser",
            "metadata": {"namespace": namespace, "name": name},
            "spec": spec,
        });
        with_defaults(&mut user["spec"]);
        for field in ["metadata", "status"] {
            if let Some(former) = former.get(field) {
                user[field] = former.clone();
            }
        }
        let generation = former["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
        user["metadata"]["generation"] = generation.into();
        self.server.put_raw("technicalusers", user);
    }

    /// Annotates a user.
    pub(crate) fn annotate(&self, plural: &str, namespace: &str, name: &str, what: (&str, &str)) {
        let mut object = self.server.get(plural, namespace, name).unwrap();
        object["metadata"]["annotations"][what.0] = what.1.into();
        self.server.put_raw(plural, object);
    }

    /// Writes a series of keys.
    pub(crate) fn put_key(&self, name: &str, spec: &Value) {
        let key = json!({
            "apiVersion": "iam.cyoda.com/v1alpha1", "kind": "SigningKey",
            "metadata": {"name": name, "generation": 1}, "spec": spec,
        });
        self.server.put_raw("signingkeys", key);
    }

    /// A user, once its client secret works.
    pub(crate) async fn user(&self, namespace: &str, name: &str, spec: &Value) -> Credential {
        self.put_user(namespace, name, spec);
        until("a delivered Secret", || self.credential(namespace, name).is_some()).await;
        self.credential(namespace, name).unwrap()
    }

    /// The time, as the token services see it.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// What was delivered to a user.
    pub(crate) fn credential(&self, namespace: &str, name: &str) -> Option<Credential> {
        let secret = self.server.get("secrets", namespace, &format!("{name}-credentials"))?;
        let field = |name: &str| {
            let decoded = STANDARD.decode(secret["data"][name].as_str()?).unwrap();
            Some(String::from_utf8(decoded).unwrap())
        };
        Some(Credential { id: field("client_id")?, secret: field("client_secret")? })
    }

    /// The kids in a JWKS ConfigMap.
    pub(crate) fn kids(&self, series: &str) -> Vec<String> {
        let map = self.server.get("configmaps", SYSTEM, &format!("{series}-jwks"));
        let kids =
            jwks::kids_of(map.unwrap_or_default()["data"]["jwks"].as_str().unwrap_or_default());
        kids.iter().map(ToString::to_string).collect()
    }
}

fn with_defaults(spec: &mut Value) {
    let defaults = json!({"roles": ["ROLE_M2M"], "accessTokenTTL": "5m"});
    for (field, value) in defaults.as_object().unwrap() {
        if spec.get(field).is_none() {
            spec[field] = value.clone();
        }
    }
}

// === impl TokenServer ===

impl TokenServer {
    /// Returns once it serves and signs.
    pub(crate) async fn ready(self) -> Self {
        let is_ready = || self.directory.readiness().is_ok() && self.directory.signing().is_ok();
        until("a token service that is ready", is_ready).await;
        self
    }

    /// Sends the request.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        self.ask_from(SOURCE, request).await
    }

    /// The same from another address.
    pub(crate) async fn ask_from(&self, source: IpAddr, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(ConnectInfo(source));
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// Posts a form with Basic authentication.
    pub(crate) async fn post(&self, path: &str, who: &Credential, form: &str) -> Answer {
        self.ask(basic(Request::post(path), who, form)).await
    }

    /// A token for everything that the client has.
    pub(crate) async fn token(&self, who: &Credential) -> Answer {
        self.post(TOKEN, who, GRANT).await
    }

    /// Gets a path.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// The claims of a token, if the JWKS verifies it.
    pub(crate) async fn verified(&self, token: &str) -> Option<Value> {
        let published = self.get("/iam/.well-known/jwks.json").await;
        let keys = jwks::keys_of(&published.text);
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        let key = keys.iter().find(|key| header["kid"] == key.kid().as_str())?;
        let is_right = verify(key, signed.as_bytes(), &decoded(signature));
        is_right.then(|| serde_json::from_slice(&decoded(claims)).unwrap())
    }

    /// What `/metrics` says of one metric: each of its lines, without its name.
    pub(crate) fn metric(&self, name: &str) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap()).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.filter(|line| line.starts_with(['{', ' '])).map(str::to_owned).collect()
    }

    /// The audit records so far, once there are so many.
    pub(crate) fn audited(&self, records: usize) -> Vec<Value> {
        loop {
            let text = String::from_utf8(self.audit.0.lock().unwrap().clone()).unwrap();
            if text.lines().count() >= records {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            std::thread::yield_now();
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The token in it.
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// A form with Basic authentication.
pub(crate) fn basic(request: Builder, who: &Credential, form: &str) -> Request<Body> {
    let pair = STANDARD.encode(format!("{}:{}", who.id, who.secret));
    let request = request.header("authorization", format!("Basic {pair}"));
    request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap()
}

/// Waits, in virtual time, for what must come.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for {what}");
}

pub(crate) const RATES: Rates = Rates::DEFAULT;

/// No limit on tokens, of one client or of all.
pub(crate) const UNLIMITED: (Rate, Rate) = (Rate::a_second(0, 0), Rate::a_second(0, 0));

/// Tokens that may say anything.
pub(crate) fn unbounded(profile: ClaimsProfile) -> TokenPolicy {
    TokenPolicy { profile, policy: Policy::unbounded(), token_type: AccessTokenType::Jwt }
}

/// An API server that can be away or slow, or does not answer some requests.
#[derive(Clone)]
struct Remote {
    service: FakeService,
    network: Arc<Mutex<Network>>,
}

/// What is between us and the API server.
#[derive(Clone, Default)]
struct Network {
    lost: Option<&'static str>,
    answer: Option<(&'static str, u16, String)>,
    delay: Duration,
}

impl tower::Service<Request<kube::client::Body>> for Remote {
    type Response = <FakeService as tower::Service<Request<kube::client::Body>>>::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Poll_<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let uri = request.uri().to_string();
        let Network { lost, answer, delay } = self.network.lock().unwrap().clone();
        if lost.is_some_and(|lost| uri.contains(lost)) {
            return Box::pin(async { Err("the API server is away".into()) });
        }
        if let Some((_, status, body)) = answer.filter(|(requests, ..)| uri.contains(requests)) {
            let body = http_body_util::Full::from(body).map_err(Into::into).boxed_unsync();
            let answer = Response::builder().status(status).body(body);
            return Box::pin(async { Ok(answer.unwrap()) });
        }
        let answer = self.service.call(request);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            answer.await
        })
    }
}

fn everywhere() -> directory::Settings {
    directory::Settings {
        namespace: SYSTEM.to_owned(),
        controller_name: technical_user_operator::api::CONTROLLER_NAME.to_owned(),
        watch_namespaces: Vec::new(),
        max_staleness: VIEW_AGE,
        token_lifetime: TokenLimits::default().token_lifetime,
        issuer: ISSUER.to_owned(),
        policy: Policy::unbounded(),
    }
}

/// Audit records in memory.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
