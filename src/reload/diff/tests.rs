use super::*;
use crate::config::shown::shown;

fn lines(old: &str, new: &str) -> Vec<String> {
    let shown = |text| shown(&crate::config::load_str("t.toml", text).unwrap().config);
    diff_configs(&shown(old), &shown(new)).0.iter().map(ToString::to_string).collect()
}

const OLD: &str = r#"
        [[listen]]
        address = "127.0.0.1:1"
        [upstream.a]
        servers = ["127.0.0.1:2"]
        [upstream.b]
        servers = ["127.0.0.1:2"]
        [[route]]
        path = "/a"
        upstream = "a"
        [[route]]
        path = "/b"
        upstream = "b"
    "#;

#[test]
fn the_same_written_differently_is_no_change() {
    let other = OLD.replace(
        "servers = [\"127.0.0.1:2\"]",
        "servers = [{ address = \"127.0.0.1:2\", weight = 1 }]\nbalance = \"least_request\"",
    );
    assert_eq!(lines(OLD, OLD), Vec::<String>::new());
    assert_eq!(lines(OLD, &other), Vec::<String>::new());
}

#[test]
fn changes_are_named_in_the_words_of_the_file() {
    let new = r#"
            [runtime]
            workers = 3
            [[listen]]
            address = "127.0.0.1:1"
            [[listen]]
            name = "second"
            address = "127.0.0.1:9"
            [upstream.a]
            servers = ["127.0.0.1:2", "127.0.0.1:3"]
            balance = "random"
            [upstream.c]
            servers = ["127.0.0.1:2"]
            [[route]]
            path = "/a"
            upstream = "a"
            timeout = { total = "5s" }
            [[route]]
            path = "/c"
            upstream = "c"
        "#;
    assert_eq!(
        lines(OLD, new),
        [
            "+ listener second",
            "~ route /a: timeout",
            "+ route /c",
            "~ runtime: workers (needs a restart)",
            "+ server a/127.0.0.1:3",
            "+ server c/127.0.0.1:2",
            "~ upstream a: balance",
            "+ upstream c",
            "- route /b",
            "- server b/127.0.0.1:2",
            "- upstream b",
        ]
    );
    let shown = |text| shown(&crate::config::load_str("t.toml", text).unwrap().config);
    let (old, new) = (shown(OLD), shown(new));
    let (changes, stays) = diff_configs(&old, &new);
    assert_eq!(stays.to_string(), "1 listener, 0 routes, 0 upstreams, 1 server");
    assert_eq!(drained_servers(&changes), ["server b/127.0.0.1:2"]);
    assert_eq!(drained_servers(&diff_configs(&new, &old).0).len(), 3);
}

#[test]
fn a_server_that_changes_is_named() {
    let new = OLD.replacen("\"127.0.0.1:2\"", "{ address = \"127.0.0.1:2\", weight = 5 }", 1);
    assert_eq!(lines(OLD, &new), ["~ server a/127.0.0.1:2: weight"]);
}

#[test]
fn what_needs_a_restart_says_so() {
    let log = |text: &str| lines(OLD, &format!("[log]\n{text}\n{OLD}"));
    assert_eq!(log("access = 'stdout'"), ["~ log: access"]);
    assert_eq!(log("level = 'debug'"), ["~ log: level (needs a restart)"]);
}
