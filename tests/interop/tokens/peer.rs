//! Libraries that get tokens and verify them, and how each is asked.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{curl, rust};
use crate::languages::{GO, Installed, JAVA, Language, NODE, PYTHON};

/// A library for clients, and one for the verifier of their tokens. It found the token service by
/// itself, from the issuer alone.
pub(crate) struct Peer {
    /// The name of its `TechnicalUser`.
    pub(crate) user: &'static str,
    /// The libraries with their versions.
    pub(crate) libraries: String,
    /// What they cannot do.
    pub(crate) lacks: BTreeSet<String>,
    answers: Box<Answers>,
}

/// Answers one question after the other, and keeps what it fetched.
pub(crate) type Answers = dyn FnMut(&Question<'_>) -> Answer + Send;

#[derive(Clone, Copy, Serialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub(crate) enum Question<'a> {
    Token(Request<'a>),
    Verify(Bearer<'a>),
}

/// What a client asks for.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
    /// The method of client authentication, where it is not that of the library.
    pub(crate) method: Option<&'a str>,
    pub(crate) scope: Option<&'a str>,
    pub(crate) audience: Option<&'a str>,
}

/// What a resource server is shown, and the audience that it is.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Bearer<'a> {
    pub(crate) token: &'a str,
    pub(crate) audience: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// An access token.
    Token(String),
    /// An error of RFC 6749, as the library tells it.
    Error(String),
    /// The claims of a token that is good.
    Claims(Value),
    /// Why a token is not: `expired`, `forged`, `unknown`, `issuer` or `audience`, and several of them
    /// where the library does not tell.
    Refused(String),
    /// Something else went wrong.
    Failed(String),
}

/// The first line of a program.
#[derive(Deserialize)]
struct Introduction {
    library: String,
    #[serde(default)]
    lacks: BTreeSet<String>,
}

struct Program {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
    _installed: Installed,
}

/// What a complaint begins with that is no answer.
pub(crate) const FAILED: &str = "failed: ";

/// All of them, each by the name of its user.
pub(crate) const PEERS: [fn(&str) -> Option<Peer>; 7] = [
    |issuer| program("go", &GO, "tokens", issuer),
    |issuer| program("requests", &PYTHON, "tokens_requests", issuer),
    |issuer| program("authlib", &PYTHON, "tokens_authlib", issuer),
    |issuer| program("node", &NODE, "tokens", issuer),
    |issuer| program("java", &JAVA, "Tokens", issuer),
    |issuer| Some(rust::peer("rust", issuer)),
    |issuer| curl::peer("curl", issuer),
];

impl Peer {
    pub(crate) fn new(user: &'static str, libraries: String, answers: Box<Answers>) -> Self {
        Self { user, libraries, lacks: BTreeSet::new(), answers }
    }

    pub(crate) fn without(self, lacks: BTreeSet<String>) -> Self {
        Self { lacks, ..self }
    }

    /// Gets a token.
    ///
    /// # Errors
    ///
    /// The error of RFC 6749, or another text of the library.
    pub(crate) fn token(&mut self, request: Request<'_>) -> Result<String, String> {
        match (self.answers)(&Question::Token(request)) {
            Answer::Token(token) => Ok(token),
            Answer::Error(error) => Err(error),
            Answer::Claims(_) => Err(failed("claims")),
            Answer::Refused(text) | Answer::Failed(text) => Err(failed(&text)),
        }
    }

    /// Verifies a token and gives its claims.
    ///
    /// # Errors
    ///
    /// What [`Answer::Refused`] says, or another text of the library.
    pub(crate) fn verify(&mut self, bearer: Bearer<'_>) -> Result<Value, String> {
        match (self.answers)(&Question::Verify(bearer)) {
            Answer::Claims(claims) => Ok(claims),
            Answer::Refused(reason) => Err(reason),
            Answer::Token(_) => Err(failed("a token")),
            Answer::Error(text) | Answer::Failed(text) => Err(failed(&text)),
        }
    }
}

/// None of the answers that were expected.
fn failed(text: &str) -> String {
    format!("{FAILED}{text}")
}

/// A program of another language, which is asked line by line through a pipe.
fn program(
    user: &'static str,
    language: &'static Language,
    name: &str,
    issuer: &str,
) -> Option<Peer> {
    let installed = language.installed()?;
    let mut command = installed.program(name);
    command.arg(issuer).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let questions = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (said, answers) = channel();
    // Ends with the program.
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
    let mut program = Program { child, questions, answers, _installed: installed };
    let first: Introduction = serde_json::from_str(&program.line()).unwrap();
    let answers = Box::new(move |question: &Question<'_>| program.ask(question));
    Some(Peer::new(user, first.library, answers).without(first.lacks))
}

impl Program {
    fn ask(&mut self, question: &Question<'_>) -> Answer {
        let mut line = serde_json::to_string(question).unwrap();
        line.push('\n');
        self.questions.write_all(line.as_bytes()).unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    fn line(&self) -> String {
        self.answers.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer than the libraries wait for an answer, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
