//! A real Redis: one server, the Sentinels of two, a Cluster of three.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{Certificate, SOON, holds_within};

/// A real Redis that keeps nothing on a disk. It ends with its value.
pub struct Redis {
    child: Child,
    pub address: SocketAddr,
    /// What redis-server is told beside its address.
    options: Vec<String>,
    /// What redis-cli is told beside its port.
    login: Vec<String>,
    directory: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        Self::with_password("")
    }

    /// One that asks for this password; for none where it is empty.
    pub fn with_password(password: &str) -> Self {
        let login: &[&str] = match password {
            "" => &[],
            _ => &["-a", password, "--no-auth-warning"],
        };
        Self::with(|port| own(&["--port", &port, "--requirepass", password]), own(login))
    }

    /// One that speaks TLS alone, with this certificate, and asks for those of clients where these
    /// are `required`.
    pub fn with_tls(ca: &Path, server: &Certificate, required: bool) -> Self {
        let [ca, cert, key] = [ca, &server.cert, &server.key].map(|path| path.to_str().unwrap());
        let asks = if required { "yes" } else { "no" };
        let options = |port: String| {
            let listen = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", asks];
            let files = ["--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca];
            own(&[&listen[..], &files[..]].concat())
        };
        Self::with(options, own(&["--tls", "--insecure", "--cert", cert, "--key", key]))
    }

    /// One with these options for a port.
    pub fn with(options: impl Fn(String) -> Vec<String>, login: Vec<String>) -> Self {
        // It takes no port 0, so a port that is free now has to do; another one when it is taken
        // meanwhile.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let started = (0..10).find_map(|_| {
            let address = free();
            Self::at(address, options(address.port().to_string()), login.clone())
        });
        started.expect("redis-server, of the Debian package")
    }

    fn at(address: SocketAddr, options: Vec<String>, login: Vec<String>) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(&options, &directory);
        let mut started = Self { child, address, options, login, directory };
        started.is_up().then_some(started)
    }

    fn is_up(&mut self) -> bool {
        let address = self.address;
        let ready = holds_within(SOON, &mut || TcpStream::connect(address).is_ok());
        ready && self.child.try_wait().unwrap().is_none()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew, with nothing in it.
    pub fn restart(&mut self) {
        self.child = spawn(&self.options, &self.directory);
        assert!(self.is_up());
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Runs one command, and tells what was answered.
    pub fn command(&self, words: &[&str]) -> String {
        let port = self.address.port().to_string();
        let mut client = Command::new("redis-cli");
        let output = client.args(["-p", &port]).args(&self.login).args(words).output();
        let output = output.expect("redis-cli, of the Debian package redis-tools");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The words, each on its own.
pub(super) fn own(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn spawn(options: &[String], directory: &tempfile::TempDir) -> Child {
    Command::new("redis-server")
        // The name of a file stands before all else.
        .args(options)
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server, of the Debian package")
}
