//! HAProxy: ACLs, a table that counts, cookies that stick, health checks, a backup.

use crate::ask::{announce, get};
use crate::echo::{SERVED_BY, Server};
use crate::original::{Original, program};
use crate::site::{Plan, Site};
use support::{Response, SOON, wait_until};

const SORRY: &str = "<h1>The shop is closed</h1>\n";
const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

fn start(servers: [&Server; 5]) -> Site {
    let mut plan = Plan::new("haproxy");
    plan.file(
        "503.http",
        format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\n\
             Cache-Control: no-store\r\nContent-Length: {}\r\n\r\n{SORRY}",
            SORRY.len()
        ),
    );
    plan.file("503.html", SORRY);
    for (from, name) in [("errors/503.http", "503.http"), ("errors/503.html", "503.html")] {
        plan.put(
            &format!("/etc/haproxy/{from}"),
            plan.folder.path().join(name).display().to_string(),
        );
    }
    let pem = "/etc/haproxy/certs/shop.pem";
    plan.certificate(pem, pem, &["shop.example", "api.example"]);
    for (from, server) in [21, 22, 29, 23, 24].into_iter().zip(servers) {
        plan.put(&format!("10.20.0.{from}:8080"), server.address());
    }
    let original = Original::start(plan.folder.path(), 2, |folder, ports| {
        let text = plan.read_with(
            "haproxy.cfg",
            &[
                ("bind :80\n", format!("bind 127.0.0.1:{}\n", ports[0])),
                ("bind :443 ssl", format!("bind 127.0.0.1:{} ssl", ports[1])),
            ],
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = program("haproxy", "the Debian package haproxy");
        command.arg("-db").arg("-f").arg(file);
        command
    });
    let mut site = Site::beside(plan, original, &[("http", false), ("https", true)]);
    site.host = "shop.example";
    site
}

#[test]
fn a_shop_and_an_api_behind_haproxy() {
    let [mut s1, mut s2, mut spare, beta, api] =
        ["s1", "s2", "spare", "beta", "api"].map(Server::start);
    let mut site = start([&s1, &s2, &spare, &beta, &api]);

    site.ask("http to https", &get("/cart?item=7"), 301);
    site.door = "https";
    site.ask("alive", &get("/alive"), 200);
    site.ask("page", &get("/tea").with("x-debug", "1").with("x-env", "a"), 200);
    site.ask("old address", &get("/catalog/42.php?lang=en"), 200);
    site.ask("redirect", &get("/news"), 302);
    site.ask("internal, from outside", &get("/internal/stats"), 403);
    let both = site.ask("beta", &get("/tea").with("x-beta", "1"), 200);
    assert_eq!(both.served_by(), (Some("beta"), Some("beta")));
    site.websocket("websocket", &get("/live/ws"));

    site.host = "api.example";
    site.ask("api without a key", &get("/v1/items"), 401);
    let asked = site.ask("api", &get("/v1/items").with("x-api-key", "k-123"), 200);
    assert_eq!(asked.served_by(), (Some("api"), Some("api")));
    let report = get("/v1/report.json").with("x-api-key", "k-123").with("accept-encoding", "gzip");
    site.ask("compressed answer", &report, 200);
    site.burst("quota", &get("/v1/items").with("x-api-key", "k-123"), 4, "2 × 200, 2 × 429");
    site.ask("quota of another", &get("/v1/items").with("x-api-key", "k-456"), 200);
    let large = announce("/v1/items", 70_000).with("x-api-key", "k-456");
    site.ask("body too large", &large, 413);
    site.host = "shop.example";

    sticky(&mut site, &mut s1);
    s2.stop();
    both_see(&site, "spare");
    assert_eq!(site.ask("backup", &get("/tea"), 200).served_by(), (Some("spare"), Some("spare")));
    spare.stop();
    wait_until(SOON, "both have noticed", || {
        let (left, right) = plain(&site);
        (left.status, right.status) == (503, 503)
    });
    site.ask("all down", &get("/tea").with("accept", BROWSER), 503);
    s2.start_again();
    both_see(&site, "s2");
    site.ask("up again", &get("/tea"), 200);
    site.finish();
}

/// The answers to a request without a cookie.
fn plain(site: &Site) -> (Response, Response) {
    let (mut left, mut right) = site.connect();
    let ask = get("/tea").host("shop.example");
    (ask.send(&mut left), ask.send(&mut right))
}

fn both_see(site: &Site, server: &str) {
    wait_until(SOON, "both have seen at their checks who is there", || {
        let (left, right) = plain(site);
        left.header(SERVED_BY) == Some(server) && right.header(SERVED_BY) == Some(server)
    });
}

/// The same server for who has its cookie; another one when it is gone, and that one's cookie then.
fn sticky(site: &mut Site, s1: &mut Server) {
    // Either begins where it likes: s1 it is to be for both.
    let cookie = |of: fn((Response, Response)) -> Response| {
        let answers = (0..20).map(|_| of(plain(site)));
        let first = answers.into_iter().find(|answer| answer.header(SERVED_BY) == Some("s1"));
        let first = first.expect("an answer of s1");
        first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    let asks = [cookie(|(left, _)| left), cookie(|(_, right)| right)]
        .map(|cookie| get("/tea").host("shop.example").with("cookie", &cookie));
    let asks = [&asks[0], &asks[1]];
    for _ in 0..3 {
        let (mut original, mut tidegate) = site.connect();
        assert_eq!(asks[0].send(&mut original).header(SERVED_BY), Some("s1"));
        assert_eq!(asks[1].send(&mut tidegate).header(SERVED_BY), Some("s1"));
    }
    let kept = site.ask_each("sticky", asks, 200);
    assert_eq!(kept.served_by(), (Some("s1"), Some("s1")));
    s1.stop();
    both_see(site, "s2");
    let moved = site.ask_each("sticky, and its server is gone", asks, 200);
    assert_eq!(moved.served_by(), (Some("s2"), Some("s2")));
}
