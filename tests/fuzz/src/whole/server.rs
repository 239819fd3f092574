//! A server of HTTP/1 that says what it was told to say, whatever it is asked.

use std::cell::RefCell;
use std::rc::Rc;

use tidegate::net::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::{self, Framing, Message, Read, Writer};
use super::{NEXT, split};

/// What becomes of a connection with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It stays open.
    Keep,
    Close,
    Reset,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    bytes: Vec<u8>,
    then: Then,
    /// It is given before the body of the request has been read.
    early: bool,
}

impl Answer {
    /// The answers of an input.
    pub fn all(bytes: Option<&[u8]>) -> Vec<Self> {
        let mut rest = bytes;
        let mut all = Vec::new();
        while let Some(bytes) = rest {
            let (one, more) = split(bytes, NEXT);
            rest = more.filter(|_| all.len() < 16);
            let Some((how, bytes)) = one.split_first() else { continue };
            let then = match how % 3 {
                0 => Then::Keep,
                1 => Then::Close,
                _ => Then::Reset,
            };
            let mut bytes = bytes.to_vec();
            // Tunnels have a harness of their own.
            while let Some(at) = bytes.windows(5).position(|window| window == b" 101 ") {
                bytes[at + 1] = b'2';
            }
            all.push(Self { bytes, then, early: how & 0x40 != 0 });
        }
        all
    }

    fn usual() -> Self {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
        Self { bytes, then: Then::Keep, early: false }
    }

    /// The body that somebody who reads this has in full, if there is one.
    pub fn body(&self, to_head: bool) -> Option<Vec<u8>> {
        let Read::Message(message) = message::response(&self.bytes, Writer::Other, to_head) else {
            return None;
        };
        let closed = message.framing == Framing::UntilClose && self.then == Then::Close;
        (message.whole || closed).then_some(message.body)
    }
}

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub message: Message,
    /// It was answered, and the connection kept.
    pub answered: bool,
}

/// Everything that came in.
#[derive(Debug, Default)]
pub struct Log {
    pub seen: Vec<Seen>,
    /// What was no request.
    pub malformed: Vec<Vec<u8>>,
    answers: Vec<Answer>,
}

pub type Shared = Rc<RefCell<Log>>;

/// A server for everything that this thread connects to.
pub fn start(answers: Vec<Answer>) -> Shared {
    let log = Rc::new(RefCell::new(Log { answers, ..Log::default() }));
    let shared = log.clone();
    Memory::serve(move |connection| {
        tokio::task::spawn_local(serve(connection, shared.clone()));
    });
    log
}

async fn serve(mut connection: Memory, log: Shared) {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    // The request whose head has come, and what it is to be answered with.
    let mut open: Option<(usize, Answer, bool)> = None;
    loop {
        match message::request(&bytes, Writer::Proxy) {
            Read::Malformed => {
                log.borrow_mut().malformed.push(bytes);
                return;
            }
            Read::Nothing => {}
            Read::Message(message) => {
                let (at, answer, said) = open.get_or_insert_with(|| {
                    let mut log = log.borrow_mut();
                    let at = log.seen.len();
                    let answer = log.answers.get(at).cloned().unwrap_or_else(Answer::usual);
                    log.seen.push(Seen { message: message.clone(), answered: false });
                    (at, answer, false)
                });
                log.borrow_mut().seen[*at].message = message.clone();
                if !*said && (message.whole || answer.early) {
                    *said = true;
                    let sent = connection.write_all(&answer.bytes).await.is_ok();
                    // What begins no response may be left over from the one before.
                    let begins = answer.bytes.iter().zip(b"HTTP/1.").all(|(is, to_be)| is == to_be);
                    let keeps = answer.then == Then::Keep && begins && !answer.bytes.is_empty();
                    log.borrow_mut().seen[*at].answered = sent && keeps;
                    match answer.then {
                        Then::Keep => {}
                        Then::Close => {
                            let _gone = connection.shutdown().await;
                        }
                        Then::Reset => {
                            connection.reset_on_close();
                            return;
                        }
                    }
                }
                if message.whole {
                    bytes.drain(..message.used);
                    let closed = answer.then == Then::Close;
                    open = None;
                    if closed {
                        return;
                    }
                    continue;
                }
            }
        }
        match connection.read(&mut buffer).await {
            Ok(0) | Err(_) => {
                if open.is_none()
                    && !bytes.is_empty()
                    && bytes.len() > 3
                    && !b"GET ".starts_with(&bytes)
                {
                    // A head that was cut is no request, and may not look like the end of one.
                    assert!(!bytes.ends_with(b"\r\n\r\n"), "{}", bytes.escape_ascii());
                }
                return;
            }
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
