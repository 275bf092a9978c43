//! Requests of strange sizes and framings, one behind the other on one connection: each gets its own
//! answer, in their order, and none that was not sent whole is taken for one that was.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use technical_user_operator::server::http::form_request::BodyBounds;
use technical_user_operator::server::http::listener::ListenerLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::given::{Raw, serve, status_and_length, within};

#[derive(Clone, Debug)]
enum Sent {
    /// A request without a body, whose head has that many bytes at least.
    Get { head: usize },
    /// A request with a body of that many bytes.
    Post { body: usize, framing: Framing },
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    /// In chunks of that many bytes.
    Chunks(usize),
    /// In one chunk and something that is none.
    Torn,
}

/// The requests of a connection, how they are cut into pieces, and how many bytes of the whole are
/// never sent.
type Conversation = (Vec<Sent>, Vec<usize>, usize);

const HEAD: usize = 16 * 1024;
const BODY: usize = 64 * 1024;

fn around(most: usize) -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..200_usize, 3 => most - 3..most + 4, 2 => 0..most * 3]
}

fn sent() -> impl Strategy<Value = Sent> {
    let framing = prop_oneof![
        3 => Just(Framing::Length),
        3 => (1..9_000_usize).prop_map(Framing::Chunks),
        1 => Just(Framing::Torn),
    ];
    prop_oneof![
        2 => around(HEAD).prop_map(|head| Sent::Get { head }),
        3 => (around(BODY), framing).prop_map(|(body, framing)| Sent::Post { body, framing }),
    ]
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let pieces = prop::collection::vec(prop_oneof![1..60_usize, 1..60_000_usize], 1..6);
    let cut = prop_oneof![3 => Just(0_usize), 1 => 1..100_usize, 1 => 1..100_000_usize];
    (prop::collection::vec(sent(), 1..6), pieces, cut)
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Get { head } => {
                let text = "GET /hello HTTP/1.1\r\nHost: a\r\nX: ";
                let padding = "x".repeat(head.saturating_sub(text.len() + 4));
                format!("{text}{padding}\r\n\r\n").into_bytes()
            }
            Self::Post { body, framing } => {
                let mut bytes = b"POST /length HTTP/1.1\r\nHost: a\r\n".to_vec();
                let text = vec![b'a'; *body];
                match framing {
                    Framing::Length => {
                        bytes.extend(format!("Content-Length: {body}\r\n\r\n").bytes());
                        bytes.extend(text);
                    }
                    Framing::Chunks(most) => {
                        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                        for chunk in text.chunks(*most) {
                            bytes.extend(format!("{:x};a=b\r\n", chunk.len()).bytes());
                            bytes.extend(chunk);
                            bytes.extend(b"\r\n");
                        }
                        bytes.extend(b"0\r\n\r\n");
                    }
                    Framing::Torn => {
                        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\nnone\r\n\r\n");
                    }
                }
                bytes
            }
        }
    }

    /// What it may be answered with.
    fn statuses(&self) -> &'static [u16] {
        match self {
            Self::Get { .. } => match self.bytes().len() {
                ..=HEAD => &[200],
                // hyper looks at the size of a head between two reads only.
                length if length <= 2 * HEAD => &[200, 431],
                _ => &[431],
            },
            Self::Post { framing: Framing::Torn, .. } => &[400],
            Self::Post { body, .. } if *body > BODY => &[413],
            Self::Post { .. } => &[200],
        }
    }

    /// What the body of a 200 says.
    fn event(&self) -> String {
        match self {
            Self::Get { .. } => "hello".to_owned(),
            Self::Post { body, .. } => body.to_string(),
        }
    }
}

/// The status and the body of each answer.
fn answers(mut bytes: &[u8]) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    while let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
        let (head, rest) = bytes.split_at(end + 4);
        let head = std::str::from_utf8(head).unwrap().to_lowercase();
        let (status, length) = status_and_length(&head);
        let Some((body, rest)) = rest.split_at_checked(length.unwrap()) else { break };
        answers.push((status, String::from_utf8(body.to_vec()).unwrap()));
        bytes = rest;
    }
    answers
}

#[tokio::test]
async fn each_request_gets_its_own_answer_whatever_its_size() {
    let served = serve(ListenerLimits::default(), BodyBounds::default(), None);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (mut whole, mut refused) = (0, 0);

    for _ in 0..300 {
        let (sent, pieces, cut) = conversation().new_tree(&mut runner).unwrap().current();
        let mut bytes = Vec::new();
        let ends: Vec<_> = sent
            .iter()
            .map(|it| {
                bytes.extend(it.bytes());
                bytes.len()
            })
            .collect();
        // The last one asks for the end of the connection.
        bytes.extend(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let kept = bytes.len().saturating_sub(cut);

        let Raw(stream) = served.connect().await;
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            let mut rest = &bytes[..kept];
            for piece in pieces.iter().cycle() {
                let (now, later) = rest.split_at((*piece).min(rest.len()));
                // Into a connection that was ended, nothing more goes.
                if write.write_all(now).await.is_err() || later.is_empty() {
                    break;
                }
                rest = later;
            }
            if cut > 0 {
                let _ = write.shutdown().await;
            }
            write
        });
        let mut event = Vec::new();
        let is_reset = within(read.read_to_end(&mut event)).await.is_err();
        drop(within(writing).await.unwrap());

        let event = answers(&event);
        let case = format!("{event:?}, reset: {is_reset}, {cut} cut, of {sent:?}");
        for (number, (status, body)) in event.iter().enumerate() {
            let Some(request) = sent.get(number) else {
                assert_eq!((*status, body.as_str(), cut), (200, "hello", 0), "{case}");
                continue;
            };
            if *status == 200 {
                assert!(ends[number] <= kept, "not whole, and answered: {case}");
                assert_eq!(*body, request.event(), "{case}");
            } else {
                assert_eq!(number + 1, event.len(), "something after a refusal: {case}");
            }
            // What was cut short is a request that never ends, however it would have gone on.
            let is_cut = ends[number] > kept && [400, 408].contains(status);
            assert!(is_cut || request.statuses().contains(status), "{case}");
        }
        let is_refused = event.last().is_some_and(|(status, _)| *status != 200);
        let is_complete = is_refused || event.len() == sent.len() + 1;
        assert!(is_complete || cut > 0 || is_reset, "an answer is missing: {case}");
        whole += usize::from(event.len() == sent.len() + 1);
        refused += usize::from(is_refused);
    }

    assert!(whole > 30 && refused > 100, "{whole} conversations to their end, {refused} refused");
}
