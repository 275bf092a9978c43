//! The acts about access tokens.
#![expect(clippy::indexing_slicing, reason = "a field that is not there is null")]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use technical_user_operator::domain::crypto::client_secret::ClientSecret;
use technical_user_operator::domain::crypto::jwks;
use technical_user_operator::domain::crypto::public_key::PublicKeyParameters;
use technical_user_operator::environment::private_key::verify;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::kubectl::{Kubectl, seconds};
use crate::screen::{self, meaning, title};
use crate::tour::{check, delivered};

/// Shows a token, its claims and who verifies it, and a client that never stops while its secret and
/// its key rotate.
pub(crate) async fn show(kubectl: &Kubectl) -> anyhow::Result<()> {
    let client = Client::of(kubectl).await?;
    let token = bought(&client).await?;
    verified_by_others(&client, &token).await?;
    running(kubectl, client).await
}

async fn bought(client: &Client) -> anyhow::Result<String> {
    title("12. What a client id and a client secret buy");
    let url = format!("{}/oauth2/token", client.issuer);
    let shown = ["curl", "-u", "$CLIENT_ID:$CLIENT_SECRET", "-d", "grant_type=client_credentials"];
    screen::command(&[&shown[..], &[&url]].concat());
    let answer = curl(&url, Some(client), "grant_type=client_credentials").await?;
    let token = answer["access_token"].as_str().context("no access token")?.to_owned();
    let mut cut = answer.clone();
    cut["access_token"] = format!("{}...", token.chars().take(40).collect::<String>()).into();
    screen::output(&cut.to_string());
    meaning(
        "A JWT for five minutes. The client secret never leaves the workload and this service.",
    );

    let claims = claims(&token)?;
    screen::output(&format!("{claims:#}"));
    meaning(
        "Who it is (`sub`), for whom (`caas_org_id`, the uid of the namespace) and what it may do (`user_roles`).",
    );
    check("it says who the client is", claims["client_id"] == client.id.as_str())?;
    let wrong = Client { secret: "wrong".to_owned(), ..client.clone() };
    let refused = curl(&url, Some(&wrong), "grant_type=client_credentials").await?;
    screen::output(&refused.to_string());
    check("a wrong client secret buys nothing", refused["error"] == "invalid_client")?;
    Ok(token)
}

async fn verified_by_others(client: &Client, token: &str) -> anyhow::Result<()> {
    title("13. Who verifies it asks nobody");
    let discovery = format!("{}/.well-known/openid-configuration", client.issuer);
    screen::command(&["curl", &discovery]);
    let metadata = curl(&discovery, None, "").await?;
    screen::output(&metadata.to_string());
    let jwks_uri = metadata["jwks_uri"].as_str().context("no jwks_uri")?;
    let keys = curl(jwks_uri, None, "").await?.to_string();

    let folder = tempfile::tempdir()?;
    let (signed, signature) = token.rsplit_once('.').context("no token")?;
    let header: Value = part(signed.split('.').next().unwrap_or_default())?;
    let keys = jwks::keys_of(&keys);
    let key = keys.iter().find(|key| header["kid"] == key.kid().as_str()).context("no such kid")?;
    let PublicKeyParameters::Rsa { n, e } = key.parameters() else {
        bail!("the default key is one of RSA")
    };
    std::fs::write(folder.path().join("key.pem"), pem(n, e))?;
    std::fs::write(folder.path().join("signed"), signed)?;
    std::fs::write(folder.path().join("signature"), URL_SAFE_NO_PAD.decode(signature)?)?;
    let words =
        ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"];
    screen::command(&words);
    let output = Command::new(words[0]).args(&words[1..]).current_dir(folder.path()).output().await;
    let output = output.context("openssl does not start: install it and try again")?;
    screen::output(&String::from_utf8_lossy(&output.stdout));
    meaning(
        "The key is from the JWKS, the verdict from OpenSSL: nothing of ours is needed to trust a token.",
    );
    check("OpenSSL verifies the token", output.status.success())?;

    let url = format!("{}/oauth2/introspect", client.issuer);
    let answer = curl(&url, Some(client), &format!("token={token}")).await?;
    check("who wants to know whether the client still lives asks for it", answer["active"] == true)
}

async fn running(kubectl: &Kubectl, client: Client) -> anyhow::Result<()> {
    title("14. A client that never stops, while its client secret and its key rotate");
    let patch = r#"{"spec":{"signingKeyRef":{"name":"gateway"}}}"#;
    kubectl.show(&["patch", "tu", "billing", "--type=merge", "-p", patch]).await?;
    let (secret, secrets) = watch::channel(client.secret.clone());
    let load = Load::start(client.clone(), secrets);
    load.reaches(50).await?;
    let value = seconds();
    let request = format!("iam.cyoda.com/rotate-requested-at={value}");
    kubectl.show(&["annotate", "--overwrite", "tu", "billing", &request]).await?;
    kubectl.show(&["annotate", "--overwrite", "sk", "gateway", &request]).await?;
    let answered = format!("--for=jsonpath={{.status.lastHandledRotateAt}}={value}");
    kubectl.show(&["wait", &answered, "tu/billing", "--timeout=60s"]).await?;
    kubectl.show(&["wait", &answered, "sk/gateway", "--timeout=60s"]).await?;
    secret.send(delivered(kubectl, false).await?.reveal().to_owned())?;
    load.has_kids(2).await?;
    let seen = load.end().await?;

    screen::output(&seen.page());
    meaning(
        "The client secret before works for its overlap, the key before verifies until its last token has expired.",
    );
    check("no request was refused", seen.refused == 0)?;
    check("every token verified", seen.unverified == 0)?;
    check("two keys signed", seen.kids.len() == 2)
}

// === a client ===

#[derive(Clone)]
struct Client {
    issuer: String,
    id: String,
    secret: String,
}

impl Client {
    async fn of(kubectl: &Kubectl) -> anyhow::Result<Self> {
        let field = async |name: &str| {
            let template = format!("go-template={{{{.data.{name} | base64decode}}}}");
            kubectl.ask(&["get", "secret", "billing-credentials", "-o", &template]).await
        };
        let secret: ClientSecret = delivered(kubectl, false).await?;
        Ok(Self {
            issuer: field("issuer").await?,
            id: field("client_id").await?,
            secret: secret.reveal().to_owned(),
        })
    }

    fn address(&self) -> &str {
        self.issuer.trim_start_matches("http://")
    }
}

/// What curl is answered; credentials go in on its standard input, so that no list of processes shows
/// them.
async fn curl(url: &str, client: Option<&Client>, form: &str) -> anyhow::Result<Value> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--config", "-", url]);
    if !form.is_empty() {
        command.args(["--data", form]);
    }
    let mut curl = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let curl =
        curl.as_mut().map_err(|_| anyhow::anyhow!("curl is missing: install it and try again"))?;
    let config = client.map(|client| format!("user = \"{}:{}\"\n", client.id, client.secret));
    let mut stdin = curl.stdin.take().context("no standard input")?;
    stdin.write_all(config.unwrap_or_default().as_bytes()).await?;
    drop(stdin);
    let mut answer = String::new();
    curl.stdout.take().context("no standard output")?.read_to_string(&mut answer).await?;
    serde_json::from_str(&answer).with_context(|| format!("{url} answers no JSON: {answer}"))
}

// === a client that never stops ===

struct Load {
    running: JoinHandle<anyhow::Result<Seen>>,
    stop: watch::Sender<bool>,
    progress: watch::Receiver<(usize, usize)>,
}

#[derive(Default)]
struct Seen {
    took: Vec<Duration>,
    refused: usize,
    unverified: usize,
    kids: BTreeSet<String>,
    lasted: Duration,
}

impl Load {
    fn start(client: Client, secrets: watch::Receiver<String>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (event, progress) = watch::channel((0, 0));
        let running = tokio::spawn(async move {
            let began = Instant::now();
            let mut seen = Seen::default();
            while !*stopped.borrow() {
                let secret = secrets.borrow().clone();
                seen.ask(&client, &secret).await?;
                event.send_replace((seen.took.len(), seen.kids.len()));
            }
            seen.lasted = began.elapsed();
            Ok(seen)
        });
        Self { running, stop, progress }
    }

    async fn reaches(&self, tokens: usize) -> anyhow::Result<()> {
        let mut progress = self.progress.clone();
        progress.wait_for(|(seen, _)| *seen >= tokens).await?;
        Ok(())
    }

    async fn has_kids(&self, kids: usize) -> anyhow::Result<()> {
        let mut progress = self.progress.clone();
        let seen = progress.wait_for(|(_, seen)| *seen >= kids);
        tokio::time::timeout(Duration::from_mins(1), seen).await.context("no new key signs")??;
        Ok(())
    }

    async fn end(self) -> anyhow::Result<Seen> {
        self.stop.send_replace(true);
        self.running.await?
    }
}

impl Seen {
    async fn ask(&mut self, client: &Client, secret: &str) -> anyhow::Result<()> {
        let pair = STANDARD.encode(format!("{}:{secret}", client.id));
        let form = "grant_type=client_credentials";
        let began = Instant::now();
        let request = format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Basic {pair}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let answer = exchange(client.address(), &request).await?;
        self.took.push(began.elapsed());
        let Some(token) = answer["access_token"].as_str() else {
            self.refused += 1;
            return Ok(());
        };
        let fetch =
            "GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let keys = jwks::keys_of(&exchange(client.address(), fetch).await?.to_string());
        let (signed, signature) = token.rsplit_once('.').context("no token")?;
        let header: Value = part(signed.split('.').next().unwrap_or_default())?;
        let kid = header["kid"].as_str().unwrap_or_default().to_owned();
        let key = keys.iter().find(|key| key.kid().as_str() == kid);
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        if !key.is_some_and(|key| verify(key, signed.as_bytes(), &signature)) {
            self.unverified += 1;
        }
        self.kids.insert(kid);
        Ok(())
    }

    /// The page of figures.
    fn page(&self) -> String {
        let mut took = self.took.clone();
        took.sort();
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        format!(
            "tokens     {}\nrefused    {}\nunverified {}\nkeys       {}\nseconds    {:.1}\nmedian     {:.2?}\np99        {:.2?}",
            took.len(),
            self.refused,
            self.unverified,
            self.kids.len(),
            self.lasted.as_secs_f64(),
            at(50),
            at(99),
        )
    }
}

async fn exchange(address: &str, request: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (_, body) = text.split_once("\r\n\r\n").context("no answer")?;
    Ok(serde_json::from_str(body)?)
}

// === tokens and keys ===

fn claims(token: &str) -> anyhow::Result<Value> {
    part(token.split('.').nth(1).context("no token")?)
}

fn part(text: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text)?)?)
}

/// A public RSA key as OpenSSL reads it (RFC 8017 appendix A.1.1).
fn pem(n: &[u8], e: &[u8]) -> String {
    let numbers = [integer(n), integer(e)].concat();
    let text = STANDARD.encode(element(0x30, &numbers));
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", lines.join("\n"))
}

fn integer(number: &[u8]) -> Vec<u8> {
    // A leading bit would make it negative.
    element(0x02, &[&[0], number].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut element = vec![tag];
    match length.as_slice() {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            element.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(content);
    element
}
