//! `servers = { srv = "…" }`: SRV records say where servers are, in which order, and by which
//! share.

use serde_json::json;

use crate::load::{Kind, Load};
use crate::names::{SOON, asking};
use crate::server::Server;
use crate::{MS, fault, names, upstream};
use support::name_server::{A, AAAA, NameServer, Record, Reply, SRV, alias, service};
use support::{Origin, wait_until};

const NAME: &str = "_http._tcp.app.test";
const SOURCE: &str = "{ srv = '_http._tcp.app.test' }";

fn port(origin: &Origin) -> u16 {
    origin.server().split(':').next_back().unwrap().parse().unwrap()
}

fn say(server: &NameServer, records: Vec<Record>) {
    server.say(NAME, SRV, Reply::Records(records));
}

#[test]
fn ports_weights_and_priorities_are_those_of_the_records() {
    let (server, origins) = (NameServer::start(), ["a", "b", "c"].map(Origin::ok));
    server.at("one.test", 1, &["127.0.0.1"]);
    let record = |n: usize, priority, weight| {
        service(NAME, 1, (priority, weight), ("one.test", port(&origins[n])))
    };
    say(&server, vec![record(2, 20, 5), record(0, 10, 30), record(1, 10, 10)]);
    let proxy = asking(&server, SOURCE, "balance = 'round_robin'");
    let mut client = proxy.client();
    let mut count = || {
        let words: Vec<String> = (0..40).map(|_| client.get("/").text()).collect();
        ["a", "b", "c"].map(|word| words.iter().filter(|text| *text == word).count())
    };
    assert_eq!(count(), [30, 10, 0]);
    let shown = |name: &str| {
        let all = upstream(&proxy)["servers"].clone();
        all.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    let first = shown(&origins[0].server());
    assert_eq!((&first["source"], &first["weight"]), (&json!("srv"), &json!(30)));
    // A weight of 0 is chosen rarely beside others, and as often as others among its like.
    say(&server, vec![record(0, 10, 0), record(1, 10, 0)]);
    wait_until(SOON, "weights of 0", || names(&proxy).len() == 2);
    assert_eq!(count(), [20, 20, 0]);
    say(&server, vec![record(0, 10, 0), record(1, 10, 1)]);
    wait_until(SOON, "one weight of 0", || shown(&origins[1].server())["weight"] == 100);
    let rare = count();
    assert!(rare[0] <= 1 && rare[1] >= 39, "{rare:?}");
    // The one of the second priority answers where nobody of the first one does.
    say(&server, vec![record(2, 20, 1), record(0, 10, 1)]);
    wait_until(SOON, "another second", || names(&proxy).contains(&origins[2].server()));
    wait_until(SOON, "the first is used", || count() == [40, 0, 0]);
    origins[0].stop();
    wait_until(SOON, "the second is used", || client_says(&proxy) == "c");
}

fn client_says(proxy: &support::Tidegate) -> String {
    proxy.client().get("/").text()
}

#[test]
fn targets_are_looked_up_and_no_answer_takes_a_server_away() {
    let (server, origin) = (NameServer::start(), Origin::ok("fine"));
    let at = port(&origin);
    server.at("one.test", 1, &["127.0.0.1", "127.0.0.2"]);
    server.at("two.test", 1, &["127.0.0.3"]);
    server.say("none.test", A, Reply::NoName(Some(1)));
    server.say("none.test", AAAA, Reply::NoName(Some(1)));
    let to = |target: &str| service(NAME, 1, (0, 1), (target, at));
    say(&server, vec![to("one.test"), to("two.test"), to("none.test")]);
    let proxy = asking(&server, SOURCE, "");
    let all = |texts: &[&str]| texts.iter().map(|ip| format!("{ip}:{at}")).collect::<Vec<_>>();
    assert_eq!(names(&proxy), all(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
    assert_eq!(fault(&proxy), None, "a target without an address is missed by nobody");
    // A target that cannot be looked up keeps its addresses, the others do not wait for it.
    server.say("one.test", A, Reply::Code(2));
    server.at("two.test", 1, &["127.0.0.4"]);
    wait_until(SOON, "the other moves", || {
        names(&proxy) == all(&["127.0.0.1", "127.0.0.2", "127.0.0.4"])
    });
    let why = format!("{NAME}: the name server answered SERVFAIL");
    assert_eq!(fault(&proxy), Some(why.clone()));
    // The records of an alias, and no records at all.
    server.at("one.test", 1, &["127.0.0.1"]);
    server.say(NAME, SRV, Reply::Records(vec![alias(NAME, 1, "_http._tcp.b.test")]));
    let aliased = service("_http._tcp.b.test", 1, (0, 1), ("one.test", at));
    server.say("_http._tcp.b.test", SRV, Reply::Records(vec![aliased]));
    server.say(
        NAME,
        support::name_server::CNAME,
        Reply::Records(vec![alias(NAME, 1, "_http._tcp.b.test")]),
    );
    wait_until(SOON, "the alias", || {
        names(&proxy).first() == Some(&format!("127.0.0.1:{at}")) && fault(&proxy).is_none()
    });
    // A target of "." says that there is no such service (RFC 2782).
    for reply in [Reply::NoName(Some(1)), Reply::Records(vec![to(".")]), Reply::Code(2)] {
        server.say(NAME, SRV, reply);
        server.say(NAME, support::name_server::CNAME, Reply::Records(Vec::new()));
        wait_until(SOON, "a fault", || fault(&proxy).is_some());
        assert!(names(&proxy).contains(&format!("127.0.0.1:{at}")));
        assert_eq!(client_says(&proxy), "fine");
    }
}

#[test]
fn services_that_come_and_go_under_load_lose_no_request() {
    let (server, services) = (NameServer::start(), (0..10).map(|_| Server::start()));
    let services: Vec<Server> = services.collect();
    server.at("one.test", 1, &["127.0.0.1"]);
    let records = |n: usize| {
        let ports = services[..n].iter().map(|server| server.address.port());
        ports.map(|port| service(NAME, 1, (0, 1), ("one.test", port))).collect::<Vec<_>>()
    };
    say(&server, records(3));
    let proxy = asking(&server, SOURCE, "");
    assert_eq!(names(&proxy).len(), 3);
    let load = Load::start(&proxy, Kind::Post, 2 * MS);
    say(&server, records(10));
    wait_until(SOON, "ten servers", || names(&proxy).len() == 10);
    wait_until(SOON, "all of them work", || services.iter().all(|one| one.requests() > 0));
    say(&server, records(2));
    wait_until(SOON, "two servers", || names(&proxy).len() == 2);
    let outcome = load.end();
    assert!(outcome.sent > 100, "{}", outcome.sent);
    assert_eq!(outcome.lost, []);
}
