//! How a reload is asked for, what is said about it, and when it is refused.

use crate::change::{Changing, simple};
use support::{Origin, SOON, Signal, wait_until};

fn word(changing: &Changing) -> String {
    changing.proxy.client().get("/word").text()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_changed_file_is_read_however_it_was_written() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    changing.write(&simple(&origin.server(), "renamed"));
    wait_until(SOON, "the renamed file", || word(&changing) == "renamed");
    let file = changing.proxy.path("tidegate.toml");
    let old = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, old.replace("renamed", "in place")).unwrap();
    wait_until(SOON, "the file written in place", || word(&changing) == "in place");
    assert_eq!(changing.generation(), 3);
}

#[test]
fn sighup_reloads() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    changing.write(&simple(&origin.server(), "two"));
    changing.proxy.signal(Signal::HUP);
    wait_until(SOON, "it is read", || word(&changing) == "two");
}

#[test]
fn the_command_prints_what_changed() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let new = simple(&origin.server(), "two").replace("name = \"app\"", "name = \"other\"")
        + "[upstream.more]\nservers = [\"127.0.0.1:1\"]\n[[route]]\npath = \"/more\"\nupstream = \"more\"\n";
    changing.write(&new);
    let run = changing.command(&["reload"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    let said = text(&run.stdout);
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.remove(0), "reloaded: generation 2");
    let expected = [
        "+ route /more",
        "+ route other",
        "~ route word: respond",
        "+ server more/127.0.0.1:1",
        "+ upstream more",
        "- route app",
        "stays: 1 listener, 0 routes, 1 upstream, 1 server",
    ];
    assert_eq!(lines, expected, "{said}");
    assert_eq!(word(&changing), "two");
    let again = changing.command(&["reload"]);
    assert!(text(&again.stdout).contains("nothing is different"), "{}", text(&again.stdout));
}

#[test]
fn a_wrong_file_changes_nothing_and_is_explained() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    changing
        .write(&simple(&origin.server(), "two").replace("upstream = \"app\"", "upstream = \"ap\""));
    let run = changing.command(&["reload"]);
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(
        said.contains("unknown upstream `ap`") && said.contains("did you mean `app`?"),
        "{said}"
    );
    assert!(said.contains("refused; generation 1 goes on"), "{said}");
    assert_eq!(word(&changing), "one");
    let stats = changing.stats();
    assert!(stats["reloads"]["last_error"].as_str().unwrap().contains("unknown upstream"));
    assert_eq!(stats["generation"], 1);
    changing.reload(&simple(&origin.server(), "three"));
    assert_eq!(word(&changing), "three");
    assert!(changing.stats()["reloads"]["last_error"].is_null());
}

#[test]
fn an_address_that_is_taken_changes_nothing() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let taken = format!("[[listen]]\nname = \"second\"\naddress = \"{}\"\n", origin.server());
    changing.write(&(simple(&origin.server(), "two") + &taken));
    let answer = changing.post("/reload");
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("cannot listen on"), "{}", answer.text());
    assert_eq!(word(&changing), "one");
}

#[test]
fn removing_most_of_it_has_to_be_meant() {
    let origin = Origin::ok("app");
    let more = |n: usize| -> String {
        (0..n).map(|n| format!("[[route]]\npath = \"/r{n}\"\nupstream = \"app\"\n")).collect()
    };
    let changing = Changing::start(&(simple(&origin.server(), "one") + &more(8)));
    changing.write(&simple(&origin.server(), "two"));
    let run = changing.command(&["reload"]);
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(said.contains("routes would go from 10 to 2"), "{said}");
    assert_eq!(word(&changing), "one");
    assert!(changing.command(&["reload", "--force"]).status.success());
    assert_eq!(word(&changing), "two");
}

#[test]
fn one_can_go_back() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    assert_eq!(changing.post("/rollback").status, 409);
    for word in ["two", "three"] {
        changing.reload(&simple(&origin.server(), word));
    }
    for expected in ["two", "one"] {
        assert_eq!(changing.post("/rollback").status, 200);
        assert_eq!(word(&changing), expected);
    }
    assert_eq!(changing.post("/rollback").status, 409);
}

#[test]
fn what_is_in_effect_can_be_read_and_a_file_be_checked() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let shown = support::RawClient::connect(changing.proxy.admin()).ask("/config");
    assert!(shown.text().contains("\"balance\":\"least_request\""), "{}", shown.text());
    let check = |body: &str| {
        support::RawClient::connect(changing.proxy.admin()).exchange(format!(
            "POST /config/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert_eq!(check(&simple("127.0.0.1:1", "x")).status, 200);
    let wrong = check("[[listen]]\nadress = \"127.0.0.1:1\"\n");
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("unknown_key"), "{}", wrong.text());
    assert_eq!(changing.generation(), 1);
}

#[test]
fn status_and_drain_are_commands() {
    let origin = Origin::ok("app");
    let mut changing = Changing::start(&simple(&origin.server(), "one"));
    let run = changing.command(&["status"]);
    assert!(run.status.success());
    let said = text(&run.stdout);
    let server = format!("  {} up: 0 in flight, 0 requests, 0 failures", origin.server());
    assert!(said.starts_with("ready, version ") && said.contains(&server), "{said}");
    assert!(changing.command(&["drain"]).status.success());
    assert!(changing.proxy.wait_exit(SOON).success());
    assert_eq!(changing.command(&["status"]).status.code(), Some(1));
}

#[test]
fn the_difference_can_be_seen_beforehand() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    let admin = format!("http://{}", changing.proxy.admin());
    let path = changing.proxy.path("next.toml");
    let check = |more: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "-c"])
            .arg(&path)
            .args(["--against", &admin])
            .args(more)
            .output()
            .unwrap()
    };
    let same = std::fs::read_to_string(changing.proxy.path("tidegate.toml")).unwrap();
    std::fs::write(&path, &same).unwrap();
    let said = text(&check(&[]).stdout);
    assert!(
        said.contains("nothing is different\nstays: 1 listener, 2 routes, 1 upstream, 1 server\n"),
        "{said}"
    );
    let server = format!("servers = [\"{}\"]", origin.server());
    std::fs::write(&path, same.replace(&server, "servers = [\"127.0.0.1:9\"]")).unwrap();
    let checked = check(&[]);
    let said = text(&checked.stdout);
    assert!(checked.status.success(), "{said}");
    let gone = format!("app/{}", origin.server());
    assert!(said.contains(&format!("+ server app/127.0.0.1:9\n- server {gone}\n")), "{said}");
    assert!(said.contains(&format!("drains: server {gone}\n")), "{said}");
    let json: serde_json::Value =
        serde_json::from_slice(&check(&["--format", "json"]).stdout).unwrap();
    assert_eq!(json["against"]["drains"][0], format!("server {gone}"));
    assert_eq!(changing.generation(), 1, "asking changes nothing");
    std::fs::write(&path, "nonsense").unwrap();
    assert_eq!(check(&[]).status.code(), Some(1));
    std::fs::write(&path, &same).unwrap();
    changing.proxy.terminate();
    wait_until(SOON, "it is gone", || check(&[]).status.code() == Some(1));
}

/// `PUT` for the server of `app`.
fn put(changing: &Changing, server: &str, body: &str) -> support::Response {
    let length = body.len();
    support::RawClient::connect(changing.proxy.admin()).exchange(format!(
        "PUT /upstreams/app/servers/{server} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

#[test]
fn weights_and_states_can_be_changed_and_last() {
    let origins = [Origin::ok("one"), Origin::ok("two")];
    let [one, two] = [origins[0].server(), origins[1].server()];
    let text = format!(
        "[[listen]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n[upstream.app]\nbalance = \"round_robin\"\n\
         servers = [\"{one}\", \"{two}\"]\n[[route]]\nname = \"app\"\nupstream = \"app\"\n"
    );
    let changing = Changing::start(&text);
    let share = || {
        let mut client = changing.proxy.client();
        (0..20).filter(|_| client.get("/").text() == "one").count()
    };
    assert_eq!(share(), 10);
    let answer = put(&changing, &one, "{\"weight\": 4}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().starts_with("{\"changed\":true,"), "{}", answer.text());
    assert!(answer.text().contains("\"weight\":4,"), "{}", answer.text());
    let again = put(&changing, &one, "{\"weight\": 4}");
    assert!(again.text().starts_with("{\"changed\":false,"), "{}", again.text());
    assert_eq!(share(), 16);
    // A reload for another reason leaves it alone, one that changes the weight does not.
    changing.reload(&(text.clone() + "body_limit = \"1KiB\"\n"));
    assert_eq!(share(), 16);
    let heavier = format!("{{ address = \"{one}\", weight = 9 }}");
    changing.reload(&text.replace(&format!("[\"{one}\""), &format!("[{heavier}")));
    assert_eq!(share(), 18);
    assert_eq!(put(&changing, &one, "{\"state\": \"drain\"}").status, 200);
    assert_eq!(share(), 0);
    assert_eq!(put(&changing, &one, "{\"state\": \"enable\", \"weight\": 1}").status, 200);
    assert_eq!(changing.stats()["upstreams"][0]["servers"][0]["state"], "up");
    for (body, status) in [
        ("{\"weight\": 0}", 422),
        ("{\"weight\": 65536}", 422),
        ("{\"wait\": 1}", 422),
        ("{\"state\": \"asleep\"}", 422),
        ("", 422),
    ] {
        assert_eq!(put(&changing, &one, body).status, status, "{body}");
    }
    assert_eq!(put(&changing, "127.0.0.1:9", "{\"weight\": 2}").status, 404);
    let delete = format!("DELETE /upstreams/app/servers/{one} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let refused = support::RawClient::connect(changing.proxy.admin()).exchange(delete);
    assert_eq!((refused.status, refused.text().contains("not_a_registry")), (409, true));
}

#[test]
fn what_would_happen_can_be_asked_of_a_file_and_of_a_proxy() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    changing.post(&format!("/upstreams/app/servers/{}/drain", origin.server()));
    let run = changing.command(&["explain", "GET", "http://a.test/x?y=1", "-H", "x-a: b"]);
    let said = text(&run.stdout);
    assert!(run.status.success(), "{said}{}", text(&run.stderr));
    assert!(said.contains("route     app\n"), "{said}");
    assert!(said.contains(&format!("server  {} weight 1, draining\n", origin.server())), "{said}");
    let file = changing.proxy.path("tidegate.toml");
    let explain = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("explain").args(arguments).arg("-c").arg(&file).output().unwrap()
    };
    let run = explain(&["GET", "http://a.test/word", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&json["route"], &json["status"]), (&"word".into(), &200.into()));
    let run = explain(&["TRACE", "http://a.test/"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stdout).contains("refused   405 "), "{}", text(&run.stdout));
    let nonsense = support::RawClient::connect(changing.proxy.admin()).ask("/explain?colour=red");
    assert_eq!(nonsense.status, 422);
}
