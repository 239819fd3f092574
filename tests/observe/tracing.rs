//! Traces, as a real OpenTelemetry collector receives them.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};

use support::{
    Configuration, Origin, RawClient, SOON, Step, Tidegate, ok, refused_address, wait_until,
};

/// A running `rotel-agent`, which prints what it receives.
struct Collector {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Collector {
    fn start() -> Self {
        // It takes no port 0, so a port that is free now has to do; another one when it is taken
        // meanwhile.
        (0..10).find_map(|_| Self::try_start()).expect("rotel-agent starts")
    }

    fn try_start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let [address, grpc] = [(); 2].map(|()| free_address());
        let child = Command::new("rotel-agent")
            .args(["start", "--exporter", "blackhole", "--debug-log-verbosity", "detailed"])
            .args(["--debug-log", "traces", "--debug-log", "metrics"])
            .args(["--otlp-http-endpoint", &address.to_string()])
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .stdout(File::create(&log).unwrap())
            .stderr(File::create(directory.path().join("errors")).unwrap())
            .spawn()
            .expect("rotel-agent, of the package rotel on PyPI");
        let mut started = Self { child, address, log, _directory: directory };
        let mut up = || TcpStream::connect(address).is_ok();
        let ready = support::holds_within(SOON, &mut up);
        (ready && started.child.try_wait().unwrap().is_none()).then_some(started)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The text of the span with this attribute, from its first line to the next span.
    fn span(&self, attribute: &str) -> String {
        let mut found = None;
        wait_until(SOON, &format!("a span with {attribute}"), || {
            let log = self.log();
            let mut spans = log.split("Span #").skip(1);
            found = spans.find(|span| span.contains(attribute)).map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn tracing(receiver: SocketAddr, sample: &str, origin: &Origin) -> Tidegate {
    tracing_for(r#"["127.0.0.0/8"]"#, receiver, sample, origin)
}

fn tracing_for(trusted: &str, receiver: SocketAddr, sample: &str, origin: &Origin) -> Tidegate {
    let trace = format!("trace = {{ otlp = 'http://{receiver}', sample = '{sample}' }}");
    let servers =
        format!("servers = ['{}', {{ address = '{origin}', priority = 1 }}]", refused_address());
    Configuration::default()
        .log(&format!("access = '{{dir}}/access.log'\n{trace}"))
        .listen(&format!("trusted_proxies = {trusted}"))
        .upstream_with("app", &servers)
        .route("name = 'all'")
        .start()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn get(proxy: &Tidegate, path: &str, traceparent: &str) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\ntraceparent: {traceparent}\r\ntracestate: x=1\r\n\r\n"
    );
    assert_eq!(proxy.client().exchange(request).status, 200);
}

/// The value of a line like `    Parent ID      : b7ad6b7169203331`.
fn of<'s>(span: &'s str, key: &str) -> &'s str {
    let line = span.lines().find(|line| line.trim_start().starts_with(key));
    line.unwrap_or_else(|| panic!("no {key} in {span}")).rsplit(": ").next().unwrap()
}

#[test]
fn a_trace_of_the_client_goes_on_through_every_attempt() {
    let collector = Collector::start();
    let origin = Origin::ok("fine");
    let proxy = tracing(collector.address, "0%", &origin);
    get(&proxy, "/a?secret=1", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    let root = collector.span("url.path: Str(/a)");
    assert_eq!(of(&root, "Trace ID"), TRACE);
    assert_eq!(of(&root, "Parent ID"), "b7ad6b7169203331");
    assert_eq!(of(&root, "Name"), "GET all");
    assert_eq!(of(&root, "Kind"), "SPAN_KIND_SERVER");
    assert!(root.contains("http.response.status_code: Int(200)"), "{root}");
    let failed = collector.span("error.type: Str(upstream_connect)");
    let good = collector.span("http.request.resend_count: Int(1)");
    for attempt in [&failed, &good] {
        assert_eq!(of(attempt, "Trace ID"), TRACE);
        assert_eq!(of(attempt, "Parent ID"), of(&root, "ID"));
        assert_eq!(of(attempt, "Kind"), "SPAN_KIND_CLIENT");
    }
    // The server is told of the attempt as its parent, and what else was known of the trace.
    let seen = origin.only_request();
    assert_eq!(seen.header("traceparent").unwrap(), format!("00-{TRACE}-{}-01", of(&good, "ID")));
    assert_eq!(seen.all("traceparent").len(), 1);
    assert_eq!(seen.header("tracestate"), Some("x=1"));
    wait_until(SOON, "the line is written", || {
        let line = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
        line.contains(&format!("\"trace_id\":\"{TRACE}\""))
    });
}

/// What a server cut is no success, whatever its status said.
#[test]
fn a_response_that_is_cut_is_an_error_of_its_trace() {
    let collector = Collector::start();
    let origin = Origin::start(|request| {
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc".to_vec();
        match request.target.as_str() {
            "/cut" => vec![Step::Send(cut), Step::Close],
            _ => vec![Step::Send(ok("fine"))],
        }
    });
    let proxy = tracing(collector.address, "100%", &origin);
    assert_eq!(proxy.client().get("/whole").status, 200);
    let mut client = proxy.client();
    client.send("GET /cut HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (_cut, _end) = client.end(SOON);
    let [whole, cut] =
        ["whole", "cut"].map(|path| collector.span(&format!("url.path: Str(/{path})")));
    assert!(whole.contains("tidegate.outcome: Str(whole)"), "{whole}");
    assert!(!whole.contains("STATUS_CODE_ERROR"), "{whole}");
    for said in [
        "STATUS_CODE_ERROR",
        "http.response.status_code: Int(200)",
        "tidegate.outcome: Str(server_cut)",
        "error.type: Str(response_truncated)",
    ] {
        assert!(cut.contains(said), "{said}: {cut}");
    }
}

#[test]
fn a_trace_is_started_where_there_is_none_or_a_broken_one() {
    let collector = Collector::start();
    let origin = Origin::ok("fine");
    let proxy = tracing(collector.address, "100%", &origin);
    get(&proxy, "/broken", "00-zz-01");
    let root = collector.span("url.path: Str(/broken)");
    let sent = origin.only_request().header("traceparent").unwrap().to_owned();
    assert_eq!(sent.split('-').nth(1).unwrap(), of(&root, "Trace ID"));
    assert!(sent.ends_with("-01"), "{sent}");
    // Counters arrive as well.
    wait_until(3 * SOON, "counters arrive", || {
        let log = collector.log();
        log.contains("Name: http.server.request.duration")
            && log.contains("tidegate.route: Str(all)")
    });
    assert!(collector.log().contains("service.name: Str(tidegate)"));
}

#[test]
fn i12_a_stranger_does_not_decide_what_is_sampled() {
    let collector = Collector::start();
    let origin = Origin::start(|_| vec![Step::Send(ok("fine"))]);
    let none = tracing_for("[]", collector.address, "0%", &origin);
    get(&none, "/forced", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    let all = tracing_for("[]", collector.address, "100%", &origin);
    get(&all, "/kept-out", &format!("00-{TRACE}-b7ad6b7169203331-00"));
    // The trace itself goes on.
    let root = collector.span("url.path: Str(/kept-out)");
    assert_eq!((of(&root, "Trace ID"), of(&root, "Parent ID")), (TRACE, "b7ad6b7169203331"));
    let told: Vec<String> =
        origin.requests().iter().map(|r| r.header("traceparent").unwrap().to_owned()).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with(&format!("00-{TRACE}-")) && told[0].ends_with("-00"), "{told:?}");
    assert!(told[1].ends_with("-01"), "{told:?}");
    assert!(!collector.log().contains("/forced"));
}

#[test]
fn what_is_not_sampled_is_told_so_and_not_exported() {
    let collector = Collector::start();
    let origin = Origin::start(|_| vec![Step::Send(ok("fine"))]);
    let proxy = tracing(collector.address, "0%", &origin);
    get(&proxy, "/unsampled", &format!("00-{TRACE}-b7ad6b7169203331-00"));
    assert_eq!(proxy.client().get("/started").status, 200);
    for request in origin.all_requests(2) {
        assert!(request.header("traceparent").unwrap().ends_with("-00"));
    }
    // One that is sampled comes after them.
    get(&proxy, "/sampled", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    collector.span("url.path: Str(/sampled)");
    assert!(!collector.log().contains("/unsampled") && !collector.log().contains("/started"));
}

#[test]
fn a_receiver_that_is_away_costs_no_request() {
    let origin = Origin::ok("fine");
    let proxy = tracing(refused_address(), "100%", &origin);
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    wait_until(2 * SOON, "the loss is counted", || {
        let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
        let mut lines = page.lines();
        let name = "tidegate_trace_spans_total{result=\"dropped\"} ";
        let dropped = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        // Each request and each of its attempts is a span.
        dropped.parse::<u32>().unwrap() >= 100
    });
    assert!(proxy.log().contains("key=\"log.trace.otlp\""));
}

#[test]
fn the_last_spans_are_sent_before_the_process_ends() {
    let collector = Collector::start();
    let origin = Origin::ok("fine");
    let mut proxy = tracing(collector.address, "100%", &origin);
    assert_eq!(curl_once(&proxy, "/last"), "fine");
    proxy.terminate();
    assert!(proxy.wait_exit(SOON).success());
    collector.span("url.path: Str(/last)");
}

fn curl_once(proxy: &Tidegate, path: &str) -> String {
    support::curl(&[&format!("http://{}{path}", proxy.address())]).text()
}
