//! Those who speak no TLS, stop in the middle, or come in numbers.

use crate::{ask, entry, proxy};
use support::{Authority, End, Gate, Origin, RawClient, SOON, Step, Tidegate, curl, wait_until};

fn plain(more: &str) -> (Authority, Origin, Tidegate) {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), more);
    (authority, origin, proxy)
}

fn count(proxy: &Tidegate, what: &str) -> u64 {
    proxy.stats()["listeners"][0]["tls"][what].as_u64().unwrap()
}

#[test]
fn plain_http_is_told_to_use_https() {
    let (_authority, origin, proxy) = plain("");
    let answer = curl(&["-w", "%{http_code}", &format!("http://{}/", proxy.address())]);
    assert!(answer.text().ends_with("400") && answer.text().contains("https"), "{}", answer.text());
    assert!(answer.text().contains("\"code\":\"bad_request\""));
    assert_eq!(count(&proxy, "failed"), 1);
    assert!(origin.requests().is_empty());
}

#[test]
fn who_stops_in_the_middle_is_let_go() {
    let (authority, _origin, proxy) = plain("timeout = { tls = '300ms' }");
    // Nothing at all, and half a record.
    for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut client = proxy.client();
        client.send(start);
        client.assert_closes(SOON);
    }
    assert_eq!(count(&proxy, "failed"), 2);
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
}

#[test]
fn whatever_comes_the_proxy_stays() {
    let (authority, _origin, proxy) = plain("timeout = { tls = '2s' }");
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03";
    let huge = [&b"\x16\x03\x01\xff\xff"[..], &[0; 70_000]].concat();
    let alert = b"\x15\x03\x01\x00\x02\x02\x28";
    let proxied = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    for garbage in [&hello[..], &huge, alert, proxied, b"\0\0\0\0", b"SSH-2.0-x\r\n"] {
        let mut client = proxy.client();
        client.offer(garbage);
        client.close_write();
        let (said, _) = client.end(SOON);
        assert!(said.len() < 16 || said.starts_with(b"HTTP/1.1 400 "), "{said:?}");
    }
    assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
    assert_eq!(count(&proxy, "handshakes"), 1);
}

/// Such a client still reads, and without the end of TLS a body that lasts until the close looks
/// cut.
#[test]
fn who_has_ended_the_sending_side_hears_the_end_of_tls() {
    let gate = Gate::default();
    let halt = gate.clone();
    let authority = Authority::new("ca");
    let origin = Origin::start(move |_| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n".to_vec();
        let end = Step::Send(b"0\r\n\r\n".to_vec());
        vec![Step::Send(head), Step::Until(halt.clone()), end]
    });
    let proxy = proxy(&origin, &entry(&authority.certificate("a", &["a.test"]), ""), "");
    let mut client = RawClient::connect_tls(proxy.address(), "a.test", &authority);
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    client.wait_for("part");
    client.close_write();
    gate.open();
    assert_eq!(client.end(SOON).1, End::Closed);
}

#[test]
fn handshakes_that_wait_for_ever_hold_nobody_up() {
    let (authority, _origin, proxy) = plain("timeout = { tls = '60s' }");
    let silent: Vec<RawClient> = (0..300).map(|_| proxy.client()).collect();
    let open = || proxy.stats()["listeners"][0]["connections"].as_u64();
    wait_until(SOON, "all are there", || open() == Some(300));
    for _ in 0..5 {
        assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
    }
    drop(silent);
    wait_until(SOON, "all are gone", || open() == Some(0));
}

#[test]
fn w16_who_stops_in_the_middle_of_a_handshake_makes_room() {
    let (authority, _origin, proxy) =
        plain("timeout = { tls = '60s' }\nlimits = { connections = 16 }");
    let silent: Vec<RawClient> = (0..16).map(|_| proxy.client()).collect();
    let open = || proxy.stats()["listeners"][0]["connections"].as_u64();
    wait_until(SOON, "all are there", || open() == Some(16));
    // Until some of them have been silent for long enough, there is no room, and that is said in
    // TLS.
    let mut refused = 0;
    wait_until(SOON, "one has gone", || match &*ask(&proxy, &authority, "a.test", &[]).text() {
        "fine\n200" => true,
        answer => {
            assert!(answer.contains("proxy_overloaded") && answer.ends_with("503"), "{answer}");
            refused += 1;
            false
        }
    });
    for _ in 0..5 {
        assert_eq!(ask(&proxy, &authority, "a.test", &[]).text(), "fine\n200");
    }
    assert_eq!(proxy.stats()["listeners"][0]["refused"].as_u64(), Some(refused));
    drop(silent);
}
