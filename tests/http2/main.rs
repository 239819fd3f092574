//! HTTP/2 on both sides, gRPC, and what attackers do with frames. The peers are grpcio, the Python
//! library h2, nginx, HAProxy, curl, and frames written by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a failed expectation is a panic"
)]

mod abuse;
mod announced;
mod answers;
mod clients;
mod compressed;
mod floods;
mod frames;
mod grpc;
mod malformed;
mod neighbours;
mod pressure;
mod relayed;
mod scarce;
mod server;
mod states;
mod tunnels;
mod upstreams;

use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use support::{Configuration, Tidegate};

/// A listener for HTTP in front of one upstream with these lines; routes are to follow.
fn listening(upstream: &str, listen: &str) -> Configuration {
    let base = Configuration::default().runtime("workers = 1").log("access = 'stdout'");
    base.listen(&format!("name = 'main'\n{listen}")).upstream_with("app", upstream)
}

/// The same with one route.
fn config(upstream: &str, listen: &str) -> String {
    listening(upstream, listen).route("name = 'app'").text()
}

fn proxy(server: impl Display, upstream: &str) -> Tidegate {
    Tidegate::start(&config(&format!("servers = ['{server}']\n{upstream}"), ""))
}

/// A Python program under `tests/http2`, run by the system's Python, which has the libraries.
fn python(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(format!("{}/tests/http2/{program}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    command
}

/// What a client among them prints.
fn ask(program: &str, arguments: &[&str]) -> serde_json::Value {
    let output = python(program, arguments).output().expect("python3, python3-h2, python3-grpcio");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A server among them.
struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    fn start(program: &str, mode: &str) -> Self {
        let mut child = python(program, &[mode])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, python3-h2, python3-grpcio");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
