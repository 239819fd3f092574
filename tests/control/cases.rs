//! What is said about a file: C5, C6, C7, C8, C9.

use crate::folder::Folder;
use support::{Origin, Tidegate};

const BASE: &str =
    "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [\"127.0.0.1:1\"]\n";

fn route(more: &str) -> String {
    format!("{BASE}[[route]]\nupstream = \"app\"\n{more}\n")
}

#[test]
fn c5_what_run_refuses_check_refuses() {
    let folder = Folder::new();
    folder.write("apr1", "anna:$apr1$abcdefgh$0123456789abcdefghijk.\n");
    folder.write("empty", "# nobody\n");
    folder.write("keys.json", "{}");
    let auth = |what: &str| route(&format!("auth = \"a\"\n[auth.a]\n{what}"));
    for (text, why) in [
        (auth("basic = { users_file = \"{dir}/apr1\" }"), "neither a bcrypt nor an argon2 hash"),
        (auth("basic = { users_file = \"{dir}/empty\" }"), "there is no user in it"),
        (auth("basic = { users_file = \"{dir}/missing\" }"), "there is no such file"),
        (auth("jwt = { jwks = \"{dir}/keys.json\" }"), "no key set"),
        (auth("jwt = { jwks = \"{dir}/missing.json\" }"), "there is no such file"),
        (auth("jwt = { jwks = \"ftp://x/y\" }"), "write http://HOST/PATH"),
        (auth("forward = { url = \"nonsense\" }"), "write http://HOST/PATH"),
        (
            auth("api_key = { header = \"x\", keys = { a = \"sha256:12\" } }"),
            "not `sha256:` and 64",
        ),
        (
            format!(
                "[redis]\nurl = \"rediss://127.0.0.1:1\"\nca = \"{{dir}}/missing.pem\"\n{}",
                route("limit = { rate = \"1/s\", store = \"redis\" }")
            ),
            "Redis cannot be used",
        ),
        (
            format!(
                "[redis]\nurl = [\"redis://10.0.0.1\", \"redis://10.0.0.2/3\"]\ncluster = true\n{}",
                route("limit = { rate = \"1/s\", store = \"redis\" }")
            ),
            "a Cluster has no database but 0",
        ),
        (
            format!(
                "[redis]\nsentinel = {{ master = \"m\", nodes = [\"10.0.0.1:1\", \"http://x\"] }}\n{}",
                route("limit = { rate = \"1/s\", store = \"redis\" }")
            ),
            "Redis cannot be used",
        ),
        (
            format!("[log]\naccess = \"{{dir}}/missing/access.log\"\n{}", route("")),
            "there is no such directory",
        ),
        (
            format!("[log]\ntrace = {{ otlp = \"nonsense\" }}\n{}", route("")),
            "write http://HOST/PATH",
        ),
        (route("subset = { tier = \"x\" }"), "no server of `app` has these labels"),
    ] {
        let said = folder.refused(&text);
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn c6_what_nobody_uses_is_pointed_at() {
    let folder = Folder::new();
    let text = "[redis]\nurl = \"redis://127.0.0.1:1\"\n\
        [[listen]]\nname = \"used\"\naddress = \"127.0.0.1:0\"\n\
        [[listen]]\nname = \"lonely\"\naddress = \"127.0.0.1:0\"\n\
        [[listen]]\naddress = \"unix:{dir}/nameless\"\n\
        [[listen]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n\
        [upstream.used]\nservers = [\"127.0.0.1:1\"]\n[upstream.idle]\nservers = [\"127.0.0.1:1\"]\n\
        [limit.used]\nrate = \"1/s\"\n[limit.idle]\nrate = \"1/s\"\n\
        [auth.used]\napi_key = { header = \"x\", keys = { a = \"b\" } }\n\
        [auth.idle]\napi_key = { header = \"x\", keys = { a = \"b\" } }\n\
        [[route]]\nlisten = \"used\"\nupstream = \"used\"\nlimit = \"used\"\nauth = \"used\"\n";
    let (fine, said) = folder.check(text);
    assert!(fine, "{said}");
    for warning in [
        "warning[unused_upstream]: upstream `idle` is not used",
        "warning[unused_limit]: limit `idle` is not used",
        "warning[unused_auth]: auth `idle` is not used",
        "warning[unused_redis]: nothing is kept in Redis",
        "warning[unreachable_listener]: no route belongs to the listener `lonely`",
        "/nameless`",
    ] {
        assert!(said.contains(warning), "{warning}: {said}");
    }
    assert!(said.contains("0 errors, 6 warnings"), "{said}");
}

/// The lines of a report that begin a finding.
fn findings(said: &str) -> Vec<&str> {
    said.lines().filter(|l| l.starts_with("error[") || l.starts_with("warning[")).collect()
}

#[test]
fn c7_one_mistake_is_one_error() {
    let folder = Folder::new();
    for (text, mistake) in [
        (route("").replace("\"127.0.0.1:1\"", "\"127.0.0.1:99999\""), "is not a server address"),
        (route("").replace("\"127.0.0.1:1\"", "\"${TIDEGATE_UNSET_X}\""), "is not set"),
        (
            route("").replace("address = \"127.0.0.1:0\"", "address = [\"localhost\"]"),
            "is not an address",
        ),
        (route("auth = \"a\"\n[auth.a]\njwt = { jwks = 5 }"), "expected a string"),
        (
            route("").replace(
                "[upstream",
                "proxy_protocol = true\ntrusted_proxies = [\"10.0.0.0/99\"]\n[upstream",
            ),
            "is not a network",
        ),
        (
            route("").replace("[[route]]", "breaker = { failures = \"five\" }\n[[route]]"),
            "expected an integer",
        ),
        (
            format!(
                "[admin]\naddress = \"0.0.0.0:0\"\ntoken = \"${{TIDEGATE_UNSET_X}}\"\n{}",
                route("")
            ),
            "is not set",
        ),
        (
            route("").replace("upstream = \"app\"", "upstream = { app = \"all\" }"),
            "expected an integer",
        ),
    ] {
        let (fine, said) = folder.check(&text);
        assert!(!fine, "{text}");
        assert!(findings(&said).len() == 1 && said.contains(mistake), "{mistake}: {said}");
    }
    // Two mistakes are two.
    let (_, said) = folder.check(&route("fallback = 1").replace("127.0.0.1:1", "x"));
    assert_eq!(findings(&said).len(), 2, "{said}");
}

#[test]
fn c8_brackets_are_told_apart() {
    let folder = Folder::new();
    for (text, advice) in [
        (route("").replace("[[listen]]", "[listen]"), "write [[listen]]"),
        (route("").replace("[[route]]", "[route]"), "write [[route]]"),
        (route("").replace("[upstream.app]", "[[upstream.app]]"), "write [upstream.app]"),
        (format!("[[admin]]\naddress = \"127.0.0.1:0\"\n{}", route("")), "write [admin]"),
        (route("").replace("[upstream.app]", "[[upstream]]"), "write [upstream.NAME]"),
    ] {
        let (fine, said) = folder.check(&text);
        assert!(!fine && said.contains(advice), "{advice}: {said}");
        if advice != "write [upstream.NAME]" {
            assert_eq!(findings(&said).len(), 1, "{said}");
        }
    }
}

#[test]
fn c8_a_key_after_a_sub_table_is_told_where_it_belongs() {
    let folder = Folder::new();
    let upstream = "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [\"127.0.0.1:1\"]\n\
        [upstream.app.timeout]\nconnect = \"1s\"\nbalance = \"random\"\n[[route]]\nupstream = \"app\"\n";
    let (_, said) = folder.check(upstream);
    assert!(said.contains("`balance` belongs to [upstream.app], above line 5"), "{said}");
    assert_eq!(findings(&said).len(), 1, "{said}");
    let action = format!(
        "{BASE}[[route]]\npath = \"/a\"\n[route.rewrite]\nprefix = \"/b\"\nupstream = \"app\"\n"
    );
    let (_, said) = folder.check(&action);
    assert!(said.contains("`upstream` belongs to [[route]], above line 7"), "{said}");
    assert_eq!(findings(&said).iter().filter(|f| f.starts_with("error")).count(), 1, "{said}");
    let servers = "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app.limits]\npending = 5\n\
        servers = [\"127.0.0.1:1\"]\n[[route]]\nupstream = \"app\"\n";
    let (_, said) = folder.check(servers);
    assert!(said.contains("`servers` belongs to [upstream.app], above line 3"), "{said}");
    assert_eq!(findings(&said).len(), 1, "{said}");
    let inline = route("rewrite = { prefix = \"/b\", compress = true }");
    let (_, said) = folder.check(&inline);
    assert!(said.contains("`compress` belongs to [[route]]\n"), "{said}");
    let top = format!("[runtime]\nworkers = 1\nredis = 1\n{}", route(""));
    let (_, said) = folder.check(&top);
    assert!(said.contains("`redis` belongs to the top of the file, above line 1"), "{said}");
}

#[test]
fn c9_what_looks_like_a_placeholder_or_a_pattern_works_or_is_refused() {
    let folder = Folder::new();
    for (more, why) in [
        ("request_headers = { set = { x = \"{nonsense}\" } }", "`{nonsense}`"),
        ("response_headers = { add = { x = \"a-{nonsense}-b\" } }", "`{nonsense}`"),
        ("request_headers = { set = { x = \"{client-ip}\" } }", "did you mean `client_ip`"),
        ("request_headers = { set = { x = \"{jwt.sub}\" } }", "whose `auth` verifies tokens"),
        ("path = [\"/a/{x}\", \"/b\"]\nrequest_headers = { set = { x = \"{x}\" } }", "`{x}`"),
        ("response_headers = [\"securty\"]\n[headers.security]", "did you mean `security`"),
        ("response_headers = \"a\"\n[headers.a]\nset = { x = \"{no}\" }", "`{no}`"),
        ("request_headers = { remove = [\"x-*\"] }", "`*` has no meaning"),
        ("cors = { origins = [\"https://*.example.com\"] }", "`*` has no meaning"),
        ("cors = { origins = [\"https://a.example/\"] }", "is no origin"),
        ("cors = { origins = [\"a.example\"] }", "is no origin"),
        ("path = \"/u/{id}\"\nrewrite = { path = \"/users/{id}/*\" }", "is the rest of a path"),
        ("rewrite = { strip_prefix = \"/a/*\" }", "`*` has no meaning"),
        ("path = \"/u/{id}\"\nrewrite = { prefix = \"/{no}\" }", "`{no}`"),
        ("rewrite = { host = \"{host}\" }", "`{host}`"),
        ("rewrite = { host = \"*.example\" }", "`*` has no meaning"),
        ("method = \"*\"", "`*` has no meaning"),
    ] {
        let (fine, said) = folder.check(&route(more));
        assert!(!fine && said.contains(why), "{more}: {said}");
    }
    for (text, why) in [
        (route("").replace("[[route]]", "health = \"/h/{id}\"\n[[route]]"), "`{id}`"),
        (
            format!("{BASE}[[route]]\nredirect = {{ to = \"https://b.example/*\" }}\n"),
            "`*` is the rest of a path",
        ),
        (format!("{BASE}[[route]]\nrespond = {{ headers = {{ x = \"{{id}}\" }} }}\n"), "`{id}`"),
        (
            route("auth = \"a\"\n[auth.a]\nforward = { url = \"http://127.0.0.1/{path}\" }"),
            "`{path}`",
        ),
    ] {
        let (fine, said) = folder.check(&text);
        assert!(!fine && said.contains(why), "{text}: {said}");
    }
    for (more, warning) in [
        ("headers = { x-a = \"a*\" }", "is compared as it is"),
        ("query = { a = \"*\" }", "is compared as it is"),
    ] {
        let (fine, said) = folder.check(&route(more));
        assert!(fine && said.contains(warning), "{more}: {said}");
    }
}

#[test]
fn c9_two_braces_are_one_and_json_needs_none() {
    let origin = Origin::ok("fine");
    let text =
        route("request_headers = { set = { x-a = \"{{id}\", x-b = '{\"group\":{\"a\":[1]}}' } }");
    let proxy = Tidegate::start(&text.replace("127.0.0.1:1", &origin.server()));
    assert_eq!(proxy.client().get("/").text(), "fine");
    let seen = &origin.requests()[0];
    assert_eq!(seen.header("x-a"), Some("{id}"));
    assert_eq!(seen.header("x-b"), Some("{\"group\":{\"a\":[1]}}"));
}
