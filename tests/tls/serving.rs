//! Requests over TLS: versions, names, sessions, bodies.

use crate::{ask, entry, proxy, s_client, s_client_saying};
use support::{Authority, Haproxy, Nginx, Origin, SOON, Step, curl, ok, wait_until};

#[test]
fn both_versions_are_spoken_and_the_server_is_told() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), "");
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let answer = ask(&proxy, &authority, "a.test", version);
        assert_eq!(
            (answer.exit, answer.text()),
            (Some(0), "fine\n200".into()),
            "{}",
            answer.stderr
        );
    }
    for request in origin.all_requests(2) {
        assert_eq!(request.all("x-forwarded-proto"), ["https"]);
        assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    }
    let stats = proxy.stats();
    let tls = &stats["listeners"][0]["tls"];
    assert_eq!((&tls["handshakes"], &tls["failed"]), (&2.into(), &0.into()));
}

#[test]
fn an_older_version_is_refused_where_that_is_asked_for() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let tls = entry(&authority.certificate("a", &["a.test"]), ", min_version = '1.3'");
    let proxy = proxy(&origin, &tls, "");
    assert_eq!(ask(&proxy, &authority, "a.test", &["--tls-max", "1.2"]).exit, Some(35));
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
    // Nobody speaks anything older.
    for old in ["-tls1", "-tls1_1"] {
        assert!(s_client(&proxy, &[old]).contains("Cipher is (NONE)"));
    }
}

#[test]
fn each_name_is_shown_its_own_certificate_and_strangers_the_first() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let certificates = [
        authority.certificate("first", &["first.test"]),
        authority.certificate("second", &["second.test", "third.test"]),
        authority.certificate("wild", &["*.wild.test"]),
        authority.rsa("second-rsa", &["second.test"]),
    ];
    let all: Vec<String> = certificates.iter().map(|c| entry(c, "")).collect();
    let proxy = proxy(&origin, &format!("[{}]", all.join(", ")), "");
    for (name, shown) in [
        ("first.test", "first"),
        ("second.test", "second"),
        ("SECOND.test", "second"),
        ("third.test", "second"),
        ("a.wild.test", "wild"),
        ("a.b.wild.test", "first"),
        ("wild.test", "first"),
        ("other.test", "first"),
    ] {
        let said = s_client(&proxy, &["-servername", name]);
        assert!(said.contains(&format!("subject=CN = {shown}\n")), "{name}: {said}");
    }
    assert!(s_client(&proxy, &["-noservername"]).contains("subject=CN = first\n"));
    // Who cannot verify one kind of key gets the other one.
    let rsa = ["-servername", "second.test", "-sigalgs", "RSA-PSS+SHA256"];
    assert!(s_client(&proxy, &rsa).contains("subject=CN = second-rsa\n"));
}

#[test]
fn a_host_of_another_certificate_is_misdirected_where_that_is_strict() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let first = entry(&authority.certificate("first", &["first.test", "also.test"]), "");
    let second = entry(&authority.certificate("second", &["second.test"]), "");
    let proxy = proxy(&origin, &format!("[{first}, {second}]"), "strict = { sni = 'always' }");
    let host = |host: &str| {
        ask(&proxy, &authority, "first.test", &["-H", &format!("Host: {host}")]).text()
    };
    assert_eq!(host("first.test"), "fine\n200");
    assert_eq!(host("ALSO.test:443"), "fine\n200");
    for wrong in ["second.test", "other.test", "127.0.0.1"] {
        let answer = host(wrong);
        assert!(answer.ends_with("\n421"), "{wrong}: {answer}");
        assert!(answer.contains("\"code\":\"misdirected_request\""), "{answer}");
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn p1_clients_that_ask_for_no_name_or_another_are_answered() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let first = entry(&authority.certificate("first", &["first.test"]), "");
    let second = entry(&authority.certificate("second", &["second.test"]), "");
    let proxy = proxy(&origin, &format!("[{first}, {second}]"), "");
    let port = proxy.address().port().to_string();
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://127.0.0.1:{port}/");
        let answer = curl(&["-k", version, "-w", "\n%{http_code}", &url]).text();
        assert_eq!(answer, "fine\n200", "{version}");
        let other = ask(&proxy, &authority, "first.test", &[version, "-H", "Host: second.test"]);
        assert_eq!(other.text(), "fine\n200", "{version}");
    }
    assert_eq!(origin.requests().len(), 4);
}

/// `proxy_pass https://…` of nginx and `ssl verify none` of HAProxy send no name unless they are
/// told to.
#[test]
fn p1_nginx_and_haproxy_in_front_are_answered() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let first = entry(&authority.certificate("first", &["first.test"]), "");
    let second = entry(&authority.certificate("second", &["second.test"]), "");
    let proxy = proxy(&origin, &format!("[{first}, {second}]"), "");
    let pass = format!("location /front {{ proxy_pass https://{}; }}", proxy.address());
    let nginx = Nginx::secure_with(&[], &authority.certificate("front", &["front.test"]), &pass);
    let (haproxy, ()) = Haproxy::start(|entrance, _| {
        let server = proxy.address();
        let text =
            format!("listen entrance\n bind {entrance}\n server t {server} ssl verify none\n");
        (text, ())
    });
    for url in
        [format!("https://{}/front", nginx.address), format!("http://{}/front", haproxy.entrance)]
    {
        let answer = curl(&["-k", "-w", "\n%{http_code}", &url]).text();
        assert_eq!(answer, "fine\n200", "{url}");
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn p1_a_name_that_asks_for_certificates_is_open_to_others_where_that_is_off() {
    let (authority, staff) = (Authority::new("ca"), Authority::new("staff"));
    let origin = Origin::ok("fine");
    let open = entry(&authority.certificate("open", &["open.test"]), "");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let closed = entry(&authority.certificate("closed", &["closed.test"]), &more);
    for (strict, status) in [("", "421"), ("strict = { sni = 'off' }", "200")] {
        let proxy = proxy(&origin, &format!("[{open}, {closed}]"), strict);
        let answer = |host: &str| {
            let field = format!("Host: {host}");
            let said = ask(&proxy, &authority, "open.test", &["-H", &field]).text();
            said.rsplit('\n').next().unwrap().to_owned()
        };
        assert_eq!(answer("closed.test"), status, "{strict}");
        assert_eq!(answer("127.0.0.1"), "200", "{strict}");
    }
}

#[test]
fn sessions_are_resumed_by_every_worker_and_after_a_reload() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), "");
    let session = proxy.path("session.pem");
    let session = session.to_str().unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let new = ["-servername", "a.test", version, "-ign_eof", "-sess_out", session];
        let first = s_client_saying(&proxy, &new, request);
        assert!(first.contains("New, TLSv1") && first.contains("fine"), "{first}");
        let again = ["-servername", "a.test", version, "-ign_eof", "-sess_in", session];
        for round in 0..8 {
            if round == 4 {
                // Another content: what is the same is no reload.
                let text = std::fs::read_to_string(proxy.path("tidegate.toml")).unwrap();
                let route =
                    format!("[[route]]\npath = \"/{version}\"\nrespond = {{ status = 204 }}");
                std::fs::write(proxy.path("new"), format!("{text}\n{route}\n")).unwrap();
                std::fs::rename(proxy.path("new"), proxy.path("tidegate.toml")).unwrap();
                let reloads = || proxy.stats()["generation"].as_u64() > Some(1);
                wait_until(SOON, "it is reloaded", reloads);
            }
            let said = s_client_saying(&proxy, &again, request);
            assert!(said.contains("Reused, TLSv1") && said.contains("fine"), "{said}");
        }
    }
}

#[test]
fn large_bodies_arrive_whole_in_both_directions() {
    let authority = Authority::new("ca");
    let origin = Origin::start(|request| match request.method.as_str() {
        "GET" => vec![
            Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n".into()),
            Step::Fill(5_000_000),
        ],
        _ => vec![Step::Send(ok(request.body.len().to_string()))],
    });
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), "");
    let got = ask(&proxy, &authority, "a.test", &[]);
    assert_eq!(got.stdout.len(), 5_000_000 + "\n200".len());
    assert!(got.stdout[..5_000_000].iter().all(|byte| *byte == b'x'));
    let file = proxy.path("upload");
    std::fs::write(&file, vec![b'y'; 3_000_000]).unwrap();
    let upload = format!("@{}", file.display());
    let sent = ask(&proxy, &authority, "a.test", &["--data-binary", &upload, "-H", "Expect:"]);
    assert_eq!(sent.text(), "3000000\n200", "{}", sent.stderr);
    // An old client knows the end of a body by the end of the connection, which TLS tells apart
    // from a cut.
    let old = ask(&proxy, &authority, "a.test", &["--http1.0", "-H", "Host:"]);
    assert_eq!(
        (old.exit, old.stdout.len()),
        (Some(0), 5_000_000 + "\n200".len()),
        "{}",
        old.stderr
    );
}

#[test]
fn connections_are_kept_and_websockets_pass() {
    let authority = Authority::new("ca");
    let origin = Origin::start(|request| match request.target.as_str() {
        "/ws" => {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                          Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            vec![Step::Send(switch.into()), Step::Echo]
        }
        _ => vec![Step::Send(ok("fine"))],
    });
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), "");
    let said = s_client_saying(
        &proxy,
        &["-servername", "a.test", "-ign_eof"],
        b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n\
          GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nover and out",
    );
    let targets: Vec<String> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/1", "/2", "/ws"]);
    assert!(said.contains("101 Switching") && said.contains("over and out"), "{said}");
    assert_eq!(proxy.stats()["listeners"][0]["tls"]["handshakes"], 1);
}
