//! What clients say about themselves: nothing of it gets past the door, and everybody is told the
//! same.

use support::{
    Configuration, Origin, RawClient, Request, Response, SOON, Step, Tidegate, ok, wait_until,
};

/// A proxy whose listener has these keys, in front of `origin`.
fn door(origin: &Origin, listen: &str, route: &str, more: &str) -> Tidegate {
    Configuration::of(origin)
        .log("access = { path = '{dir}/access.log', format = 'json' }")
        .listen(listen)
        .app(more)
        .route(&format!("name = 'app'\n{route}"))
        .start()
}

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

fn ask(proxy: &Tidegate, path: &str, fields: &str) -> Response {
    proxy.client().exchange(get(path, fields))
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

fn forward(judge: &Origin) -> String {
    format!("[auth.staff]\nforward = {{ url = \"http://{}/verify\" }}\n", judge.server())
}

#[test]
fn i1_forged_certificates_reach_neither_server_nor_auth_server() {
    let (judge, origin) = (Origin::ok("yes"), Origin::ok("fine"));
    let fields =
        "X-Client-Cert-Subject: CN=admin\r\nX-Client-Cert-Fingerprint: 00\r\nX-User: a\r\n";
    for listen in ["", TRUSTED] {
        let proxy = door(&origin, listen, "auth = 'staff'", &forward(&judge));
        assert_eq!(ask(&proxy, "/", fields).status, 200);
    }
    let seen: Vec<Request> = judge.requests().into_iter().chain(origin.requests()).collect();
    assert_eq!(seen.len(), 4);
    for request in &seen {
        assert_eq!(request.header("x-user"), Some("a"), "fields arrive at all");
        assert_eq!(request.header("x-client-cert-subject"), None);
        assert_eq!(request.header("x-client-cert-fingerprint"), None);
    }
}

#[test]
fn i2_conditions_and_keys_do_not_see_claims() {
    let origin = Origin::ok("fine");
    let secure = r#"headers = { x-forwarded-proto = "https" }"#;
    let proxy = door(&origin, "", secure, "");
    assert_eq!(ask(&proxy, "/", "X-Forwarded-Proto: https\r\n").status, 404);
    let trusting = door(&origin, TRUSTED, secure, "");
    assert_eq!(ask(&trusting, "/", "X-Forwarded-Proto: https\r\n").status, 200);
    for name in ["x-real-ip", "x-forwarded-user", "x-client-cert-subject", "forwarded"] {
        let limit =
            format!("limit = {{ rate = \"1/h\", key = [\"client_ip\", \"header:{name}\"] }}");
        let proxy = door(&origin, "", &limit, "");
        let asked = [1, 2].map(|n| ask(&proxy, "/", &format!("{name}: {n}\r\n")).status);
        assert_eq!(asked, [200, 429], "{name}");
    }
}

#[test]
fn i3_whole_families_stay_outside() {
    let origin = Origin::ok("fine");
    let fields = "X-Forwarded-Prefix: /evil\r\nX-Forwarded-Scheme: https\r\nProxy: evil\r\n\
                  X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-B3-Sampled: 1\r\nb3: 1\r\n\
                  X-Tidegate-Attempt: 9\r\nX-Kept: yes\r\n";
    let names = [
        "x-forwarded-prefix",
        "x-forwarded-scheme",
        "x-original-url",
        "x-rewrite-url",
        "x-b3-sampled",
        "b3",
    ];
    assert_eq!(ask(&door(&origin, "", "", ""), "/", fields).status, 200);
    assert_eq!(ask(&door(&origin, TRUSTED, "", ""), "/", fields).status, 200);
    let [stranger, trusted] = &origin.requests()[..] else { panic!("two requests") };
    for request in [stranger, trusted] {
        assert_eq!(request.header("x-kept"), Some("yes"));
        assert_eq!((request.header("proxy"), request.header("x-tidegate-attempt")), (None, None));
    }
    for name in names {
        assert_eq!(stranger.header(name), None, "{name}");
        assert!(trusted.header(name).is_some(), "{name}");
    }
}

#[test]
fn i4_the_auth_server_is_asked_about_what_is_sent() {
    let (judge, origin) = (Origin::ok("yes"), Origin::ok("fine"));
    let proxy = door(&origin, "", "auth = 'staff'", &forward(&judge));
    assert_eq!(ask(&proxy, "/public/../admin/%78?q=/../", "").status, 200);
    assert_eq!(judge.only_request().header("x-forwarded-uri"), Some("/admin/x?q=/../"));
    assert_eq!(origin.only_request().target, "/admin/x?q=/../");
}

#[test]
fn i6_an_ipv4_client_is_one_however_it_is_written() {
    let origin = Origin::ok("fine");
    let trusted = "trusted_proxies = [\"::ffff:127.0.0.0/104\"]";
    let proxy = door(&origin, trusted, "limit = { rate = \"1/h\" }", "");
    let from = |ip: &str| ask(&proxy, "/", &format!("X-Forwarded-For: {ip}\r\n")).status;
    assert_eq!(from("::ffff:198.51.100.1"), 200);
    assert_eq!(from("::ffff:198.51.100.2"), 200, "another client");
    assert_eq!(from("198.51.100.1"), 429, "the first one");
    assert_eq!(origin.requests()[0].header("x-real-ip"), Some("198.51.100.1"));
}

#[test]
fn i16_everybody_is_told_the_same_behind_a_trusted_terminator() {
    let (judge, origin) = (Origin::ok("yes"), Origin::ok("fine"));
    let proxy = door(&origin, TRUSTED, "auth = 'staff'", &forward(&judge));
    let fields = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: shop.test:8443\r\nX-Forwarded-Port: 8443\r\n";
    assert_eq!(ask(&proxy, "/", fields).status, 200);
    let (asked, sent) = (judge.only_request(), origin.only_request());
    for (name, value) in [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.test:8443"),
        ("x-forwarded-port", "8443"),
        ("x-real-ip", "192.0.2.7"),
    ] {
        assert_eq!(asked.all(name), [value], "{name} of the auth server");
        assert_eq!(sent.all(name), [value], "{name} of the server");
    }
    assert_eq!(asked.header("x-request-id"), sent.header("x-request-id"));
    assert_eq!((asked.all("host").len(), sent.all("host")), (1, vec!["a.test"]));
    wait_until(SOON, "the line is written", || {
        let log = std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
        log.contains("\"client\":\"192.0.2.7\"")
    });
}

#[test]
fn i16_redirects_lead_to_the_host_that_the_client_knows() {
    let origin = Origin::ok("fine");
    let route = "[[route]]\npath = '/old'\nredirect = { to = 'https://{host}/new' }";
    let proxy = door(&origin, TRUSTED, "", route);
    let location = |fields: &str| {
        ask(&proxy, "/old", fields).header("location").map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(location("X-Forwarded-Host: Shop.test:8443\r\n"), "https://shop.test/new");
    assert_eq!(location("X-Forwarded-Host: evil/../\r\n"), "https://a.test/new");
    let stranger = door(&origin, "", "", route);
    let answer = ask(&stranger, "/old", "X-Forwarded-Host: evil.test\r\n");
    assert_eq!(answer.header("location"), Some("https://a.test/new"));
}

/// A proxy on a Unix socket.
fn on_a_socket(origin: &Origin, listen: &str, route: &str) -> Tidegate {
    let listen = format!("address = 'unix:{{dir}}/in.sock'\n{listen}");
    Configuration::of(origin).listen(&listen).route(route).start()
}

#[test]
fn i17_no_address_is_no_address() {
    let origin = Origin::ok("fine");
    let proxy = on_a_socket(&origin, "", "");
    let mut client = RawClient::connect_unix(&proxy.path("in.sock"));
    let claims = get("/", "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n");
    assert_eq!(client.exchange(claims.clone()).status, 200);
    let seen = origin.requests().remove(0);
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-real-ip")), (None, None));
    let limit = "limit = { rate = \"1/h\" }";
    let trusted = on_a_socket(&origin, "trusted_proxies = [\"unix:\"]", limit);
    let mut client = RawClient::connect_unix(&trusted.path("in.sock"));
    assert_eq!(client.exchange(claims.clone()).status, 200);
    assert_eq!(client.exchange(claims).status, 429);
    assert_eq!(client.exchange(get("/", "X-Forwarded-For: 6.6.6.7\r\n")).status, 200);
    let told = origin.requests().remove(1);
    assert_eq!(told.all("x-forwarded-for"), ["6.6.6.6"]);
    assert_eq!(told.all("x-real-ip"), ["6.6.6.6"]);
}

#[test]
fn p7_a_listener_that_redirects_serves_who_came_by_https() {
    let origin = Origin::ok("fine");
    let proxy = door(&origin, &format!("{TRUSTED}\nredirect = \"https\""), "", "");
    assert_eq!(ask(&proxy, "/", "X-Forwarded-Proto: https\r\n").text(), "fine");
    let plain = ask(&proxy, "/x?y", "X-Forwarded-Proto: http\r\n");
    assert_eq!((plain.status, plain.header("location")), (308, Some("https://a.test/x?y")));
    assert_eq!(ask(&proxy, "/", "").status, 308);
    let stranger = door(&origin, "redirect = \"https\"", "", "");
    assert_eq!(ask(&stranger, "/", "X-Forwarded-Proto: https\r\n").status, 308);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn p8_a_redirect_needs_a_host() {
    let origin = Origin::ok("fine");
    let route = "[[route]]\npath = '/old'\nredirect = { to = 'https://{host}/new' }";
    let old = "GET /old HTTP/1.0\r\n\r\n".to_owned();
    assert_eq!(door(&origin, "", "", route).client().exchange(old.clone()).status, 400);
    let listener = door(&origin, "redirect = \"https\"", "", "");
    assert_eq!(listener.client().exchange(old).status, 400);
}

#[test]
fn p11_an_empty_chain_has_no_element() {
    let origin = Origin::ok("fine");
    let proxy = door(&origin, TRUSTED, "", "");
    for (sent, told) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For:\r\n", "127.0.0.1"),
        ("X-Forwarded-For: ,\r\nX-Forwarded-For:  \r\n", "127.0.0.1"),
        (
            "X-Forwarded-For: 1.2.3.4,,\r\nX-Forwarded-For: 5.6.7.8\r\n",
            "1.2.3.4, 5.6.7.8, 127.0.0.1",
        ),
    ] {
        assert_eq!(ask(&proxy, "/", sent).status, 200);
        assert_eq!(origin.requests().last().unwrap().all("x-forwarded-for"), [told], "{sent:?}");
    }
}

#[test]
fn p19_credentials_for_a_proxy_behind_are_passed_on() {
    let (judge, origin) = (Origin::ok("yes"), Origin::start(|_| vec![Step::Send(ok("fine"))]));
    let proxy = door(&origin, "", "auth = 'staff'", &forward(&judge));
    assert_eq!(ask(&proxy, "/", "Proxy-Authorization: Basic eA==\r\n").status, 200);
    for request in [judge.only_request(), origin.only_request()] {
        assert_eq!(request.all("proxy-authorization"), ["Basic eA=="]);
    }
}

/// A request with these fields and trailers, as bytes.
fn with_trailers(fields: &str, trailers: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\n{fields}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{trailers}\r\n"
    )
}

#[test]
fn i1_trailers_say_no_more_about_a_client_than_fields_may() {
    let judge = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nX-User: anna\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let (origin, shadow) = (Origin::ok("fine"), Origin::ok("fine"));
    let more = format!(
        "[upstream.shadow]\nservers = [\"{}\"]\n[auth.staff]\nforward = {{ url = \"http://{}/\", copy = [\"X-User\"] }}\n",
        shadow.server(),
        judge.server()
    );
    let route = "auth = 'staff'\nmirror = { upstream = 'shadow' }\nrequest_headers = { set = { x-env = 'prod' }, remove = ['x-debug'] }";
    let forged = "X-Client-Cert-Subject: CN=admin\r\nProxy: http://evil.test\r\nX-Tidegate-Attempt: 9\r\n\
        X-Original-URL: /admin\r\nX-User: root\r\nX-Env: test\r\nX-Debug: 1\r\nX-Sum: 7\r\n";
    for (nth, listen) in ["", TRUSTED].into_iter().enumerate() {
        let proxy = door(&origin, listen, route, &more);
        assert_eq!(proxy.client().exchange(with_trailers("", forged)).status, 200);
        wait_until(SOON, "the copy is there", || shadow.complete().len() == nth + 1);
    }
    for request in origin.complete().into_iter().chain(shadow.complete()) {
        let names: Vec<_> = request.trailers.iter().map(|(name, _)| name.to_lowercase()).collect();
        assert_eq!(names, ["x-sum"]);
        assert_eq!(request.header("x-user"), Some("anna"));
    }
    assert_eq!(origin.complete().len(), 2);
}

#[test]
fn a_field_that_a_route_removes_or_sets_does_not_come_as_a_trailer_of_a_response() {
    let origin = Origin::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=60\r\n\
            Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Internal: db7\r\nX-Sum: 42\r\nX-Env: test\r\n\r\n";
        vec![Step::Send(answer.into())]
    });
    let edits = "response_headers = { remove = ['x-internal'], set = { x-env = 'prod' } }";
    for route in ["", "compress = true", "cache = 'store'"] {
        let proxy = door(&origin, "", &format!("{edits}\n{route}"), "[cache.store]");
        for _ in 0..2 {
            let request = "GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n";
            let answer = proxy.client().exchange(request);
            assert_eq!(answer.status, 200, "{route}");
            assert_eq!(answer.header("x-env"), Some("prod"), "{route}");
            let names: Vec<_> =
                answer.trailers.iter().map(|(name, _)| name.to_lowercase()).collect();
            assert_eq!(names, ["x-sum"], "{route}");
        }
    }
    assert_eq!(origin.requests().len(), 5, "one came out of the cache");
}

#[test]
fn i1_what_a_policy_tells_is_told_in_one_spelling() {
    let judge = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nX-User: anna\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let origin = Origin::ok("fine");
    let more = format!(
        "[auth.staff]\nforward = {{ url = \"http://{}/\", copy = [\"X-User\"] }}\n",
        judge.server()
    );
    let proxy = door(&origin, "strict = { underscores = 'keep' }", "auth = 'staff'", &more);
    assert_eq!(ask(&proxy, "/", "X_User: root\r\nx-USER: root\r\nX_Other: kept\r\n").status, 200);
    let [request] = &origin.requests()[..] else { panic!("one request") };
    assert_eq!(request.header("x_other"), Some("kept"));
    assert_eq!((request.header("x_user"), request.all("x-user")), (None, vec!["anna"]));
}

/// A server that lets in who has a ticket, and tells two fields of them.
fn ticket_judge() -> Origin {
    Origin::start(|request| {
        let known = request.header("x-ticket").is_some();
        let answer = match known {
            true => {
                "HTTP/1.1 200 OK\r\nX-User: anna\r\nAuthorization: told\r\nContent-Length: 0\r\n\r\n"
            }
            false => "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
        };
        vec![Step::Send(answer.as_bytes().to_vec())]
    })
}

/// Ways in that tell fields, and routes that ask for some of them or for none.
fn ways_and_routes(judge: &Origin, shadow: &Origin, jwks: &str) -> String {
    format!(
        r#"
        [upstream.shadow]
        servers = ["{}"]
        [auth.judge]
        forward = {{ url = "http://{}/", copy = ["X-User", "Authorization"] }}
        [auth.robots]
        api_key = {{ header = "x-api-key", keys = {{ r2 = "letmein" }} }}
        # No route asks for it, and servers know its field all the same.
        [auth.ids]
        jwt = {{ jwks = "{jwks}", algorithms = ["ES256"], forward = {{ sub = "x_user_id" }} }}
        [[route]]
        path = "/judged/*"
        auth = "judge"
        upstream = "app"
        [[route]]
        path = "/any/*"
        auth = ["robots", "judge"]
        upstream = "app"
        [[route]]
        path = "/cached/*"
        cache = {{ ttl = "1m" }}
        upstream = "app"
        [[route]]
        path = "/copied/*"
        mirror = {{ upstream = "shadow" }}
        upstream = "app"
        [[route]]
        path = "/meant/*"
        request_headers = {{ set = {{ x-user = "{{header.x-user}}" }} }}
        upstream = "app"
        "#,
        shadow.server(),
        judge.server(),
    )
}

#[test]
fn identity_is_told_by_the_proxy_or_by_nobody_on_every_route() {
    let judge = ticket_judge();
    let (origin, shadow) = (Origin::ok("fine"), Origin::ok("copy"));
    let directory = tempfile::tempdir().unwrap();
    let key = crate::tokens::Key::new("ES256", "e");
    let jwks = crate::tokens::file(directory.path(), &crate::tokens::set(&[&key]));
    let more = ways_and_routes(&judge, &shadow, &jwks);
    // The word of a trusted proxy is about addresses, not about users: what its clients send it may
    // pass on.
    for listen in ["", TRUSTED] {
        let listen = format!("strict = {{ underscores = 'keep' }}\n{listen}");
        let proxy = door(&origin, &listen, "", &more);
        let forged = "X-User: root\r\nx-USER: root\r\nX_User: root\r\nX-User-Id: 1\r\nx_user-ID: 1\r\nX_User_Id: 1\r\n\
                      X-User-Identity: kept\r\nAuthorization: own\r\n";
        let told = |request: &Request| {
            [
                "x-user",
                "x_user",
                "x-user-id",
                "x_user-id",
                "x_user_id",
                "x-user-identity",
                "authorization",
            ]
            .map(|name| request.all(name).join("+"))
        };
        let nothing =
            |authorization: &str| ["", "", "", "", "", "kept", authorization].map(String::from);
        let seen = |path: &str, fields: &str| {
            let before = origin.requests().len();
            assert_eq!(ask(&proxy, path, &format!("{forged}{fields}")).status, 200, "{path}");
            let requests = origin.requests();
            assert_eq!(requests.len(), before + 1, "{path}");
            told(requests.last().unwrap())
        };
        // What is a field of clients, too, is kept from servers only where the route's own way in
        // tells it.
        assert_eq!(seen("/open", ""), nothing("own"));
        assert_eq!(seen("/any/1", "X-Api-Key: letmein\r\n"), nothing(""));
        assert_eq!(seen("/judged/1", "X-Ticket: 1\r\n")[0], "anna");
        assert_eq!(seen("/judged/1", "X-Ticket: 1\r\n")[1..6], nothing("")[1..6]);
        assert_eq!(seen("/cached/1", "Cache-Control: no-cache\r\n")[..6], nothing("")[..6]);
        let copies = shadow.requests().len();
        assert_eq!(seen("/copied/1", ""), nothing("own"));
        wait_until(SOON, "the copy is there", || shadow.requests().len() > copies);
        assert_eq!(told(shadow.requests().last().unwrap()), nothing("own"));
        // Who means it says so.
        assert_eq!(seen("/meant/1", "")[0], "root");
        // HTTP/2 has no other door.
        let before = origin.requests().len();
        let curl = std::process::Command::new("curl")
            .args(["-sS", "--max-time", "20", "--http2-prior-knowledge", "-H", "x-user: root"])
            .args(["-H", "X_User: root", "-H", "x-user-id: 1", "-H", "x-user-identity: kept"])
            .arg(format!("http://{}/open", proxy.address()))
            .output()
            .unwrap();
        assert!(curl.status.success(), "{curl:?}");
        let requests = origin.requests();
        assert_eq!(requests.len(), before + 1);
        assert_eq!(told(requests.last().unwrap()), nothing(""));
    }
}
