//! Another server is asked who the client is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{config, proxy};
use support::{
    Authority, Nginx, Origin, Request, Response, SOON, Step, Tidegate, assert_problem,
    refused_address, wait_until,
};

fn answer(text: &str) -> Vec<Step> {
    vec![Step::Send(text.as_bytes().to_vec())]
}

/// Lets `Cookie: session=good` pass, sends the others to a page, and has no opinion on `/broken`.
fn verify(request: &Request) -> Vec<Step> {
    if request.header("x-forwarded-uri") == Some("/broken") {
        return answer("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    }
    match request.header("cookie") {
        Some("session=good") => answer(
            "HTTP/1.1 200 OK\r\nX-User: anna\r\nX-Secret: inside\r\nContent-Length: 2\r\n\r\nok",
        ),
        Some("session=other") => answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        Some("session=old") => answer(
            "HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nSet-Cookie: back=1\r\nContent-Length: 0\r\n\r\n",
        ),
        _ => answer(
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
        ),
    }
}

fn guarded(origin: &Origin, url: &str) -> Tidegate {
    let auth = format!(
        "[auth.staff]\nforward = {{ url = \"{url}\", copy = [\"X-User\"], timeout = \"300ms\" }}\n"
    );
    proxy(origin, "auth = 'staff'", &auth)
}

fn ask(proxy: &Tidegate, path: &str, cookie: &str) -> Response {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\nX-User: root\r\nContent-Length: 4\r\n\r\nbody"
    );
    proxy.client().exchange(request)
}

#[test]
fn who_is_known_passes_with_what_was_said_of_him() {
    let (judge, origin) = (Origin::start(verify), Origin::ok("fine"));
    let proxy = guarded(&origin, &format!("http://{}/verify?x=1", judge.server()));
    let mut client = proxy.client();
    for _ in 0..3 {
        let request = "POST /a?b HTTP/1.1\r\nHost: a.test\r\nCookie: session=good\r\nX-User: root\r\n\
                       X-Forwarded-For: 192.0.2.7\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(client.exchange(request).text(), "fine");
    }
    let asked = judge.requests();
    assert_eq!(asked.len(), 3);
    assert_eq!(judge.accepts(), 1, "the connection is kept");
    for request in &asked {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/verify?x=1"));
        for (name, value) in [
            ("x-forwarded-method", "POST"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-uri", "/a?b"),
            ("x-forwarded-for", "192.0.2.7"),
            ("cookie", "session=good"),
        ] {
            assert_eq!(request.all(name), [value], "{name}");
        }
        assert_eq!((request.text().as_str(), request.header("content-length")), ("", None));
    }
    for request in origin.all_requests(3) {
        assert_eq!(
            request.all("x-user"),
            ["anna"],
            "what clients say of themselves does not count"
        );
        assert_eq!((request.header("x-secret"), request.text().as_str()), (None, "body"));
    }
}

#[test]
fn refusals_and_redirects_reach_the_client() {
    let (judge, origin) = (Origin::start(verify), Origin::ok("fine"));
    let proxy = guarded(&origin, &format!("http://{}/", judge.server()));
    let nobody = ask(&proxy, "/", "x=y");
    assert_problem(&nobody, 401, "auth_required");
    assert_eq!(nobody.header("www-authenticate"), Some("Basic realm=\"x\""));
    assert_problem(&ask(&proxy, "/", "session=other"), 403, "not_allowed");
    let old = ask(&proxy, "/", "session=old");
    assert_eq!((old.status, old.header("location")), (302, Some("https://login.test/")));
    assert_eq!(old.header("set-cookie"), Some("back=1"));
    assert!(origin.requests().is_empty());
}

#[test]
fn without_an_answer_the_door_stays_closed() {
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &format!("http://{}/", refused_address()));
    assert_problem(&ask(&proxy, "/", "session=good"), 503, "auth_unavailable");
    let silent = Arc::new(AtomicBool::new(true));
    let quiet = silent.clone();
    let judge = Origin::start(move |request| {
        if quiet.load(Ordering::SeqCst) { vec![Step::Hold] } else { verify(request) }
    });
    let proxy = guarded(&origin, &format!("http://{}/", judge.server()));
    let began = Instant::now();
    assert_problem(&ask(&proxy, "/", "session=good"), 503, "auth_unavailable");
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    silent.store(false, Ordering::SeqCst);
    assert_problem(&ask(&proxy, "/broken", "session=good"), 503, "auth_unavailable");
    wait_until(SOON, "it answers again", || ask(&proxy, "/", "session=good").status == 200);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let judge = Origin::start(|request| {
        let mut steps = verify(request);
        steps.push(Step::Close);
        steps
    });
    let origin = Origin::ok("fine");
    let proxy = guarded(&origin, &format!("http://{}/", judge.server()));
    for _ in 0..20 {
        assert_eq!(ask(&proxy, "/", "session=good").status, 200);
    }
}

/// Says yes with a cookie, no with a page, and "not so fast".
fn pages(request: &Request) -> Vec<Step> {
    answer(match request.header("cookie") {
        Some("yes") => {
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Inside: 1\r\nContent-Length: 0\r\n\r\n"
        }
        Some("no") => {
            "HTTP/1.1 403 No\r\nContent-Type: text/html\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Why: so\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\n<h1>a\r\n0\r\n\r\n"
        }
        Some("fast") => "HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow",
        _ => "HTTP/1.1 502 No\r\nContent-Length: 3\r\n\r\nbad",
    })
}

/// Holds to conditions, as a server of files does: of what the client has it says 304, of a part
/// 206, and 412.
fn conditional(request: &Request) -> Vec<Step> {
    let conditions = ["if-none-match", "if-match", "if-modified-since", "if-range", "range"];
    match conditions.into_iter().find_map(|name| request.header(name)) {
        Some(_) => answer("HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n"),
        None if request.target == "/unchanged" => answer("HTTP/1.1 304 No\r\nETag: \"a\"\r\n\r\n"),
        None => answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    }
}

#[test]
fn conditions_are_for_the_server_and_not_for_the_judge() {
    let (judge, origin) = (Origin::start(conditional), Origin::ok("fine"));
    let guarded = guarded(&origin, &format!("http://{}/", judge.server()));
    let fields = [
        ("If-None-Match", "\"a\""),
        ("If-Match", "*"),
        ("if-modified-since", "Thu, 26 Nov 2026 00:00:00 GMT"),
        ("If-Range", "\"a\""),
        ("Range", "bytes=0-1"),
    ];
    for (name, value) in fields {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{name}: {value}\r\n\r\n");
        assert_eq!(guarded.client().exchange(request).text(), "fine", "{name}");
    }
    let seen = origin.all_requests(5);
    for ((name, value), request) in fields.iter().zip(&seen) {
        assert_eq!(request.all(&name.to_ascii_lowercase()), [*value]);
    }
    // Whoever has nothing can do nothing with "not modified".
    let auth = format!(
        "[auth.staff]\nforward = {{ url = \"http://{}/unchanged\", pass = \"answer\" }}\n",
        judge.server()
    );
    let passing = proxy(&origin, "auth = 'staff'", &auth);
    assert_problem(&ask(&passing, "/", "x=y"), 503, "auth_unavailable");
}

#[test]
fn p15_answers_reach_the_client_as_they_were_written() {
    let (judge, origin) = (Origin::start(pages), Origin::ok("fine"));
    let url = format!("http://{}/", judge.server());
    let auth = format!("[auth.staff]\nforward = {{ url = \"{url}\", pass = \"answer\" }}\n");
    let passing = proxy(&origin, "auth = 'staff'", &auth);
    let yes = ask(&passing, "/", "yes");
    assert_eq!((yes.status, yes.text().as_str()), (200, "fine"));
    assert_eq!(yes.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(yes.header("x-inside"), None);
    let no = ask(&passing, "/", "no");
    assert_eq!((no.status, no.text().as_str()), (403, "<h1>a"));
    assert_eq!((no.header("content-type"), no.header("x-why")), (Some("text/html"), Some("so")));
    assert_eq!((no.header("x-hop"), no.header("transfer-encoding")), (None, None));
    assert_eq!(no.header("content-length"), Some("5"));
    let fast = ask(&passing, "/", "fast");
    assert_eq!((fast.status, fast.header("retry-after")), (429, Some("7")));
    assert_eq!(fast.text(), "slow");
    assert_problem(&ask(&passing, "/", "else"), 503, "auth_unavailable");
    // Without `pass`, the proxy says it in its own words.
    let plain = guarded(&origin, &url);
    assert_eq!(ask(&plain, "/", "yes").all("set-cookie"), [""; 0]);
    assert_problem(&ask(&plain, "/", "no"), 403, "not_allowed");
    assert_problem(&ask(&plain, "/", "fast"), 503, "auth_unavailable");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn p3_a_server_with_a_certificate_of_ones_own_is_asked_where_ca_says_whose() {
    let origin = Origin::ok("fine");
    let authority = Authority::new("ca");
    let pair = authority.certificate("judge", &["localhost"]);
    let judge = Nginx::secure_with(
        &[],
        &pair,
        "location /verify { if ($http_cookie != 'session=good') { return 401; } \
         add_header X-User anna; return 204; }",
    );
    let url = format!("https://localhost:{}/verify", judge.address.port());
    let auth = |more: &str| {
        format!("[auth.staff]\nforward = {{ url = '{url}', copy = ['x-user']{more} }}\n")
    };
    // The authority, or the certificate itself; not another one, and not those of the system.
    let other = Authority::new("other");
    for (more, expected) in [
        (format!(", ca = '{}'", authority.ca().display()), 200),
        (format!(", ca = '{}'", pair.cert.display()), 200),
        (format!(", ca = '{}'", other.ca().display()), 503),
        (String::new(), 503),
    ] {
        let proxy = proxy(&origin, "auth = 'staff'", &auth(&more));
        for _ in 0..2 {
            assert_eq!(ask(&proxy, "/", "session=good").status, expected, "{more}");
        }
        if expected == 200 {
            assert_eq!(origin.requests().pop().unwrap().all("x-user"), ["anna"]);
            assert_problem(&ask(&proxy, "/", "x=y"), 401, "auth_required");
        }
    }
    assert_eq!(origin.requests().len(), 4);
}

/// `check` refuses what `run` cannot use.
#[test]
fn p3_the_authorities_of_a_server_that_is_asked_are_checked() {
    let origin = Origin::ok("fine");
    let found = |forward: &str| {
        let text = config(&origin, "auth = 'a'", &format!("[auth.a]\nforward = {{ {forward} }}"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        std::fs::write(&path, text.replace("{dir}", ".")).unwrap();
        let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let said = check.arg("check").arg("-c").arg(&path).output().unwrap();
        (said.status.code(), String::from_utf8([said.stdout, said.stderr].concat()).unwrap())
    };
    for (forward, message) in [
        ("url = 'https://a.example/', ca = '/nowhere/ca.pem'", "/nowhere/ca.pem: there is no such"),
        ("url = 'https://a.example/', ca = '/dev/null'", "/dev/null"),
        ("url = 'http://a.example/', ca = '/nowhere/ca.pem'", "error[bad_value]: this is for TLS"),
    ] {
        let (code, said) = found(forward);
        assert!(code == Some(1) && said.contains(message), "{forward}: {said}");
        assert!(said.contains("1 error,"), "{said}");
    }
}
