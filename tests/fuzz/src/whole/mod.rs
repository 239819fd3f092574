//! The whole way of a request: a client's bytes go in, through parsing, framing, the walk, the
//! exchange and the writer, and what a server is sent is read by somebody else's parser (httparse)
//! and by rules of its own.
//!
//! An input is one byte of plan, what a client does, [`SERVER`], and what the server answers: one
//! answer after the other, with [`NEXT`] between them, the first byte of each saying what becomes
//! of its connection.

pub mod http1;
pub mod http2;
pub mod message;
pub mod server;

use std::sync::LazyLock;

use tidegate::server::rig::Rig;

use self::server::Answer;

/// What stands between the two sides of an input.
pub const SERVER: &[u8] = b"\0\0SERVER\0\0";
/// What stands between two answers.
pub const NEXT: &[u8] = b"\0\0NEXT\0\0";

/// The proxy that is driven: no retries, so that every request is sent once.
const CONFIG: &str = r#"
    [log]
    access = "off"
    level = "error"
    [[listen]]
    address = "127.0.0.1:0"
    timeout = { headers = "1s", idle = "2s", body_gap = "1s", write_gap = "1s" }
    [upstream.app]
    servers = ["127.0.0.1:1"]
    eject = false
    timeout = { connect = "1s", send = "1s", first_byte = "1s", gap = "1s", total = "10s" }
    retry = { attempts = 0, budget = "0%" }
    [[route]]
    upstream = "app"
"#;

fn rig() -> &'static Rig {
    static RIG: LazyLock<Rig> = LazyLock::new(|| match Rig::new(CONFIG) {
        Ok(rig) => rig,
        Err(why) => unreachable!("{why}"),
    });
    &RIG
}

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, rest)) = input.split_first() else { return };
    let (client, answers) = split(rest, SERVER);
    let answers = Answer::all(answers);
    if plan & 0x80 == 0 {
        http1::check(client, answers, 1 + usize::from(plan & 0x7f));
    } else {
        http2::check(client, answers);
    }
}

/// What stands before a separator and behind it.
pub fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    match bytes.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&bytes[..at], Some(&bytes[at + separator.len()..])),
        None => (bytes, None),
    }
}

/// Whether the proxy itself wrote this body.
pub fn is_own(body: &[u8]) -> bool {
    body.starts_with(b"{\"status\":") && body.ends_with(b"}\n")
}
