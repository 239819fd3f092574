//! The access log where it leaves the machine, what its lines say besides, and the forms in which a
//! trace goes on.

use std::net::UdpSocket;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use serde_json::Value;

use support::{
    Configuration, Origin, RawClient, Request, SOON, Step, Tidegate, holds_within, refused_address,
    wait_until,
};

fn proxy(log: &str, route: &str, origin: &Origin) -> Tidegate {
    let listen = format!("trusted_proxies = ['127.0.0.1']\n{route}");
    let base = Configuration::of(origin).runtime("workers = 1").log(log);
    base.listen(&listen).route("name = 'all'").start()
}

fn ask(proxy: &Tidegate, path: &str, fields: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    proxy.client().exchange(request).status
}

fn syslog() -> (UdpSocket, String) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let address = server.local_addr().unwrap().to_string();
    (server, address)
}

fn message(server: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let length = server.recv(&mut buffer).expect("a datagram");
    String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
}

#[test]
fn each_line_is_a_message_of_syslog() {
    let ((server, address), origin) = (syslog(), Origin::ok("fine"));
    let proxy = proxy(&format!("access = 'syslog:{address}'"), "", &origin);
    for path in ["/a", "/b%0a%0d<1>1"] {
        assert_eq!(ask(&proxy, path, "User-Agent: x\\n\u{85}<134>1 - - -\r\n"), 200);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for path in ["/a", "/b%0a%0d<1>1"] {
        let message = message(&server);
        let mut parts = message.splitn(8, ' ');
        assert_eq!(parts.next(), Some("<134>1"));
        let time = parts.next().unwrap();
        assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"), "{time}");
        assert_eq!(parts.next(), Some(host.trim()));
        assert_eq!(parts.next(), Some("tidegate"));
        assert_eq!(parts.next(), Some(proxy.pid().to_string().as_str()));
        assert_eq!((parts.next(), parts.next()), (Some("access"), Some("-")));
        let line: Value = serde_json::from_str(parts.next().unwrap()).unwrap();
        assert_eq!((&line["target"], &line["status"]), (&path.into(), &200.into()));
        assert!(!message.chars().any(char::is_control), "{message}");
    }
}

#[test]
fn a_long_line_is_cut_and_says_so() {
    let ((server, address), origin) = (syslog(), Origin::ok("fine"));
    let log = format!("access = {{ path = 'syslog:{address}', format = 'text' }}");
    let proxy = proxy(&log, "", &origin);
    assert_eq!(ask(&proxy, &format!("/{}", "x".repeat(20_000)), ""), 200);
    assert_eq!(ask(&proxy, "/next", ""), 200);
    let cut = message(&server);
    assert_eq!(cut.len(), 8192);
    assert!(cut.ends_with("xxx…[cut]"), "{cut}");
    assert!(message(&server).contains(" \"GET /next HTTP/1.1\" 200 4 "));
}

#[test]
fn nobody_waits_for_a_syslog_server_that_is_not_there() {
    let origin = Origin::ok("fine");
    for server in [refused_address().to_string(), "no-such-host.invalid:514".to_owned()] {
        let proxy = proxy(&format!("access = 'syslog:{server}'"), "", &origin);
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").status, 200);
        }
        let lost = || {
            assert_eq!(ask(&proxy, "/", ""), 200);
            let text = RawClient::connect(proxy.admin()).ask("/metrics").text();
            let lines = text.lines().filter(|l| l.starts_with("tidegate_access_log_lost_total"));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        wait_until(2 * SOON, "lost lines are counted", || lost() > 0.0);
        wait_until(SOON, "it is told once", || {
            proxy.log().contains("the access log cannot be written")
        });
    }
}

#[test]
fn lines_are_log_records_of_a_collector() {
    let (collector, origin) = (Origin::ok(""), Origin::ok("fine"));
    let log = format!(
        "access = {{ otlp = 'http://{}', fields = ['header:user-agent'] }}\n\
         trace = {{ otlp = 'http://{}', sample = '0%' }}",
        collector.server(),
        refused_address()
    );
    let proxy = proxy(&log, "", &origin);
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-00\r\n");
    assert_eq!(ask(&proxy, "/a?b=1", &format!("User-Agent: me\r\n{traceparent}")), 200);
    let seen = || collector.requests().into_iter().find(|r| r.target == "/v1/logs");
    wait_until(2 * SOON, "a batch", || seen().is_some());
    let request: Request = seen().unwrap();
    assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
    let sent = ExportLogsServiceRequest::decode(&*request.body).unwrap();
    let resource = sent.resource_logs[0].resource.as_ref().unwrap();
    assert!(format!("{resource:?}").contains("\"tidegate\""));
    let record = &sent.resource_logs[0].scope_logs[0].log_records[0];
    let hex: String = record.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, TRACE);
    assert!(record.time_unix_nano > 1_700_000_000_000_000_000);
    let text = format!("{:?}", record.attributes);
    for part in [
        "\"http.request.method\"",
        "\"GET\"",
        "\"url.original\"",
        "\"/a?b=1\"",
        "IntValue(200)",
        "\"http.request.header.user-agent\"",
        "\"me\"",
        "\"tidegate.route\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_collector_that_refuses_loses_records_and_counts_them() {
    let collector = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let origin = Origin::ok("fine");
    let proxy =
        proxy(&format!("access = {{ otlp = 'http://{}' }}", collector.server()), "", &origin);
    assert_eq!(ask(&proxy, "/", ""), 200);
    wait_until(2 * SOON, "it is told", || {
        proxy.log().contains("the collector answered 400 Bad Request")
            && proxy.log().contains("lost=1")
    });
}

#[test]
fn lines_say_besides_what_they_are_told_to_and_no_secrets() {
    let origin = Origin::ok("fine");
    let log = "access = { path = '{dir}/access.log', fields = ['header:X-Tenant', 'jwt:sub'] }";
    let proxy = proxy(log, "", &origin);
    let hostile = "X-Tenant: a\"}\\n{\"x\":1}\u{1b}[2J\u{e9}\r\n";
    assert!(matches!(ask(&proxy, "/", hostile), 200 | 400));
    assert_eq!(ask(&proxy, "/", "x-tenant: one\r\nX-TENANT: two\r\n"), 200);
    let text = || std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    wait_until(SOON, "both are written", || text().lines().count() == 2);
    let lines: Vec<Value> = text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        (&lines[1]["header:x-tenant"], &lines[1]["jwt:sub"]),
        (&"one, two".into(), &Value::Null)
    );
    assert!(!text().trim_end().replace('\n', "").chars().any(char::is_control));
    let check = |access: &str, more: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        let start = "[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\nrespond = {}\n";
        std::fs::write(&path, format!("{start}{more}[log]\naccess = {access}\n")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "-c"])
            .arg(&path)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let many: Vec<String> = (0..33).map(|n| format!("'header:x-{n}'")).collect();
    let many = format!("{{ path = 'stdout', fields = [{}] }}", many.join(", "));
    let key = "[auth.a]\napi_key = { header = 'X-Key', keys = { a = 'b' } }\n";
    for (access, more, said) in [
        (
            "{ path = 'stdout', fields = ['header:Authorization'] }",
            "",
            "`authorization` is not written down",
        ),
        ("{ path = 'stdout', fields = ['header:cookie'] }", "", "`cookie` is not written down"),
        ("{ path = 'stdout', fields = ['header:x-key'] }", key, "which are not written down"),
        ("{ path = 'stdout', fields = ['header:a', 'header:A'] }", "", "`header:a` is given twice"),
        ("{ path = 'stdout', fields = ['headers:a'] }", "", "is not a field of the access log"),
        ("{ path = 'stdout', fields = ['header:a b'] }", "", "is not a header name"),
        (
            "{ path = 'stdout', format = 'combined', fields = ['header:a'] }",
            "",
            "`combined` has no room for fields",
        ),
        (&many, "", "more than 32 fields"),
        ("'syslog:'", "", "names no server"),
        ("'syslog:10.0.0.1'", "", "names no server"),
        ("'syslog:10.0.0.1:0'", "", "names no server"),
        ("'syslog:unix:/dev/log'", "", "names no server"),
        ("{ otlp = 'ftp://x' }", "", "bad_value"),
        ("{ otlp = 'http://x', path = 'y' }", "", "unknown_key"),
    ] {
        let (passed, text) = check(access, more);
        assert!(!passed && text.contains(said), "{access}: {text}");
    }
    for access in
        ["'syslog:logs.internal:514'", "'syslog:[::1]:514'", "{ otlp = 'http://127.0.0.1:4318' }"]
    {
        let (passed, text) = check(access, "");
        assert!(passed, "{access}: {text}");
    }
}

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

/// What the server of a request with these fields is told.
fn told(proxy: &Tidegate, origin: &Origin, fields: &str) -> Request {
    let count = origin.requests().len();
    assert_eq!(ask(proxy, "/", fields), 200, "{fields}");
    assert!(holds_within(SOON, &mut || origin.requests().len() > count));
    origin.requests().pop().unwrap()
}

fn traced(propagate: &str, listen: &str, origin: &Origin) -> Tidegate {
    let nobody = refused_address();
    let log = format!("trace = {{ otlp = 'http://{nobody}', sample = '0%'{propagate} }}");
    proxy(&log, listen, origin)
}

#[test]
fn b3_of_a_trusted_proxy_goes_on_where_there_is_no_traceparent() {
    let origin = Origin::ok("fine");
    let proxy = traced(", propagate = ['w3c', 'b3']", "", &origin);
    let short = &TRACE[16..];
    for (fields, trace, flag) in [
        (format!("b3: {TRACE}-{SPAN}-1\r\n"), TRACE.to_owned(), "1"),
        (format!("B3: {TRACE}-{SPAN}-0-{SPAN}\r\n"), TRACE.to_owned(), "0"),
        (format!("b3: {short}-{SPAN}-d\r\n"), format!("{:0>32}", short), "d"),
        (
            format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Sampled: 1\r\n"),
            TRACE.to_owned(),
            "1",
        ),
        (
            format!("x-b3-traceid: {short}\r\nx-b3-spanid: {SPAN}\r\nx-b3-flags: 1\r\n"),
            format!("{:0>32}", short),
            "d",
        ),
        // Nobody has decided, so the share does.
        (format!("b3: {TRACE}-{SPAN}\r\n"), TRACE.to_owned(), "0"),
        // A single field that makes no sense leaves the word to the others.
        (
            format!("b3: x\r\nX-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Sampled: 1\r\n"),
            TRACE.to_owned(),
            "1",
        ),
    ] {
        let seen = told(&proxy, &origin, &fields);
        let sampled = if flag == "0" { "00" } else { "01" };
        let traceparent = seen.header("traceparent").unwrap();
        assert!(traceparent.starts_with(&format!("00-{trace}-")), "{fields}: {traceparent}");
        assert!(traceparent.ends_with(sampled), "{fields}: {traceparent}");
        let span = &traceparent[36..52];
        let b3 = seen.header("b3").unwrap();
        assert_eq!((seen.all("b3").len(), b3.len()), (1, 68));
        assert!(b3.starts_with(&format!("{trace}-{span}-{flag}-")), "{fields}: {b3}");
        assert_eq!(seen.all("x-b3-traceid"), [&*trace]);
        assert_eq!(seen.all("x-b3-spanid"), [span]);
        assert_eq!(seen.all("x-b3-parentspanid"), [&b3[52..]]);
        assert_ne!(span, SPAN);
        let decided = if flag == "d" {
            ("x-b3-flags", "x-b3-sampled")
        } else {
            ("x-b3-sampled", "x-b3-flags")
        };
        let expected = if flag == "0" { "0" } else { "1" };
        assert_eq!((seen.all(decided.0), seen.all(decided.1)), (vec![expected], vec![]));
    }
    // A decision alone begins a trace.
    let seen = told(&proxy, &origin, "b3: 1\r\n");
    assert!(seen.header("traceparent").unwrap().ends_with("-01"));
    // `traceparent` comes first, whatever B3 says.
    let w3c = "0af7651916cd43dd8448eb211c80319c";
    let both = format!("traceparent: 00-{w3c}-b7ad6b7169203331-00\r\nb3: {TRACE}-{SPAN}-1\r\n");
    assert!(told(&proxy, &origin, &both).header("b3").unwrap().starts_with(w3c));
    for malformed in [
        format!("b3: {TRACE}-{SPAN}-7\r\n"),
        format!("b3: {}-{SPAN}-1\r\n", TRACE.to_uppercase()),
        format!("b3: {TRACE}-{SPAN}-1\r\nb3: {TRACE}-{SPAN}-1\r\n"),
        format!("X-B3-TraceId: {TRACE}\r\nX-B3-Sampled: 1\r\n"),
        format!(
            "X-B3-TraceId: {TRACE}\r\nX-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Sampled: 1\r\n"
        ),
        format!("b3: {}-{SPAN}-1\r\n", "0".repeat(32)),
    ] {
        let seen = told(&proxy, &origin, &malformed);
        assert!(!seen.header("b3").unwrap().starts_with(TRACE), "{malformed}");
        assert!(seen.header("traceparent").unwrap().ends_with("-00"), "{malformed}");
    }
}

#[test]
fn servers_are_sent_the_forms_that_are_asked_for() {
    let origin = Origin::ok("fine");
    let b3 = format!("b3: {TRACE}-{SPAN}-1\r\n");
    let seen = told(&traced("", "", &origin), &origin, &b3);
    assert!(seen.header("traceparent").unwrap().starts_with(&format!("00-{TRACE}-")));
    assert_eq!(seen.all("x-b3-traceid"), [""; 0]);
    let seen = told(&traced(", propagate = 'b3'", "", &origin), &origin, &b3);
    assert!(seen.header("b3").unwrap().starts_with(TRACE));
    assert_eq!(seen.header("traceparent"), None);
}

#[test]
fn b3_of_strangers_is_removed() {
    let origin = Origin::ok("fine");
    let trace = format!(
        "trace = {{ otlp = 'http://{}', sample = '0%', propagate = ['w3c', 'b3'] }}",
        refused_address()
    );
    let proxy = Configuration::of(&origin).log(&trace).start();
    for fields in [
        format!("b3: {TRACE}-{SPAN}-1\r\n"),
        format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {SPAN}\r\nX-B3-Flags: 1\r\n"),
    ] {
        let seen = told(&proxy, &origin, &fields);
        let b3 = seen.header("b3").unwrap();
        assert!(!b3.starts_with(TRACE) && &b3[49..52] == "-0-", "{b3}");
    }
}

#[test]
fn the_client_is_who_the_chosen_field_names() {
    let ip = |proxy: &Tidegate, origin: &Origin, fields: &str| {
        let seen = told(proxy, origin, fields);
        (seen.header("x-real-ip").unwrap().to_owned(), seen.all("x-forwarded-for").join("|"))
    };
    let origin = Origin::ok("fine");
    let cloud =
        proxy("access = '{dir}/access.log'", "client_ip = 'header:CF-Connecting-IP'", &origin);
    let fields = "CF-Connecting-IP: 2001:db8::7\r\nX-Forwarded-For: 6.6.6.6\r\n";
    let told_as = ("2001:db8::7".to_owned(), "2001:db8::7, 127.0.0.1".to_owned());
    assert_eq!(ip(&cloud, &origin, fields), told_as);
    for nobody in [
        "",
        "X-Forwarded-For: 6.6.6.6\r\n",
        "CF-Connecting-IP: a\r\n",
        "CF-Connecting-IP: 1.1.1.1\r\ncf-connecting-ip: 1.1.1.1\r\n",
    ] {
        assert_eq!(
            ip(&cloud, &origin, nobody),
            ("127.0.0.1".into(), "127.0.0.1".into()),
            "{nobody}"
        );
    }
    let access = || std::fs::read_to_string(cloud.path("access.log")).unwrap_or_default();
    wait_until(SOON, "the client is in the log", || {
        access().contains("\"client\":\"2001:db8::7\"")
    });
    let chain = proxy("access = 'off'", "client_ip = 'forwarded'", &origin);
    let fields = "Forwarded: for=6.6.6.6, for=\"[2001:db8::7]:80\";proto=https, for=127.0.0.1\r\nX-Forwarded-For: 6.6.6.6\r\n";
    assert_eq!(ip(&chain, &origin, fields), told_as);
    let fields = "Forwarded: for=\"6.6.6.6, for=1.2.3.4\r\n";
    assert_eq!(ip(&chain, &origin, fields).0, "1.2.3.4");
    // Who is not trusted names nobody, and servers do not see that it has tried.
    let listen = "trusted_proxies = ['10.0.0.0/8']\nclient_ip = 'header:cf-connecting-ip'";
    let stranger = Configuration::of(&origin).listen(listen).start();
    let seen =
        told(&stranger, &origin, "CF-Connecting-IP: 1.1.1.1\r\ncf-connecting-IP: 1.1.1.1\r\n");
    assert_eq!(
        (seen.header("x-real-ip"), seen.header("cf-connecting-ip")),
        (Some("127.0.0.1"), None)
    );
}
