//! Full is not down: when requests hold as much memory as they may, responses make room whose
//! clients take nothing, and nobody else does.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Verdict, WINDOW_UPDATE, Wire, block, frame,
};
use support::{Gate, Origin, RawClient, Response, SOON, Step, Tidegate, ok, wait_until};

const CALM: u32 = 11;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;
/// The longest time until those that stand still have made room: 1 s and 20 s, twice, and what a
/// busy machine takes.
const ROOM: Duration = Duration::from_secs(60);
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
const REST: &str = "4\r\nrest\r\n0\r\n\r\n";

/// Ends what goes on beside a test, however the test ends.
struct EndsBeside<'a>(&'a AtomicBool);

impl Drop for EndsBeside<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A server that answers some requests slowly, and others only once `gate` opens.
fn origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::on_head(move |request| {
        let until = Step::Until(gate.clone());
        let send = |text: &str| Step::Send(text.into());
        match &*request.target {
            "/large" => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n";
                vec![send(head), Step::Fill(10_000_000)]
            }
            "/slow" => {
                vec![Step::ReadBody, Step::Pause(Duration::from_secs(3)), Step::Send(ok("fine"))]
            }
            "/held" => vec![Step::ReadBody, until, Step::Send(ok("fine"))],
            "/part" => vec![send(CHUNKED), until, send(REST)],
            "/chat" => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                vec![send(head), Step::Echo, Step::Close]
            }
            _ => vec![Step::Send(ok("fine"))],
        }
    })
}

/// A proxy whose requests may hold 1 MiB together: a few connections fill it, which are another
/// worker's for half of the others.
fn frugal_proxy(origin: &Origin) -> Tidegate {
    let listen = "timeout = { write_gap = '120s', body_gap = '120s' }";
    let lines = format!(
        "servers = ['{}']\ntimeout = {{ first_byte = '120s', gap = '120s' }}",
        origin.server()
    );
    let config = crate::config(&lines, listen);
    let config = config.replace("drain =", "request_memory = '1MiB'\ndrain =");
    Tidegate::start(&config.replace("workers = 1", "workers = 2"))
}

fn memory(proxy: &Tidegate, name: &str) -> u64 {
    proxy.stats()["request_memory"][name].as_u64().unwrap()
}

fn fields_of(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.test")])
}

fn ask_for_large(client: &mut Wire, stream: u32) {
    client.head(stream, &fields_of("GET", "/large"));
}

/// More connections whose streams stand still, until there is no memory for another request.
fn crowd(proxy: &Tidegate, settings: &[(u16, u32)], begin: impl Fn(&mut Wire, u32)) -> Vec<Wire> {
    let full = || memory(proxy, "refused") + memory(proxy, "reclaimed");
    let (mut still, before) = (Vec::new(), full());
    while full() == before {
        assert!(still.len() < 50, "{}", proxy.stats()["request_memory"]);
        let mut client = Wire::connect(proxy.address(), settings);
        for n in 0..100_u32 {
            begin(&mut client, 2 * n + 1);
        }
        still.push(client);
    }
    still
}

/// A request with a body that takes its server three seconds, over both protocols: whether they
/// were let in.
fn are_uploads_served(proxy: &Tidegate) -> bool {
    let mut second = Wire::connect(proxy.address(), &[]);
    second.send(&frame(HEADERS, END_HEADERS, 1, &fields_of("POST", "/slow")));
    second.send(&frame(DATA, END_STREAM, 1, &[b'x'; 4000]));
    let head = "POST /slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4000\r\n\r\n";
    let first = proxy.client().exchange(format!("{head}{}", "x".repeat(4000))).status;
    let second = second.verdict(1);
    assert!([200, 503].contains(&first), "{first}");
    assert!([200, 503].map(Verdict::Status).contains(&second), "{second:?}");
    (first, second) == (200, Verdict::Status(200))
}

/// New clients of both protocols are answered once those that stand still have done so for long
/// enough.
fn honest_clients_are_served(proxy: &Tidegate) {
    let is_served = || {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.head(1, &crate::frames::get(&[]));
        client.verdict(1) == Verdict::Status(200) && proxy.client().get("/").status == 200
    };
    wait_until(ROOM, "fifty in a row are served", || (0..50).all(|_| is_served()));
    wait_until(ROOM, "uploads are served", || are_uploads_served(proxy));
}

/// Clients that do nothing wrong, and that somebody waits for while there is no memory.
struct Honest {
    /// An upload over HTTP/1 that has been taken, and whose server says nothing yet; one over
    /// HTTP/2; and one of each whose body goes on.
    taken: RawClient,
    streams: Wire,
    open: RawClient,
    /// A response that has begun and is silent, over HTTP/1, and a WebSocket.
    events: RawClient,
    socket: RawClient,
}

impl Honest {
    fn begin(proxy: &Tidegate) -> Self {
        let [mut taken, mut open, mut events, mut socket] = [(); 4].map(|()| proxy.client());
        let post = |n: usize| {
            format!("POST /held HTTP/1.1\r\nHost: a.test\r\nContent-Length: {n}\r\n\r\nwhole")
        };
        taken.send(post(5));
        open.send(post(9));
        events.send("GET /part HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(events.next_head().status, 200);
        assert_eq!(events.bytes(9), b"4\r\npart\r\n");
        socket.send(
            "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        assert_eq!(socket.next_head().status, 101);
        let mut streams = Wire::connect(proxy.address(), &[]);
        for (stream, path, ends) in [(1, "/held", END_STREAM), (3, "/held", 0), (5, "/part", 0)] {
            streams.send(&frame(HEADERS, END_HEADERS, stream, &fields_of("POST", path)));
            streams.send(&frame(DATA, ends, stream, b"begun"));
        }
        assert_eq!(streams.verdict(5), Verdict::Status(200));
        Self { taken, streams, open, events, socket }
    }

    /// All of them get what they came for.
    fn end(mut self, gate: &Gate) {
        gate.open();
        assert_eq!(self.taken.response().status, 200);
        self.open.send("rest");
        assert_eq!(self.open.response().status, 200);
        assert_eq!(self.events.bytes(REST.len()), REST.as_bytes());
        self.socket.send("ping");
        assert_eq!(self.socket.bytes(4), b"ping");
        for stream in [3, 5] {
            self.streams.send(&frame(DATA, END_STREAM, stream, b"rest"));
        }
        let mut open = vec![1, 3, 5];
        while !open.is_empty() {
            let said = self.streams.frame().expect("it goes on");
            assert!(said.kind != RST_STREAM, "{said:?}");
            assert!(said.kind != HEADERS || said.status() == 200, "{said:?}");
            open.retain(|stream| *stream != said.stream || !said.ends());
        }
    }
}

/// Reads a large response little by little over HTTP/2, with a window that is opened for each part.
/// Says how much.
fn read_stream(proxy: &Tidegate, done: &AtomicBool) -> usize {
    let mut slow = Wire::connect(proxy.address(), &[(WINDOW, 1000)]);
    ask_for_large(&mut slow, 1);
    let mut read = 0;
    while !done.load(Relaxed) {
        let said = slow.frame().expect("it goes on");
        assert!(said.kind != RST_STREAM, "it is read, and was cut: {said:?}");
        assert!(said.kind != HEADERS || said.status() == 200, "{said:?}");
        if said.kind == DATA {
            read += said.payload.len();
            thread::sleep(Duration::from_millis(1500));
            let more = u32::try_from(said.payload.len()).unwrap().to_be_bytes();
            let updates = [1, 0].map(|stream| frame(WINDOW_UPDATE, 0, stream, &more));
            slow.send(&updates.concat());
        }
    }
    read
}

/// The same over HTTP/1, with a small receive buffer.
fn read_socket(proxy: &Tidegate, done: &AtomicBool) -> usize {
    let mut slow = RawClient::connect_narrow(proxy.address());
    slow.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head: Response = slow.next_head();
    assert_eq!(head.status, 200);
    let mut read = 0;
    while !done.load(Relaxed) {
        read += slow.bytes(1000).len();
        thread::sleep(Duration::from_millis(500));
    }
    // What was read meanwhile was on its way already; more still comes.
    slow.bytes(1_000_000);
    read
}

fn joined(reader: ScopedJoinHandle<'_, usize>) -> usize {
    reader.join().unwrap()
}

/// Streams that nobody reads make room, and nobody else does. `takes_nothing`: it is their sockets
/// that are full.
fn streams_make_room(settings: &[(u16, u32)], takes_nothing: bool, begin: impl Fn(&mut Wire, u32)) {
    let gate = Gate::default();
    let origin = origin(&gate);
    let proxy = frugal_proxy(&origin);
    let honest = Honest::begin(&proxy);
    let done = AtomicBool::new(false);
    let mut still = Vec::new();
    let read = thread::scope(|scope| {
        let readers = [read_stream, read_socket].map(|read| {
            let (proxy, done) = (&proxy, &done);
            scope.spawn(move || read(proxy, done))
        });
        let ends = EndsBeside(&done);
        wait_until(SOON, "they are served", || origin.requests().len() == 9);
        still.extend(crowd(&proxy, settings, &begin));
        honest_clients_are_served(&proxy);
        // Once more, now that some have gone.
        still.extend(crowd(&proxy, settings, &begin));
        honest_clients_are_served(&proxy);
        drop(ends);
        readers.map(joined)
    });
    assert!(read.iter().all(|read| *read > 2000), "{read:?}");
    honest.end(&gate);
    let reclaimed = memory(&proxy, "reclaimed");
    assert!(reclaimed > 0 && reclaimed <= 100 * still.len() as u64, "{reclaimed}");
    wait_until(SOON, "it is logged", || {
        let log = proxy.log();
        let parts = ["WARN", "client_stalled", "runtime.request_memory", "127.0.0.1", "/large"];
        log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
    wait_until(SOON, "it is in the access log", || {
        proxy.stdout().contains("outcome=proxy_cut code=client_stalled")
    });
    let text = RawClient::connect(proxy.admin()).ask("/metrics").text();
    assert!(text.contains(&format!("tidegate_request_memory_reclaimed_total {reclaimed}\n")));
    // Whoever was cut is told so on its stream. A connection of which nothing is left but what
    // nobody reads is broken off.
    let cut = still[0].next(|frame| frame.kind == RST_STREAM);
    assert!(cut.map_or(takes_nothing, |cut| cut.number(0) == CALM));
    drop(still);
    wait_until(SOON, "all of it is given back", || memory(&proxy, "held") == 0);
}

#[test]
fn w15_streams_whose_windows_stay_shut_make_room() {
    streams_make_room(&[(WINDOW, 0)], false, ask_for_large);
}

#[test]
fn w15_streams_that_use_up_the_window_of_their_connection_make_room() {
    streams_make_room(&[], false, ask_for_large);
}

#[test]
fn w15_streams_of_a_socket_that_nobody_reads_make_room() {
    streams_make_room(&[(WINDOW, 0x7fff_ffff)], true, |client, stream| {
        if stream == 1 {
            client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
        }
        ask_for_large(client, stream);
    });
}

#[test]
fn w15_what_no_server_has_answered_is_not_cut() {
    let gate = Gate::default();
    let origin = origin(&gate);
    let proxy = frugal_proxy(&origin);
    let mut busy = crowd(&proxy, &[], |client, stream| {
        client.send(&frame(HEADERS, END_HEADERS, stream, &fields_of("POST", "/held")));
        client.send(&frame(DATA, 0, stream, b"begun"));
    });
    // Longer than anybody may stand still.
    thread::sleep(Duration::from_secs(7));
    let mut late = Wire::connect(proxy.address(), &[]);
    late.head(1, &crate::frames::get(&[]));
    assert_eq!(late.verdict(1), Verdict::Status(503));
    assert_eq!(memory(&proxy, "reclaimed"), 0);
    drop(busy.split_off(1));
    wait_until(SOON, "there is room again", || proxy.client().get("/").status == 200);
    busy[0].send(&frame(DATA, END_STREAM, 1, b"rest"));
    gate.open();
    assert_eq!(busy[0].verdict(1), Verdict::Status(200));
}
