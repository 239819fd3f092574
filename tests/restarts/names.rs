//! Servers that are known by a name, while the name appears, moves and goes.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::load::{Kind, Load};
use crate::server::{Mode, Server};
use support::{Configuration, RawClient, SOON, Tidegate, assert_problem, wait_until};

/// How long a name that leads nowhere may stay unnoticed once it leads somewhere: five seconds, a
/// tenth more, and the time for it.
const APPEARS: Duration = Duration::from_secs(9);
/// The same for one that moves: thirty seconds and a tenth.
const MOVES: Duration = Duration::from_secs(38);

fn proxy(hosts: &str, upstream: &str) -> Tidegate {
    Tidegate::with_hosts(hosts, &configuration(upstream), &[])
}

fn configuration(upstream: &str) -> String {
    Configuration::default().runtime("workers = 2").upstream_with("app", upstream).text()
}

fn post(proxy: &Tidegate, path: &str) -> (u16, Value) {
    let answer = RawClient::connect(proxy.admin())
        .exchange(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// Has the proxy look names up soon: reading the same files again changes nothing else.
fn look_again(proxy: &Tidegate) {
    let (status, outcome) = post(proxy, "/reload");
    assert_eq!((status, &outcome["note"]), (200, &"nothing is different".into()), "{outcome}");
}

fn set_hosts(proxy: &Tidegate, hosts: &str) {
    std::fs::write(proxy.path("hosts"), hosts).unwrap();
}

fn upstream(proxy: &Tidegate) -> Value {
    proxy.stats()["upstreams"][0].clone()
}

fn server(proxy: &Tidegate, at: usize) -> Value {
    upstream(proxy)["servers"][at].clone()
}

fn metric(proxy: &Tidegate, sample: &str) -> String {
    let text = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(sample));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).trim().to_owned()
}

const UNRESOLVED: &str = "tidegate_upstream_names_unresolved{upstream=\"app\"}";

fn warnings(proxy: &Tidegate) -> Vec<String> {
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains("cannot be looked up"));
    lines.map(str::to_owned).collect()
}

#[test]
fn r7_a_name_that_cannot_be_looked_up_is_a_server_that_is_down_until_it_can() {
    let app = Server::start();
    let port = app.address.port();
    let proxy = proxy(
        "127.0.0.1 localhost\n",
        &format!("servers = ['late.test:{port}']\nhealth = {{ path = '/up', every = '50ms' }}"),
    );
    assert_problem(&proxy.client().ask("/"), 503, "no_healthy_server");
    assert_eq!(RawClient::connect(proxy.admin()).ask("/ready").status, 200);
    let name = format!("late.test:{port}");
    let down = server(&proxy, 0);
    assert_eq!(down["name"], name.as_str());
    assert_eq!(down["state"], "unresolved");
    assert_eq!(down["addresses"], serde_json::json!([]));
    assert!(down["name_fault"].as_str().is_some_and(|why| !why.is_empty()), "{down}");
    assert_eq!((&down["connects"], &down["checks_failed"]), (&0.into(), &0.into()));
    assert_eq!(upstream(&proxy)["names_unresolved"], 1);
    assert_eq!(metric(&proxy, UNRESOLVED), "1");
    let healthy = format!("tidegate_server_healthy{{upstream=\"app\",server=\"{name}\"}}");
    assert_eq!(metric(&proxy, &healthy), "0");
    let admin = format!("http://{}", proxy.admin());
    let status = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["status", "--admin", &admin])
        .output()
        .unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains(&format!("{name} unresolved, its name: ")), "{status}");
    let said = warnings(&proxy);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in [" WARN ", "upstream=app", &name, "late.test", "why=", "upstream.servers"] {
        assert!(said[0].contains(part), "no {part} in {}", said[0]);
    }
    set_hosts(&proxy, "127.0.0.1 localhost late.test\n");
    wait_until(APPEARS, "requests are served", || proxy.client().ask("/").status == 200);
    let (up, stats) = (server(&proxy, 0), proxy.stats());
    assert_eq!(up["addresses"], serde_json::json!([format!("127.0.0.1:{port}")]));
    assert_eq!(up["name_fault"], Value::Null);
    assert_eq!(metric(&proxy, UNRESOLVED), "0");
    assert_eq!(upstream(&proxy)["names_moved"], 1);
    assert_eq!((&stats["generation"], &stats["reloads"]["accepted"]), (&1.into(), &0.into()));
    assert_eq!(stats["reloads"]["latest"], serde_json::json!([]));
    assert_eq!(warnings(&proxy).len(), 1, "{}", proxy.log());
}

#[test]
fn r7_check_looks_no_name_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    let check = |server: &str| {
        std::fs::write(&file, configuration(&format!("servers = ['{server}']"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("check").arg("-c").arg(&file).output().unwrap()
    };
    let good = check("nowhere.invalid:80");
    assert!(good.status.success(), "{good:?}");
    assert_eq!(check("nowhere.invalid").status.code(), Some(1));
    assert_eq!(check("no where.invalid:80").status.code(), Some(1));
}

#[test]
fn r7_a_server_without_an_address_takes_nothing_from_the_others() {
    let app = Server::start();
    let proxy = proxy(
        "127.0.0.1 localhost\n",
        &format!("servers = ['nowhere.test:80', '{}']\neject = false", app.address),
    );
    let load = Load::start(&proxy, Kind::Post, Duration::from_millis(2));
    wait_until(SOON, "the other one has had many requests", || app.requests() > 400);
    let outcome = load.end();
    assert_eq!(outcome.lost, []);
    let nowhere = server(&proxy, 0);
    assert_eq!(nowhere["state"], "unresolved");
    assert_eq!((&nowhere["requests"], &nowhere["connects"]), (&0.into(), &0.into()));
    assert_eq!(server(&proxy, 1)["state"], "up");
}

#[test]
fn r7_the_fallback_answers_for_an_upstream_without_an_address() {
    let spare = Server::start();
    let proxy = proxy(
        "127.0.0.1 localhost\n",
        &format!(
            "servers = ['nowhere.test:80', 'neither.test:80']\nfallback = 'spare'\n\
             [upstream.spare]\nservers = ['{}']",
            spare.address
        ),
    );
    assert_eq!(proxy.client().ask("/").status, 200);
    assert_eq!(spare.requests(), 1);
    assert_eq!(upstream(&proxy)["names_unresolved"], 2);
    assert_eq!(warnings(&proxy).len(), 2, "{}", proxy.log());
}

#[test]
fn r7_no_reload_is_refused_for_a_name_or_takes_an_address_away() {
    let [app, other] = Server::pair();
    let port = app.address.port();
    let known = format!("known.test:{port}");
    let proxy = proxy("127.0.0.1 known.test\n", &format!("servers = ['{known}']"));
    assert_eq!(proxy.client().ask("/").status, 200);
    assert_eq!(server(&proxy, 0)["connects"], 1);
    set_hosts(&proxy, "127.0.0.2 other.test\n");
    let reload = |servers: &str, idle: u16| {
        let text = configuration(&format!("servers = [{servers}]\nlimits = {{ idle = {idle} }}"));
        std::fs::write(proxy.path("tidegate.toml"), text).unwrap();
        let (status, outcome) = post(&proxy, "/reload?force=1");
        assert_eq!((status, &outcome["ok"]), (200, &true.into()), "{outcome}");
    };
    reload(&format!("'{known}', 'nowhere.test:{port}'"), 9);
    assert_eq!(server(&proxy, 0)["state"], "up");
    assert_eq!(server(&proxy, 0)["connects"], 1, "it is the same server still");
    assert_eq!(server(&proxy, 1)["state"], "unresolved");
    assert_eq!(proxy.client().ask("/").status, 200);
    // A name that can be looked up is looked up before it is used: no request finds it without an
    // address.
    reload(&format!("'other.test:{port}'"), 8);
    assert_eq!(proxy.client().ask("/").status, 200);
    assert_eq!(other.requests(), 1);
    // Going back to a name that is gone finds the address that it had.
    reload(&format!("'{known}'"), 7);
    assert_eq!(server(&proxy, 0)["state"], "up");
    assert_eq!(proxy.client().ask("/").status, 200);
    assert_eq!(upstream(&proxy)["names_unresolved"], 1);
    let (status, outcome) = post(&proxy, "/rollback");
    assert_eq!((status, &outcome["ok"]), (200, &true.into()), "{outcome}");
    assert_eq!(proxy.client().ask("/").status, 200);
    assert_eq!(other.requests(), 2);
}

#[test]
fn r7_traffic_follows_a_name_and_other_servers_keep_their_connections() {
    let ([old, new], stays) = (Server::pair(), Server::start());
    let (port, other) = (old.address.port(), stays.address);
    let proxy = proxy(
        "127.0.0.1 moves.test\n",
        &format!("servers = ['moves.test:{port}', '{other}']\nbalance = 'round_robin'"),
    );
    let load = Load::start(&proxy, Kind::Post, Duration::from_millis(2));
    let both = || old.requests() > 100 && stays.requests() > 100;
    wait_until(SOON, "both have had requests", both);
    set_hosts(&proxy, "127.0.0.2 moves.test\n");
    look_again(&proxy);
    wait_until(SOON, "the new one has had requests", || new.requests() > 100);
    let last = old.requests();
    wait_until(SOON, "the new one goes on", || new.requests() > 200);
    let outcome = load.end();
    assert_eq!(outcome.lost, []);
    assert_eq!(old.requests(), last, "the old one gets nothing any more");
    let stayed = server(&proxy, 1);
    assert_eq!(stayed["connects"], stayed["connections"], "none was closed: {stayed}");
    assert_eq!(server(&proxy, 0)["addresses"], serde_json::json!([format!("127.0.0.2:{port}")]));
    assert_eq!(upstream(&proxy)["names_moved"], 1);
    let stats = proxy.stats();
    assert_eq!((&stats["generation"], &stats["reloads"]["accepted"]), (&1.into(), &0.into()));
    let log = proxy.log();
    let moved = log.lines().find(|line| line.contains("leads elsewhere")).expect("it is logged");
    for part in ["upstream=app", "moves.test", "127.0.0.1:", "127.0.0.2:"] {
        assert!(moved.contains(part), "no {part} in {moved}");
    }
}

#[test]
fn r7_the_only_server_moves_unasked_and_its_last_address_outlives_its_name() {
    let [old, new] = Server::pair();
    let port = old.address.port();
    let proxy = proxy(
        "127.0.0.1 moves.test\n",
        &format!(
            "servers = ['moves.test:{port}']\nhealth = {{ path = '/up', every = '100ms' }}\n\
             fail_open = false"
        ),
    );
    let load = Load::start(&proxy, Kind::Post, Duration::from_millis(10));
    wait_until(SOON, "the old one has had requests", || old.requests() > 20);
    set_hosts(&proxy, "127.0.0.2 moves.test\n");
    let all_moved = || server(&proxy, 0)["requests"].as_u64() > Some(20) && new.requests() > 20;
    wait_until(MOVES, "the new one has had requests", all_moved);
    set_hosts(&proxy, "127.0.0.1 localhost\n");
    look_again(&proxy);
    wait_until(SOON, "the fault is seen", || metric(&proxy, UNRESOLVED) == "1");
    let before = new.requests();
    wait_until(SOON, "the last address stays in use", || new.requests() > before + 20);
    let outcome = load.end();
    assert_eq!(outcome.lost, []);
    let stale = server(&proxy, 0);
    assert_eq!((&stale["state"], stale["name_fault"].is_string()), (&"up".into(), true));
    let said = warnings(&proxy);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(&format!("127.0.0.2:{port}")), "{}", said[0]);
    set_hosts(&proxy, "127.0.0.2 moves.test\n");
    wait_until(APPEARS, "all is well again", || metric(&proxy, UNRESOLVED) == "0");
    assert!(proxy.log().contains("is found again"), "{}", proxy.log());
}

#[test]
fn r7_a_name_is_looked_up_soon_when_its_server_takes_no_connections() {
    let [old, new] = Server::pair();
    let port = old.address.port();
    let proxy = proxy("127.0.0.1 moves.test\n", &format!("servers = ['moves.test:{port}']"));
    assert_eq!(proxy.client().ask("/").status, 200);
    set_hosts(&proxy, "127.0.0.2 moves.test\n");
    old.set(Mode::Down);
    wait_until(APPEARS, "the new one is asked", || {
        // Nobody answers until then, but for a connection of the old one that was kept.
        proxy.client().ask("/");
        new.requests() > 0
    });
    assert_eq!(proxy.client().ask("/").status, 200);
}
