//! Full is not down: when requests hold as much memory as they may, responses make room whose
//! clients take nothing.

use std::time::Duration;

use support::{
    Configuration, End, Origin, RawClient, SOON, Step, Tidegate, check_problem, holds_within,
    wait_until,
};

/// More clients than any test needs to fill the memory.
const CROWD: usize = 3000;
/// The longest time until those that stand still have made room: 1 s and 20 s, twice, and what a
/// busy machine takes.
const ROOM: Duration = Duration::from_secs(60);

/// A server with a large body, with a length and without.
fn large_origin() -> Origin {
    Origin::start(|request| match &*request.target {
        "/large" | "/cached/large" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\
                Cache-Control: max-age=600\r\n\r\n";
            vec![Step::Send(head.into()), Step::Fill(10_000_000)]
        }
        "/endless" => {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
            vec![Step::Send(head.into()), Step::Fill(1_000_000), Step::Close]
        }
        _ => vec![Step::Send(support::ok("fine"))],
    })
}

/// A proxy whose requests may hold 2 MiB together, which listens on a Unix socket too.
fn frugal_proxy(origin: &Origin) -> Tidegate {
    let directory = tempfile::tempdir().unwrap();
    let timeouts = "timeout = { write_gap = '120s', body_gap = '120s' }";
    Configuration::of(origin)
        .runtime("workers = 2\nrequest_memory = '2MiB'\ndrain = '1s'")
        .listen(&format!("name = 'at0'\n{timeouts}"))
        .listen(&format!("address = 'unix:{{dir}}/listen'\n{timeouts}"))
        .route("name = 'app'")
        .route("path = '/cached/*'\nupstream = 'app'\ncache = { memory = '64MiB' }")
        .start_in(directory)
}

fn memory(proxy: &Tidegate, name: &str) -> u64 {
    proxy.stats()["request_memory"][name].as_u64().unwrap()
}

/// Clients that have asked for something and take nothing of it, until there is no memory for
/// another request, and stays none.
fn crowd(proxy: &Tidegate, begin: impl Fn() -> RawClient) -> Vec<RawClient> {
    let mut still = Vec::new();
    let mut is_served = || proxy.client().get("/").status == 200;
    let mut is_full = || !holds_within(Duration::from_secs(1), &mut is_served);
    while memory(proxy, "reclaimed") == 0 && !is_full() {
        assert!(still.len() < CROWD, "{}", proxy.stats()["request_memory"]);
        for _ in 0..20 {
            still.push(begin());
        }
    }
    still
}

/// New clients are answered, one after the other, once those that stand still have done so for long
/// enough.
fn honest_clients_are_served(proxy: &Tidegate) {
    let is_served = || {
        let answer = proxy.client().get("/");
        if answer.status != 200 {
            assert_eq!(answer.header("retry-after"), Some("1"));
            check_problem(&answer, &[503], "proxy_overloaded").unwrap();
        }
        answer.status == 200
    };
    wait_until(ROOM, "a hundred in a row are served", || (0..100).all(|_| is_served()));
}

/// How those ended that stood still.
fn ends(still: &mut [RawClient]) -> Vec<End> {
    still.iter_mut().map(|client| client.end(Duration::from_millis(5)).1).collect()
}

fn downloads_make_room(path: &str) {
    let origin = large_origin();
    let proxy = frugal_proxy(&origin);
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let begin = || {
        let mut client = RawClient::connect_narrow(proxy.address());
        client.send(&request);
        client
    };
    let mut still = Vec::new();
    // Memory that is full for a while only, because sockets are being filled, needs nobody to make
    // room.
    wait_until(3 * ROOM, "somebody makes room", || {
        still.extend(crowd(&proxy, begin));
        honest_clients_are_served(&proxy);
        memory(&proxy, "reclaimed") > 0
    });
    let reclaimed = memory(&proxy, "reclaimed");
    assert!(reclaimed <= still.len() as u64, "{reclaimed} of {}", still.len());
    // Whoever was cut sees that it was.
    let resets = ends(&mut still).into_iter().filter(|end| *end == End::Reset).count() as u64;
    assert!(resets >= reclaimed, "{resets} of {reclaimed}");
    wait_until(SOON, "it is logged", || {
        let log = proxy.log();
        let parts = ["client_stalled", "runtime.request_memory", "127.0.0.1", path];
        log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
}

#[test]
fn w15_downloads_that_nobody_reads_make_room() {
    downloads_make_room("/large");
}

#[test]
fn w15_responses_out_of_a_cache_that_nobody_reads_make_room() {
    downloads_make_room("/cached/large");
}

#[test]
fn w15_of_a_unix_socket_only_those_make_room_whose_clients_can_tell() {
    let origin = large_origin();
    let proxy = frugal_proxy(&origin);
    let connect = |request: &str| {
        let mut client = RawClient::connect_unix(&proxy.path("listen"));
        client.send(request);
        client
    };
    let mut endless: Vec<RawClient> =
        (0..20).map(|_| connect("GET /endless HTTP/1.0\r\nHost: a.test\r\n\r\n")).collect();
    let begin = || connect("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut still = Vec::new();
    wait_until(3 * ROOM, "somebody makes room", || {
        still.extend(crowd(&proxy, begin));
        honest_clients_are_served(&proxy);
        memory(&proxy, "reclaimed") > 0
    });
    assert!(ends(&mut still).contains(&End::Closed));
    // The end of a body that lasts until the close would be taken for its own.
    for client in &mut endless {
        let answer = client.response();
        assert_eq!((answer.status, answer.body.len()), (200, 1_000_000));
    }
}
