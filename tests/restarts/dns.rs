//! Servers that are written by a name, and what name servers may say of it.

use std::time::Duration;

use serde_json::Value;

use crate::server::Server;
use support::name_server::{A, AAAA, NameServer, Reply, alias, ip};
use support::{Configuration, RawClient, Tidegate, refused_address, wait_until};

/// How long something may take that is looked up again within two seconds, on a machine that has
/// other things to do.
const SOON: Duration = Duration::from_secs(8);

fn proxy(names: &NameServer, hosts: &str, port: u16, listen: &str) -> Tidegate {
    proxy_for(names, hosts, &format!("'app.test:{port}'"), listen)
}

fn proxy_for(names: &NameServer, hosts: &str, servers: &str, listen: &str) -> Tidegate {
    let text = Configuration::default()
        .runtime("workers = 1")
        .within("dns", &format!("servers = ['{}']", names.address))
        .listen(&format!("address = '{listen}'"))
        .upstream_with("app", &format!("servers = [{servers}]"))
        .text();
    Tidegate::with_hosts(hosts, &text, &[])
}

fn upstream(proxy: &Tidegate) -> Value {
    proxy.stats()["upstreams"][0].clone()
}

/// All places that the proxy has servers at, sorted.
fn places(proxy: &Tidegate) -> Vec<String> {
    let servers = upstream(proxy)["servers"].as_array().unwrap().clone();
    let addresses = servers.iter().flat_map(|server| server["addresses"].as_array().unwrap());
    let mut all: Vec<String> = addresses.map(|at| at.as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn fault(proxy: &Tidegate) -> String {
    upstream(proxy)["servers"][0]["name_fault"].as_str().unwrap_or_default().to_owned()
}

fn expect(proxy: &Tidegate, expected: &[String], fault: &str) {
    let mut seen = (Vec::new(), String::new());
    let mut same = || {
        seen = (places(proxy), self::fault(proxy));
        seen.0 == expected && seen.1 == fault
    };
    let deadline = std::time::Instant::now() + SOON;
    while !same() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((seen.0.as_slice(), seen.1.as_str()), (expected, fault), "{}", proxy.log());
}

const HOSTS: &str = "127.0.0.1 localhost\n";
const ANY: &str = "127.0.0.1:0";

#[test]
fn a_name_is_looked_up_again_when_its_time_is_over_and_every_failure_keeps_what_was_known() {
    let (app, names) = (Server::start(), NameServer::start());
    let port = app.address.port();
    names.at("app.test", 1, &["127.0.0.1"]);
    let proxy = proxy(&names, HOSTS, port, ANY);
    let one = [format!("127.0.0.1:{port}")];
    expect(&proxy, &one, "");
    assert_eq!(proxy.client().ask("/").status, 200);
    let silence = format!("no answer in time from {}", names.address);
    for (reply, expected) in [
        (Reply::Code(2), "the name server answered SERVFAIL"),
        (Reply::Code(5), "the name server answered REFUSED"),
        (Reply::NoName(None), "it has no address"),
        (Reply::NoName(Some(1)), "it has no address"),
        (Reply::Records(Vec::new()), "it has no address"),
        (
            Reply::Records(vec![ip("app.test", 1, "0.0.0.0")]),
            "it leads to 0.0.0.0, where no server can be",
        ),
        (Reply::Silence, &silence),
    ] {
        names.say("app.test", A, reply.clone());
        names.say(
            "app.test",
            AAAA,
            if let Reply::Records(_) = reply { Reply::NoName(None) } else { reply },
        );
        // What is wrong is asked for again after five seconds, so each of these is seen after
        // another.
        wait_until(Duration::from_secs(20), expected, || fault(&proxy) == expected);
        assert_eq!(places(&proxy), one, "{expected}");
        assert_eq!(proxy.client().ask("/").status, 200, "{expected}");
        names.at("app.test", 1, &["127.0.0.1"]);
        wait_until(Duration::from_secs(20), "it is well again", || fault(&proxy).is_empty());
    }
    names.at("app.test", 1, &["127.0.0.2"]);
    expect(&proxy, &[format!("127.0.0.2:{port}")], "");
}

#[test]
fn all_addresses_are_used_and_no_answer_is_asked_for_before_its_time() {
    let names = NameServer::start();
    let many: Vec<String> = (1..=100).map(|n| format!("127.0.0.{n}")).collect();
    let texts: Vec<&str> = many.iter().map(String::as_str).collect();
    names.at("app.test", 3600, &texts);
    names.at("other.test", 1, &["127.0.0.1"]);
    let proxy = proxy_for(&names, HOSTS, "'app.test:9', 'other.test:10'", ANY);
    assert_eq!(places(&proxy).len(), 101);
    assert_eq!(names.asked_over_tcp("app.test", A), 1, "the answer does not fit into a datagram");
    assert_eq!(names.asked("app.test", A), 2);
    wait_until(SOON, "another name is asked for again", || names.asked("other.test", A) >= 4);
    assert_eq!(names.asked("app.test", A), 2);
}

#[test]
fn aliases_families_and_failures_of_one_family() {
    let names = NameServer::start();
    let chain = |addresses: &[&str]| {
        let mut all = vec![alias("app.test", 1, "b.test"), alias("b.test", 1, "c.test")];
        all.extend(addresses.iter().map(|address| ip("c.test", 600, address)));
        Reply::Records(all)
    };
    names.say("app.test", A, chain(&["127.0.0.1"]));
    // Only the chain; who asks goes on at its end.
    names.say("app.test", AAAA, chain(&[]));
    names.say("c.test", AAAA, Reply::Records(vec![ip("c.test", 600, "::1")]));
    let proxy = proxy(&names, HOSTS, 9, ANY);
    let both = ["127.0.0.1:9".to_owned(), "[::1]:9".to_owned()];
    expect(&proxy, &both, "");
    // The shortest time of the chain counts.
    names.say("app.test", A, chain(&["127.0.0.2"]));
    expect(&proxy, &["127.0.0.2:9".to_owned(), "[::1]:9".to_owned()], "");
    // What fails for one family takes nothing away from it, nor from the other.
    names.say("app.test", AAAA, Reply::Code(2));
    names.say("app.test", A, chain(&["127.0.0.3"]));
    expect(
        &proxy,
        &["127.0.0.3:9".to_owned(), "[::1]:9".to_owned()],
        "the name server answered SERVFAIL",
    );
    names.say("app.test", AAAA, Reply::Records(vec![ip("app.test", 1, "::1")]));
    names.say("app.test", A, Reply::Records(Vec::new()));
    expect(&proxy, &["[::1]:9".to_owned()], "");
}

#[test]
fn records_of_other_names_lead_nowhere() {
    let names = NameServer::start();
    let other = || ip("other.test", 1, "127.0.0.66");
    let records = vec![other(), ip("app.test", 1, "127.0.0.7"), other()];
    names.say("app.test", A, Reply::Records(records));
    names.say("app.test", AAAA, Reply::Records(vec![ip("other.test", 1, "::1")]));
    let proxy = proxy(&names, HOSTS, 9, ANY);
    expect(&proxy, &["127.0.0.7:9".to_owned()], "");
    // Nor do those of a name that an alias of another name stands for.
    let records = vec![alias("other.test", 1, "b.test"), ip("b.test", 1, "127.0.0.66")];
    names.say("app.test", A, Reply::Records(records));
    expect(&proxy, &["127.0.0.7:9".to_owned()], "it has no address");
    let records = vec![other(), ip("b.test", 1, "127.0.0.8"), alias("APP.test", 1, "B.test")];
    names.say("app.test", A, Reply::Records(records));
    expect(&proxy, &["127.0.0.8:9".to_owned()], "");
}

/// A machine that waits for name servers as long as most do.
fn patient(proxy: &Tidegate) {
    let text = "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n";
    std::fs::write(proxy.path("resolv.conf"), text).unwrap();
}

#[test]
fn a_family_that_is_never_answered_holds_up_the_other_for_two_seconds() {
    let names = NameServer::start();
    names.at("app.test", 1, &["127.0.0.7"]);
    let proxy = proxy(&names, HOSTS, 9, ANY);
    patient(&proxy);
    names.say("app.test", AAAA, Reply::Silence);
    for address in ["127.0.0.8", "127.0.0.9"] {
        names.say("app.test", A, Reply::Records(vec![ip("app.test", 1, address)]));
        expect(&proxy, &[format!("{address}:9")], "");
    }
    names.say("app.test", A, Reply::Silence);
    names.say("app.test", AAAA, Reply::Records(vec![ip("app.test", 1, "::1")]));
    let fault = "no answer within 2s of that for the other family";
    expect(&proxy, &["127.0.0.9:9".to_owned(), "[::1]:9".to_owned()], fault);
}

#[test]
fn names_that_are_never_answered_take_nobodys_turn() {
    let names = NameServer::start();
    names.at("z.test", 1, &["127.0.0.7"]);
    let mut servers: Vec<String> = (0..70).map(|n| format!("'a{n}.test:9'")).collect();
    for n in 0..70 {
        names.say(&format!("a{n}.test"), A, Reply::Silence);
        names.say(&format!("a{n}.test"), AAAA, Reply::Silence);
    }
    servers.push("'z.test:9'".to_owned());
    let proxy = proxy_for(&names, HOSTS, &servers.join(","), ANY);
    patient(&proxy);
    // The time in which those that were asked for before the file was read may fail.
    wait_until(SOON, "none is waited for any more", || names.asked("a69.test", A) > 0);
    for address in ["127.0.0.8", "127.0.0.9", "127.0.0.10"] {
        names.at("z.test", 1, &[address]);
        wait_until(SOON, address, || places(&proxy) == [format!("{address}:9")]);
    }
}

#[test]
fn search_domains_dots_and_the_hosts_file_count() {
    let names = NameServer::start();
    names.at("app.test.shop.example", 1, &["127.0.0.7"]);
    let proxy = proxy(&names, HOSTS, 9, ANY);
    assert_eq!(places(&proxy), Vec::<String>::new());
    let resolv = |text: &str| {
        std::fs::write(proxy.path("resolv.conf"), format!("nameserver 127.0.0.1\n{text}")).unwrap();
    };
    resolv("search example shop.example\noptions timeout:1 attempts:1 ndots:3\n");
    expect(&proxy, &["127.0.0.7:9".to_owned()], "");
    assert!(names.asked("app.test.example", A) >= 1, "the first domain is tried first");
    std::fs::write(proxy.path("hosts"), "127.0.0.8 app.test\n").unwrap();
    expect(&proxy, &["127.0.0.8:9".to_owned()], "");
}

#[test]
fn a_name_server_that_fails_for_one_name_makes_no_other_name_be_taken_for_it() {
    let names = NameServer::start();
    names.at("app.test", 1, &["127.0.0.7"]);
    let proxy = proxy(&names, HOSTS, 9, ANY);
    expect(&proxy, &["127.0.0.7:9".to_owned()], "");
    names.at("app.test.example", 1, &["127.0.0.66"]);
    names.say("app.test", A, Reply::Code(2));
    names.say("app.test", AAAA, Reply::Code(2));
    std::fs::write(
        proxy.path("resolv.conf"),
        "nameserver 127.0.0.1\nsearch example\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    expect(&proxy, &["127.0.0.7:9".to_owned()], "the name server answered SERVFAIL");
    assert_eq!(names.asked("app.test.example", A), 0);
}

#[test]
fn a_name_that_leads_to_the_proxy_itself_is_found() {
    let names = NameServer::start();
    let own = refused_address();
    names.at("app.test", 1, &["127.0.0.1"]);
    let proxy = proxy(&names, HOSTS, own.port(), &format!("0.0.0.0:{}", own.port()));
    let itself = "it leads to this proxy itself";
    expect(&proxy, &[format!("127.0.0.1:{}", own.port())], itself);
    let log = proxy.log();
    let said = log.lines().filter(|line| line.contains("leads to this proxy itself"));
    assert_eq!(said.count(), 1, "{log}");
    names.at("app.test", 1, &["127.0.0.1", "192.0.2.1"]);
    let both = [format!("127.0.0.1:{}", own.port()), format!("192.0.2.1:{}", own.port())];
    expect(&proxy, &both, itself);
    names.at("app.test", 1, &["192.0.2.1"]);
    expect(&proxy, &[format!("192.0.2.1:{}", own.port())], "");
    assert_eq!(RawClient::connect(proxy.admin()).ask("/ready").status, 200);
}
