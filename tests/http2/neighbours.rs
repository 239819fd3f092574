//! Another proxy on either side: HAProxy speaks HTTP/2 to tidegate, and tidegate to HAProxy.

use std::thread;

use crate::{config, proxy};
use support::{Haproxy, Nginx, RawClient, Tidegate};

/// Client → HAProxy → tidegate → HAProxy → nginx.
struct Chain {
    haproxy: Haproxy,
    proxy: Tidegate,
}

impl Chain {
    fn start(nginx: &Nginx) -> Self {
        let (haproxy, proxy) = Haproxy::start(|entrance, exit| {
            let proxy = proxy(exit, "protocol = 'h2c'");
            let text = format!(
                "frontend entrance\n bind {entrance}\n default_backend tidegate\n\
                 backend tidegate\n server t {} proto h2\nfrontend exit\n bind {exit} proto h2\n \
                 default_backend nginx\nbackend nginx\n server n {}\n",
                proxy.address(),
                nginx.address
            );
            (text, proxy)
        });
        Self { haproxy, proxy }
    }
}

#[test]
fn bodies_cross_haproxy_on_both_sides() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 % 251).to_le_bytes()[0]).collect();
    let nginx = Nginx::start(&[("large", &large), ("ok", b"ok")]);
    let chain = Chain::start(&nginx);
    let clients: Vec<_> = (0..6)
        .map(|n| {
            let (entrance, large) = (chain.haproxy.entrance, large.clone());
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
