//! The fuzz targets' checks as ordinary tests: over their seeds and over bounded random input.
//!
//! `tests/fuzz/run` searches for hours where these look for seconds, with the same code.

#![allow(unreachable_pub, reason = "the checks are a module here and a crate's API when fuzzing")]
#![allow(clippy::unwrap_used, reason = "a seed that cannot be read is a failed test")]

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

#[path = "fuzz/src/checks/mod.rs"]
mod checks;

/// The parts that random messages are made of: valid ones, broken ones, and noise.
const PARTS: &[&[u8]] = &[
    b"GET /",
    b"POST /a?b",
    b"HEAD *",
    b"CONNECT a:1",
    b"get",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 \r\n",
    b"HTTP/1.0 304\r\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"content-length:0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:\tCHUNKED \r\n",
    b"Connection: close\r\n",
    b"X_A: b\r\n",
    b"A:\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"5\r\nhello\r\n",
    b"5;a=\"b\\\"\"\r\nhello\r\n",
    b"0\r\n",
    b"0\r\n\r\n",
    b"0\r\nA: b\r\n\r\n",
    b"hello",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\0",
    b"\x7f",
    "\u{e9}".as_bytes(),
    b"\xff",
    b"fffffffffffffff",
];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() > 10, "{} has only {} seeds", dir.display(), seeds.len());
    seeds
}

/// Asserts that each seed meets with what the first word of its name says.
fn verdicts_are_as_named(target: &str, verdict: fn(&[u8]) -> &'static str) {
    for (name, bytes) in seeds(target) {
        assert_eq!(name.split('-').next(), Some(verdict(&bytes)), "{target}/{name}");
    }
}

#[test]
fn request_seeds_meet_with_the_named_verdict() {
    verdicts_are_as_named("request", checks::request::verdict);
}

#[test]
fn response_seeds_meet_with_the_named_verdict() {
    verdicts_are_as_named("response", checks::response::verdict);
}

#[test]
fn chunked_seeds_meet_with_the_named_verdict() {
    verdicts_are_as_named("chunked", checks::chunked::verdict);
}

#[test]
fn every_check_holds_for_every_seed() {
    for target in ["request", "response", "chunked", "http2"] {
        for (name, bytes) in seeds(target) {
            for (check_name, check) in checks::ALL {
                eprintln!("{check_name} on {target}/{name}");
                check(&bytes);
            }
        }
    }
}

#[test]
fn every_check_holds_for_random_messages() {
    let parts = prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..24);
    let inputs =
        (any::<u8>(), parts).prop_map(|(plan, parts)| [vec![plan], parts.concat()].concat());
    hold(2048, inputs);
}

#[test]
fn every_check_holds_for_damaged_seeds() {
    let all: Vec<_> =
        ["request", "response", "chunked", "http2"].into_iter().flat_map(seeds).collect();
    let damage = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    let inputs = (prop::sample::select(all), prop::collection::vec(damage, 1..4)).prop_map(
        |((_, mut bytes), damages)| {
            for (at, byte, kind) in damages {
                let at = at.index(bytes.len().max(1));
                match kind {
                    0 => bytes.insert(at, byte),
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 => bytes.truncate(at),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => bytes.push(byte),
                }
            }
            bytes
        },
    );
    hold(2048, inputs);
}

fn hold(cases: u32, inputs: impl Strategy<Value = Vec<u8>>) {
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    let ran = runner.run(&inputs, |input| {
        checks::ALL.iter().for_each(|(_, check)| check(&input));
        Ok(())
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => {
            unreachable!("{}: {reason}", checks::show(&input));
        }
        Err(TestError::Abort(reason)) => unreachable!("{reason}"),
    }
}

/// Frames of HTTP/2, most of them right, in any order.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    // GET / and POST /, the latter with a name that goes into the table; a status; what takes that
    // name up again.
    const BLOCKS: &[&[u8]] = &[
        b"\x82\x86\x84\x41\x01a",
        b"\x83\x87\x04\x02/b\x01\x01a\x40\x01n\x03one",
        b"\x82\x86\x84\x41\x01a\xbe",
        b"\x83\x86\x84\x01\x01a\x0f\x0d\x015",
        b"\x88",
        b"\x88\x0f\x0d\x013",
        b"\x08\x03103\x40\x01l\x01x",
        b"\x40\x01t\x02tr",
        b"\x20\x3f\xe1\x1f\x82",
        b"\xff\x7f",
    ];
    let payload = prop_oneof![
        4 => prop::sample::select(BLOCKS.to_vec()).prop_map(<[u8]>::to_vec),
        2 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::sample::select(vec![vec![0, 0, 0, 8], vec![0, 0, 0, 0], vec![0x7f, 255, 255, 255]]),
        1 => (0..7_u8, any::<u32>()).prop_map(|(id, n)| {
            [&[0, id][..], &(n >> (n % 32)).to_be_bytes()].concat()
        }),
        1 => prop::collection::vec(Just(b'd'), 0..3000),
    ];
    let kind = prop_oneof![3 => Just(0_u8), 4 => Just(1), 1 => Just(9), 3 => 2..12_u8];
    let flags = prop::sample::select(vec![0_u8, 1, 4, 5, 5, 5, 8, 13, 37]);
    let stream = prop::sample::select(vec![0_u32, 0, 1, 1, 1, 3, 3, 5, 7, 9, 2, 11]);
    let frame = (kind, flags, stream, payload).prop_map(|(kind, flags, stream, payload)| {
        let head = http_codec::frames::FrameHead { length: payload.len(), kind, flags, stream };
        [&head.bytes()[..], &payload].concat()
    });
    (any::<u8>(), prop::collection::vec(frame, 0..20))
        .prop_map(|(plan, frames)| [vec![plan], frames.concat()].concat())
}

#[test]
fn every_check_holds_for_random_frames() {
    hold(4096, frames());
}
