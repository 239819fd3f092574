//! Real name servers whose records change under load: dnsmasq, which is told by a file and a
//! signal, and BIND, which is told by dynamic updates (RFC 2136).

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, kill_process};

use crate::names::grow_and_shrink;
use crate::proxy;
use crate::server::Server;
use support::{Signal, wait_until};

/// A name server in a directory of its own, which ends with this.
struct NameDaemon {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Drop for NameDaemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Starts a program that Debian keeps where daemons are, or says which package has it.
fn spawn(program: &str, package: &str, arguments: &[String]) -> Child {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("env");
    command.arg(format!("PATH={path}")).arg(program).args(arguments);
    let found = path.split(':').any(|folder| std::path::Path::new(folder).join(program).exists());
    assert!(found, "`{program}` is not installed: ./test --install, or apt-get install {package}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// An address that is free for datagrams and connections.
fn free_address() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Waits until it answers questions over TCP.
fn wait_for(daemon: &NameDaemon) {
    wait_until(Duration::from_secs(20), "the name server listens", || {
        std::net::TcpStream::connect(daemon.address).is_ok()
    });
}

fn asking_it(daemon: &NameDaemon, port: u16) -> support::Tidegate {
    let servers = format!("{{ dns = 'app.test:{port}', max_ttl = '1s', family = 'v4' }}");
    proxy(&servers, (&format!("[dns]\nservers = ['{}']", daemon.address), ""))
}

#[test]
fn dnsmasq_whose_hosts_come_and_go_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let (address, hosts) = (free_address(), directory.path().join("hosts"));
    std::fs::write(&hosts, "").unwrap();
    let arguments = [
        "--no-daemon".to_owned(),
        "--conf-file=/dev/null".to_owned(),
        "--no-resolv".to_owned(),
        "--no-hosts".to_owned(),
        "--bind-interfaces".to_owned(),
        "--listen-address=127.0.0.1".to_owned(),
        "--user=root".to_owned(),
        "--pid-file".to_owned(),
        "--local-ttl=1".to_owned(),
        format!("--port={}", address.port()),
        format!("--addn-hosts={}", hosts.display()),
    ];
    let child = spawn("dnsmasq", "dnsmasq-base", &arguments);
    let daemon = NameDaemon { child, address, directory };
    wait_for(&daemon);
    let servers = Server::row(10);
    let pid = Pid::from_child(&daemon.child);
    grow_and_shrink(
        &servers,
        || asking_it(&daemon, servers[0].address.port()),
        |addresses| {
            let lines: String = addresses.iter().map(|ip| format!("{ip} app.test\n")).collect();
            std::fs::write(&hosts, lines).unwrap();
            kill_process(pid, Signal::HUP).unwrap();
        },
    );
}

const ZONE: &str =
    "$TTL 1\n@ IN SOA ns.test. root.test. 1 60 60 60 1\n@ IN NS ns.test.\nns IN A 127.0.0.1\n";

#[test]
fn bind_whose_records_are_updated_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let folder = directory.path().display().to_string();
    std::fs::write(directory.path().join("test.zone"), ZONE).unwrap();
    let port = address.port();
    let configuration = format!(
        "options {{ directory \"{folder}\"; pid-file none; listen-on port {port} {{ 127.0.0.1; }};\n\
         listen-on-v6 {{ none; }}; recursion no; session-keyfile none; }};\n\
         controls {{ }};\n\
         zone \"test\" {{ type master; file \"test.zone\"; allow-update {{ 127.0.0.1; }}; }};\n"
    );
    let file = directory.path().join("named.conf");
    std::fs::write(&file, configuration).unwrap();
    let arguments = ["-g".to_owned(), "-c".to_owned(), file.display().to_string()];
    let child = spawn("named", "bind9", &arguments);
    let daemon = NameDaemon { child, address, directory };
    wait_for(&daemon);
    let servers = Server::row(10);
    grow_and_shrink(
        &servers,
        || asking_it(&daemon, servers[0].address.port()),
        |addresses| {
            let mut script =
                format!("server 127.0.0.1 {port}\nzone test\nupdate delete app.test A\n");
            for ip in addresses {
                script.push_str(&format!("update add app.test 1 A {ip}\n"));
            }
            script.push_str("send\n");
            // The zone may not be loaded yet.
            wait_until(Duration::from_secs(20), "an update is taken", || {
                let nsupdate = Command::new("nsupdate").stdin(Stdio::piped()).spawn();
                let mut nsupdate = nsupdate.expect(
                    "`nsupdate` is not installed: ./test --install, or apt-get install bind9-dnsutils",
                );
                nsupdate.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
                nsupdate.wait().unwrap().success()
            });
        },
    );
    assert!(daemon.directory.path().join("test.zone").exists());
}
