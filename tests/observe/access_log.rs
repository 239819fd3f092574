//! One line per request, whole and unforgeable, wherever it goes.

use serde_json::Value;

use support::{
    Configuration, Origin, SOON, Signal, Step, Tidegate, curl, ok, refused_address, wait_until,
};

/// A proxy in front of `origin` with the given `[log]`.
fn logging(log: &str, origin: &Origin) -> Tidegate {
    Configuration::default()
        .log(log)
        .listen("name = 'main'")
        .upstream_with("app", &format!("servers = [{{ address = '{origin}', name = 'one' }}]"))
        .upstream("down", [refused_address()], "retry = { attempts = 0 }")
        .route("name = 'all'")
        .route("path = '/quiet'\naccess_log = false")
        .route("name = 'down'\npath = '/down'\nupstream = 'down'")
        .start()
}

fn file(proxy: &Tidegate, name: &str) -> String {
    std::fs::read_to_string(proxy.path(name)).unwrap_or_default()
}

/// Waits for so many lines.
fn lines(read: impl Fn() -> String, count: usize) -> Vec<String> {
    wait_until(SOON, "the lines are written", || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_tells_where_the_request_went_and_how_long_each_part_took() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = '{dir}/access.log'", &origin);
    let request = "POST /a?b=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: me\r\nReferer: there\r\n\
                   X-Request-Id: id-1\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(proxy.client().exchange(request).status, 200);
    let written = lines(|| file(&proxy, "access.log"), 1);
    let line: Value = serde_json::from_str(&written[0]).unwrap();
    for (key, expected) in [
        ("request_id", "id-1"),
        ("client", "127.0.0.1"),
        ("listener", "main"),
        ("method", "POST"),
        ("host", "a.test"),
        ("target", "/a?b=1"),
        ("protocol", "HTTP/1.1"),
        ("route", "all"),
        ("upstream", "app"),
        ("server", "one"),
        ("user_agent", "me"),
        ("referer", "there"),
    ] {
        assert_eq!(line[key], expected, "{key} of {line}");
    }
    assert_eq!(line["code"], Value::Null);
    let numbers = ["status", "attempts", "received", "sent"].map(|key| line[key].as_u64());
    assert_eq!(numbers, [Some(200), Some(1), Some(3), Some(5)]);
    let time = |key| line[key].as_f64().unwrap();
    assert!(time("first_byte_ms") > 0.0 && time("connect_ms") > 0.0, "{line}");
    assert!(time("total_ms") >= time("first_byte_ms") + time("connect_ms"), "{line}");
    assert_eq!(time("queue_ms"), 0.0);
}

#[test]
fn answers_of_the_proxy_carry_their_code() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = '{dir}/access.log'", &origin);
    // One connection: the lines of two workers may come in any order.
    let mut client = proxy.client();
    assert_eq!(client.get("/down").status, 502);
    client.exchange("G(T / HTTP/1.1\r\nHost: a\r\n\r\n");
    let written = lines(|| file(&proxy, "access.log"), 2);
    let line: Value = serde_json::from_str(&written[0]).unwrap();
    assert_eq!((&line["code"], &line["status"]), (&"upstream_connect".into(), &502.into()));
    assert_eq!((&line["route"], &line["upstream"]), (&"down".into(), &"down".into()));
    assert_eq!((&line["attempts"], &line["first_byte_ms"]), (&1.into(), &Value::Null));
    let line: Value = serde_json::from_str(&written[1]).unwrap();
    assert_eq!((&line["code"], &line["status"]), (&"bad_request".into(), &400.into()));
    assert_eq!((&line["route"], &line["method"]), (&Value::Null, &"-".into()));
}

#[test]
fn attempts_and_waiting_show() {
    let origin = Origin::on_head(|request| match request.target.as_str() {
        "/slow" => vec![Step::Pause(std::time::Duration::from_millis(60)), Step::Send(ok("slow"))],
        _ => vec![Step::Send(ok("fast"))],
    });
    let half =
        format!("servers = ['{}', {{ address = '{origin}', priority = 1 }}]", refused_address());
    let proxy = Configuration::of(&origin)
        .log("access = '{dir}/access.log'")
        .app("limits = { requests = 1 }")
        .upstream_with("half", &half)
        .route("")
        .route("path = '/again'\nupstream = 'half'")
        .start();
    let mut first = proxy.client();
    first.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until(SOON, "the slow one is under way", || origin.requests().len() == 1);
    assert_eq!(proxy.client().get("/fast").status, 200);
    assert_eq!(first.response().status, 200);
    assert_eq!(proxy.client().get("/again").status, 200);
    let written = lines(|| file(&proxy, "access.log"), 3);
    let of = |target: &str| {
        let mut parsed = written.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        parsed.find(|line| line["target"] == target).unwrap()
    };
    assert!(of("/fast")["queue_ms"].as_f64() > Some(1.0), "{written:?}");
    assert_eq!(of("/again")["attempts"], 2);
    assert_eq!(of("/again")["server"], origin.server());
}

#[test]
fn standard_output_gets_text_for_people_or_json_for_collectors() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = 'stdout'", &origin);
    assert_eq!(proxy.client().get("/x").status, 200);
    let written = lines(|| proxy.stdout(), 1);
    let line = &written[0];
    assert!(line.contains(" 127.0.0.1 \"GET /x HTTP/1.1\" 200 5 "), "{line}");
    assert!(line.contains(" route=all upstream=app server=one attempts=1 "), "{line}");
    let proxy = logging("format = 'json'\naccess = 'stdout'", &origin);
    assert_eq!(proxy.client().get("/x").status, 200);
    let line: Value = serde_json::from_str(&lines(|| proxy.stdout(), 1)[0]).unwrap();
    assert_eq!(line["target"], "/x");
}

#[test]
fn combined_is_what_log_analysers_of_nginx_read() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = { path = '{dir}/access.log', format = 'combined' }", &origin);
    let url = format!("http://{}/x?y", proxy.address());
    assert_eq!(curl(&["-A", "a \"b\"", &url]).text(), "hello");
    let line = lines(|| file(&proxy, "access.log"), 1).remove(0);
    let pattern = regex::Regex::new(
        r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /x\?y HTTP/1\.1" 200 5 "-" "a \\x22b\\x22"$"#,
    );
    assert!(pattern.unwrap().is_match(&line), "{line}");
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = '{dir}/access.log'", &origin);
    assert_eq!(proxy.client().get("/1").status, 200);
    lines(|| file(&proxy, "access.log"), 1);
    std::fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    proxy.signal(Signal::USR1);
    wait_until(SOON, "the file is there again", || proxy.path("access.log").exists());
    assert_eq!(proxy.client().get("/2").status, 200);
    assert!(lines(|| file(&proxy, "access.log"), 1)[0].contains("\"/2\""));
    assert_eq!(file(&proxy, "access.log.1").lines().count(), 1);
}

#[test]
fn routes_can_be_left_out_and_shares_be_taken() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = { path = '{dir}/access.log', sample = '25%' }", &origin);
    let mut client = proxy.client();
    for _ in 0..400 {
        client.get("/quiet");
        client.get("/loud");
    }
    drop(client);
    proxy_stopped(&proxy);
    let text = file(&proxy, "access.log");
    assert!(!text.contains("/quiet"));
    // 100 expected; eight standard deviations on either side.
    assert!((30..=170).contains(&text.lines().count()), "{}", text.lines().count());
}

#[test]
fn the_last_lines_are_written_before_the_process_ends() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = '{dir}/access.log'", &origin);
    let mut client = proxy.client();
    for _ in 0..50 {
        client.get("/");
    }
    drop(client);
    proxy_stopped(&proxy);
    assert_eq!(file(&proxy, "access.log").lines().count(), 50);
}

/// Ends the process and waits until its log says so.
fn proxy_stopped(proxy: &Tidegate) {
    proxy.terminate();
    wait_until(SOON, "the process ends", || proxy.log().contains("stopped"));
}

#[test]
fn a_file_that_cannot_be_opened_is_said_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    let text = "[log]\naccess = '/nowhere/access.log'\n[[listen]]\naddress = '127.0.0.1:0'\n\
                [[route]]\nrespond = { status = 200 }\n";
    std::fs::write(&path, text).unwrap();
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "-c"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("tidegate.toml:2:10") && said.contains("cannot be opened"), "{said}");
}

#[test]
fn a_reload_changes_the_log_and_loses_no_line() {
    let origin = Origin::ok("hello");
    let proxy = logging("access = '{dir}/one.log'", &origin);
    let config = file(&proxy, "tidegate.toml");
    let mut client = proxy.client();
    assert_eq!(client.get("/1").status, 200);
    std::fs::write(proxy.path("tidegate.toml"), config.replace("one.log", "two.log")).unwrap();
    proxy.signal(Signal::HUP);
    wait_until(SOON, "the other file is used", || {
        client.get("/2");
        !file(&proxy, "two.log").is_empty()
    });
    assert!(file(&proxy, "one.log").contains("\"/1\""));
}
