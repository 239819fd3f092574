//! Another proxy on either side: HAProxy speaks HTTP/2 to tidegate, and tidegate to HAProxy.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::{config, proxy};
use support::{Nginx, RawClient, SOON, Tidegate, wait_until};

/// Client → HAProxy → tidegate → HAProxy → nginx.
struct Chain {
    haproxy: Child,
    entrance: SocketAddr,
    proxy: Tidegate,
    _files: tempfile::TempDir,
}

impl Chain {
    fn start(nginx: &Nginx) -> Self {
        for _ in 0..5 {
            // Another process may take a port between this and HAProxy's bind: then all of it once
            // more.
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (entrance, exit) = (free(), free());
            let proxy = proxy(exit, "protocol = 'h2c'");
            let text = format!(
                "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n \
                 timeout server 30s\nfrontend entrance\n bind {entrance}\n default_backend tidegate\n\
                 backend tidegate\n server t {} proto h2\nfrontend exit\n bind {exit} proto h2\n \
                 default_backend nginx\nbackend nginx\n server n {}\n",
                proxy.address(),
                nginx.address
            );
            let files = tempfile::tempdir().unwrap();
            let file = files.path().join("haproxy.cfg");
            std::fs::write(&file, text).unwrap();
            let mut haproxy = Command::new("/usr/sbin/haproxy")
                .args(["-db", "-f"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("haproxy");
            wait_until(SOON, "HAProxy is there", || {
                TcpStream::connect(entrance).is_ok() || haproxy.try_wait().unwrap().is_some()
            });
            if haproxy.try_wait().unwrap().is_none() {
                return Self { haproxy, entrance, proxy, _files: files };
            }
        }
        panic!("HAProxy does not start");
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
    }
}

#[test]
fn bodies_cross_haproxy_on_both_sides() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251).to_le_bytes()[0]).collect();
    let nginx = Nginx::start(&[("large", &large), ("ok", b"ok")]);
    let chain = Chain::start(&nginx);
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let (entrance, large) = (chain.entrance, large.clone());
            thread::spawn(move || {
                let mut client = RawClient::connect(entrance);
                let got = client.exchange("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
                assert!(got.status == 200 && got.body == large);
                let put = format!(
                    "PUT /store/{n} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
                    large.len()
                );
                assert_eq!(client.exchange([put.as_bytes(), &large].concat()).status, 201);
                let got = client.exchange("GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n");
                assert_eq!((got.status, got.text().as_str()), (200, "ok"));
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    for n in 0..6 {
        assert!(nginx.stored(&n.to_string()) == large, "{n}");
    }
    let stats = chain.proxy.stats();
    assert_eq!(stats["requests"], 18, "{stats}");
}

#[test]
fn a_request_without_a_host_goes_without_an_authority() {
    // HTTP/1.0 has none. nginx asks for one, and says so.
    let nginx = Nginx::h2c(&[("ok", b"ok")], "");
    let proxy =
        Tidegate::start(&config(&format!("servers = ['{}']\nprotocol = 'h2c'", nginx.address), ""));
    let answer = proxy.client().exchange("GET /ok HTTP/1.0\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("nginx"), "{}", answer.text());
    let answer = proxy.client().exchange("GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}
