//! The units of systemd: it understands them, and what they forbid the program does not do.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, Signal, getgid, kill_process};

use crate::documents::document;

fn unit() -> String {
    document("dist/systemd/tidegate.service")
}

/// Runs a program of systemd's and returns all that it printed.
fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output =
        output.unwrap_or_else(|why| panic!("systemd-analyze is missing ({why}): ./test --install"));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn systemd_understands_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let complaints = |text: &str| -> Vec<String> {
        fs::write(at("tidegate.service"), text).unwrap();
        fs::write(at("tidegate.socket"), document("dist/systemd/tidegate.socket")).unwrap();
        let files = [at("tidegate.service"), at("tidegate.socket")];
        let said = analyze(&["verify", "--man=no", &files[0], &files[1]]);
        // A kind of service that systemd knows from version 253 on; the line before is for older
        // ones.
        let meant = |line: &&str| !line.ends_with("ignoring: notify-reload");
        said.lines().filter(meant).map(str::to_owned).collect()
    };
    let here = unit().replace("/usr/bin/tidegate", env!("CARGO_BIN_EXE_tidegate"));
    assert_eq!(complaints(&here), Vec::<String>::new());
    let wrong = here.replace("RestrictRealtime=yes", "RestrictRealtime=maybe");
    assert_eq!(complaints(&wrong).len(), 1);
    assert!(here.contains("\nType=notify\nType=notify-reload\n"), "in this order");
}

/// The calls of a set of systemd's, and of those that it is made of.
fn expand(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return BTreeSet::from([name.to_owned()]);
    }
    let said = analyze(&["syscall-filter", name]);
    let lines = said.lines().skip(1).map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(expand).collect()
}

/// The calls that the unit allows; those of `@default` are always (systemd.exec(5)).
fn allowed() -> BTreeSet<String> {
    let unit = unit();
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
    let mut allowed = expand("@default");
    for line in lines {
        let (forbids, names) = line.strip_prefix('~').map_or((false, line), |rest| (true, rest));
        for name in names.split_whitespace().flat_map(expand) {
            match forbids {
                true => drop(allowed.remove(&name)),
                false => drop(allowed.insert(name)),
            }
        }
    }
    allowed
}

/// The program, each of whose calls is written down. It ends with its value.
struct Traced(Child);

impl Traced {
    fn start(folder: &Path) -> Self {
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "trace", env!("CARGO_BIN_EXE_tidegate"), "run"])
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap_or_else(|why| panic!("strace is missing ({why}): ./test --install")))
    }

    /// Sends the program a signal; strace itself would keep it.
    fn send(&self, signal: Signal) {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let program = children.split_whitespace().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(program).unwrap(), signal).unwrap();
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            let _gone = std::panic::catch_unwind(|| self.send(Signal::KILL));
            let _killed = self.0.kill();
        }
        let _reaped = self.0.wait();
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Under systemd a call that is not allowed ended the process: threads whose work can wait lower
/// their own priority.
#[test]
fn the_program_makes_no_call_that_the_unit_forbids() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |more: &str| {
        let text = format!(
            "[admin]\naddress = {{ unix = \"{0}/admin.sock\", mode = \"0660\", group = \"{1}\" }}\n\
             [log]\naccess = \"{0}/access.log\"\n[runtime]\ndrain = \"1s\"\n\
             [[listen]]\naddress = \"127.0.0.1:{port}\"\n\
             [upstream.app]\nservers = [\"localhost:1\"]\nhealth = \"/\"\n\
             [[route]]\npath = \"/here\"\nrespond = {{ status = 200, body = \"here\" }}\n\
             [[route]]\nupstream = \"app\"\ncache = {{}}\n{more}",
            folder.path().display(),
            getgid().as_raw(),
        );
        fs::write(folder.path().join("tidegate.toml"), text).unwrap();
    };
    file("");
    let mut traced = Traced::start(folder.path());
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    wait("it does not start", || log().contains("tidegate runs"));
    for path in ["/here", "/there"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
    file("[[route]]\npath = \"/more\"\nrespond = { status = 204 }\n");
    traced.send(Signal::HUP);
    wait("it does not reload", || log().contains("configuration reloaded"));
    traced.send(Signal::USR1);
    traced.send(Signal::TERM);
    wait("it does not end", || traced.0.try_wait().unwrap().is_some());
    let trace = fs::read_to_string(folder.path().join("trace")).unwrap();
    let call = Regex::new(r"(?m)^\d+ +([a-z0-9_]+)\(").unwrap();
    let made: BTreeSet<String> =
        call.captures_iter(&trace).map(|found| found[1].to_owned()).collect();
    // Machines differ in how they call some of them.
    for name in ["setpriority", "chown", "epoll", "accept4"] {
        assert!(made.iter().any(|call| call.contains(name)), "{name} was not seen: {made:?}");
    }
    let forbidden: Vec<_> = made.difference(&allowed()).cloned().collect();
    assert_eq!(forbidden, Vec::<String>::new());
    let families = Regex::new(r"socket\((AF_[A-Z0-9_]+)").unwrap();
    let families: BTreeSet<&str> =
        families.captures_iter(&trace).map(|found| found.get(1).unwrap().as_str()).collect();
    let unit = unit();
    let line = unit.lines().find_map(|line| line.strip_prefix("RestrictAddressFamilies=")).unwrap();
    let may: BTreeSet<&str> = line.split_whitespace().collect();
    assert!(families.is_subset(&may), "{families:?}");
}
