//! The admin endpoint under load and before strangers: W8, W9, I10, I14, `read_token`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::change::{Changing, simple};
use crate::folder::Folder;
use support::{Origin, RawClient, Response, SOON, Tidegate, wait_until};

/// A probe that waits this long is taken for a failure by those who send it.
const PROBE: Duration = Duration::from_secs(4);

fn probe(proxy: &Tidegate) -> (u16, Duration) {
    let begun = Instant::now();
    let status = RawClient::connect(proxy.admin()).ask("/live").status;
    (status, begun.elapsed())
}

fn assert_alive(proxy: &Tidegate, what: &str) {
    let (status, took) = probe(proxy);
    assert!(status == 200 && took < PROBE, "{what}: {status} after {took:?}");
}

fn proxy() -> (Origin, Tidegate) {
    let origin = Origin::ok("fine");
    let text = format!("[admin]\naddress = \"127.0.0.1:0\"\n{}", simple(&origin.server(), "one"));
    let proxy = Tidegate::start(&text);
    (origin, proxy)
}

#[test]
fn w9_probes_are_answered_whatever_others_do_there() {
    let (_origin, proxy) = proxy();
    for (what, said) in [
        ("rest", ""),
        ("half a head", "GET /stats HTTP/1.1\r\nHost: localh"),
        (
            "half a body",
            "POST /config/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc",
        ),
        (
            "half a change",
            "PUT /upstreams/app/servers/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        ),
        ("kept alive", "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("nothing read", "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ] {
        let mut others: Vec<TcpStream> = Vec::new();
        for _ in 0..200 {
            let mut other = TcpStream::connect(proxy.admin()).unwrap();
            // It may have had to make room already.
            let _gone = other.write_all(said.as_bytes());
            others.push(other);
        }
        for _ in 0..3 {
            assert_alive(&proxy, what);
        }
    }
}

#[test]
fn w9_who_has_been_quiet_for_longest_makes_room() {
    let (_origin, proxy) = proxy();
    let mut first = TcpStream::connect(proxy.admin()).unwrap();
    first.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let others: Vec<_> = (0..64).map(|_| TcpStream::connect(proxy.admin()).unwrap()).collect();
    let begun = Instant::now();
    let mut said = Vec::new();
    first.read_to_end(&mut said).unwrap();
    assert!(said.is_empty() && begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(others);
}

fn keys(number: usize) -> String {
    (0..number).map(|n| format!("k{n} = 1\n")).collect()
}

fn regexes(number: usize) -> String {
    let routes = (0..number)
        .map(|n| format!("[[route]]\npath_regex = \"^/r{n}/[a-z]+/(x|y)*$\"\nrespond = {{}}\n"));
    format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{}", routes.collect::<String>())
}

fn post(proxy: &Tidegate, path: &str, fields: &str, body: &str) -> Response {
    RawClient::connect(proxy.admin()).exchange(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[test]
fn w8_large_nonsense_is_answered_soon_and_in_few_words() {
    let folder = Folder::new();
    for (what, text) in [
        ("keys at the top", keys(300_000)),
        ("keys of a table", format!("[runtime]\n{}", keys(300_000))),
        (
            "keys on one line",
            format!("[runtime]\nx = {{ {}z = 1 }}\n", keys(150_000).replace('\n', ", ")),
        ),
        (
            "variables",
            (0..100_000).map(|n| format!("k{n} = \"${{TIDEGATE_UNSET_{n}}}\"\n")).collect(),
        ),
        ("regular expressions", regexes(20_000)),
        ("nonsense", "x ".repeat(1_500_000)),
    ] {
        let begun = Instant::now();
        let (fine, said) = folder.check(&text);
        let took = begun.elapsed();
        assert!(!fine, "{what}");
        assert!(said.len() < 1 << 20, "{what}: {} bytes", said.len());
        // Some seconds in a build without optimisation; it was minutes.
        assert!(took < Duration::from_secs(15), "{what}: {took:?}");
    }
    let (_, said) = folder.check(&keys(300_000));
    assert!(said.contains("… and 299000 more findings\n"), "{}", &said[said.len() - 200..]);
    assert!(said.contains("\n300000 errors, 0 warnings"), "{}", &said[said.len() - 200..]);
    let (_, said) = folder.check(&regexes(20_000));
    assert!(said.contains("more than 2000 regular expressions"), "{said}");
}

/// The answer to a check, however long it takes without optimisation.
fn patient_check(proxy: &Tidegate, text: &str) -> String {
    let mut client = TcpStream::connect(proxy.admin()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = text.len();
    let head = format!(
        "POST /config/check HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn w8_the_probes_are_answered_while_a_configuration_is_checked() {
    let (_origin, proxy) = proxy();
    let before = support::resident_kib(proxy.pid());
    for text in [keys(200_000), regexes(20_000)] {
        let asked = std::thread::scope(|scope| {
            let asked = scope.spawn(|| patient_check(&proxy, &text));
            while !asked.is_finished() {
                assert_alive(&proxy, "during a check");
            }
            asked.join().unwrap()
        });
        assert!(asked.starts_with("HTTP/1.1 422 "), "{asked}");
        assert!(asked.len() < 1 << 20, "{} bytes", asked.len());
    }
    let after = support::resident_kib(proxy.pid());
    assert!(after < before + (400 << 10), "{before} KiB before, {after} KiB after");
}

#[test]
fn w8_what_is_too_large_is_not_read() {
    let (_origin, proxy) = proxy();
    let mut client = TcpStream::connect(proxy.admin()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client
        .write_all(
            b"POST /config/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n",
        )
        .unwrap();
    let chunk = vec![b'#'; 64 << 10];
    let sent = (0..1500).take_while(|_| client.write_all(&chunk).is_ok()).count();
    let mut said = [0; 12];
    let answered = client.read_exact(&mut said).is_ok();
    assert!(sent < 1500 || answered && &said == b"HTTP/1.1 413", "{sent} chunks");
    assert_alive(&proxy, "afterwards");
}

/// What anybody may ask for.
fn pages(proxy: &Tidegate) -> String {
    ["/config", "/stats", "/upstreams", "/explain?url=http://a.test/", "/metrics"]
        .map(|path| RawClient::connect(proxy.admin()).ask(path).text())
        .concat()
}

#[test]
fn i10_a_refused_reload_shows_no_line_of_the_file() {
    let origin = Origin::ok("app");
    let changing = Changing::start(&simple(&origin.server(), "one"));
    for bad in [
        "token = \"hunter2\", x",
        "[auth.a]\napi_key = { header = \"x\", keys = { a = \"hunter2\" }, secret = \"hunter2\" }",
        "[redis]\nurl = \"nonsense://bob:hunter2@x\"",
        "[redis]\nurl = \"rediss://bob:hunter2@x:hunter2\"",
        "[redis]\nurl = [\"rediss://bob:hunter2@x\", \"redis://bob:hunter2@y\"]\ncluster = true",
        "[log]\ntrace = { otlp = \"hunter2://x:y:z\" }",
        "[upstream.b]\nservers = [\"hunter2@127.0.0.1:1\"] x",
        "[upstream.b]\nservers = [{ address = \"127.0.0.1:1\", password = \"hunter2\" }]",
    ] {
        let whole = format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n{}\n{bad}\n",
            simple(&origin.server(), "two")
        );
        std::fs::write(changing.proxy.path("tidegate.toml"), whole).unwrap();
        let answer = changing.post("/reload");
        assert_eq!(answer.status, 409, "{bad}: {}", answer.text());
        let shown = answer.text() + &pages(&changing.proxy) + &changing.proxy.log();
        assert!(!shown.contains("hunter2"), "{bad}: {shown}");
        // What is wrong is said all the same, and where.
        assert!(answer.text().contains("tidegate.toml:"), "{}", answer.text());
    }
}

#[test]
fn i10_a_check_without_the_token_reads_neither_the_environment_nor_files() {
    let origin = Origin::ok("app");
    let secret = Folder::new().write("x", "");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "hunter2").unwrap();
    let text = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"tok\"\n{}",
        simple(&origin.server(), "one")
    );
    let variable = [("TIDEGATE_TEST_SECRET", Path::new("hunter2"))];
    let with_token = Tidegate::in_environment(tempfile::tempdir().unwrap(), &text, &[], &variable);
    let text = text.replace("token = \"tok\"\n", "");
    let open = Tidegate::in_environment(tempfile::tempdir().unwrap(), &text, &[], &variable);
    let asks = [
        "[[listen]]\naddress = \"${TIDEGATE_TEST_SECRET}\"\n".to_owned(),
        format!("[[listen]]\naddress = \"${{file:{}}}\"\n", file.display()),
        format!("include = [\"{}\"]\n", file.display()),
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{0}\", key = \"{0}\" }}\n[[route]]\nrespond = {{}}\n",
            file.display()
        ),
        format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = {{}}\nauth = \"a\"\n[auth.a]\nbasic = {{ users_file = \"{}\" }}\n",
            file.display()
        ),
    ];
    for ask in &asks {
        assert_eq!(post(&with_token, "/config/check", "", ask).status, 401);
        let fields = "Authorization: Bearer tok\r\n";
        for answer in
            [post(&with_token, "/config/check", fields, ask), post(&open, "/config/check", "", ask)]
        {
            assert!(!answer.text().contains("hunter2"), "{ask}: {}", answer.text());
        }
    }
    // A guess of a variable's value cannot be verified, not even by what is accepted.
    let ask = "[[listen]]\naddress = \"127.0.0.1:0\"\n[[route]]\nrespond = {}\nmethod = \"${TIDEGATE_TEST_SECRET}\"\n";
    let answer = post(&open, "/config/check", "", ask);
    assert!(answer.text().contains("unset_variable"), "{}", answer.text());
    let answer = post(&with_token, "/config/check", "Authorization: Bearer tok\r\n", ask);
    assert!(!answer.text().contains("unset_variable"), "{}", answer.text());
    // Whether a file is there cannot be found out either.
    let there = post(&open, "/config/check", "", &asks[3]).text();
    let missing = asks[3].replace(&file.display().to_string(), &secret.display().to_string());
    assert_eq!(there, post(&open, "/config/check", "", &missing).text());
}

#[test]
fn i14_secrets_are_masked_by_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "hunter-file\n").unwrap();
    let origin = Origin::ok("app");
    let text = format!(
        r#"
        [admin]
        address = "127.0.0.1:0"
        token = "hunter-token"
        [log]
        access = "off"
        trace = {{ otlp = "http://bob:hunter-otlp@127.0.0.1:1" }}
        [redis]
        url = "redis://bob:hunter-redis@127.0.0.1:1/0"
        [[listen]]
        address = "127.0.0.1:0"
        [upstream.app]
        servers = ["{server}", {{ address = "127.0.0.1:9", zone = "${{TIDEGATE_TEST_ZONE}}" }}]
        health = {{ path = "/h?k=${{file:{{dir}}/secret}}", headers = {{ authorization = "Basic hunter-health", x-any = "hunter-any" }} }}
        balance = {{ sticky = "tg", secret = "hunter-sticky" }}
        [[route]]
        name = "named"
        upstream = "app"
        headers = {{ x-api-key = "hunter-condition" }}
        auth = "keys"
        limit = {{ rate = "1000/s", store = "redis" }}
        request_headers = {{ set = {{ authorization = "Bearer hunter-set", x-plain = "hunter-plain" }}, add = {{ x-more = "hunter-add" }} }}
        [[route]]
        path = "/other"
        auth = "asked"
        respond = {{ body = "${{TIDEGATE_TEST_BODY}}" }}
        [auth.keys]
        api_key = {{ header = "x-api-key", keys = {{ alice = "hunter-alice" }} }}
        [auth.asked]
        forward = {{ url = "http://127.0.0.1:1/verify?token=hunter-query" }}
        "#,
        server = origin.server()
    );
    let variables = [
        ("TIDEGATE_TEST_ZONE", Path::new("hunter-zone")),
        ("TIDEGATE_TEST_BODY", Path::new("hunter-body")),
    ];
    let proxy = Tidegate::in_environment(directory, &text, &[], &variables);
    let shown = pages(&proxy) + &proxy.log();
    let at = shown.find("hunter").map(|at| &shown[at.saturating_sub(200)..at + 20]);
    assert_eq!(at, None);
    for kept in ["\"named\"", "x-plain", "alice", "least_request\"", "127.0.0.1:1/verify"] {
        let kept = if kept.starts_with("least") { "\"sticky\"" } else { kept };
        assert!(shown.contains(kept), "{kept}: {shown}");
    }
    assert!(!shown.contains("\\u001f"), "{shown}");
}

#[test]
fn i14_a_secret_that_changes_is_a_change() {
    let origin = Origin::ok("app");
    let text = |secret: &str| {
        simple(&origin.server(), "one").replacen(
            "upstream = \"app\"\n",
            &format!("upstream = \"app\"\nrequest_headers = {{ set = {{ authorization = \"{secret}\" }} }}\n"),
            1,
        )
    };
    let changing = Changing::start(&text("Basic one"));
    let outcome = changing.reload(&text("Basic two"));
    assert_eq!(outcome["changes"][0]["name"], "app", "{outcome}");
    assert_eq!(outcome["changes"][0]["keys"][0], "request_headers", "{outcome}");
    wait_until(SOON, "the server gets the new one", || {
        changing.proxy.client().get("/");
        origin.requests().iter().any(|r| r.header("authorization") == Some("Basic two"))
    });
}

#[test]
fn i14_where_others_can_reach_it_looking_needs_a_token_too() {
    let origin = Origin::ok("app");
    let start = |address: &str, tokens: &str| {
        Tidegate::start(&format!(
            "[admin]\naddress = \"{address}\"\n{tokens}\n{}",
            simple(&origin.server(), "one")
        ))
    };
    let ask = |proxy: &Tidegate, path: &str, fields: &str| {
        let at = format!("127.0.0.1:{}", proxy.admin().port()).parse().unwrap();
        RawClient::connect(at)
            .exchange(format!("GET {path} HTTP/1.1\r\nHost: any.example\r\n{fields}\r\n"))
            .status
    };
    let open = start("0.0.0.0:0", "token = \"all\"\nread_token = \"see\"");
    for path in ["/config", "/stats", "/metrics", "/", "/upstreams", "/openapi.json", "/nothing"] {
        assert_eq!(ask(&open, path, ""), 401, "{path}");
        assert_eq!(ask(&open, path, "Authorization: Bearer wrong\r\n"), 401, "{path}");
    }
    for path in ["/config", "/stats", "/metrics", "/", "/upstreams"] {
        assert_eq!(ask(&open, path, "Authorization: Bearer see\r\n"), 200, "{path}");
        assert_eq!(ask(&open, path, "Authorization: Bearer all\r\n"), 200, "{path}");
    }
    for path in ["/live", "/ready"] {
        assert_eq!(ask(&open, path, ""), 200, "{path}");
    }
    let alone = start("0.0.0.0:0", "token = \"all\"");
    assert_eq!(ask(&alone, "/stats", ""), 401);
    assert_eq!(ask(&alone, "/stats", "Authorization: Bearer all\r\n"), 200);
    let local = start("127.0.0.1:0", "read_token = \"see\"");
    let told = RawClient::connect(local.admin()).ask("/stats");
    assert_eq!(told.status, 401);
    assert_eq!(RawClient::connect(local.admin()).ask("/live").status, 200);
}
