//! The proxies that people come from, as processes.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::holds_within;

/// How long one may take to listen; some come with a hundred megabytes.
const START: Duration = Duration::from_secs(30);

/// A running proxy in a folder of its own. It ends with its value.
pub(crate) struct Original {
    child: Child,
    /// Where it listens, in the order in which ports were asked for.
    pub(crate) ports: Vec<u16>,
}

impl Original {
    /// Starts it with `count` ports that were free. `command` writes its files into `folder` and
    /// says how it is run.
    pub(crate) fn start(
        folder: &Path,
        count: usize,
        command: impl Fn(&Path, &[u16]) -> Command,
    ) -> Self {
        // Another process may take a port between our probe and the bind: try again.
        for _ in 0..4 {
            let ports = free_ports(count);
            let log = fs::File::create(folder.join("original.log")).unwrap();
            let mut command = command(folder, &ports);
            let name = command.get_program().to_string_lossy().into_owned();
            let mut child = command
                .current_dir(folder)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            let up = holds_within(START, &mut || {
                child.try_wait().unwrap().is_some() || ports.iter().all(|port| listens(*port))
            });
            if up && child.try_wait().unwrap().is_none() {
                return Self { child, ports };
            }
            let _killed = child.kill();
            let _reaped = child.wait();
        }
        panic!("it does not start: {}", self::log(folder));
    }

    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[index]))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn log(folder: &Path) -> String {
    let mut text = String::new();
    for name in ["original.log", "error.log"] {
        let found = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let _infallible = write!(text, "--- {name}\n{found}");
    }
    text
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn free_ports(count: usize) -> Vec<u16> {
    let probes: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    probes.iter().map(|probe| probe.local_addr().unwrap().port()).collect()
}

/// The program of this name; `from` says which package has it.
pub(crate) fn program(name: &str, from: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    places.push(std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&home).join(".cargo/bin"),
        |cargo| Path::new(&cargo).join("bin"),
    ));
    let found = places.iter().map(|place| place.join(name)).find(|file| file.is_file());
    let found = found.unwrap_or_else(|| {
        panic!("{name} is missing, so nothing was compared with it: {from} (./test --install)")
    });
    let mut command = Command::new(found);
    command.env("NO_PROXY", "*").env_remove("HTTP_PROXY").env_remove("http_proxy");
    command
}

/// Starts nginx with this configuration, of which it is told by `replaced` what to put in for
/// ports.
pub(crate) fn nginx(folder: &Path, ports: usize, text: impl Fn(&[u16]) -> String) -> Original {
    Original::start(folder, ports, |folder, ports| {
        let dir = folder.display();
        let own =
            format!("daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n");
        fs::write(folder.join("nginx.conf"), format!("{own}{}", text(ports))).unwrap();
        let mut command = program("nginx", "the Debian package nginx");
        command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
        command.arg("-e").arg(folder.join("error.log"));
        command
    })
}
