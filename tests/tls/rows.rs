//! The rest of the table of bad inputs (reliability.md §2, T): each row with its number.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::{ask, entry, proxy, s_client, s_client_saying};
use support::{Authority, Origin, RawClient, SOON, Tidegate};

fn start(more: &str, listen: &str) -> (Authority, Origin, Tidegate) {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let tls = entry(&authority.certificate("a", &["a.test"]), more);
    let proxy = proxy(&origin, &tls, listen);
    (authority, origin, proxy)
}

/// A client of TLS that has said nothing yet.
fn hello(authority: &Authority) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("a.test").unwrap()).unwrap()
}

fn stats(proxy: &Tidegate, what: &str) -> u64 {
    proxy.stats()["listeners"][0]["tls"][what].as_u64().unwrap()
}

#[test]
fn t6_keys_are_not_changed_for_ever_and_nothing_is_negotiated_again() {
    let (authority, origin, proxy) = start("", "timeout = { headers = '1s' }");
    let connect = || {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut client = StreamOwned::new(hello(&authority), stream);
        client.conn.complete_io(&mut client.sock).unwrap();
        client
    };
    let ask = |client: &mut StreamOwned<ClientConnection, TcpStream>| {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")?;
        let mut status = [0; 12];
        client.read_exact(&mut status).map(|()| status)
    };
    let mut few = connect();
    for _ in 0..3 {
        few.conn.refresh_traffic_keys().unwrap();
    }
    assert_eq!(&ask(&mut few).unwrap(), b"HTTP/1.1 200");
    let mut many = connect();
    let changed = (0..10_000)
        .take_while(|_| {
            many.conn.refresh_traffic_keys().is_ok() && many.conn.write_tls(&mut many.sock).is_ok()
        })
        .count();
    assert!(ask(&mut many).is_err(), "keys were changed {changed} times");
    // In TLS 1.2 a client may ask for another handshake. Nothing of one comes back.
    let mut client = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-servername", "a.test", "-tls1_2", "-msg"])
        .args(["-connect", &proxy.address().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut commands = client.stdin.take().unwrap();
    commands.write_all(b"R\n").unwrap();
    // It ends when the proxy has waited for a request for long enough.
    let output = client.wait_with_output().unwrap();
    drop(commands);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches(", ClientHello").count(), 2, "{said}");
    let (before, after) = said.rsplit_once(", ClientHello").unwrap();
    assert!(before.contains("<<< TLS 1.2, Handshake"), "{said}");
    assert!(!after.contains("<<< TLS 1.2, Handshake"), "{after}");
    assert!(origin.requests().len() <= 2);
}

#[test]
fn t9_a_greeting_may_come_in_pieces_but_not_for_ever() {
    let (authority, _origin, proxy) = start("", "timeout = { tls = '600ms' }");
    let mut greeting = Vec::new();
    hello(&authority).write_tls(&mut greeting).unwrap();
    let mut pieces = proxy.client();
    pieces.send_in_pieces(&greeting, 1);
    // A record of a handshake.
    assert_eq!(pieces.bytes(1), [0x16]);
    // The same, each byte in a record of its own.
    let records: Vec<u8> =
        greeting[5..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    let mut client = proxy.client();
    client.offer(&records);
    let (said, _) = client.end(SOON);
    assert!(said.first().is_none_or(|first| matches!(first, 0x15 | 0x16)), "{said:?}");
    // One byte now and then is no reason to wait longer.
    let mut slow = TcpStream::connect(proxy.address()).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut gone = false;
    for byte in greeting.iter().take(40) {
        let mut answer = [0; 64];
        gone = slow.write_all(&[*byte]).is_err() || slow.read(&mut answer).is_ok();
        if gone {
            break;
        }
    }
    assert!(gone, "after four seconds of single bytes");
}

#[test]
fn t10_a_flood_of_handshakes_leaves_established_connections_alone() {
    let (authority, _origin, proxy) = start("", "");
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut established = BufReader::new(StreamOwned::new(hello(&authority), stream));
    let address = proxy.address().to_string();
    let mut flood: Vec<Child> = (0..3)
        .map(|_| {
            Command::new("timeout")
                .args(["20", "openssl", "s_time", "-new", "-time", "10", "-connect", &address])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let before = stats(&proxy, "handshakes");
    let mut answered = 0;
    // For as long as it takes that many strangers shake hands.
    while stats(&proxy, "handshakes") < before + 300 {
        established.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let mut line = String::new();
        established.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        while line != "\r\n" {
            line.clear();
            established.read_line(&mut line).unwrap();
        }
        let mut body = [0; 4];
        established.read_exact(&mut body).unwrap();
        answered += 1;
    }
    assert!(answered > 20, "{answered} requests while 300 handshakes were made");
    for client in &mut flood {
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn t12_early_data_is_not_accepted() {
    let (_authority, origin, proxy) = start("", "");
    let session = proxy.path("session");
    let session = session.to_str().unwrap();
    let early = proxy.path("early");
    std::fs::write(&early, "GET /early HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let name = ["-servername", "a.test", "-tls1_3"];
    let ask = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    s_client_saying(&proxy, &[&name[..], &["-ign_eof", "-sess_out", session]].concat(), ask);
    let more = ["-sess_in", session, "-early_data", early.to_str().unwrap()];
    let said = s_client(&proxy, &[&name[..], &more].concat());
    assert!(said.contains("Reused, TLSv1.3"), "{said}");
    assert!(said.contains("Early data was not sent"), "{said}");
    assert_eq!(origin.only_request().target, "/");
}

#[test]
fn t13_a_protocol_that_is_not_spoken_is_no_reason_to_speak_another() {
    let (authority, origin, proxy) = start("", "");
    let said = s_client(&proxy, &["-servername", "a.test", "-alpn", "smtp"]);
    assert!(said.contains("no application protocol"), "{said}");
    // HTTP/1.1 where HTTP/2 was agreed on.
    let mixed = s_client_saying(
        &proxy,
        &["-servername", "a.test", "-alpn", "h2", "-ign_eof"],
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    );
    assert!(mixed.contains("ALPN protocol: h2") && !mixed.contains("200 OK"), "{mixed}");
    assert!(origin.requests().is_empty());
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
}

#[test]
fn t14_a_client_certificate_that_is_over_is_refused_and_an_endless_chain_does_no_harm() {
    let staff = Authority::new("staff");
    let more = format!(", client_ca = '{}'", staff.ca().display());
    let (authority, origin, proxy) = start(&more, "");
    let over = staff.lasting("over", &["over.test"], time::Duration::days(-1));
    let good = staff.certificate("good", &["good.test"]);
    let pem = std::fs::read(&good.cert).unwrap();
    let endless = proxy.path("endless.pem");
    std::fs::write(&endless, pem.repeat(100)).unwrap();
    let with = |cert: &std::path::Path, key: &std::path::Path| {
        let (cert, key) = (cert.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned());
        ask(&proxy, &authority, "a.test", &["--cert", &cert, "--key", &key])
    };
    assert_ne!(with(&over.cert, &over.key).exit, Some(0));
    // A chain that is a hundred times as long as it has to be: refused or taken for what it begins
    // with.
    let answer = with(&endless, &good.key);
    assert!(answer.exit != Some(0) || answer.text() == "fine\n200", "{}", answer.text());
    assert_eq!(with(&good.cert, &good.key).text(), "fine\n200");
    assert!(origin.requests().len() <= 2);
}

#[test]
fn strict_transport_security_is_a_field_of_responses() {
    let (authority, origin) = (Authority::new("ca"), Origin::ok("fine"));
    let pair = authority.certificate("a", &["a.test"]);
    let tls = entry(&pair, "");
    let proxy = Tidegate::start(&format!(
        r#"
        [log]
        access = "off"
        [[listen]]
        name = "secure"
        address = "127.0.0.1:0"
        tls = {tls}
        [[listen]]
        name = "plain"
        address = "127.0.0.1:0"
        redirect = "https"
        [upstream.app]
        servers = ["{}"]
        [[route]]
        upstream = "app"
        response_headers = {{ set = {{ strict-transport-security = "max-age=31536000" }} }}
        "#,
        origin.server()
    ));
    let answer = ask(&proxy, &authority, "a.test", &["-i"]).text();
    assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
    let mut plain = RawClient::connect(proxy.listener("plain"));
    let answer = plain.exchange("GET /x?y HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://a.test/x?y")));
    // RFC 6797 §7.2: not without TLS.
    assert_eq!(answer.header("strict-transport-security"), None);
}
