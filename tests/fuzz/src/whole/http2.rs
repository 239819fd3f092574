//! A client of HTTP/2 that does what an input tells it. What it has sent is known without decoding
//! it: heads are written as literals, and each path names its stream.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tidegate::net::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{self, Answer, Log};
use super::{is_own, rig};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const METHODS: [&[u8]; 6] = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE"];
/// Bytes on the wire, at most.
const MOST: usize = 400_000;

/// What was sent on one stream.
#[derive(Debug, Default)]
struct Sent {
    method: Vec<u8>,
    body: Vec<u8>,
    /// What its head says of the body's length.
    announced: Option<usize>,
    ended: bool,
    /// It can be no whole request any more.
    broken: bool,
    /// As many bytes as announced came while it was not broken: a server of HTTP/1 has it in whole,
    /// whatever follows.
    reached: bool,
}

impl Sent {
    fn is_whole(&self) -> bool {
        let fits = self.announced.is_none_or(|length| length == self.body.len());
        self.reached || (self.ended && !self.broken && fits)
    }

    /// The body of a whole request.
    fn counted(&self) -> &[u8] {
        let length = self.announced.filter(|_| self.reached).unwrap_or(self.body.len());
        self.body.get(..length).unwrap_or(&self.body)
    }

    /// Looks whether everything that was announced is there.
    fn count(&mut self) {
        self.reached |= !self.broken && self.announced == Some(self.body.len());
    }
}

/// The bytes of an input, one after the other.
struct Orders<'a>(&'a [u8]);

impl<'a> Orders<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte() & 0x3f).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// Panics when a rule is broken.
pub fn check(orders: &[u8], answers: Vec<Answer>) {
    let (pieces, sent) = write(orders);
    let log = RefCell::new(None);
    let served = rig().serve(|connection| {
        log.replace(Some(server::start(answers.clone())));
        talk(connection, pieces)
    });
    let said = match served {
        Ok(said) => said,
        Err(why) => unreachable!("{why}: {}", orders.escape_ascii()),
    };
    if let Some(log) = log.take() {
        let log = log.borrow();
        assert!(log.malformed.is_empty(), "{sent:?}\nsent as {:?}", log.malformed);
        same_requests(&sent, &log);
    }
    same_responses(&sent, &answers, &said);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A literal that is not indexed (RFC 7541 §6.2.2).
fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        let length = text.len().min(126);
        block.push(length as u8);
        block.extend(&text[..length]);
    }
}

/// What is written, in pieces between which others have their turn, and what that means.
fn write(orders: &[u8]) -> (Vec<Vec<u8>>, BTreeMap<u32, Sent>) {
    let mut orders = Orders(orders);
    let mut sent: BTreeMap<u32, Sent> = BTreeMap::new();
    // Windows of a MiB, so that answers are not held up.
    let settings = [0, 4, 0, 16, 0, 0];
    let mut out = [PREFACE, &frame(4, 0, 0, &settings), &frame(8, 0, 0, &[0, 16, 0, 0])].concat();
    let mut pieces = Vec::new();
    let mut next = 1;
    let mut total = 0;
    while !orders.0.is_empty() && total < MOST {
        let before = out.len();
        let order = orders.byte();
        let older = |byte: u8| u32::from(byte % 16) * 2 + 1;
        match order % 12 {
            0..=3 => {
                let how = orders.byte();
                // Now and then on a stream that is there already, or on one further on.
                let stream = match how >> 6 {
                    0 => older(orders.byte()),
                    1 => next + 2,
                    _ => next,
                };
                let method = METHODS[usize::from(orders.byte()) % METHODS.len()];
                let announced = (how & 8 != 0).then(|| usize::from(orders.byte()));
                let mut block = Vec::new();
                field(&mut block, b":method", method);
                field(&mut block, b":scheme", b"http");
                field(&mut block, b":path", format!("/s{stream}").as_bytes());
                field(&mut block, b":authority", b"a.test");
                if let Some(length) = announced {
                    field(&mut block, b"content-length", length.to_string().as_bytes());
                }
                if how & 16 != 0 {
                    // Anything: it may make the request malformed, and nothing else.
                    let (name, value) = (orders.bytes(), orders.bytes());
                    let speaks =
                        [&b":path"[..], b":method", b"content-length", b"transfer-encoding"];
                    if !speaks.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                        field(&mut block, name, value);
                    }
                }
                let end = how & 1;
                if how & 32 != 0 {
                    let (first, rest) = block.split_at(usize::from(orders.byte()).min(block.len()));
                    out.extend(frame(1, end, stream, first));
                    out.extend(frame(9, 4, stream, rest));
                } else {
                    out.extend(frame(1, 4 | end, stream, &block));
                }
                let known = sent.entry(stream).or_insert_with(|| Sent {
                    method: method.to_vec(),
                    announced,
                    ..Sent::default()
                });
                if stream < next {
                    // A second head: no trailers, which have no pseudo-fields.
                    known.broken |= !known.ended;
                } else {
                    known.ended = end != 0;
                    known.count();
                    next = stream + 2;
                }
            }
            4..=6 => {
                let (stream, how) = (older(orders.byte()), orders.byte());
                let length = usize::from(orders.byte()) << (how >> 5);
                let data: Vec<u8> = (0..length).map(|n| b'a' + (n % 23) as u8).collect();
                let end = how & 1;
                if how & 2 != 0 {
                    let padding = usize::from(how >> 2 & 7);
                    let payload = [&[padding as u8], &data[..], &vec![0; padding]].concat();
                    out.extend(frame(0, 8 | end, stream, &payload));
                } else {
                    out.extend(frame(0, end, stream, &data));
                }
                if let Some(known) = sent.get_mut(&stream).filter(|known| !known.ended) {
                    known.body.extend(data);
                    known.ended = end != 0;
                    known.count();
                }
            }
            7 => {
                let (stream, how) = (older(orders.byte()), orders.byte());
                let mut block = Vec::new();
                field(&mut block, b"x-sum", orders.bytes());
                out.extend(frame(1, 4 | how & 1, stream, &block));
                match sent.get_mut(&stream) {
                    Some(known) if !known.ended => {
                        known.ended = how & 1 != 0;
                        known.broken |= !known.ended;
                    }
                    Some(_) => {}
                    // Its first head has no pseudo-fields.
                    None => {
                        sent.insert(stream, Sent { broken: true, ..Sent::default() });
                        next = next.max(stream + 2);
                    }
                }
            }
            8 => {
                let stream = older(orders.byte());
                out.extend(frame(3, 0, stream, &u32::from(orders.byte()).to_be_bytes()));
                if let Some(known) = sent.get_mut(&stream) {
                    known.broken |= !known.ended;
                }
            }
            9 => {
                let stream = older(orders.byte()) & !u32::from(orders.byte() & 1);
                let step = u32::from(orders.byte()) << (orders.byte() % 24);
                out.extend(frame(8, 0, stream, &step.to_be_bytes()));
            }
            10 => {
                // Frames that begin no request and end none.
                let kind = [2, 4, 5, 6, 7, 10, 16, 255][usize::from(orders.byte() % 8)];
                let (flags, stream) = (orders.byte(), u32::from(orders.byte() % 32));
                out.extend(frame(kind, flags, stream, orders.bytes()));
            }
            _ => pieces.push(std::mem::take(&mut out)),
        }
        total += out.len().saturating_sub(before);
    }
    pieces.push(out);
    (pieces, sent)
}

/// Sends everything, and reads until the proxy closes.
async fn talk(connection: Memory, pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(connection);
    let sending = tokio::task::spawn_local(async move {
        for piece in pieces {
            if to.write_all(&piece).await.is_err() {
                return to;
            }
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        to
    });
    let mut said = Vec::new();
    // How it ends does not matter: every stream says itself whether it is whole.
    let _ended = from.read_to_end(&mut said).await;
    drop(sending.await);
    said
}

/// Every whole request at the server is a whole one of its stream, and none comes twice.
fn same_requests(sent: &BTreeMap<u32, Sent>, log: &Log) {
    let mut answered = Vec::new();
    for seen in log.seen.iter().filter(|seen| seen.message.whole) {
        let told = || format!("{sent:?}\nbecame {:?}", log.seen);
        let name = std::str::from_utf8(&seen.message.target).ok();
        let stream = name.and_then(|name| name.strip_prefix("/s")?.parse::<u32>().ok());
        let Some((stream, known)) = stream.and_then(|n| Some((n, sent.get(&n)?))) else {
            unreachable!("{}", told());
        };
        assert!(known.is_whole(), "{stream} was cut: {}", told());
        assert_eq!(
            (&*known.method, known.counted()),
            (&*seen.message.method, &*seen.message.body),
            "{}",
            told()
        );
        assert!(!answered.contains(&stream), "{stream} twice: {}", told());
        if seen.answered {
            answered.push(stream);
        }
    }
}

/// Every whole response is one that the server gave in whole, or the proxy's own.
fn same_responses(sent: &BTreeMap<u32, Sent>, answers: &[Answer], said: &[u8]) {
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut rest = said;
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Some(payload) = after.get(..length) else { break };
        rest = &after[length..];
        let (kind, ends) = (head[3], head[4] & 1 != 0);
        if kind > 1 {
            continue;
        }
        let body = bodies.entry(stream).or_default();
        if kind == 0 {
            body.extend(payload);
        }
        if ends {
            let body = bodies.remove(&stream).unwrap_or_default();
            let to_head = sent.get(&stream).is_some_and(|known| known.method == b"HEAD");
            let known = is_own(&body)
                || body.is_empty()
                || body == b"ok"
                || answers.iter().any(|answer| answer.body(to_head).as_ref() == Some(&body));
            assert!(known, "{stream}: {}\nfor {answers:?}", body.escape_ascii());
        }
    }
}
