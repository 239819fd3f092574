//! A Redis that says more than anybody has asked for: how much of it is read, for how long it holds
//! requests up, and how much of it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::redis_forms::{HUNDRED, ask, instance};
use support::{Origin, SOON, Tidegate, assert_problem, wait_until};

/// What is sent instead of the answer to the first call of a connection.
#[derive(Clone, Default)]
struct Script {
    begin: Vec<u8>,
    /// Sent again and again; nothing goes on without.
    block: Vec<u8>,
    /// The pause after each block.
    pause: Duration,
}

/// A server that greets as a Redis does and then follows the script; the bytes that could be sent
/// are told when a connection is over.
fn fake(script: Script) -> (String, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = channel();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (script, tell) = (script.clone(), tell.clone());
            thread::spawn(move || {
                if greet(&mut stream) {
                    // Nobody may be there to be told any more.
                    let _gone = tell.send(send(&mut stream, &script));
                }
            });
        }
    });
    (address, told)
}

/// Says yes until the script of the limit comes; false if it does not.
fn greet(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
        if text.contains("EVALSHA") {
            return true;
        }
        let calls = text.lines().filter(|line| line.starts_with('*')).count();
        stream.write_all("+OK\r\n".repeat(calls).as_bytes()).unwrap();
    }
    false
}

fn send(stream: &mut TcpStream, script: &Script) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut sent = script.begin.len();
    if stream.write_all(&script.begin).is_err() {
        return sent;
    }
    // A gigabyte is without end enough.
    while !script.block.is_empty() && sent < 1 << 30 {
        match stream.write(&script.block) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        thread::sleep(script.pause);
    }
    let mut rest = [0; 4096];
    while let Ok(1..) = stream.read(&mut rest) {}
    sent
}

/// The most memory that a process has had, in MiB.
fn peak_mib(proxy: &Tidegate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.split_whitespace().next().unwrap().parse::<u64>().unwrap() >> 10
}

/// What never ends: each with the bytes that it begins with, and those that come again and again.
fn floods() -> [(&'static str, Script); 6] {
    let flood = |begin: &str, block: &str| {
        let block = block.repeat((1 << 20) / block.len()).into_bytes();
        Script { begin: begin.into(), block, pause: Duration::ZERO }
    };
    [
        ("a value", flood("$4000000000\r\n", "x")),
        ("a line", flood("+", "x")),
        ("an array of small values", flood("*2000000000\r\n", "_\r\n")),
        ("a message that nobody has subscribed to", flood("", ">2\r\n+message\r\n+x\r\n")),
        ("an answer that nobody has asked for", flood("", "*4\r\n:1\r\n:5\r\n:0\r\n:1\r\n")),
        ("an error", flood("", "-ERR no\r\n")),
    ]
}

#[test]
fn whatever_comes_without_end_takes_little_memory_and_holds_nobody_up() {
    let origin = Origin::ok("fine");
    for (what, script) in floods() {
        let (address, _told) = fake(script);
        for (on_error, expected) in [("deny", 503), ("allow", 200)] {
            let redis =
                format!("url = 'redis://{address}'\non_error = '{on_error}'\ntimeout = '50ms'");
            let proxy = instance(&origin, &redis, HUNDRED);
            let before = peak_mib(&proxy);
            let began = Instant::now();
            // Long enough for a few connections: after each, Redis is left alone for half a second.
            let mut statuses = Vec::new();
            while began.elapsed() < Duration::from_millis(1200) {
                let asked = Instant::now();
                statuses.push(ask(&mut proxy.client(), "k").status);
                assert!(asked.elapsed() < SOON / 2, "{what}: {:?}", asked.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            // What comes first may be what was asked for.
            let as_told = statuses.iter().all(|status| [expected, 200].contains(status));
            assert!(as_told, "{what}: {statuses:?}");
            let fits = what == "an answer that nobody has asked for";
            assert!(fits || statuses.contains(&expected), "{what}: {statuses:?}");
            println!("{what}, {on_error}: {} answers", statuses.len());
            let more = peak_mib(&proxy) - before;
            println!("{what}, {on_error}: {more} MiB more");
            assert!(more < 150, "{what}: {more} MiB");
        }
    }
}

/// An instance that waits for its Redis for longer than anything here takes.
fn patient(origin: &Origin, address: &str) -> Tidegate {
    let redis = format!("url = 'redis://{address}'\non_error = 'deny'\ntimeout = '20s'");
    instance(origin, &redis, HUNDRED)
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let origin = Origin::ok("fine");
    for (what, script) in floods().into_iter().take(3) {
        let (address, told) = fake(script);
        let proxy = patient(&origin, &address);
        assert_problem(&ask(&mut proxy.client(), "k"), 503, "limit_unavailable");
        let sent = told.recv_timeout(SOON).unwrap();
        // What has been read, and what systems keep on the way.
        assert!((2 << 20..32 << 20).contains(&sent), "{what}: {sent}");
        let why = "it has sent more than 2 MiB without an answer";
        wait_until(SOON, why, || proxy.log().contains(why));
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_connection_that_is_given_up_is_closed() {
    let origin = Origin::ok("fine");
    let pause = Duration::from_millis(10);
    let script = Script { begin: b"$4000000000\r\n".into(), block: vec![b'x'; 100], pause };
    let (address, told) = fake(script);
    let redis = format!("url = 'redis://{address}'\non_error = 'deny'\ntimeout = '50ms'");
    let proxy = instance(&origin, &redis, HUNDRED);
    // Two calls that go unanswered are the end of it, though it has not sent too much.
    let closed = || {
        assert_problem(&ask(&mut proxy.client(), "k"), 503, "limit_unavailable");
        told.try_recv().is_ok()
    };
    wait_until(2 * SOON, "it is closed", closed);
}

#[test]
fn what_a_redis_says_is_repeated_in_part() {
    let origin = Origin::ok("fine");
    for text in ["x", "\u{20ac}", "\x1b[31m"] {
        let begun = format!("-ERR {}\r\n", text.repeat(100_000));
        let (address, _told) = fake(Script { begin: begun.into(), ..Script::default() });
        let proxy = patient(&origin, &address);
        assert_problem(&ask(&mut proxy.client(), "k"), 503, "limit_unavailable");
        wait_until(SOON, "it is told", || proxy.log().contains("Redis does not answer"));
        let log = proxy.log();
        let line = log.lines().find(|line| line.contains("Redis does not answer")).unwrap();
        assert!(line.contains("...\" goes_on=Deny"), "{line}");
        assert!(line.len() < 800, "{} bytes: {line}", line.len());
        assert!(!line.contains('\x1b'), "{line:?}");
    }
}
