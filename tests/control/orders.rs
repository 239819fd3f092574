//! Reloads, rollbacks, weights and drains: C1, C2, C4, R6, `runtime.reload`.

use std::time::Duration;

use crate::change::{Changing, simple};
use support::{
    Authority, Gate, Origin, RawClient, SOON, Signal, Step, holds_within, ok, wait_until,
};

/// Longer than the files take to be looked at twice.
const LOOKS: Duration = Duration::from_millis(1800);

fn word(changing: &Changing) -> String {
    changing.proxy.client().get("/word").text()
}

/// Nothing is put into effect although the files are looked at.
fn assert_holds(changing: &Changing, generation: u64) {
    let moved = holds_within(LOOKS, &mut || changing.generation() != generation);
    assert!(!moved, "generation {generation} became {}", changing.generation());
}

#[test]
fn c1_what_did_not_change_is_no_reload() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let file = changing.proxy.path("tidegate.toml");
    let text = std::fs::read(&file).unwrap();
    for name in [".tidegate.toml.swp", "tidegate.toml~", "4913", "#tidegate.toml#"] {
        std::fs::write(changing.proxy.path(name), "x").unwrap();
    }
    std::fs::write(&file, &text).unwrap();
    assert_holds(&changing, 1);
    std::fs::write(changing.proxy.path("same"), &text).unwrap();
    std::fs::rename(changing.proxy.path("same"), &file).unwrap();
    assert_holds(&changing, 1);
    // Other bytes that mean the same are no reload either, and one that is asked for says so.
    std::fs::write(&file, [&*text, b"# a comment\n"].concat()).unwrap();
    assert_holds(&changing, 1);
    let answer = changing.post("/reload");
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"note\":\"nothing is different\""), "{}", answer.text());
    assert_eq!(changing.generation(), 1);
    assert_eq!(changing.stats()["reloads"]["latest"].as_array().unwrap().len(), 0);
}

#[test]
fn c1_a_rollback_holds_until_the_content_of_the_file_changes() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    changing.reload(&simple(&origin.server(), "two"));
    assert_eq!(changing.post("/rollback").status, 200);
    assert_eq!(word(&changing), "one");
    let generation = changing.generation();
    let file = changing.proxy.path("tidegate.toml");
    std::fs::write(changing.proxy.path(".tidegate.toml.swp"), "x").unwrap();
    std::fs::write(&file, std::fs::read(&file).unwrap()).unwrap();
    assert_holds(&changing, generation);
    changing.proxy.signal(Signal::HUP);
    assert_holds(&changing, generation);
    let said = changing.command(&["reload"]);
    assert!(said.status.success());
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("an operator went back from"), "{said}");
    assert_eq!(word(&changing), "one");
    // Whoever means it gets it.
    assert!(changing.command(&["reload", "--force"]).status.success());
    assert_eq!(word(&changing), "two");
    assert_eq!(changing.post("/rollback").status, 200);
    assert_eq!(word(&changing), "one");
    changing.write(&simple(&origin.server(), "three"));
    wait_until(SOON, "other content is read", || word(&changing) == "three");
}

#[test]
fn c1_untouched_reloads_take_no_place_in_the_history() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    changing.reload(&simple(&origin.server(), "two"));
    for _ in 0..12 {
        assert_eq!(changing.post("/reload").status, 200);
        assert_eq!(changing.post("/reload?force=1").status, 200);
    }
    assert_eq!(changing.post("/rollback").status, 200);
    assert_eq!(word(&changing), "one");
    assert_eq!(changing.post("/rollback").status, 409);
}

/// `PUT` for a server of `app`.
fn put(changing: &Changing, server: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let answer = RawClient::connect(changing.proxy.admin()).exchange(format!(
        "PUT /upstreams/app/servers/{server} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    (answer.status, answer.text())
}

fn weight(changing: &Changing) -> u64 {
    changing.stats()["upstreams"][0]["servers"][0]["weight"].as_u64().unwrap()
}

#[test]
fn c1_an_operators_weight_and_state_hold_until_somebody_changes_them_in_the_file() {
    let origin = Origin::ok("app");
    let server = origin.server();
    let text = simple(&server, "one");
    let changing = Changing::start(&text);
    assert_eq!(put(&changing, &server, "{\"weight\": 7, \"state\": \"drain\"}").0, 200);
    let kept = |what: &str| {
        let server = changing.stats()["upstreams"][0]["servers"][0].clone();
        assert_eq!(
            (&server["weight"], &server["state"]),
            (&7.into(), &"draining".into()),
            "{what}"
        );
    };
    kept("at once");
    assert_eq!(changing.post("/reload").status, 200);
    kept("after a reload of the same");
    changing.reload(&simple(&server, "two"));
    kept("after a reload of something else");
    // A weight is no configuration to go back from.
    assert_eq!(changing.post("/rollback").status, 200);
    assert_eq!(word(&changing), "one");
    kept("after a rollback");
    assert_eq!(changing.post("/rollback").status, 409);
    let other = format!("[{{ address = \"{server}\", weight = 3 }}]");
    changing.reload(&text.replace(&format!("[\"{server}\"]"), &other));
    assert_eq!(weight(&changing), 3);
}

#[test]
fn r6_a_weight_needs_no_certificate_and_what_is_refused_is_refused() {
    let authority = Authority::new("ca");
    let made = authority.certificate("a", &["a.test"]);
    let origin = Origin::ok("app");
    let server = origin.server();
    let tls = format!(
        "[[listen]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        made.cert.display(),
        made.key.display()
    );
    let text = simple(&server, "one") + &tls;
    let changing = Changing::start(&text);
    let away = made.cert.with_extension("away");
    std::fs::rename(&made.cert, &away).unwrap();
    wait_until(SOON, "the certificate is missed", || {
        changing.stats()["reloads"]["last_error"].is_string()
    });
    let (status, said) = put(&changing, &server, "{\"weight\": 5}");
    assert_eq!((status, weight(&changing)), (200, 5), "{said}");
    // What is refused leaves nothing behind that takes effect with the next change.
    let four = format!("[{{ address = \"{server}\", weight = 4 }}]");
    changing.write(&text.replace(&format!("[\"{server}\"]"), &four));
    assert_eq!(changing.post("/reload").status, 409);
    assert_eq!(weight(&changing), 5);
    let (status, said) = put(&changing, "127.0.0.1:9", "{\"weight\": 2}");
    assert_eq!(status, 404, "{said}");
    changing.write(&text);
    std::fs::rename(&away, &made.cert).unwrap();
    assert_eq!(changing.post("/reload?force=1").status, 200);
    assert_eq!(weight(&changing), 5, "the operator's word holds");
}

#[test]
fn c2_a_drain_and_then_a_signal_are_one_drain() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("done"))]);
    let text = simple(&origin.server(), "one") + "[runtime]\ndrain = \"20s\"\n";
    let mut changing = Changing::start(&text);
    let mut client = changing.proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the server is asked", || origin.requests().len() == 1);
    assert_eq!(changing.post("/drain").status, 202);
    let ready = RawClient::connect(changing.proxy.admin()).ask("/ready");
    assert_eq!((ready.status, ready.text().as_str()), (503, "{\"ready\":false}\n"));
    wait_until(SOON, "the drain has begun", || changing.proxy.log().contains("draining"));
    changing.proxy.signal(Signal::TERM);
    wait_until(SOON, "the signal is noticed", || changing.proxy.log().contains("joins the drain"));
    assert!(changing.proxy.is_running());
    gate.open();
    assert_eq!(client.response().text(), "done");
    assert_eq!(changing.proxy.wait_exit(SOON).code(), Some(0));
}

#[test]
fn c2_who_signals_twice_after_a_drain_means_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("done"))]);
    let text = simple(&origin.server(), "one") + "[runtime]\ndrain = \"60s\"\n";
    let mut changing = Changing::start(&text);
    let mut client = changing.proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the server is asked", || origin.requests().len() == 1);
    assert_eq!(changing.post("/drain").status, 202);
    wait_until(SOON, "the drain has begun", || changing.proxy.log().contains("draining"));
    changing.proxy.signal(Signal::TERM);
    wait_until(SOON, "the signal is noticed", || changing.proxy.log().contains("joins the drain"));
    changing.proxy.signal(Signal::TERM);
    assert_eq!(changing.proxy.wait_exit(SOON).code(), Some(1));
}

#[test]
fn c4_what_goes_is_counted_for_each_upstream_and_what_is_replaced_is_not() {
    let origin = Origin::ok("app");
    let list = |from: usize, to: usize| -> String {
        let all: Vec<_> = (from..to).map(|n| format!("\"127.0.0.9:{n}\"")).collect();
        all.join(", ")
    };
    let text = |app: String, other: String| {
        simple(&origin.server(), "one").replace(&format!("\"{}\"", origin.server()), &app)
            + &format!(
                "[upstream.other]\nservers = [{other}]\n[[route]]\npath = \"/o\"\nupstream = \"other\"\n"
            )
    };
    let changing = Changing::start(&text(list(1, 11), list(1, 2)));
    // A deployment: nine of ten for others.
    changing.write(&text(list(10, 20), list(1, 2)));
    assert_eq!(changing.post("/reload").status, 200);
    changing.write(&text(list(10, 14), list(1, 2)));
    let refused = changing.post("/reload");
    assert_eq!(refused.status, 409);
    assert!(
        refused.text().contains("the servers of `app` would go from 10 to 4"),
        "{}",
        refused.text()
    );
    // What another upstream gets is no replacement.
    changing.write(&text(list(10, 11), list(1, 11)));
    let refused = changing.post("/reload");
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("`app` would go from 10 to 1"), "{}", refused.text());
    assert_eq!(changing.post("/reload?force=1").status, 200);
}

#[test]
fn reload_by_signal_waits_for_who_asks() {
    let origin = Origin::ok("app");
    let signal = "[runtime]\nreload = \"signal\"\n";
    let changing = Changing::start(&(simple(&origin.server(), "one") + signal));
    changing.write(&(simple(&origin.server(), "two") + signal));
    assert_holds(&changing, 1);
    assert_eq!(word(&changing), "one");
    changing.proxy.signal(Signal::HUP);
    wait_until(SOON, "it is read", || word(&changing) == "two");
    changing.write(&(simple(&origin.server(), "three") + signal));
    assert_holds(&changing, 2);
    assert!(changing.command(&["reload"]).status.success());
    assert_eq!(word(&changing), "three");
}
