//! curl, as a shell script would use it. It verifies nothing itself: it asks the token service
//! (RFC 7662), as the client that got its last token.

use std::process::Command;

use serde_json::Value;

use super::peer::{Answer, Bearer, Peer, Question, Request};
use super::rust::Metadata;
use crate::languages::{run, version_of};

struct Curl {
    metadata: Metadata,
    user: String,
}

pub(crate) fn peer(user: &'static str, issuer: &str) -> Option<Peer> {
    let version = version_of(&["curl", "--version"])?;
    let version = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut curl = Curl { metadata: Metadata::discover(issuer), user: String::new() };
    let answers = Box::new(move |question: &Question<'_>| match question {
        Question::Token(request) => curl.token(request),
        Question::Verify(bearer) => curl.introspect(bearer),
    });
    let peer = Peer::new(user, format!("{version} and introspection"), answers);
    // Introspection is asked whether a token is good, not for whom.
    Some(peer.without(["audience".to_owned()].into()))
}

impl Curl {
    fn token(&mut self, request: &Request<'_>) -> Answer {
        let (id, secret) = (request.client_id, request.client_secret);
        let user = format!("{id}:{secret}");
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(request.scope.map(|scope| ("scope", scope)));
        form.extend(request.audience.map(|audience| ("audience", audience)));
        let is_post = request.method == Some("client_secret_post");
        let said = if is_post {
            form.extend([("client_id", id), ("client_secret", secret)]);
            post(&self.metadata.token_endpoint, None, &form)
        } else {
            post(&self.metadata.token_endpoint, Some(&user), &form)
        };
        let text = |name: &str| said[name].as_str().map(str::to_owned);
        match (text("access_token"), text("error")) {
            (Some(token), None) => {
                self.user = user;
                Answer::Token(token)
            }
            (None, Some(error)) => Answer::Error(error),
            _ => Answer::Failed("neither a token nor an error".to_owned()),
        }
    }

    fn introspect(&self, bearer: &Bearer<'_>) -> Answer {
        let form = [("token", bearer.token)];
        let said = post(&self.metadata.introspection_endpoint, Some(&self.user), &form);
        match said["active"].as_bool() {
            Some(true) => Answer::Claims(said),
            // The response does not say why (RFC 7662 section 2.2).
            Some(false) => Answer::Refused("expired, forged, unknown or issuer".to_owned()),
            None => Answer::Failed(said.to_string()),
        }
    }
}

fn post(url: &str, user: Option<&str>, form: &[(&str, &str)]) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "30"]);
    curl.args(user.iter().flat_map(|user| ["--user", user]));
    for (name, value) in form {
        curl.arg("--data-urlencode").arg(format!("{name}={value}"));
    }
    serde_json::from_str(&run(curl.arg(url))).unwrap()
}
