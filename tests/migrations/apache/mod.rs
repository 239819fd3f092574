//! Apache: ProxyPass with its reverse, a balancer with routes and a reserve, error documents.

use std::os::unix::fs::PermissionsExt as _;

use crate::ask::{get, head, post};
use crate::echo::{SERVED_BY, Server};
use crate::nginx::STAFF;
use crate::original::{Original, program};
use crate::site::{Plan, Site};
use support::Response;

const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
/// What Debian's package enables or has as modules of its own, and its own place for everything.
const MODULES: [&str; 21] = [
    "mpm_event",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_host",
    "authz_user",
    "auth_basic",
    "alias",
    "dir",
    "mime",
    "filter",
    "deflate",
    "headers",
    "rewrite",
    "ssl",
    "socache_shmcb",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "lbmethod_byrequests",
    "slotmem_shm",
];

fn start(servers: [&Server; 3]) -> Site {
    let mut plan = Plan::new("apache");
    let files = [
        ("index.html", "<h1>The intranet</h1>\n"),
        ("plan.txt", "Monday: tea\n"),
        ("sub/index.html", "<h1>A folder</h1>\n"),
        ("errors/403.html", "<h1>Not for you</h1>\n"),
        ("errors/404.html", "<h1>Not here</h1>\n"),
        ("errors/sorry.html", "<h1>Back in a minute</h1>\n"),
    ];
    for (name, text) in files {
        plan.file(&format!("htdocs/{name}"), text);
    }
    plan.file("htpasswd", STAFF);
    plan.put("/srv/intranet/htdocs", plan.folder.path().join("htdocs").display().to_string());
    plan.put(
        "/etc/apache2/wiki.htpasswd",
        plan.folder.path().join("htpasswd").display().to_string(),
    );
    plan.certificate(
        "/etc/ssl/intranet.pem",
        "/etc/ssl/intranet.key",
        &["intranet.example", "wiki.example"],
    );
    for (from, server) in [41, 42, 49].into_iter().zip(servers) {
        plan.put(&format!("10.20.0.{from}:8080"), server.address());
    }
    let original = Original::start(plan.folder.path(), 2, |folder, ports| {
        let site = plan.read_with(
            "intranet.conf",
            &[
                ("<VirtualHost *:80>", format!("<VirtualHost 127.0.0.1:{}>", ports[0])),
                ("<VirtualHost *:443>", format!("<VirtualHost 127.0.0.1:{}>", ports[1])),
            ],
        );
        let dir = folder.display();
        let modules: String = MODULES
            .iter()
            .map(|name| {
                format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
            })
            .collect();
        let text = format!(
            "ServerRoot {dir}\nServerName intranet.example\nPidFile {dir}/pid\nErrorLog {dir}/error.log\n\
             DefaultRuntimeDir {dir}\nUser #65534\nGroup #65534\n{modules}TypesConfig {dir}/types\nServerTokens Prod\n\
             DirectoryIndex index.html\nListen 127.0.0.1:{}\nListen 127.0.0.1:{}\n{site}",
            ports[0], ports[1],
        );
        std::fs::write(folder.join("types"), "text/html html\ntext/plain txt\n").unwrap();
        let file = folder.join("apache.conf");
        std::fs::write(&file, text).unwrap();
        // Who serves the files is nobody when the test runs as root.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = program("apache2", "the Debian package apache2-bin");
        // One process, which ends when it is killed.
        command.args(["-X", "-f"]).arg(file);
        command
    });
    let mut site = Site::beside(plan, original, &[("http", false), ("https", true)]);
    site.host = "intranet.example";
    site
}

#[test]
fn a_wiki_behind_apache() {
    let [mut w1, mut w2, mut reserve] = ["w1", "w2", "reserve"].map(Server::start);
    let mut site = start([&w1, &w2, &reserve]);

    site.ask("http to https", &get("/wiki/tea?rev=3"), 301);
    site.door = "https";
    site.ask("front page", &get("/"), 200);
    site.ask("file", &get("/plan.txt"), 200);
    site.ask("part of a file", &get("/plan.txt").with("range", "bytes=0-5"), 206);
    let plan = site.ask("head of a file", &head("/plan.txt"), 200);
    let changed = plan.tidegate.header("last-modified").unwrap();
    site.ask("not modified", &get("/plan.txt").with("if-modified-since", changed), 304);
    site.ask("no such page", &get("/none").with("accept", BROWSER), 404);
    site.ask("another name", &get("/plan.txt").host("wiki.example"), 200);
    site.ask("post to a file", &post("/plan.txt", "x"), 405);
    site.ask("folder without its slash", &get("/sub"), 301);
    site.ask("not for this network", &get("/server-status").with("accept", BROWSER), 403);
    site.ask("redirect with a capture", &get("/t/42"), 302);

    site.ask("page", &get("/wiki/tea?rev=3"), 200);
    site.ask("page with two captures", &get("/page/tea/7.htm"), 200);
    site.ask("redirect of the server", &get("/wiki/moved"), 302);
    site.ask("redirect of the server, a path", &get("/wiki/moved-path"), 302);
    site.ask("cookie of the server", &get("/wiki/login"), 200);
    site.ask("edit", &post("/wiki/tea", "text=milk"), 200);
    site.ask("edit, too large", &post("/wiki/status/201", vec![b'x'; 70_000]), 413);
    site.ask("compressed answer", &get("/wiki/report.json").with("accept-encoding", "gzip"), 200);
    site.ask("server's 404", &get("/wiki/status/404").with("accept", BROWSER), 404);
    site.ask("no password", &get("/wiki/admin/users"), 401);
    site.ask("wrong password", &get("/wiki/admin/users").login("anna", "ebb"), 401);
    site.ask("right password", &get("/wiki/admin/users").login("anna", "tide"), 200);
    site.websocket("websocket", &get("/live/ws"));

    sticky(&mut site, &mut w1);
    assert_eq!(reserve.asked(), 0);
    w2.stop();
    let both = site.ask("reserve", &get("/wiki/tea"), 200);
    assert_eq!(both.served_by(), (Some("reserve"), Some("reserve")), "{}", both.original.text());
    reserve.stop();
    site.ask("all down", &get("/wiki/tea").with("accept", BROWSER), 502);
    site.finish();
}

/// The same server for who has its cookie; another one when it is gone, and that one's cookie then.
fn sticky(site: &mut Site, w1: &mut Server) {
    // Either begins where it likes: w1 it is to be for both.
    let cookie = |of: fn((Response, Response)) -> Response| {
        let mut answers = (0..20).map(|_| {
            let (mut left, mut right) = site.connect();
            let ask = get("/wiki/tea").host("intranet.example");
            of((ask.send(&mut left), ask.send(&mut right)))
        });
        let first = answers.find(|answer| answer.header(SERVED_BY) == Some("w1"));
        let first = first.expect("an answer of w1");
        first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    let asks = [cookie(|(left, _)| left), cookie(|(_, right)| right)]
        .map(|cookie| get("/wiki/tea").host("intranet.example").with("cookie", &cookie));
    let asks = [&asks[0], &asks[1]];
    for _ in 0..3 {
        let (mut original, mut tidegate) = site.connect();
        assert_eq!(asks[0].send(&mut original).header(SERVED_BY), Some("w1"));
        assert_eq!(asks[1].send(&mut tidegate).header(SERVED_BY), Some("w1"));
    }
    let kept = site.ask_each("sticky", asks, 200);
    assert_eq!(kept.served_by(), (Some("w1"), Some("w1")));
    w1.stop();
    let moved = site.ask_each("sticky, and its server is gone", asks, 200);
    assert_eq!(moved.served_by(), (Some("w2"), Some("w2")), "{}", moved.original.text());
}
