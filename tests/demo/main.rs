//! `tidegate demo` as a person meets it: what it prints can be pasted and does what it says.

#![allow(missing_docs, reason = "tests document themselves by their names")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failing step fails the test"
)]

mod activation;
mod architecture;
mod arguments;
mod book;
mod commands;
mod deployment;
mod documents;
mod floors;
mod packages;
mod profiles;
mod prometheus;
mod recipes;
mod scenarios;
mod shown;
mod unit;

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Demos of this binary must not race each other for the fixed ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended as it should.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

struct Demo {
    process: Process,
    /// All lines it printed.
    page: Vec<String>,
    _rest: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    /// Starts the demo and reads its page to the last line.
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("demo").stdout(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let mut page = Vec::new();
        for line in lines.by_ref() {
            page.push(line.unwrap());
            if page.last().unwrap().starts_with("Ctrl-C") {
                return Self { process, page, _rest: lines };
            }
        }
        panic!("the demo ended early:\n{}", page.join("\n"));
    }

    /// The URL behind a name at the top of the page.
    fn url(&self, name: &str) -> String {
        let line = self.page.iter().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.trim().to_owned()
    }

    fn curls(&self) -> Vec<&str> {
        self.page.iter().map(|line| line.trim()).filter(|line| line.starts_with("curl ")).collect()
    }

    fn config(&self) -> String {
        let lines = self.page.iter().filter_map(|line| line.strip_prefix("    "));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Sends a signal and returns the exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.process.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("still running");
    }
}

/// Runs a line of the page as somebody who pastes it into a terminal.
fn paste(line: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
    assert!(output.status.success(), "{line}: {:?}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_printed_lines_do_what_they_say() {
    let _turn = ONE_AT_A_TIME.lock();
    let demo = Demo::start();
    let [balance, stream, stats] = demo.curls()[..] else { panic!("{:?}", demo.page) };

    let answers = paste(balance);
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let servers: Vec<&str> = answers.iter().map(|a| a["server"].as_str().unwrap()).collect();
    assert_eq!(servers, ["one", "two", "three", "one", "two", "three"]);
    assert_eq!(answers[5]["path"], "/item/6");
    assert_eq!(answers[5]["method"], "GET");
    assert_eq!(answers[5]["headers"]["x-forwarded-for"], "127.0.0.1");

    let streamed = paste(stream);
    assert!(streamed.starts_with("HTTP/1.1 308 "), "{streamed}");
    assert_eq!(streamed.matches(" of 5 from server one\n").count(), 5, "{streamed}");

    let stats: Value = serde_json::from_str(&paste(stats)).unwrap();
    let requests: Vec<&Value> = stats["upstreams"][0]["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| &server["requests"])
        .collect();
    assert_eq!(requests, [3, 2, 2]);
}

#[test]
fn every_printed_address_answers() {
    let _turn = ONE_AT_A_TIME.lock();
    let demo = Demo::start();
    for server in ["one", "two", "three"] {
        let url = demo.url(&format!("server {server}"));
        let answer: Value = serde_json::from_str(&paste(&format!("curl -s {url}"))).unwrap();
        assert_eq!(answer["server"], server);
    }
    assert_eq!(paste(&format!("curl -s {}/ready", demo.url("admin"))), "{\"ready\":true}\n");
}

#[test]
fn the_printed_configuration_passes_check() {
    let _turn = ONE_AT_A_TIME.lock();
    let demo = Demo::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    std::fs::write(&file, demo.config()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("ok: "), "{said}");
    assert!(said.contains("(1 listener, 1 upstream, 2 routes)"), "{said}");
}

#[test]
fn taken_ports_are_left_to_their_owners() {
    let _turn = ONE_AT_A_TIME.lock();
    // Whether these succeed or somebody else has the ports: they are taken now.
    let _proxy = TcpListener::bind("127.0.0.1:8080");
    let _admin = TcpListener::bind("127.0.0.1:9900");
    let mut demo = Demo::start();
    for name in ["proxy", "admin"] {
        let url = demo.url(name);
        assert!(
            !url.ends_with(":8080") && !url.ends_with(":9900") && !url.ends_with(":0"),
            "{url}"
        );
    }
    assert_eq!(demo.end(Signal::TERM), Some(0));
}

/// Without a file and in any folder: its ports are free in a network of its own.
#[test]
fn status_and_explain_find_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
        ip link set lo up
        "$1" demo >page &
        for _ in $(seq 400); do grep -q '^Ctrl-C' page && break; sleep 0.025; done
        "$1" status
        "$1" explain GET http://127.0.0.1:8080/item/7
        kill %1; wait %1
        "$1" status 2>&1 || echo "exit $?"
    "#;
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tidegate"));
    let said = packages::script(folder.path(), text, &[program]);
    for part in ["one", "two", "three", "nothing answers where the demo would", "exit 1"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn sigterm_and_ctrl_c_end_it_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let _turn = ONE_AT_A_TIME.lock();
        let mut demo = Demo::start();
        assert_eq!(demo.end(signal), Some(0));
    }
}
