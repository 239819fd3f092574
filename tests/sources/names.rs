//! `servers = { dns = "…" }`: all addresses of a name are the servers, and nothing but a good
//! answer changes them.

use std::time::Duration;

use serde_json::json;

use crate::load::{Kind, Load, duplicates};
use crate::server::Server;
use crate::{MS, fault, metric, names, text, upstream};
use support::name_server::{A, AAAA, NameServer, Reply, SRV, alias, ip, service};
use support::{Origin, Tidegate, assert_problem, wait_until};

/// How long something may take that is looked up again within seconds, on a machine that has other
/// things to do.
pub const SOON: Duration = Duration::from_secs(20);

/// A proxy whose names are looked up there.
pub fn asking(names: &NameServer, servers: &str, more: &str) -> Tidegate {
    let text = text(servers, (&format!("[dns]\nservers = ['{}']", names.address), more));
    Tidegate::with_hosts("127.0.0.1 localhost\n", &text, &[])
}

fn dns(port: u16, more: &str) -> String {
    format!("{{ dns = 'app.test:{port}'{more} }}")
}

/// The first so many addresses of a row, as records have them.
pub fn row(n: usize) -> Vec<String> {
    (1..=n).map(|n| format!("127.0.0.{n}")).collect()
}

/// Lets a name have 3, then 10, then 2 addresses while requests are under way, and counts what is
/// lost.
pub fn grow_and_shrink(
    servers: &[Server],
    start: impl FnOnce() -> Tidegate,
    set: impl Fn(&[String]),
) {
    set(&row(3));
    let proxy = start();
    wait_until(SOON, "three servers", || names(&proxy).len() == 3);
    let load = Load::start(&proxy, Kind::Post, 2 * MS);
    set(&row(10));
    wait_until(SOON, "ten servers", || names(&proxy).len() == 10);
    wait_until(SOON, "all of them work", || servers.iter().all(|server| server.requests() > 0));
    set(&row(2));
    // More than half goes: those that answer are held for two seconds.
    wait_until(SOON, "they are held", || upstream(&proxy)["servers_held"] == 8);
    wait_until(SOON, "two servers", || names(&proxy).len() == 2);
    let before = servers[0].requests();
    wait_until(SOON, "the others work", || servers[0].requests() > before + 100);
    let outcome = load.end();
    assert!(outcome.sent > 400, "{}", outcome.sent);
    assert_eq!(outcome.lost, []);
    assert_eq!(duplicates(servers, "/post"), Vec::<String>::new());
    assert_eq!(servers.iter().map(Server::crossed).sum::<usize>(), 0);
}

#[test]
fn a_name_whose_addresses_come_and_go_under_load_loses_no_request() {
    let (servers, names) = (Server::row(10), NameServer::start());
    let port = servers[0].address.port();
    grow_and_shrink(
        &servers,
        || asking(&names, &dns(port, ""), ""),
        |addresses| {
            let texts: Vec<&str> = addresses.iter().map(String::as_str).collect();
            names.at("app.test", 1, &texts);
        },
    );
}

const FAULT: &str = "tidegate_upstream_source_fault{upstream=\"app\",source=\"dns\"}";

#[test]
fn every_failure_keeps_the_last_good_answer_and_is_an_alarm() {
    let (origin, names) = (Origin::ok("fine"), NameServer::start());
    let port: u16 = origin.server().split(':').next_back().unwrap().parse().unwrap();
    names.at("app.test", 1, &["127.0.0.1"]);
    let proxy = asking(&names, &dns(port, ""), "");
    assert_eq!(names_and_fault(&proxy), (vec![origin.server()], None));
    assert_eq!(metric(&proxy, FAULT), Some(0.0));
    let silence = format!("no answer in time from {}", names.address);
    for (reply, why) in [
        (Reply::Code(2), "the name server answered SERVFAIL"),
        (Reply::NoName(Some(1)), "it has no address"),
        (Reply::Code(15), "the name server answered code 15"),
        (
            Reply::Records(vec![ip("app.test", 1, "0.0.0.0")]),
            "it leads to 0.0.0.0, where no server can be",
        ),
        (Reply::Silence, &silence),
    ] {
        names.say("app.test", A, reply.clone());
        let other = if let Reply::Records(_) = reply { Reply::NoName(None) } else { reply };
        names.say("app.test", AAAA, other);
        let expected = format!("app.test:{port}: {why}");
        // What is wrong is asked for again after five seconds.
        wait_until(SOON, &expected, || fault(&proxy).as_ref() == Some(&expected));
        assert_eq!(metric(&proxy, FAULT), Some(1.0));
        assert_eq!(crate::names(&proxy), [origin.server()]);
        assert_eq!(proxy.client().get("/").text(), "fine");
        wait_until(SOON, "it is logged", || {
            proxy.log().lines().any(|line| line.contains("WARN") && line.contains(&expected))
        });
    }
    names.at("app.test", 1, &["127.0.0.1", "127.0.0.2"]);
    wait_until(SOON, "it is well again", || fault(&proxy).is_none());
    wait_until(SOON, "both addresses are servers", || crate::names(&proxy).len() == 2);
    assert_eq!(metric(&proxy, FAULT), Some(0.0));
}

fn names_and_fault(proxy: &Tidegate) -> (Vec<String>, Option<String>) {
    (names(proxy), fault(proxy))
}

#[test]
fn a_hundred_addresses_over_tcp_aliases_and_one_family_alone() {
    let server = NameServer::start();
    let many = row(100);
    let mut records = vec![alias("app.test", 3600, "b.test")];
    records.extend(many.iter().map(|address| ip("b.test", 3600, address)));
    server.say("app.test", A, Reply::Records(records));
    let v6 = vec![ip("app.test", 3600, "fd00::1"), ip("app.test", 3600, "fd00::2")];
    server.say("app.test", AAAA, Reply::Records(v6));
    let v4 = asking(&server, &dns(9, ", family = 'v4'"), "");
    assert_eq!(names(&v4).len(), 100);
    assert_eq!(server.asked_over_tcp("app.test", A), 1, "it does not fit into a datagram");
    assert_eq!(server.asked("app.test", AAAA), 0, "nobody wants those");
    let all = asking(&server, &dns(9, ""), "");
    assert_eq!(names(&all).len(), 102);
    let asked = server.asked("app.test", A);
    let v6 = asking(&server, &dns(9, ", family = 'v6'"), "");
    assert_eq!(names(&v6), ["[fd00::1]:9", "[fd00::2]:9"]);
    assert_eq!(server.asked("app.test", A), asked);
    assert_eq!(upstream(&v6)["supply"]["ttl"], json!(3600.0));
}

/// A name server that sends as much as it likes over UDP: what does not fit is lost on the way, and
/// nothing says so.
#[test]
fn a_datagram_that_has_lost_its_end_is_asked_for_over_tcp() {
    let server = NameServer::start();
    let many = row(200).iter().map(|address| ip("app.test", 3600, address)).collect();
    server.say("app.test", A, Reply::Uncut(many));
    let proxy = asking(&server, &dns(9, ", family = 'v4'"), "");
    assert_eq!(names_and_fault(&proxy).1, None);
    assert_eq!(names(&proxy).len(), 200);
    assert_eq!(server.asked_over_tcp("app.test", A), 1);
    let records = (0..60).map(|n| service("_http._tcp.app.test", 60, (0, 1), ("b.test", 1000 + n)));
    server.say("_http._tcp.app.test", SRV, Reply::Uncut(records.collect()));
    server.at("b.test", 60, &["127.0.0.1"]);
    let proxy = asking(&server, "{ srv = '_http._tcp.app.test' }", "");
    assert_eq!(names(&proxy).len(), 60);
    assert_eq!(server.asked_over_tcp("_http._tcp.app.test", SRV), 1);
}

/// Several ports of one host are several servers, however many; one address and port is one.
#[test]
fn targets_that_share_an_address_are_told_apart_by_their_port() {
    let server = NameServer::start();
    let name = "_http._tcp.app.test";
    let at = |host: &str, n: u16| service(name, 60, (0, 1), (host, 1000 + n));
    let mut records: Vec<_> = (0..300).map(|n| at("a.test", n)).collect();
    records.extend((0..3).map(|n| at("b.test", n)));
    records.extend((300..303).map(|n| at("b.test", n)));
    server.say(name, SRV, Reply::Records(records.clone()));
    for host in ["a.test", "b.test"] {
        server.at(host, 60, &["127.0.0.1"]);
    }
    let source = format!("{{ srv = '{name}' }}");
    let proxy = asking(&server, &source, "");
    assert_eq!(names_and_fault(&proxy), (names(&proxy), None));
    assert_eq!(names(&proxy).len(), 303);
    assert_eq!(server.asked("a.test", A), 1, "one host is looked up once");
    // More than can be used is no secret.
    records.extend((300..1100).map(|n| at("a.test", n)));
    server.say(name, SRV, Reply::Records(records));
    let proxy = asking(&server, &source, "");
    assert_eq!(names(&proxy).len(), 1024);
    let left_out = format!("{name}: 82 of its records are not used: they are too many");
    assert_eq!(fault(&proxy), Some(left_out));
}

#[test]
fn answers_are_used_for_as_long_as_they_say_within_bounds() {
    let server = NameServer::start();
    server.at("app.test", 3600, &["127.0.0.1"]);
    let bounded = asking(&server, &dns(9, ", max_ttl = '1s'"), "");
    server.at("app.test", 0, &["127.0.0.2"]);
    wait_until(SOON, "it is asked again", || names(&bounded) == ["127.0.0.2:9"]);
    drop(bounded);
    // A time to live of nothing is a day here.
    let patient = asking(&server, &dns(9, ", min_ttl = '1d', max_ttl = '2d'"), "");
    assert_eq!(names(&patient), ["127.0.0.2:9"]);
    let asked = server.asked("app.test", A);
    let other = asking(&server, &dns(9, ", min_ttl = '100ms', max_ttl = '100ms'"), "");
    wait_until(SOON, "another is asked often", || server.asked("app.test", A) > asked + 10);
    drop(other);
    server.at("app.test", 0, &["127.0.0.3"]);
    assert_eq!(names(&patient), ["127.0.0.2:9"]);
}

#[test]
fn addresses_where_no_server_may_be_are_not_used() {
    let (origin, server) = (Origin::ok("fine"), NameServer::start());
    let port: u16 = origin.server().split(':').next_back().unwrap().parse().unwrap();
    server.at("app.test", 1, &["127.0.0.1", "169.254.169.254"]);
    let proxy = asking(&server, &dns(port, ", allow = ['127.0.0.0/8']"), "");
    let outside = format!("app.test:{port}: 169.254.169.254 is outside `allow`");
    assert_eq!(names_and_fault(&proxy), (vec![origin.server()], Some(outside.clone())));
    // None that may be used is no reason to have none.
    server.at("app.test", 1, &["169.254.169.254"]);
    wait_until(SOON, "it is asked again", || server.asked("app.test", A) >= 4);
    assert_eq!(names_and_fault(&proxy), (vec![origin.server()], Some(outside)));
    assert_eq!(proxy.client().get("/").text(), "fine");
}

/// Containers have `_` in their names wherever it may be in a label.
#[test]
fn names_of_containers_are_looked_up() {
    let (origin, server) = (Origin::ok("fine"), NameServer::start());
    let port: u16 = origin.server().split(':').next_back().unwrap().parse().unwrap();
    for name in ["shop_app_1.test", "_shop.test_net", "tasks_.test"] {
        server.at(name, 1, &["127.0.0.1"]);
        let source = format!("{{ dns = '{name}:{port}' }}");
        let written = format!("['{name}:{port}']");
        for servers in [source, written] {
            let proxy = asking(&server, &servers, "");
            assert_eq!(proxy.client().get("/").text(), "fine", "{servers}");
        }
    }
    let record = service("_http._tcp.app.test", 1, (0, 1), ("shop_app_1.test", port));
    server.say("_http._tcp.app.test", SRV, Reply::Records(vec![record]));
    let proxy = asking(&server, "{ srv = '_http._tcp.app.test' }", "");
    assert_eq!(proxy.client().get("/").text(), "fine");
}

/// An IPv4 address that an AAAA record has, too, is one server.
#[test]
fn an_address_in_two_notations_is_one_server() {
    let (origin, server) = (Origin::ok("fine"), NameServer::start());
    let port: u16 = origin.server().split(':').next_back().unwrap().parse().unwrap();
    server.at("app.test", 1, &["127.0.0.1"]);
    let mapped = vec![ip("app.test", 1, "::ffff:127.0.0.1")];
    server.say("app.test", AAAA, Reply::Records(mapped));
    let proxy = asking(&server, &dns(port, ", allow = ['127.0.0.0/8']"), "");
    assert_eq!(names_and_fault(&proxy), (vec![origin.server()], None));
    assert_eq!(proxy.client().get("/").text(), "fine");
}

#[test]
fn a_name_that_leads_to_the_proxy_itself_is_not_followed_there() {
    let (server, port) = (NameServer::start(), free_port());
    server.at("app.test", 1, &["127.0.0.1", "127.0.0.2"]);
    let text =
        crate::text(&dns(port, ""), (&format!("[dns]\nservers = ['{}']", server.address), ""));
    let text = text.replace(
        "[[listen]]\naddress = \"127.0.0.1:0\"",
        &format!("[[listen]]\naddress = \"127.0.0.1:{port}\""),
    );
    let proxy = Tidegate::start(&text);
    assert_eq!(names(&proxy), [format!("127.0.0.2:{port}")]);
    let itself = format!("127.0.0.1:{port} is this proxy itself, and is not used");
    assert_eq!(fault(&proxy), Some(itself));
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_name_that_is_not_known_yet_is_no_reason_not_to_start() {
    let (origin, server) = (Origin::ok("fine"), NameServer::start());
    let port: u16 = origin.server().split(':').next_back().unwrap().parse().unwrap();
    let proxy = asking(&server, &dns(port, ""), "");
    assert_problem(&proxy.client().get("/"), 503, "no_server");
    assert_eq!(fault(&proxy), Some(format!("app.test:{port}: it has no address")));
    server.at("app.test", 1, &["127.0.0.1"]);
    wait_until(SOON, "it is found", || names(&proxy) == [origin.server()]);
    assert_eq!(proxy.client().get("/").text(), "fine");
    assert_eq!(upstream(&proxy)["servers"][0]["source"], "dns");
}
