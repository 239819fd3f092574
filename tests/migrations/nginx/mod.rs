//! nginx: TLS and HTTP/2, files, an API with limits, WebSocket, passwords, pages, a backup.

use std::io::Write as _;

use crate::ask::{announce, get, head, post};
use crate::differences::unzipped;
use crate::echo::Server;
use crate::original::nginx;
use crate::site::{Both, Plan, Site};
use support::{SOON, wait_until};

/// The user anna with the password tide, as `htpasswd -B` writes it.
pub(crate) const STAFF: &str =
    "anna:$2b$04$loPeyxkoDkK8Lj0nyGc66e5a218Tj3x.KFToNM.CqN2NFM4jtKFzy\n";
/// What a browser says of itself.
const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn start(servers: [&Server; 3]) -> Site {
    let mut plan = Plan::new("nginx");
    let files = [
        ("index.html", "<h1>The shop</h1>\n"),
        ("404.html", "<h1>Not here</h1>\n"),
        ("sorry.html", "<h1>Back in a minute</h1>\n"),
        ("app/index.html", "<div id=app></div>\n"),
        ("assets/main.css", "body { margin: 0 }\n"),
        ("assets/logo.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>\n"),
        (".git/config", "secret\n"),
    ];
    for (name, text) in files {
        plan.file(&format!("site/{name}"), text);
    }
    plan.file("site/assets/main.css.gz", gzip("body { margin: 0 }\n"));
    plan.file("htpasswd", STAFF);
    plan.put("/srv/shop/site", plan.folder.path().join("site").display().to_string());
    plan.put(
        "/etc/nginx/staff.htpasswd",
        plan.folder.path().join("htpasswd").display().to_string(),
    );
    plan.certificate("/etc/ssl/shop/fullchain.pem", "/etc/ssl/shop/privkey.pem", &["shop.example"]);
    for (from, server) in
        ["10.20.0.11:8080", "10.20.0.12:8080", "10.20.0.19:8080"].iter().zip(servers)
    {
        plan.put(from, server.address());
    }
    let original = nginx(plan.folder.path(), 2, |ports| {
        plan.read_with(
            "nginx.conf",
            &[
                ("listen 80;", format!("listen 127.0.0.1:{};", ports[0])),
                ("listen 443 ssl", format!("listen 127.0.0.1:{} ssl", ports[1])),
            ],
        )
    });
    let mut site = Site::beside(plan, original, &[("http", false), ("https", true)]);
    site.host = "shop.example";
    site
}

#[test]
fn a_shop_behind_nginx() {
    let [mut one, mut two, mut backup] = ["one", "two", "backup"].map(Server::start);
    let mut site = start([&one, &two, &backup]);

    site.ask("http to https", &get("/cart?item=7"), 301);
    site.ask("another name to https", &get("/").host("www.shop.example"), 301);
    site.door = "https";
    files(&mut site);
    site.ask("fixed answer", &get("/health"), 200);
    api(&mut site);
    site.ask("no password", &get("/admin/users"), 401);
    site.ask("wrong password", &get("/admin/users").login("anna", "ebb"), 401);
    site.ask("right password", &get("/admin/users").login("anna", "tide"), 200);
    site.websocket("websocket", &get("/live/ws"));
    let printed = site.curl("http/2", &["--http2", "-w", " %{http_version}"], "/health");
    assert_eq!(printed, "fine\n 2");

    site.burst("login limit", &post("/api/login", "name=anna"), 5, "3 × 200, 2 × 429");
    one_export_at_a_time(&mut site, [&one, &two]);

    assert_eq!(backup.asked(), 0);
    site.ask("server that fails", &get("/api/status/503"), 503);
    one.stop();
    two.stop();
    let both = site.ask("backup", &get("/api/items"), 200);
    assert_eq!(both.served_by(), (Some("backup"), Some("backup")));
    backup.stop();
    site.ask("all down", &get("/api/items").with("accept", BROWSER), 502);
    one.start_again();
    site.finish();
}

fn files(site: &mut Site) {
    let index = site.ask("front page", &get("/"), 200);
    assert_eq!(index.tidegate.text(), "<h1>The shop</h1>\n");
    site.ask("style", &get("/assets/main.css"), 200);
    site.ask("style, compressed", &get("/assets/main.css").with("accept-encoding", "gzip"), 200);
    site.ask("part of a file", &get("/assets/logo.svg").with("range", "bytes=1-3"), 206);
    site.ask("part beyond the end", &get("/assets/logo.svg").with("range", "bytes=900-"), 416);
    let logo = site.ask("head of a file", &head("/assets/logo.svg"), 200);
    let changed = logo.tidegate.header("last-modified").unwrap();
    site.ask("not modified", &get("/assets/logo.svg").with("if-modified-since", changed), 304);
    site.ask("no such file", &get("/assets/none.svg").with("accept", BROWSER), 404);
    site.ask("no such page", &get("/none").with("accept", BROWSER), 404);
    site.ask("no such page, for a program", &get("/none").with("accept", "application/json"), 404);
    site.ask("page of the application", &get("/app/orders/7"), 200);
    site.ask("folder without its slash", &get("/app"), 301);
    site.ask("hidden file", &get("/.git/config").with("accept", BROWSER), 404);
    site.ask("post to a file", &post("/index.html", "x"), 405);
}

fn api(site: &mut Site) {
    site.ask("api", &get("/api/items?page=2").with("cookie", "a=b").with("x-tenant", "t1"), 200);
    let forged = get("/api/items").with("x-forwarded-for", "203.0.113.9");
    site.ask("forged client address", &forged, 200);
    site.ask("api with a body", &post("/api/items", "{\"name\":\"tea\"}"), 200);
    let report = get("/api/report.json").with("accept-encoding", "gzip");
    let both = site.ask("compressed answer", &report, 200);
    let text = unzipped(&both.tidegate.body);
    assert!(text.starts_with("[\"0000\"") && text.ends_with("\"0799\"]"), "{text}");
    site.ask("body too large", &announce("/api/items", 70_000), 413);
    site.ask("server's 404", &get("/api/status/404"), 404);
    site.ask("rewritten path", &get("/product/42-green-tea.html"), 200);
}

fn one_export_at_a_time(site: &mut Site, servers: [&Server; 2]) {
    let slow = get("/export/slow").host("shop.example");
    let asked = || servers.iter().map(|server| server.asked()).sum::<u64>();
    let before = asked();
    let (mut left, mut right) = site.connect();
    slow.begin(&mut left);
    slow.begin(&mut right);
    wait_until(SOON, "both are asked for an export", || asked() == before + 2);
    site.ask("second export", &get("/export/slow"), 429);
    let ends = [&mut left, &mut right].map(|client| client.response());
    let [original, tidegate] = ends;
    site.judge("first export", &Both { original, tidegate }, 200);
}
