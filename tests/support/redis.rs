use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{SOON, holds_within};

/// A real Redis that keeps nothing on a disk. It ends with its value.
pub struct Redis {
    child: Child,
    pub address: SocketAddr,
    password: &'static str,
    directory: tempfile::TempDir,
}

impl Redis {
    pub fn start() -> Self {
        Self::with_password("")
    }

    /// One that asks for this password; for none where it is empty.
    pub fn with_password(password: &'static str) -> Self {
        // It takes no port 0, so a port that is free now has to do; another one when it is taken meanwhile.
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let started = (0..10).find_map(|_| Self::at(free(), password));
        started.expect("redis-server, of the Debian package")
    }

    fn at(address: SocketAddr, password: &'static str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(address, password, &directory);
        let mut started = Self { child, address, password, directory };
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
        self.child = spawn(self.address, self.password, &self.directory);
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
        client.args(["-p", &port]);
        if !self.password.is_empty() {
            client.args(["-a", self.password, "--no-auth-warning"]);
        }
        let output = client.args(words).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn spawn(address: SocketAddr, password: &str, directory: &tempfile::TempDir) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--requirepass", password, "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server, of the Debian package")
}
