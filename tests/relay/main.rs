//! What goes into the proxy comes out of it: random exchanges, sound and broken, between clients
//! and servers of HTTP/1 and HTTP/2, of which both ends are read by Python's h11 and h2.
//!
//! `TIDEGATE_SEEDS` says how many connections of clients are tried, `TIDEGATE_SEED` names a single
//! one.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use support::Tidegate;

/// How many connections of clients are tried unless the environment says otherwise; each has one to
/// five exchanges.
const SEEDS: u64 = 300;

const CONFIG: &str = r#"
[[listen]]
address = "127.0.0.1:0"
limits = { connections = 2000 }

[upstream.h1]
servers = ["127.0.0.1:{h1}"]
eject = false
retry = { attempts = 0 }
[upstream.h2]
servers = ["127.0.0.1:{h2}"]
protocol = "h2c"
eject = false
retry = { attempts = 0 }
[upstream.again1]
servers = ["127.0.0.1:{h1}", "127.0.0.1:{h1b}"]
eject = false
retry = { attempts = 2, budget = "100%", body_buffer = "128KiB", backoff = "1ms" }
[upstream.again2]
servers = ["127.0.0.1:{h2}", "127.0.0.1:{h2b}"]
protocol = "h2c"
eject = false
retry = { attempts = 2, budget = "100%", body_buffer = "128KiB", backoff = "1ms" }
[upstream.copy]
servers = ["127.0.0.1:{copy}"]
eject = false

[[route]]
path = "/h1/*"
upstream = "h1"
[[route]]
path = "/h2/*"
upstream = "h2"
[[route]]
path = "/again1/*"
upstream = "again1"
[[route]]
path = "/again2/*"
upstream = "again2"
[[route]]
path = "/small1/*"
upstream = "h1"
compress = true
[[route]]
path = "/small2/*"
upstream = "h2"
compress = true
[[route]]
path = "/copy1/*"
upstream = "h1"
mirror = { upstream = "copy" }
"#;

/// The Python process that is both ends.
struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/relay_peer.py");
        // The system's own Python has the modules; another one in front of it would not.
        let mut child = Command::new("/usr/bin/python3")
            .args(["-B", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("the peer said {line:?}: {e}"))
    }

    fn tell(&mut self, what: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

#[test]
fn what_goes_in_comes_out() {
    let one = number_of("TIDEGATE_SEED");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..number_of("TIDEGATE_SEEDS").unwrap_or(SEEDS),
    };
    let mut peer = Peer::start();
    let ports = peer.line();
    let port = |name: &str| ports[name].as_u64().unwrap();
    let names = ["h1", "h1b", "h2", "h2b", "copy"];
    let ports = names.map(|name| (name, port(name)));
    let values: Vec<(&str, &dyn std::fmt::Display)> =
        ports.iter().map(|(name, port)| (*name, port as &dyn std::fmt::Display)).collect();
    let mut proxy = Tidegate::with(CONFIG, &values);
    peer.tell(&json!({ "proxy": proxy.address().port(), "seeds": [seeds.start, seeds.end] }));
    let told = peer.line();
    assert!(proxy.is_running());
    let failures = told["failures"].as_array().unwrap();
    let list: Vec<String> = failures
        .iter()
        .map(|f| format!("TIDEGATE_SEED={}: {}", f["seed"], f["what"].as_str().unwrap()))
        .collect();
    assert!(list.is_empty(), "{} failures:\n{}", list.len(), list.join("\n"));
    if one.is_some() {
        return;
    }
    // Every kind of thing has been seen.
    let counts = &told["counts"];
    let seen = |what: &str| counts[what].as_u64().unwrap_or(0);
    for pair in ["1 to 1", "1 to 2", "2 to 1", "2 to 2"] {
        for kind in ["requests whole", "requests cut", "responses whole", "responses cut"] {
            assert!(seen(&format!("{pair}: {kind}")) > 0, "no {kind} from {pair}: {counts}");
        }
    }
    for kind in ["repeated", "copies", "compressed", "trailers", "tunnels"] {
        assert!(seen(kind) > 0, "no {kind}: {counts}");
    }
    assert!(seen("exchanges") >= seeds.end, "{counts}");
}
