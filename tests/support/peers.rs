//! Real programs on either side: nginx and HAProxy as servers or in front, curl as a client. A test
//! that needs one fails when it is missing; it never skips itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Certificate, holds_within};

#[derive(Debug)]
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Nginx {
    /// Serves `files` (name, content) from its root, stores `PUT /store/*`, and keeps the body of
    /// `POST /post` as a file (see [`Self::posted`]).
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        Self::with(files, "", "", "")
    }

    /// Serves `/` as fast as `limit_req` with these parameters allows; 429 beyond that.
    pub fn limiting(rate: &str, parameters: &str) -> Self {
        let http = format!("limit_req_zone $binary_remote_addr zone=z:1m rate={rate};");
        let server = format!("limit_req zone=z {parameters}; limit_req_status 429;");
        Self::with(&[("index.html", b"fine")], &http, "", &server)
    }

    /// Serves over TLS.
    pub fn secure(files: &[(&str, &[u8])], certificate: &Certificate) -> Self {
        Self::secure_with(files, certificate, "")
    }

    /// As [`Self::secure`], with further lines of its server.
    pub fn secure_with(files: &[(&str, &[u8])], certificate: &Certificate, server: &str) -> Self {
        let Certificate { cert, key } = certificate;
        let (cert, key) = (cert.display(), key.display());
        let http = format!("ssl_certificate {cert}; ssl_certificate_key {key};");
        Self::with(files, &http, "ssl", server)
    }

    /// Speaks HTTP/2 without TLS, and nothing else.
    pub fn h2c(files: &[(&str, &[u8])], server: &str) -> Self {
        Self::with(files, "", "http2", server)
    }

    /// Is told by a PROXY header whose each connection is.
    pub fn proxied(server: &str) -> Self {
        Self::with(&[], "", "proxy_protocol", server)
    }

    /// Serves HTTP/2 and HTTP/1.1 over TLS.
    pub fn secure_h2(files: &[(&str, &[u8])], certificate: &Certificate, server: &str) -> Self {
        let Certificate { cert, key } = certificate;
        let (cert, key) = (cert.display(), key.display());
        let http = format!("ssl_certificate {cert}; ssl_certificate_key {key};");
        Self::with(files, &http, "ssl http2", server)
    }

    fn with(files: &[(&str, &[u8])], http: &str, listen: &str, server: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for sub in ["root/store", "bodies", "logs"] {
            std::fs::create_dir_all(directory.path().join(sub)).unwrap();
        }
        for (name, content) in files {
            std::fs::write(directory.path().join("root").join(name), content).unwrap();
        }
        // Another process may take the port between our probe and nginx's bind: try again.
        for _ in 0..5 {
            let probe = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = probe.local_addr().unwrap();
            drop(probe);
            let mut child = spawn(directory.path(), address, (http, listen), server);
            let ready = holds_within(Duration::from_secs(10), &mut || {
                TcpStream::connect(address).is_ok() || child.try_wait().unwrap().is_some()
            });
            if ready && child.try_wait().unwrap().is_none() {
                return Self { child, address, directory };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(directory.path().join("logs/error.log"));
        panic!("nginx does not start: {}", log.unwrap_or_default());
    }

    pub fn stored(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.path().join("root/store").join(name)).unwrap()
    }

    /// The bodies of all `POST /post` so far.
    pub fn posted(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.directory.path().join("bodies")).unwrap();
        entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(prefix: &Path, address: SocketAddr, (http, listen): (&str, &str), server: &str) -> Child {
    let dir = prefix.display();
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/logs/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
           access_log {dir}/logs/access.log; client_max_body_size 64m; {http}\n\
           client_body_temp_path {dir}/bodies; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
           uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
           server {{\n\
             listen {address} {listen}; root {dir}/root; default_type text/plain; {server}\n\
             location /store/ {{ dav_methods PUT; }}\n\
             location = /post {{ client_body_in_file_only on; proxy_pass http://{address}/sink; }}\n\
             location = /sink {{ return 200 \"stored\\n\"; }}\n\
           }}\n\
         }}\n"
    );
    let file = prefix.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    Command::new(binary("nginx", "/usr/sbin/nginx"))
        .arg("-p")
        .arg(prefix)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start nginx")
}

/// HAProxy with a configuration of the test's own. It ends with its value.
#[derive(Debug)]
pub struct Haproxy {
    child: Child,
    pub entrance: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Haproxy {
    /// Starts it. `configure` is told two addresses that are free, of which it has to listen at the
    /// first, and returns the configuration and what belongs to it.
    pub fn start<T>(configure: impl Fn(SocketAddr, SocketAddr) -> (String, T)) -> (Self, T) {
        // Another process may take a port between this and HAProxy's bind: then all of it once
        // more.
        for _ in 0..5 {
            let free = || TcpListener::bind("127.0.0.1:0").unwrap();
            let ports = (free(), free());
            let entrance = ports.0.local_addr().unwrap();
            let (text, beside) = configure(entrance, ports.1.local_addr().unwrap());
            drop(ports);
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("haproxy.cfg");
            std::fs::write(&file, format!("{HAPROXY_DEFAULTS}{text}")).unwrap();
            let mut child = Command::new(binary("haproxy", "/usr/sbin/haproxy"))
                .args(["-db", "-f"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("start haproxy");
            let ready = holds_within(Duration::from_secs(10), &mut || {
                TcpStream::connect(entrance).is_ok() || child.try_wait().unwrap().is_some()
            });
            if ready && child.try_wait().unwrap().is_none() {
                return (Self { child, entrance, _directory: directory }, beside);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("HAProxy does not start");
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const HAPROXY_DEFAULTS: &str = "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n \
    timeout client 30s\n timeout server 30s\n";

/// What one run of curl produced.
#[derive(Debug)]
pub struct Curl {
    /// curl's own exit code; 0 is success.
    pub exit: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Curl {
    pub fn text(&self) -> String {
        super::message::latin1(&self.stdout)
    }
}

/// Runs curl silently, with a deadline of 30 s.
pub fn curl(arguments: &[&str]) -> Curl {
    let output = Command::new(binary("curl", "/usr/bin/curl"))
        .args(["-sS", "--max-time", "30", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("run curl");
    Curl {
        exit: output.status.code(),
        stdout: output.stdout,
        stderr: super::message::latin1(&output.stderr),
    }
}

fn binary(name: &str, usual: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).map(|p| p.join(name)).collect();
    places.push(usual.into());
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| {
        panic!("this test needs {name}, which is neither in PATH nor at {usual}")
    })
}
