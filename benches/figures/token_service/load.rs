//! A load generator on loopback: kept-alive HTTP/1.1 connections, a thread for each, requests that
//! are built beforehand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::setpriority_process;
use tokio::time::Instant;

/// A kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    read: usize,
}

/// Connections that ask as fast as they can until they are stopped.
pub(crate) struct Flood {
    is_over: &'static AtomicBool,
    threads: Vec<JoinHandle<Vec<u16>>>,
}

/// What makes the next request of a connection.
pub(crate) type Requests = Box<dyn FnMut() -> Vec<u8> + Send>;

// === impl Connection ===

impl Connection {
    pub(crate) fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, answer: vec![0; 32 * 1024], read: 0 }
    }

    pub(crate) fn port(&self) -> u16 {
        self.stream.peer_addr().unwrap().port()
    }

    /// The status of the answer, once all of it is there.
    pub(crate) fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).unwrap();
        let (mut read, mut whole) = (0, None);
        while whole.is_none_or(|whole| read < whole) {
            let more = self.stream.read(&mut self.answer[read..]).unwrap();
            assert!(more > 0, "the server closed a connection");
            read += more;
            whole = whole.or_else(|| length(&self.answer[..read]));
        }
        self.read = read;
        std::str::from_utf8(&self.answer[9..12]).unwrap().parse().unwrap()
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        let answer = &self.answer[..self.read];
        let head = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        &answer[head + 4..]
    }

    /// Asks so often a second for so long, and returns how long each answer took from the moment
    /// it was due, in microseconds: an answer that comes late delays the requests behind it.
    pub(crate) fn paced(
        port: u16,
        requests: &[Vec<u8>],
        a_second: u32,
        lasts: Duration,
    ) -> Vec<f64> {
        let mut connection = Self::open(port);
        let every = Duration::from_secs(1) / a_second;
        let began = Instant::now();
        let (mut due, mut took) = (began, Vec::new());
        for request in requests.iter().cycle() {
            due += every;
            if due.duration_since(began) > lasts {
                break;
            }
            let early = due.saturating_duration_since(Instant::now());
            sleep(early);
            // How late this machine wakes a sleeper is none of the server's.
            let from = if early.is_zero() { due } else { Instant::now() };
            assert_eq!(connection.ask(request), 200);
            took.push(from.elapsed().as_secs_f64() * 1e6);
        }
        took
    }
}

/// How long head and body are, once the head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some(head + length.map_or(0, |length| length.parse::<usize>().unwrap()))
}

// === impl Flood ===

impl Flood {
    /// One connection for each of `requests`. Its threads come last when another process wants a core
    /// of this machine: they would be on another one.
    pub(crate) fn start(port: u16, requests: Vec<Requests>) -> Self {
        let is_over: &'static AtomicBool = Box::leak(Box::default());
        let threads = requests.into_iter().map(|mut next| {
            spawn(move || {
                setpriority_process(None, LOW).unwrap();
                let mut connection = Connection::open(port);
                let mut answers = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    answers.push(connection.ask(&next()));
                }
                answers
            })
        });
        Self { is_over, threads: threads.collect() }
    }

    /// The statuses of all answers.
    pub(crate) fn stop(self) -> Vec<u16> {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

// === requests ===

pub(crate) fn token(client_id: &str, secret: &str) -> Vec<u8> {
    form("/oauth2/token", (client_id, secret), "grant_type=client_credentials")
}

/// A form with Basic authentication.
pub(crate) fn form(path: &str, (client_id, secret): (&str, &str), body: &str) -> Vec<u8> {
    let pair = STANDARD.encode(format!("{client_id}:{secret}"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: auth.example.com\r\nAuthorization: Basic {pair}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: auth.example.com\r\n\r\n").into_bytes()
}

const LOW: i32 = 15;
