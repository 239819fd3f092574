//! The program under test, as a process.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::RawClient;
use super::configuration::fill_in;
use super::{SOON, holds_within, wait_until};

/// How long the process may take to open its listeners.
const START: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct Tidegate {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    listeners: Vec<Bound>,
    directory: tempfile::TempDir,
}

/// One line of the program's start-up log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound {
    admin: bool,
    name: String,
    address: String,
}

impl Tidegate {
    /// Starts the program with this configuration and returns once every listener is open.
    pub fn start(toml: &str) -> Self {
        Self::with(toml, &[])
    }

    /// As [`Self::start`]; every `{name}` of `values` is replaced first, and `{dir}` by a directory
    /// of this process alone. A value that stands nowhere, and a name without a value, is a
    /// mistake.
    pub fn with(toml: &str, values: &[(&str, &dyn Display)]) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), toml, values)
    }

    /// As [`Self::with`], in a directory that the test has filled before.
    pub fn in_directory(
        directory: tempfile::TempDir,
        toml: &str,
        values: &[(&str, &dyn Display)],
    ) -> Self {
        Self::in_environment(directory, toml, values, &[])
    }

    /// As [`Self::with`], with no more than so many file descriptors.
    pub fn with_descriptors(most: u32, toml: &str, values: &[(&str, &dyn Display)]) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\""));
        shell.arg(program());
        Self::by(shell, tempfile::tempdir().unwrap(), toml, values)
    }

    /// As [`Self::in_directory`], with these variables.
    pub fn in_environment(
        directory: tempfile::TempDir,
        toml: &str,
        values: &[(&str, &dyn Display)],
        variables: &[(&str, &Path)],
    ) -> Self {
        let mut command = Command::new(program());
        command.envs(variables.iter().copied());
        Self::by(command, directory, toml, values)
    }

    /// As [`Self::with`], in a place where the only names there are stand in the file `hosts` of
    /// the process's directory, with this text to begin with. It may be written again, but not
    /// replaced.
    pub fn with_hosts(hosts: &str, toml: &str, values: &[(&str, &dyn Display)]) -> Self {
        const INSIDE: &str = r#"
            set -e
            mount --bind "$0/hosts" /etc/hosts
            for file in nsswitch.conf resolv.conf; do
                if [ -e "/etc/$file" ]; then mount --bind "$0/$file" "/etc/$file"; fi
            done
            exec "$@"
        "#;
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("hosts", hosts);
        write("nsswitch.conf", "hosts: files\n");
        write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
        // Mounts of one's own are a matter of privilege, or of a user namespace.
        let own_mounts = |options: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(options);
            command
        };
        let plain = own_mounts(&["--mount", "true"]).output().unwrap().status.success();
        let mut command = match plain {
            true => own_mounts(&["--mount"]),
            false => own_mounts(&["--user", "--map-root-user", "--mount"]),
        };
        command.args(["sh", "-c", INSIDE]).arg(directory.path());
        command.arg(program());
        Self::by(command, directory, toml, values)
    }

    /// What all of these do, with a command that takes the program's arguments.
    fn by(
        mut command: Command,
        directory: tempfile::TempDir,
        toml: &str,
        values: &[(&str, &dyn Display)],
    ) -> Self {
        let text = fill_in(toml, directory.path(), values);
        let file = directory.path().join("tidegate.toml");
        std::fs::write(&file, &text).unwrap();
        let mut child = command
            .arg("run")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the tidegate binary");
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let mut this = Self { child, stdout, stderr, listeners: Vec::new(), directory };
        this.await_listeners(expected_listeners(&text), &text);
        this
    }

    fn await_listeners(&mut self, expected: usize, toml: &str) {
        let deadline = Instant::now() + START;
        loop {
            let log = format!("{}\n{}", self.log(), self.stdout());
            self.listeners = log.lines().filter_map(parse_listening).collect();
            if self.listeners.len() >= expected {
                return;
            }
            let gone = self.child.try_wait().unwrap();
            assert!(
                gone.is_none() && Instant::now() < deadline,
                "{} of {expected} listeners opened (exit: {gone:?}) with\n{toml}\nits log:\n{log}",
                self.listeners.len(),
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The first TCP listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Every TCP listener, in the order of the log.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let clients = self.listeners.iter().filter(|l| !l.admin);
        clients.filter_map(|l| l.address.parse().ok()).collect()
    }

    /// The TCP address of the listener with this `name`.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|l| !l.admin && l.name == name);
        found
            .and_then(|l| l.address.parse().ok())
            .unwrap_or_else(|| panic!("no listener {name:?} in {:?}", self.listeners))
    }

    pub fn admin(&self) -> SocketAddr {
        let found = self.listeners.iter().find(|l| l.admin);
        found
            .and_then(|l| l.address.parse().ok())
            .unwrap_or_else(|| panic!("no admin listener in {:?}", self.listeners))
    }

    /// What the admin endpoint says at `/stats`.
    pub fn stats(&self) -> serde_json::Value {
        serde_json::from_slice(&RawClient::connect(self.admin()).ask("/stats").body).unwrap()
    }

    pub fn client(&self) -> RawClient {
        RawClient::connect(self.address())
    }

    /// A file in this process's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// What it wrote to stdout so far: the access log, unless configured otherwise.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end; panics with its log when it does not.
    pub fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let mut status = None;
        let child = &mut self.child;
        holds_within(within, &mut || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("still running after {within:?}; its log:\n{}", self.log()))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM and waits until the listeners no longer accept.
    pub fn terminate(&self) {
        let address = self.address();
        self.signal(Signal::TERM);
        wait_until(SOON, "the listener refuses connections after SIGTERM", || {
            std::net::TcpStream::connect(address).is_err()
        });
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- tidegate's log ---\n{}\n--- stdout ---\n{}", self.log(), self.stdout());
        }
        if self.child.try_wait().ok().flatten().is_none() {
            // A second signal does not wait for requests: the exit code is 1.
            let expected = i32::from(self.log().contains(" draining "));
            self.signal(Signal::TERM);
            let child = &mut self.child;
            let mut status = None;
            holds_within(Duration::from_millis(500), &mut || {
                status = child.try_wait().ok().flatten();
                status.is_some()
            });
            match status {
                // Somebody may still be connected, and is drained for longer than a test waits.
                None => drop(self.child.kill()),
                Some(status) if !thread::panicking() => {
                    let code = status.code();
                    let fine = code == Some(0) || code == Some(expected);
                    assert!(fine, "{code:?} after SIGTERM; its log:\n{}", self.log());
                }
                Some(_) => {}
            }
        }
        let _ = self.child.wait();
        let log = self.log();
        assert!(thread::panicking() || !log.contains("panicked at"), "it panicked:\n{log}");
    }
}

fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = text.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            into.lock().unwrap().push_str(&super::message::latin1(&line));
            line.clear();
        }
    });
    text
}

/// How many `listening` lines this configuration must lead to.
fn expected_listeners(toml: &str) -> usize {
    let table: toml::Table = toml.parse().unwrap_or_else(|e| panic!("test config: {e}\n{toml}"));
    let listeners = table.get("listen").and_then(toml::Value::as_array);
    let addresses = listeners.into_iter().flatten().map(|listen| match listen.get("address") {
        Some(toml::Value::Array(many)) => many.len(),
        Some(_) => 1,
        None => 0,
    });
    let admin = table.get("admin").and_then(|a| a.get("address")).map_or(0, |_| 1);
    addresses.sum::<usize>() + admin
}

/// `… [admin ]listening … address=A … listener=N …`, with or without quotes and colours.
fn parse_listening(line: &str) -> Option<Bound> {
    let line = without_colours(line);
    let (before, _) = line.split_once("listening")?;
    let value = |key: &str| {
        let (_, rest) = line.split_once(key)?;
        let word = rest.split([' ', '\t', ',', '}']).next()?;
        Some(word.trim_matches(['"', ':']).to_owned())
    };
    let address = value("address=").or_else(|| value("\"address\":"))?;
    let name = value("listener=").or_else(|| value("\"listener\":")).unwrap_or_default();
    Some(Bound { admin: before.contains("admin"), name, address })
}

fn without_colours(line: &str) -> String {
    let mut out = String::new();
    let mut escaped = false;
    for c in line.chars() {
        match (escaped, c) {
            (false, '\x1b') => escaped = true,
            (false, c) => out.push(c),
            (true, 'm') => escaped = false,
            (true, _) => {}
        }
    }
    out
}

/// The program under test, which stands above the folder of the test that runs.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("tidegate");
    assert!(program.is_file(), "{} is built with the tests", program.display());
    program
}
