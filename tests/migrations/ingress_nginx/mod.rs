//! ingress-nginx: manifests with annotations, and the configuration that its controller makes of
//! them, in a real nginx.
//!
//! There is no cluster here and no controller: `nginx.conf` is what the controller's template
//! writes for the annotations of `ingress.yaml`, by its documentation. What its Lua code does
//! (choosing pods, cookies that stick) is not compared.

use std::collections::BTreeSet;

use crate::ask::{Ask, get, options, post};
use crate::echo::{SERVED_BY, Server};
use crate::nginx::STAFF;
use crate::original::nginx;
use crate::site::{Plan, Site, folder_of};

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
const HOST: &str = "store.example";

fn start(servers: [&Server; 6]) -> Site {
    let mut plan = Plan::new("ingress_nginx");
    plan.file("htpasswd", STAFF);
    plan.file("sorry.html", crate::echo::SORRY);
    for (from, to) in [
        ("/etc/ingress-controller/auth/staff.passwd", "htpasswd"),
        ("/srv/pages/sorry.html", "sorry.html"),
    ] {
        plan.put(from, plan.folder.path().join(to).display().to_string());
    }
    let ssl = "/etc/ingress-controller/ssl/store";
    plan.certificate(&format!("{ssl}.pem"), &format!("{ssl}.key"), &[HOST, "other.example"]);
    plan.put("10.20.0.70:9091", servers[0].address());
    for (from, server) in [71, 72, 73, 74, 75].into_iter().zip(&servers[1..]) {
        plan.put(&format!("10.20.0.{from}:8080"), server.address());
    }
    let original = nginx(plan.folder.path(), 2, |ports| {
        plan.read_with(
            "nginx.conf",
            &[
                ("listen 80", format!("listen 127.0.0.1:{}", ports[0])),
                ("listen 443", format!("listen 127.0.0.1:{}", ports[1])),
            ],
        )
    });
    let mut site = Site::beside(plan, original, &[("http", false), ("https", true)]);
    site.host = HOST;
    site
}

#[test]
fn a_store_behind_ingress_nginx() {
    let [mut auth, mut main, mut next, mut a1, mut a2, pages] =
        ["auth", "main", "next", "a1", "a2", "pages"].map(Server::start);
    let mut site = start([&auth, &main, &next, &a1, &a2, &pages]);

    site.ask("http to https", &get("/cart?item=7"), 308);
    site.door = "https";
    let both = site.ask("page", &get("/cart?item=7").with("x-canary", "never"), 200);
    assert_eq!(both.served_by(), (Some("main"), Some("main")));
    let both = site.ask("canary by header", &get("/cart").with("x-canary", "always"), 200);
    assert_eq!(both.served_by(), (Some("next"), Some("next")));
    shares(&site);
    let fails = get("/status/503").with("accept", BROWSER);
    site.ask("server that fails", &fails, 503);
    site.ask("server's 404", &get("/status/404"), 404);
    site.ask("another name", &get("/cart").host("other.example"), 404);

    site.ask("prefix rewritten", &get("/api/items?page=2"), 200);
    site.ask("nothing but the prefix", &get("/api"), 200);
    site.ask("only begins like it", &get("/apiary").with("x-canary", "never"), 200);
    let forged = get("/api/items").with("x-forwarded-for", "203.0.113.9");
    site.ask("forged client address", &forged, 200);
    site.ask("body too large", &post("/api/items", vec![b'x'; 70_000]), 413);
    let page = |ask: Ask| ask.with("origin", "https://app.example");
    site.ask("from another origin's page", &page(get("/api/items")), 200);
    let preflight = options("/api/items").with("access-control-request-method", "POST");
    site.ask("preflight", &page(preflight.clone()), 204);
    site.ask("from a stranger's page", &get("/api/items").with("origin", "https://b.example"), 200);
    site.burst("quota", &post("/orders", "tea"), 9, "7 × 200, 2 × 429");
    site.ask("over the quota", &post("/orders", "tea"), 429);

    site.ask("let in", &get("/account/orders").with("cookie", "session=s1"), 200);
    let forged = get("/account/orders").with("cookie", "session=s1").with("remote-user", "root");
    site.ask("forged name", &forged, 200);
    site.ask("not let in", &get("/account/orders"), 401);
    site.ask("no password", &get("/office/users"), 401);
    site.ask("wrong password", &get("/office/users").login("anna", "ebb"), 401);
    site.ask("right password", &get("/office/users").login("anna", "tide"), 200);
    site.ask("not for this network", &get("/internal/stats"), 403);
    site.ask("permanent redirect", &get("/blog/2026"), 301);
    site.websocket("websocket", &get("/live/ws").with("x-canary", "never"));

    a1.stop();
    // Either server may be the first to be asked: after some requests, it is known which one is
    // gone.
    let (mut left, mut right) = site.connect();
    for _ in 0..20 {
        let ask = get("/api/items").host(HOST);
        assert_eq!((ask.send(&mut left).status, ask.send(&mut right).status), (200, 200));
    }
    let both = site.ask("the second takes over", &get("/api/items"), 200);
    assert_eq!(both.served_by(), (Some("a2"), Some("a2")));
    a2.stop();
    site.ask("all down", &get("/api/items"), 502);
    main.stop();
    next.stop();
    site.ask("store down", &get("/cart").with("accept", BROWSER), 502);
    auth.stop();
    site.ask("nobody to ask", &get("/account/orders").with("cookie", "session=s1"), 503);
    site.finish();
}

/// One of four requests goes to the canary, by both.
fn shares(site: &Site) {
    const ASKED: usize = 80;
    let (mut left, mut right) = site.connect();
    let ask = get("/cart").host(HOST);
    for client in [&mut left, &mut right] {
        let canary =
            (0..ASKED).filter(|_| ask.send(client).header(SERVED_BY) == Some("next")).count();
        // 20 are expected; that chance leaves these bounds is less than one in a million.
        assert!((2..=40).contains(&canary), "{canary} of {ASKED}");
    }
}

#[test]
fn every_annotation_has_its_lines_in_the_configuration() {
    let read = |name| std::fs::read_to_string(folder_of("ingress_nginx").join(name)).unwrap();
    let manifests = read("ingress.yaml");
    let annotation = regex::Regex::new(r"nginx\.ingress\.kubernetes\.io/([a-z-]+):").unwrap();
    let written: BTreeSet<String> =
        annotation.captures_iter(&manifests).map(|found| found[1].to_owned()).collect();
    let comment = regex::Regex::new(r"(?m)^ +# ([-a-z, ]+)$").unwrap();
    let configuration = read("nginx.conf");
    let made: BTreeSet<String> = comment
        .captures_iter(&configuration)
        .flat_map(|found| found[1].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(written.len(), 22, "{written:?}");
    assert_eq!(written, made);
}
