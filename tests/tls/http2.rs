//! HTTP/2 towards clients, spoken by curl and h2load.

use std::process::Command;

use crate::{ask, entry, proxy};
use support::{Authority, Gate, Origin, SOON, Step, Tidegate, ok, wait_until};

fn start(origin: &Origin, more: &str) -> (Authority, Tidegate) {
    let authority = Authority::new("ca");
    let tls = entry(&authority.certificate("a", &["a.test", "127.0.0.1"]), "");
    let proxy = proxy(origin, &tls, more);
    (authority, proxy)
}

#[test]
fn it_is_agreed_on_and_translated() {
    let origin = Origin::start(|request| {
        let body = format!("{} {} {}", request.method, request.target, request.body.len());
        let fields = "Connection: keep-alive\r\nKeep-Alive: timeout=9\r\nX-Mixed-Case: Yes\r\n";
        let length = body.len();
        vec![Step::Send(
            format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into(),
        )]
    });
    let (authority, proxy) = start(&origin, "");
    let more = ["--http2", "-i", "-H", "Cookie: a=1", "-H", "X_Sly: 1", "-H", "TE: trailers"];
    let got = ask(&proxy, &authority, "a.test", &more);
    let text = got.text();
    assert!(text.starts_with("HTTP/2 200 \r\n"), "{text} {}", got.stderr);
    assert!(text.contains("\r\nx-mixed-case: Yes\r\n") && text.ends_with("GET / 0\n200"), "{text}");
    assert!(!text.contains("keep-alive") && !text.contains("connection"), "{text}");
    let seen = origin.only_request();
    assert_eq!(seen.all("host"), [format!("a.test:{}", proxy.address().port())]);
    assert_eq!(seen.all("cookie"), ["a=1"]);
    assert_eq!(seen.all("te"), ["trailers"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert!(seen.all("x_sly").is_empty() && seen.all("transfer-encoding").is_empty());
    // Who does not know it goes on with HTTP/1.1.
    assert!(
        ask(&proxy, &authority, "a.test", &["--http1.1", "-i"]).text().starts_with("HTTP/1.1 200")
    );
}

#[test]
fn bodies_of_known_and_unknown_length_pass_in_both_directions() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => vec![
            Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n".into()),
            Step::Fill(5_000_000),
        ],
        _ => vec![Step::Send(ok(request.body.len().to_string()))],
    });
    let (authority, proxy) = start(&origin, "");
    let got = ask(&proxy, &authority, "a.test", &["--http2"]);
    assert_eq!(got.stdout.len(), 5_000_000 + "\n200".len(), "{}", got.stderr);
    let file = proxy.path("upload");
    std::fs::write(&file, vec![b'y'; 3_000_000]).unwrap();
    let known = format!("@{}", file.display());
    let sent = ask(&proxy, &authority, "a.test", &["--http2", "--data-binary", &known]);
    assert_eq!(sent.text(), "3000000\n200", "{}", sent.stderr);
    assert_eq!(origin.requests()[1].all("content-length"), ["3000000"]);
    let unknown = ["--http2", "-T", file.to_str().unwrap(), "-H", "Content-Length:"];
    let sent = ask(&proxy, &authority, "a.test", &unknown);
    assert_eq!(sent.text(), "3000000\n200", "{}", sent.stderr);
    assert_eq!(origin.requests()[2].all("transfer-encoding"), ["chunked"]);
    let head = ask(&proxy, &authority, "a.test", &["--http2", "-I"]);
    assert!(head.text().contains("content-length: 1\r\n"), "{}", head.text());
}

#[test]
fn many_streams_share_one_connection() {
    let origin = Origin::ok("fine");
    let (_authority, proxy) = start(&origin, "");
    let url = format!("https://{}/", proxy.address());
    let output = Command::new("h2load")
        .args(["-n", "2000", "-c", "2", "-m", "50", &url])
        .output()
        .expect("h2load, of the Debian package nghttp2-client");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert_eq!(origin.requests().len(), 2000);
    let stats = proxy.stats();
    assert_eq!(stats["listeners"][0]["tls"]["handshakes"], 2);
    assert_eq!(stats["listeners"][0]["responses"]["2xx"], 2000);
}

#[test]
fn what_is_too_much_is_refused_and_the_connection_goes_on() {
    let origin = Origin::ok("fine");
    let (authority, proxy) =
        start(&origin, "limits = { headers = 20, body = '1KiB' }\nstrict = { sni = 'always' }");
    let many: Vec<String> = (0..30).map(|n| format!("X-N-{n}: 1")).collect();
    let mut arguments = vec!["--http2"];
    many.iter().for_each(|field| arguments.extend(["-H", field.as_str()]));
    let answer = ask(&proxy, &authority, "a.test", &arguments).text();
    assert!(answer.ends_with("\n431") && answer.contains("headers_too_large"), "{answer}");
    let long = "x".repeat(5000);
    let answer = ask(&proxy, &authority, "a.test", &["--http2", "-d", &long]).text();
    assert!(answer.ends_with("\n413") && answer.contains("body_too_large"), "{answer}");
    assert!(origin.requests().is_empty());
    let misdirected = ask(&proxy, &authority, "a.test", &["--http2", "-H", "Host: b.test"]).text();
    assert!(misdirected.ends_with("\n421"), "{misdirected}");
}

#[test]
fn a_client_that_leaves_ends_its_request_and_a_drain_lets_one_end() {
    for version in ["--http2", "--http1.1"] {
        leaves_and_stays(version);
    }
}

fn leaves_and_stays(version: &str) {
    let gate = Gate::default();
    let until = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/held" => vec![Step::Until(until.clone()), Step::Send(ok("held"))],
        _ => vec![Step::Send(ok("fine"))],
    });
    let (authority, mut proxy) = start(&origin, "");
    let port = proxy.address().port();
    let hold = || {
        Command::new("curl")
            .args(["-sS", version, "--max-time", "20", "--cacert"])
            .arg(authority.ca())
            .args(["--resolve", &format!("a.test:{port}:127.0.0.1")])
            .arg(format!("https://a.test:{port}/held"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut leaver = hold();
    let in_flight = || proxy.stats()["routes"][0]["in_flight"].as_u64();
    wait_until(SOON, "it is under way", || in_flight() == Some(1));
    leaver.kill().unwrap();
    leaver.wait().unwrap();
    wait_until(SOON, "it has ended", || in_flight() == Some(0));
    let stays = hold();
    wait_until(SOON, "another one is under way", || in_flight() == Some(1));
    proxy.terminate();
    wait_until(SOON, "the drain has begun", || proxy.log().contains("draining"));
    gate.open();
    let output = stays.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "held");
    assert_eq!(proxy.wait_exit(std::time::Duration::from_secs(8)).code(), Some(0));
}
