//! Copies of requests for a second upstream.

use crate::proxy;
use support::{
    Configuration, Gate, Origin, Request, SOON, Step, Tidegate, ok, refused_address, wait_until,
};

/// A route that copies to `shadow`.
fn mirrored(origin: &Origin, shadow: &str, more: &str) -> Tidegate {
    let upstream = format!("[upstream.shadow]\nservers = ['{shadow}']");
    proxy(origin, &format!("mirror = {{ upstream = 'shadow'{more} }}"), &upstream)
}

fn count(proxy: &Tidegate, what: &str) -> u64 {
    proxy.stats()["routes"][0]["mirror"][what].as_u64().unwrap()
}

#[test]
fn a_copy_is_what_the_server_got_and_its_answer_reaches_nobody() {
    let origin = Origin::ok("real");
    let shadow = Origin::start(|_| {
        vec![Step::Send("HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nshadow".into())]
    });
    let proxy = mirrored(&origin, &shadow.server(), "");
    let mut client = proxy.client();
    let post = "POST /a/b?c=d HTTP/1.1\r\nHost: a.test\r\nX-Mine: 1\r\n";
    let answer = client.exchange(format!("{post}Content-Length: 5\r\n\r\nhello"));
    assert_eq!((answer.status, answer.text()), (200, "real".into()));
    let chunked = client.exchange(format!(
        "{post}Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    ));
    assert_eq!(chunked.text(), "real");
    assert_eq!(client.get("/plain").text(), "real");
    wait_until(SOON, "three copies have come", || shadow.requests().len() == 3);
    let copies = shadow.requests();
    for real in origin.all_requests(3) {
        // Each is sent by a task of its own, so they may come in any order.
        let same = |copy: &&Request| copy.all("x-request-id") == real.all("x-request-id");
        let copy = copies.iter().find(same).unwrap();
        assert_eq!(
            (&real.method, &real.target, &real.body),
            (&copy.method, &copy.target, &copy.body)
        );
        for name in ["host", "x-mine", "x-forwarded-for", "x-request-id"] {
            assert_eq!(real.all(name), copy.all(name), "{name}");
        }
    }
    wait_until(SOON, "all have been answered", || count(&proxy, "answered") == 3);
    assert_eq!(count(&proxy, "failed") + count(&proxy, "dropped"), 0);
}

#[test]
fn a_shadow_that_is_down_or_hangs_changes_nothing() {
    let origin = Origin::ok("real");
    let down = mirrored(&origin, &refused_address().to_string(), "");
    let mut client = down.client();
    assert!((0..20).all(|_| client.get("/").text() == "real"));
    wait_until(SOON, "all copies have failed", || count(&down, "failed") == 20);

    let gate = Gate::default();
    let until = gate.clone();
    let shadow = Origin::start(move |_| vec![Step::Until(until.clone()), Step::Send(ok("late"))]);
    let hangs = mirrored(&origin, &shadow.server(), "");
    let mut client = hangs.client();
    // One connection, so one worker: it has 64 under way and copies no more.
    assert!((0..100).all(|_| client.get("/").text() == "real"));
    assert_eq!(count(&hangs, "dropped"), 36);
    gate.open();
    wait_until(SOON, "the others are answered", || count(&hangs, "answered") == 64);
    assert_eq!(client.get("/").text(), "real");
    wait_until(SOON, "there is room again", || count(&hangs, "answered") == 65);
}

#[test]
fn what_is_too_long_is_not_copied_and_what_is_refused_neither() {
    let origin = Origin::ok("real");
    let shadow = Origin::ok("shadow");
    let upstream = format!("[upstream.shadow]\nservers = ['{}']", shadow.server());
    let route = "mirror = { upstream = 'shadow' }\nlimit = { rate = '1/min', burst = 1 }";
    let proxy = proxy(&origin, route, &upstream);
    let mut client = proxy.client();
    let long = "x".repeat(65 * 1024);
    let post =
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    assert_eq!(client.exchange(post).status, 200);
    assert_eq!(count(&proxy, "dropped"), 1);
    assert_eq!(client.get("/short").status, 200);
    assert_eq!(client.get("/refused").status, 429);
    wait_until(SOON, "the short one is copied", || count(&proxy, "answered") == 1);
    let targets: Vec<String> = shadow.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/short"]);
}

#[test]
fn a_share_of_requests_is_copied() {
    let origin = Origin::ok("real");
    let shadow = Origin::ok("shadow");
    let proxy = mirrored(&origin, &shadow.server(), ", share = '25%'");
    let mut client = proxy.client();
    assert!((0..400).all(|_| client.get("/").status == 200));
    let done = || count(&proxy, "answered") + count(&proxy, "dropped");
    let under_way = || proxy.stats()["upstreams"][1]["in_flight"].as_u64();
    wait_until(SOON, "all copies are answered", || under_way() == Some(0) && done() > 0);
    // Six standard deviations to either side.
    assert!((48..=152).contains(&done()), "{}", done());
}

#[test]
fn the_subset_of_a_route_is_not_that_of_its_mirror() {
    let origin = Origin::ok("real");
    let shadow = Origin::ok("shadow");
    let gold = format!("servers = [{{ address = '{origin}', labels = {{ tier = 'gold' }} }}]");
    let proxy = Configuration::default()
        .upstream_with("app", &gold)
        .upstream("shadow", [&shadow], "")
        .route("subset = { tier = 'gold' }\nmirror = { upstream = 'shadow' }")
        .start();
    assert_eq!(proxy.client().get("/").text(), "real");
    wait_until(SOON, "the copy has come", || shadow.requests().len() == 1);
}
