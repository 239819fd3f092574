//! What a cache must not do: share what is one client's, take a header for part of a URL, be
//! fooled.

use crate::{answer, ask, counting, get, proxy, status};
use support::{End, Gate, Origin, Response, SOON, Step, wait_until};

#[test]
fn answers_for_known_clients_are_not_shared() {
    let origin = Origin::start(|request| {
        let fields = match request.target.as_str() {
            "/own" => "Cache-Control: max-age=600\r\n",
            _ => "Cache-Control: public, max-age=600\r\n",
        };
        let body = request.header("authorization").unwrap_or("nobody").to_owned();
        vec![Step::Send(answer(request, fields, &body))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let by =
        |who: &str, target: &str| ask(&proxy, "GET", target, &format!("Authorization: {who}\r\n"));
    assert_eq!(by("alice", "/own").text(), "alice");
    assert_eq!(by("bob", "/own").text(), "bob");
    assert_eq!(get(&proxy, "/own").text(), "nobody");
    assert_eq!(by("alice", "/own").text(), "alice", "not what was stored for strangers");
    assert_eq!(by("alice", "/shared").text(), "alice");
    assert_eq!(by("bob", "/shared").text(), "alice", "the server said that it is public");
}

#[test]
fn keys_in_other_headers_count_like_authorization() {
    let origin = Origin::start(|request| {
        let body = request.header("x-api-key").unwrap_or("nobody").to_owned();
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", &body))]
    });
    let auth = "[auth.keys]\napi_key = { header = \"x-api-key\", keys = { alice = \"a-key\", bob = \"b-key\" } }";
    let open = proxy(&origin, "cache = {}\nauth = \"keys\"", auth);
    let by = |key: &str| ask(&open, "GET", "/a", &format!("X-Api-Key: {key}\r\n")).text();
    assert_eq!((by("a-key"), by("b-key")), ("a-key".into(), "b-key".into()));
    assert_eq!(get(&open, "/a").status, 401, "the cache is asked after the policies");
    let named = proxy(&origin, "cache = { vary_on = [\"header:x-api-key\"] }", "");
    let by = |key: &str| ask(&named, "GET", "/a", &format!("X-Api-Key: {key}\r\n"));
    assert_eq!((by("1").text(), by("2").text()), ("1".into(), "2".into()));
    assert!(status(&by("1")).starts_with("tidegate; hit"));
}

#[test]
fn a_key_tells_clients_apart_only_by_the_way_that_let_them_in() {
    let origin = Origin::start(|request| {
        let header = |name| request.header(name).unwrap_or("-").to_owned();
        let body = format!("{} {}", header("x-api-key"), header("authorization"));
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", &body))]
    });
    let auth = "[auth.keys]\napi_key = { header = \"x-api-key\", keys = { alice = \"a-key\", bob = \"b-key\" } }\n\
                [auth.others]\napi_key = { header = \"x-other\", keys = { carl = \"c-key\" } }";
    let vary = "cache = { vary_on = [\"header:authorization\"] }";
    for ways in ["\"keys\"", "[\"others\", \"keys\"]"] {
        let proxy = proxy(&origin, &format!("{vary}\nauth = {ways}"), auth);
        let by = |key: &str| ask(&proxy, "GET", "/a", &format!("X-Api-Key: {key}\r\n")).text();
        assert_eq!((by("a-key"), by("b-key")), ("a-key -".into(), "b-key -".into()), "{ways}");
    }
}

#[test]
fn what_the_key_has_is_not_taken_from_requests_that_have_it_twice() {
    let origin = Origin::start(|request| {
        let body = request.header("x-tenant").unwrap_or("-").to_owned();
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", &body))]
    });
    let vary = "cache = { vary_on = [\"header:x-tenant\", \"cookie:plan\"] }";
    let proxy = proxy(&origin, vary, "");
    for twice in ["X-Tenant: a\r\nX-Tenant: b\r\n", "X-Tenant: a\r\nCookie: plan=1; plan=2\r\n"] {
        let answered = ask(&proxy, "GET", "/a", twice);
        assert_eq!(status(&answered), "tidegate; fwd=bypass; detail=repeated", "{twice}");
    }
    let once = ask(&proxy, "GET", "/a", "X-Tenant: a\r\n");
    assert_eq!((once.text(), status(&once).contains("hit")), ("a".into(), false));
}

#[test]
fn cookies_reach_servers_only_as_part_of_the_key_and_are_not_stored_unasked() {
    let origin = Origin::start(|request| {
        let fields = match request.target.as_str() {
            "/sets" => "Set-Cookie: id=1\r\n",
            _ => "Cache-Control: max-age=600\r\n",
        };
        let body = request.header("cookie").unwrap_or("none").to_owned();
        vec![Step::Send(answer(request, fields, &body))]
    });
    let proxy = proxy(&origin, "cache = { ttl = \"10m\", vary_on = [\"cookie:plan\"] }", "");
    let with =
        |cookie: &str, target: &str| ask(&proxy, "GET", target, &format!("Cookie: {cookie}\r\n"));
    assert_eq!(with("id=7; plan=gold", "/a").text(), "plan=gold");
    assert_eq!(with("plan=silver; id=7", "/a").text(), "plan=silver");
    assert!(status(&with("id=8; plan=gold", "/a")).starts_with("tidegate; hit"));
    assert_eq!(get(&proxy, "/a").text(), "none");
    let first = get(&proxy, "/sets");
    assert_eq!(status(&first), "tidegate; fwd=uri-miss; detail=set-cookie");
    assert!(!status(&get(&proxy, "/sets")).contains("hit"));
}

#[test]
fn headers_that_are_not_in_the_key_cannot_poison() {
    let origin = Origin::start(|request| {
        let seen: Vec<&str> = [
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-host",
            "x-forwarded-scheme",
        ]
        .into_iter()
        .filter(|name| request.header(name).is_some())
        .collect();
        vec![Step::Send(answer(
            request,
            "Cache-Control: max-age=600\r\n",
            &format!("seen {seen:?}"),
        ))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let fields = "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-HTTP-Method-Override: POST\r\n\
                  X-Host: evil.test\r\nX-Forwarded-Scheme: http\r\n";
    assert_eq!(ask(&proxy, "GET", "/a", fields).text(), "seen []");
}

#[test]
fn one_host_gets_nothing_of_another() {
    let origin = Origin::start(|request| {
        let body = request.header("host").unwrap_or_default().to_owned();
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", &body))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let of = |host: &str| {
        proxy.client().exchange(format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n")).text()
    };
    assert_eq!(
        (of("a.test"), of("b.test"), of("a.test")),
        ("a.test".into(), "b.test".into(), "a.test".into())
    );
}

#[test]
fn what_is_no_plain_get_goes_by() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/a");
    for (method, fields, detail) in [
        ("POST", "Content-Length: 0\r\n", "fwd=method"),
        ("GET", "Range: pages=1-2\r\n", "fwd=bypass; detail=range"),
        ("GET", "If-Match: \"x\"\r\n", "fwd=bypass; detail=condition"),
    ] {
        let got = ask(&proxy, method, "/a", fields);
        assert_eq!(status(&got), format!("tidegate; {detail}"), "{method} {fields}");
    }
    let mut client = proxy.client();
    client.send("GET /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(status(&client.response()), "tidegate; fwd=bypass; detail=body");
}

#[test]
fn i2_a_port_or_a_spelling_of_the_host_cannot_poison() {
    let origin = Origin::start(|request| {
        let of = |name: &str| request.header(name).unwrap_or("none").to_owned();
        let body = format!("{} {} {}", of("host"), of("x-forwarded-host"), of("x-forwarded-port"));
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", &body))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let by = |host: &str, fields: &str| {
        let request = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        proxy.client().exchange(request)
    };
    // The hostile ones come first.
    for (host, fields, told) in [
        ("a.test:1337", "", "a.test:1337 a.test:1337 "),
        ("a.test", "X-Forwarded-Host: a.test:1337\r\n", "a.test a.test:1337 "),
        ("a.test", "X-Forwarded-Port: 1337\r\n", "a.test a.test 1337"),
        ("a.test", "", "a.test a.test "),
    ] {
        let first = by(host, fields);
        assert!(first.text().starts_with(told), "{}", first.text());
        assert!(status(&first).contains("fwd=uri-miss; stored"), "{}", status(&first));
        assert!(status(&by(host, fields)).starts_with("tidegate; hit"));
    }
}

#[test]
fn k5_a_cookie_is_nobody_elses() {
    let origin = counting("Set-Cookie: id=1\r\nCache-Control: max-age=600\r\n");
    let open = proxy(&origin, "cache = {}", "");
    for n in ["body 1", "body 2"] {
        let answer = get(&open, "/a");
        assert_eq!((&*answer.text(), answer.header("set-cookie")), (n, Some("id=1")));
        assert!(status(&answer).ends_with("detail=set-cookie"), "{}", status(&answer));
    }
    // What confirms a stored response may come with a cookie for the one who asked.
    let origin = Origin::start(|request| {
        let bytes = match request.header("if-none-match") {
            Some(_) => "HTTP/1.1 304 Not Modified\r\nSet-Cookie: id=2\r\nETag: \"a\"\r\nCache-Control: max-age=600\r\n\r\n".into(),
            None => answer(request, "ETag: \"a\"\r\nCache-Control: max-age=0\r\n", "body"),
        };
        vec![Step::Send(bytes)]
    });
    let open = proxy(&origin, "cache = {}", "");
    for told in ["fwd=uri-miss", "fwd-status=304", "hit"] {
        let answer = get(&open, "/a");
        assert_eq!((&*answer.text(), answer.header("set-cookie")), ("body", None), "{told}");
        assert!(status(&answer).contains(told), "{}", status(&answer));
    }
}

/// Whoever waits for a response that breaks off is shown that one had begun, with or without a
/// cache between: a connection that is reset without a byte says nothing.
#[test]
fn s12_of_a_response_that_breaks_off_what_came_is_sent() {
    let broken: [(&str, &str); 2] = [
        ("/length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
        ("/chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    ];
    let origin = Origin::start(move |request| {
        let path = request.target.trim_start_matches("/open");
        let (_, answer) = broken.iter().find(|(target, _)| *target == path).unwrap();
        vec![Step::Send(answer.as_bytes().to_vec()), Step::Close]
    });
    let open = "[[route]]\npath = '/open/*'\nupstream = 'app'";
    let proxy = proxy(&origin, "cache = { ttl = '5m' }", open);
    for (target, _) in broken {
        for prefix in ["", "/open"] {
            let mut client = proxy.client();
            client.send(format!("GET {prefix}{target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            let (bytes, end) = client.end(SOON);
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{prefix}{target}: {text:?} {end:?}");
            assert!(
                text.contains("abc") && !text.ends_with("0\r\n\r\n"),
                "{prefix}{target}: {text}"
            );
            assert_eq!(end, End::Reset, "{prefix}{target}");
        }
    }
}

/// Fields that a response withholds from a cache are those of the one whose fetch brought them.
#[test]
fn fields_that_a_response_withholds_reach_nobody_else() {
    let gate = Gate::default();
    let halt = gate.clone();
    let origin = Origin::start(move |request| {
        let said = match request.header("x-mode") {
            Some("asked") => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n",
            Some("down") => "HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n",
            _ => {
                let age = if request.target == "/shared" { 600 } else { 0 };
                let withheld = "Set-Cookie: sid=alice\r\nX-User: alice\r\nETag: \"1\"\r\n";
                let kind = if request.target == "/validated" { "no-cache" } else { "private" };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age={age}, stale-if-error=600, \
                     {kind}=\"set-cookie, x-user\"\r\n{withheld}Content-Length: 10\r\n\r\nfirst"
                );
                return vec![
                    Step::Send(head.into()),
                    Step::Until(halt.clone()),
                    Step::Send(b"-last".to_vec()),
                ];
            }
        };
        vec![Step::Send(said.as_bytes().to_vec())]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let assert_withheld = |response: &Response, what: &str| {
        assert_eq!(response.text(), "first-last", "{what}");
        let told = (response.header("set-cookie"), response.header("x-user"));
        assert_eq!(told, (None, None), "{what}");
    };

    let [mut alice, mut bob] = [proxy.client(), proxy.client()];
    for client in [&mut alice, &mut bob] {
        client.send("GET /shared HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.wait_for("first");
    }
    gate.open();
    let own = alice.try_response("GET").unwrap();
    assert_eq!(own.header("set-cookie"), Some("sid=alice"));
    assert_withheld(&bob.try_response("GET").unwrap(), "who joins");
    assert_eq!(origin.requests().len(), 1);
    assert_withheld(&get(&proxy, "/shared"), "a hit");

    for target in ["/private", "/validated"] {
        assert_eq!(get(&proxy, target).header("set-cookie"), Some("sid=alice"));
        for mode in ["asked", "down"] {
            let response = ask(&proxy, "GET", target, &format!("X-Mode: {mode}\r\n"));
            assert_withheld(&response, &format!("{target} {mode}: {}", status(&response)));
        }
    }
}

/// A server confirms its response for somebody else, and says of it that all may have it.
#[test]
fn a_confirmation_makes_nothing_public_that_was_withheld() {
    let origin = Origin::start(|request| {
        let said = match request.header("x-mode") {
            Some("asked") => {
                "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: public, max-age=600\r\n\r\n".into()
            }
            _ => {
                let kind = if request.target == "/validated" { "no-cache" } else { "private" };
                format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=0, {kind}=\"set-cookie, x-user\"\r\n\
                     Set-Cookie: sid=alice\r\nX-User: alice\r\nETag: \"1\"\r\nContent-Length: 2\r\n\r\nok"
                )
            }
        };
        vec![Step::Send(said.into_bytes())]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    for target in ["/private", "/validated"] {
        assert_eq!(get(&proxy, target).header("set-cookie"), Some("sid=alice"));
        let confirmed = ask(&proxy, "GET", target, "X-Mode: asked\r\n");
        assert!(status(&confirmed).contains("fwd-status=304"), "{}", status(&confirmed));
        let hit = get(&proxy, target);
        assert!(status(&hit).starts_with("tidegate; hit"), "{target}: {}", status(&hit));
        for response in [&confirmed, &hit] {
            assert_eq!(response.header("set-cookie"), None, "{target}");
            // What waited for the server's word has it now.
            let user = response.header("x-user");
            assert!(user.is_none() || target == "/validated", "{target}: {user:?}");
        }
    }
}

#[test]
fn withheld_fields_come_neither_behind_a_body_nor_with_a_page_instead_of_it() {
    let origin = Origin::start(|request| {
        let said = "Cache-Control: max-age=600, private=\"x-user, set-cookie\"\r\n";
        let answer = match request.target.as_str() {
            "/behind" => format!(
                "HTTP/1.1 200 OK\r\n{said}Transfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\nX-User: alice\r\nX-Sum: 1\r\n\r\n"
            ),
            "/quoted" => "HTTP/1.1 200 OK\r\nCache-Control: max-age=600, private=\"x-\\user\"\r\n\
                          X-User: alice\r\nContent-Length: 2\r\n\r\nok"
                .into(),
            _ => format!(
                "HTTP/1.1 404 No\r\n{said}X-User: alice\r\nSet-Cookie: sid=alice\r\n\
                 Content-Length: 2\r\n\r\nno"
            ),
        };
        vec![Step::Send(answer.into_bytes())]
    });
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("404.html");
    std::fs::write(&page, "a page").unwrap();
    let route = format!(
        "cache = {{ negative = {{ 404 = '10m' }} }}\nerrors = {{ 404 = '{}', intercept = true }}",
        page.display()
    );
    let proxy = proxy(&origin, &route, "");
    let get = |target: &str| ask(&proxy, "GET", target, "Accept: text/html\r\nTE: trailers\r\n");
    for target in ["/behind", "/missing"] {
        assert!(format!("{:?}", get(target)).contains("alice"), "{target}: it is her own");
        let hit = get(target);
        assert!(status(&hit).starts_with("tidegate; hit"), "{target}: {}", status(&hit));
        assert!(!format!("{hit:?}").contains("alice"), "{target}: {hit:?}");
    }
    assert!(format!("{:?}", get("/behind").trailers).contains('1'), "the others are sent");
    assert_eq!(get("/missing").text(), "a page");
    get("/quoted");
    assert!(!status(&get("/quoted")).contains("hit"), "it could be any name");
}

#[test]
fn more_names_than_are_told_apart_are_all_of_them() {
    let origin = Origin::start(|request| {
        let fields = if request.method == "POST" {
            let names: Vec<String> = (0..70).map(|n| format!("/{n}")).collect();
            format!("X-Invalidate: {}\r\n", names.join(" "))
        } else {
            "Cache-Control: max-age=600\r\n".into()
        };
        vec![Step::Send(answer(request, &fields, "x"))]
    });
    let proxy = proxy(&origin, "cache = { invalidate_header = \"x-invalidate\" }", "");
    let hit = |target: &str| status(&get(&proxy, target)).starts_with("tidegate; hit");
    for target in ["/0", "/69", "/other"] {
        get(&proxy, target);
        assert!(hit(target));
    }
    ask(&proxy, "POST", "/p", "Content-Length: 0\r\n");
    assert!(!hit("/0"));
    wait_until(SOON, "what had no place among the names is gone too", || !hit("/69"));
}
