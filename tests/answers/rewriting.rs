//! `rewrite`: expressions, captures and rests, and answers that are turned back.

use std::process::Command;

use crate::proxy;
use support::{
    Origin, RawClient, Request, Response, SOON, Step, Tidegate, assert_problem, ok, wait_until,
};

fn ask(proxy: &Tidegate, path: &str, fields: &str) -> Response {
    proxy.client().exchange(format!("GET {path} HTTP/1.1\r\nHost: a.test:81\r\n{fields}\r\n"))
}

fn seen(origin: &Origin) -> Request {
    origin.requests().pop().unwrap()
}

#[test]
fn paths_are_rewritten_by_expression_capture_and_rest() {
    let origin = Origin::ok("fine");
    let routes = r"
        [[route]]
        path = '/app/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/app', path_regex = { match = '^/old/(\d+)', to = '/new/$1' }, prefix = '/v2' }
        [[route]]
        path = ['/users/{id}/*', '/people/{id}/all/*']
        upstream = 'app'
        rewrite = { path = '/u/{id}/*' }
        [[route]]
        path = '/t/{tenant}/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/t/{tenant}', prefix = '/tenants/{tenant}' }
        [[route]]
        path = '/join/*'
        upstream = 'app'
        rewrite = { path_regex = { match = '^/join/(?<a>[^/]*)/(.*)$', to = '/$${a}.$2' } }
        [[route]]
        path = '/raw/*'
        path_encoding = 'raw'
        upstream = 'app'
        rewrite = { path_regex = { match = '^/raw', to = '' } }";
    let proxy = proxy(&origin, &[], routes);
    for (from, to) in [
        ("/app/old/5/edit?q=/old/6", "/v2/new/5/edit?q=/old/6"),
        ("/app/x", "/v2/x"),
        ("/app", "/v2"),
        ("/users/7/a//b/", "/u/7/a/b/"),
        ("/users/7/", "/u/7/"),
        ("/people/8/all/x", "/u/8/x"),
        ("/t/acme/x?y", "/tenants/acme/x?y"),
        ("/join/x/y", "/x.y"),
        ("/raw/a%2Fb//c", "/a%2Fb//c"),
    ] {
        assert_eq!(ask(&proxy, from, "").text(), "fine", "{from}");
        assert_eq!(seen(&origin).target, to, "{from}");
    }
    // What an expression joins must not lead elsewhere.
    let before = origin.requests().len();
    let paths = [
        "/join/./",
        "/join//./x",
        "/join/x./../etc",
        "/join/a/../../b",
        "/join/%2E/x",
        "/join/a/%2e%2e/x",
        "/join//x",
    ];
    let statuses = paths.map(|from| ask(&proxy, from, "").status);
    assert_eq!(statuses, [200, 200, 200, 404, 200, 200, 200]);
    let seen: Vec<String> = origin.requests().into_iter().skip(before).map(|r| r.target).collect();
    assert_eq!(seen, ["/join/", "/join/x", "/join/etc", "/join/x", "/join/x", "/join/x"]);
}

#[test]
fn what_an_expression_makes_of_a_path_is_refused_where_it_leads_away() {
    let origin = Origin::ok("fine");
    let routes = r"
        [[route]]
        path = '/x/*'
        upstream = 'app'
        cache = {}
        rewrite = { path_regex = { match = '^/x/(.*)$', to = '/.$1' } }";
    let proxy = proxy(&origin, &[], routes);
    for path in ["/x/./etc", "/x//etc"] {
        assert!(matches!(ask(&proxy, path, "").status, 200 | 404), "{path}");
        assert!(!seen(&origin).target.contains("/../"));
    }
    assert_problem(&ask(&proxy, "/x/.%2Fetc", ""), 400, "bad_request");
    let before = origin.requests().len();
    for path in ["/x/./", "/x/.;/etc"] {
        let told = ask(&proxy, path, "");
        assert!(told.status == 400 || !seen(&origin).target.contains("./"), "{path}");
    }
    assert!(origin.requests().len() <= before + 1);
    assert_eq!(ask(&proxy, "/x/y", "").status, 200);
    assert_eq!(seen(&origin).target, "/.y");
}

/// Answers with the fields that the request asks for.
fn script(request: &Request) -> Vec<Step> {
    let mut fields = String::new();
    for name in ["location", "content-location", "set-cookie", "x-other"] {
        for value in request.all(&format!("want-{name}")) {
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if fields.is_empty() {
        return vec![Step::Send(ok("fine"))];
    }
    vec![Step::Send(
        format!("HTTP/1.1 302 Found\r\n{fields}Content-Length: 0\r\n\r\n").into_bytes(),
    )]
}

#[test]
fn answers_are_turned_back() {
    let origin = Origin::start(script);
    let routes = "
        [[route]]
        path = '/app/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/app', answers = true }
        [[route]]
        path = '/inner/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/inner', prefix = '/v2', host = 'inner.test', answers = true }
        [[route]]
        path = ['/t/{tenant}/*', '/tenant/{tenant}/all/*']
        upstream = 'app'
        rewrite = { path = '/tenants/{tenant}/*', answers = true }
        [[route]]
        path = '/bare/*'
        upstream = 'app'
        rewrite = { path = '/*', answers = true }
        [[route]]
        path = '/one/*'
        upstream = 'app'
        rewrite = { path = '/always', host = 'inner.test', answers = true }
        [[route]]
        path = '/plain/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/plain' }";
    let proxy = proxy(&origin, &[], routes);
    let server = origin.server();
    let by_server = format!("http://{server}/login");
    for (path, given, expected) in [
        ("/app/a", "/login?next=/x", "/app/login?next=/x"),
        ("/app/a", "../b", "../b"),
        ("/app/a", "http://a.test:81/login", "http://a.test:81/app/login"),
        ("/app/a", &*by_server, "http://a.test:81/app/login"),
        ("/app/a", "https://other.test/login", "https://other.test/login"),
        ("/app/a", "/app/login", "/app/login"),
        ("/inner/a", "/v2/login", "/inner/login"),
        ("/inner/a", "http://inner.test/v2/login", "http://a.test:81/inner/login"),
        ("/inner/a", "/elsewhere", "/elsewhere"),
        ("/t/acme/a", "/tenants/acme/login?x", "/t/acme/login?x"),
        ("/t/acme/a", "/tenants/acme", "/t/acme"),
        ("/t/acme/a", "/tenants/other/login", "/tenants/other/login"),
        ("/tenant/acme/all/a", "/tenants/acme/login", "/tenant/acme/all/login"),
        ("/t/acme/a", "http://a.test:81/tenants/acme/x", "http://a.test:81/t/acme/x"),
        ("/bare/a", "/login", "/bare/login"),
        ("/one/a", "/login", "/login"),
        ("/one/a", "http://inner.test/login", "http://a.test:81/login"),
        ("/plain/a", "/login", "/login"),
        ("/plain/a", &*by_server, &*by_server),
    ] {
        let told =
            ask(&proxy, path, &format!("Want-Location: {given}\r\nWant-X-Other: /login\r\n"));
        assert_eq!((told.status, told.all("location")), (302, vec![expected]), "{path} {given}");
        assert_eq!(told.all("x-other"), ["/login"]);
    }
    let want = "Want-Content-Location: /x\r\nWant-Set-Cookie: a=1; Path=/; HttpOnly\r\n\
                Want-Set-Cookie: b=2; Domain=a.test; Path=/x\r\nWant-Set-Cookie: c=3\r\n";
    let told = ask(&proxy, "/app/a", want);
    assert_eq!(told.all("content-location"), ["/app/x"]);
    let cookies = ["a=1; Path=/app; HttpOnly", "b=2; Domain=a.test; Path=/app/x", "c=3"];
    assert_eq!(told.all("set-cookie"), cookies);
    let want = "Want-Set-Cookie: a=1; Path=/tenants/acme/x\r\n";
    assert_eq!(ask(&proxy, "/t/acme/a", want).all("set-cookie"), ["a=1; Path=/t/acme/x"]);
    let want = "Want-Set-Cookie: a=1; Domain=.inner.test; path=/v2\r\n";
    assert_eq!(
        ask(&proxy, "/inner/a", want).all("set-cookie"),
        ["a=1; Domain=a.test; path=/inner"]
    );
}

#[test]
fn servers_are_told_what_was_taken_off() {
    let origin = Origin::ok("fine");
    let routes = "
        [[route]]
        path = '/t/{id}/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/t/{id}', answers = true }
        [[route]]
        path = '/plain/*'
        upstream = 'app'
        rewrite = { strip_prefix = '/plain' }";
    let proxy = proxy(&origin, &[], routes);
    ask(&proxy, "/t/7/x", "");
    assert_eq!(seen(&origin).all("x-forwarded-prefix"), ["/t/7"]);
    // The proxy before this one is trusted.
    ask(&proxy, "/t/7/x", "X-Forwarded-Prefix: /outer/\r\n");
    assert_eq!(seen(&origin).all("x-forwarded-prefix"), ["/outer/t/7"]);
    ask(&proxy, "/plain/x", "");
    assert_eq!(seen(&origin).all("x-forwarded-prefix"), [""; 0]);
}

#[test]
fn stored_answers_are_turned_back_for_whoever_asks() {
    let origin = Origin::start(|request| {
        let location = format!("http://{}/login", request.header("host").unwrap());
        let fields =
            format!("Location: {location}\r\nCache-Control: max-age=60\r\nContent-Length: 0");
        vec![Step::Send(format!("HTTP/1.1 301 Moved\r\n{fields}\r\n\r\n").into_bytes())]
    });
    let routes = "
        [[route]]
        path = '/app/*'
        upstream = 'app'
        cache = {}
        rewrite = { strip_prefix = '/app', host = 'inner.test', answers = true }";
    let proxy = proxy(&origin, &[], routes);
    for _ in 0..2 {
        let told = ask(&proxy, "/app/a", "");
        assert_eq!(told.all("location"), ["http://a.test:81/app/login"]);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn check_names_what_is_wrong_with_a_rewrite() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    let base =
        "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.a]\nservers = ['127.0.0.1:1']\n[[route]]\n";
    for (line, status, said) in [
        ("rewrite = { path_regex = { match = '(', to = '/' } }", 1, "invalid regular expression"),
        ("rewrite = { path_regex = { match = '^/(a)', to = '/$2' } }", 1, "`$2` is no group"),
        ("rewrite = { path_regex = { match = '^/(a)', to = '/$1x' } }", 1, "write `$${1}x`"),
        ("rewrite = { path_regex = { match = '^/(?<name>a)', to = '/$nam' } }", 1, "name"),
        ("rewrite = { path_regex = { match = '^/a', to = '/?x' } }", 1, "no path may have"),
        ("rewrite = { path_regex = { match = '^/a', to = '/../x' } }", 1, "dot segment"),
        ("rewrite = { path_regex = { match = '^/a' } }", 1, "missing key `to`"),
        (
            "rewrite = { path_regex = { match = '^/a', to = '/b' }, path = '/c' }",
            1,
            "nothing to do",
        ),
        ("rewrite = { path = '/users/*' }", 1, "does not end with `/*`"),
        ("rewrite = { prefix = '/{id}' }", 1, "`{id}` is not known here"),
        ("rewrite = { answer = true }", 1, "answers"),
        ("rewrite = { path = '/x', answers = true }", 0, "nothing to turn back"),
    ] {
        std::fs::write(&file, format!("{base}upstream = 'a'\n{line}\n")).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let run = check.args(["check", "-c"]).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        assert_eq!(run.status.code(), Some(status), "{line}: {text}");
        assert!(text.contains(said) && text.contains("tidegate.toml:7:"), "{line}: {text}");
    }
}

#[test]
fn what_is_made_of_a_long_path_many_times_over_is_refused() {
    let origin = Origin::ok("fine");
    let routes = "
        [[route]]
        path = '/away/{x}'
        redirect = { to = 'https://b.test/{x}{x}{x}{x}' }
        [[route]]
        path = '/filled/{x}'
        upstream = 'app'
        rewrite = { path = '/{x}{x}{x}{x}' }
        [[route]]
        path = '/found/*'
        upstream = 'app'
        rewrite = { path_regex = { match = 'x', to = '$0$0$0$0' } }
        [[route]]
        path = '/told/{x}'
        upstream = 'app'
        request_headers = { set = { x-told = '{x}{x}{x}{x}{x}{x}{x}{x}' } }
        [[route]]
        path = '/asked/*'
        redirect = { to = 'https://b.test/?{query}{query}{query}{query}' }";
    let proxy = proxy(&origin, &[], routes);
    let mut client = proxy.client();
    let (short, long) = ("x".repeat(8000), "x".repeat(8200));
    for start in ["/away/", "/filled/", "/found/", "/asked/?"] {
        let told = client.get(&format!("{start}{long}"));
        assert_problem(&told, 414, "uri_too_long");
    }
    let key = "key=\"listen.limits.header_bytes\"";
    wait_until(SOON, "all are logged", || proxy.log().matches(key).count() == 4);
    assert_eq!(origin.accepts(), 0);
    // The connection goes on, and what is not too long is made.
    let told = client.get(&format!("/away/{short}"));
    assert_eq!(told.header("location").map(str::len), Some("https://b.test/".len() + 32_000));
    for (start, length) in [("/filled/", 32_001), ("/found/", "/found/".len() + 32_000)] {
        assert_eq!(client.get(&format!("{start}{short}")).text(), "fine");
        assert_eq!(seen(&origin).target.len(), length);
    }
    for (path, length) in [(&short, Some(64_000)), (&long, None)] {
        assert_eq!(client.get(&format!("/told/{path}")).text(), "fine");
        assert_eq!(seen(&origin).header("x-told").map(str::len), length);
    }
    let explained = RawClient::connect(proxy.admin())
        .ask(&format!("/explain?url={}", format_args!("http%3A%2F%2Fa.test%2Faway%2F{long}")));
    let explained: serde_json::Value = serde_json::from_slice(&explained.body).unwrap();
    assert_eq!(explained["refused"]["code"], "uri_too_long", "{explained}");
}
