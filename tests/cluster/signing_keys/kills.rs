//! SIGKILL for the operator, the API server and etcd in a loop, while keys rotate as fast as they
//! may, tokens are signed and verifiers verify them with copies of the JWKS.

use std::time::Duration;

use jiff::SignedDuration;
use kube::Client;
use serde_json::json;
use support::control_plane::Options;
use technical_user_operator::api::ROTATE_REQUESTED_AT;
use technical_user_operator::api::signing_key::Algorithm;
use technical_user_operator::controller::TokenLimits;
use tokio::time::Instant;

use super::oracle::{Materials, contradiction};
use super::private::secret_numbers;
use super::series::{Series, selecting};
use super::token_server::{Terms, TokenService};
use crate::figures::{is_thorough, keep, say};
use crate::kill_targets::{Kills, Victims};
use crate::leaks::Evidence;
use crate::world::{SYSTEM, bare, until};

/// A series under fire, and everything that looks at it.
struct Watched {
    series: Series,
    algorithm: Algorithm,
    service: TokenService,
    materials: Materials,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_leaves_a_token_that_nobody_can_verify() {
    let Some(control_plane) = bare(Options { audit: true, ..Options::default() }).await else {
        return;
    };
    let started = Instant::now();
    let mut kill_targets = Victims::start(control_plane, FLAGS).await;
    let mut watched = Vec::new();
    for algorithm in [Algorithm::ES256, Algorithm::EdDsa] {
        watched.push(Watched::begin(&kill_targets.admin, algorithm).await);
    }

    let most = if is_thorough() { 300 } else { 12 };
    for number in 0..most {
        kill_targets.strike(number).await;
        tokio::time::sleep(LIFE).await;
    }

    let mut wrong = Vec::new();
    for it in &watched {
        wrong.extend(it.come_to_rest().await);
    }
    conclude(&kill_targets.kills, &watched, &wrong, started.elapsed());
    search_for_leaks(&kill_targets, &watched).await;
}

fn conclude(kills: &Kills, watched: &[Watched], wrong: &[String], took: Duration) {
    let Kills { operator, api_server, etcd } = kills;
    let all = operator + api_server + etcd;
    let (mut tokens, mut checks, mut rotations) = (0, 0, 0);
    let mut complaints = Vec::new();
    for it in watched {
        let (signed, checked) = it.service.tokens.counts();
        let kids = it.service.tokens.kids().len();
        assert!(kids > 1, "too few rotations for the kills to mean anything");
        (tokens, checks, rotations) = (tokens + signed, checks + checked, rotations + kids - 1);
        complaints.extend(it.service.tokens.complaints());
    }
    let (unverifiable, contradicting, seconds) = (complaints.len(), wrong.len(), took.as_secs());
    say(&format!(
        "signing keys: kills={all} rotations={rotations} tokens={tokens} checks={checks} \
         unverifiable={unverifiable} contradicting={contradicting} operator={operator} \
         api_server={api_server} etcd={etcd} seconds={seconds}"
    ));
    let figures = json!({
        "kills": all, "operator": operator, "api_server": api_server, "etcd": etcd,
        "rotations": rotations, "tokens": tokens, "checks": checks,
        "unverifiable": unverifiable, "contradicting": contradicting, "seconds": seconds,
        "thorough": is_thorough(),
    });
    keep("kills_signing_keys", &figures);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tokens > 100 && checks > tokens, "too little went on for the kills to mean anything");
}

impl Watched {
    async fn begin(admin: &Client, algorithm: Algorithm) -> Self {
        let name = format!("kills-{}", algorithm.name().to_lowercase());
        let series = Series::with(admin.clone(), &name, SYSTEM);
        series.namespace(&format!("{name}-1"), true).await;
        let rotation =
            json!({"prePublish": "2s", "period": "15s", "grace": "20s", "acceptOutage": true});
        let spec = json!({"algorithm": algorithm.name(), "rotation": rotation});
        series.apply(selecting(&name, spec)).await;
        series.ready().await;
        let ahead = SignedDuration::ZERO;
        let terms = Terms { limits: LIMITS, keeps: KEEPS, ahead };
        let service = TokenService::start(&series, terms);
        let materials = Materials::of(&series, algorithm);
        Self { series, algorithm, service, materials }
    }

    /// Waits until one more key is published after the last kill, and says what is wrong then.
    async fn come_to_rest(&self) -> Vec<String> {
        let series = &self.series;
        let next = until("a ledger", || series.ledger()).await.next_index();
        series.annotate(ROTATE_REQUESTED_AT, "after the last kill").await;
        series.kid_when(next).await;
        let home = [SYSTEM, &format!("{}-1", series.name)];
        let wrong = until("agreement, between two rotations", || async {
            let wrong = contradiction(series, &home, SignedDuration::ZERO).await;
            wrong.is_none().then_some(())
        });
        let mut wrong = match tokio::time::timeout(CALM, wrong).await {
            Ok(()) => Vec::new(),
            Err(_) => {
                contradiction(series, &home, SignedDuration::ZERO).await.into_iter().collect()
            }
        };
        let doubled = self.materials.doubled();
        wrong.extend(doubled.iter().map(|name| format!("{name} held two key pairs")));
        wrong
    }

    /// Every private key that there ever was.
    fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        let mut secrets = Vec::new();
        for (name, der) in self.materials.private_keys() {
            secrets.extend(
                secret_numbers(&der, self.algorithm).into_iter().map(|it| (name.clone(), it)),
            );
        }
        secrets
    }
}

async fn search_for_leaks(kill_targets: &Victims, watched: &[Watched]) {
    let mut evidence = Evidence::default();
    for (name, number) in watched.iter().flat_map(Watched::secrets) {
        evidence.secret_bytes(&name, number);
    }
    evidence.cluster(&kill_targets.admin).await;
    evidence.key_sets(&kill_targets.admin).await;
    kill_targets.search_for_leaks("signing-keys", evidence).await;
}

const FLAGS: &[(&str, &str)] = &[
    ("--bootstrap-signing-key", "false"),
    ("--max-staleness", "5s"),
    ("--max-access-token-ttl", "5s"),
];

/// As the operators have it: a token service needs the same value.
const LIMITS: TokenLimits = TokenLimits {
    max_staleness: SignedDuration::from_secs(5),
    token_lifetime: SignedDuration::from_secs(5),
};

/// Nothing between the clocks of one machine takes away from the time of publication: 2 s as the
/// series asks, and twice what two clocks may differ.
const KEEPS: Duration = Duration::from_secs(11);

/// How long everything lives between two kills.
const LIFE: Duration = Duration::from_millis(1500);

/// The waits of an operator that failed now and then.
const CALM: Duration = Duration::from_secs(100);
