//! Calls to the admin endpoint: purge, warm, and what is used most.

use serde_json::{Value, json};

use crate::{answer, ask, counting, get, proxy, status};
use support::{Configuration, Gate, Origin, RawClient, Response, SOON, Step, Tidegate, wait_until};

pub(crate) fn call(proxy: &Tidegate, method: &str, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    RawClient::connect(proxy.admin()).exchange(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

pub(crate) fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{}", response.text()))
}

fn purge(proxy: &Tidegate, body: &Value) -> u64 {
    let answer = call(proxy, "POST", "/cache/purge", body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    json_of(&answer)["purged"].as_u64().unwrap()
}

fn is_hit(proxy: &Tidegate, host: &str, target: &str) -> bool {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    status(&proxy.client().exchange(request)).starts_with("tidegate; hit")
}

#[test]
fn a_purge_removes_what_matches_all_that_is_named() {
    let origin = Origin::start(|request| {
        let tag = request.target.trim_start_matches('/').split('?').next().unwrap().to_owned();
        let fields = format!("Cache-Control: max-age=600\r\nCache-Tag: {tag}, all\r\n");
        vec![Step::Send(answer(request, &fields, "x"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let all = [("a.test", "/1"), ("a.test", "/1?q=1"), ("a.test", "/2"), ("b.test", "/1")];
    let left = || all.map(|(host, target)| is_hit(&proxy, host, target));
    for (wish, gone) in [
        (json!({"url": "http://a.test/1?q=1"}), [false, true, false, false]),
        (json!({"url": "https://A.test/./1"}), [true, false, false, false]),
        (json!({"host": "a.test", "path": "/1"}), [true, true, false, false]),
        (json!({"path": "/1*"}), [true, true, false, true]),
        (json!({"tag": "2"}), [false, false, true, false]),
        (json!({"tag": "all", "host": "b.test"}), [false, false, false, true]),
        (json!({"cache": "app", "all": true}), [true; 4]),
        (json!({"all": true}), [true; 4]),
        (json!({"host": "c.test"}), [false; 4]),
    ] {
        for (host, target) in all {
            is_hit(&proxy, host, target);
        }
        assert_eq!(left(), [true; 4]);
        let count = gone.iter().filter(|gone| **gone).count() as u64;
        assert_eq!(purge(&proxy, &wish), count, "{wish}");
        assert_eq!(left().map(|hit| !hit), gone, "{wish}");
    }
}

#[test]
fn a_soft_purge_asks_the_server_and_keeps_what_it_confirms() {
    let origin = Origin::start(|request| {
        if request.header("if-none-match").is_some() {
            let head =
                "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=600\r\nETag: \"1\"\r\n\r\n";
            return vec![Step::Send(head.into())];
        }
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\nETag: \"1\"\r\n", "kept"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/a");
    assert_eq!(purge(&proxy, &json!({"path": "/a", "soft": true})), 1);
    let asked = get(&proxy, "/a");
    assert_eq!(asked.text(), "kept");
    assert!(
        status(&asked).starts_with("tidegate; fwd=stale; fwd-status=304"),
        "{}",
        status(&asked)
    );
    assert!(is_hit(&proxy, "a.test", "/a"));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn what_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let fields = "Cache-Control: max-age=600\r\n";
        vec![Step::Until(held.clone()), Step::Send(answer(request, fields, "old"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut early = proxy.client();
    early.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the fetch is under way", || origin.requests().len() == 1);
    assert_eq!(purge(&proxy, &json!({"path": "/a"})), 0);
    gate.open();
    assert_eq!(early.response().text(), "old");
    let next = get(&proxy, "/a");
    assert!(!status(&next).contains("hit"), "{}", status(&next));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_key_without_a_host_is_purged_by_any_of_its_hosts() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = { key = [\"path\"] }", "");
    assert!(!is_hit(&proxy, "a.test", "/a?x=1"));
    assert_eq!(purge(&proxy, &json!({"url": "http://a.test/b"})), 0);
    assert_eq!(purge(&proxy, &json!({"url": "http://a.test/a?x=2"})), 1);
}

#[test]
fn purges_that_name_nothing_or_something_unknown_are_refused() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/a");
    for (wish, code, detail) in [
        (json!({}), "bad_purge", "nothing is named"),
        (json!({"hosts": "a.test"}), "bad_request", "did you mean `host`?"),
        (json!({"cache": "apq", "all": true}), "no_such_cache", "did you mean `app`?"),
        (json!({"path": 7}), "bad_request", "expected a string"),
        (json!([]), "bad_request", "JSON object"),
    ] {
        let answer = call(&proxy, "POST", "/cache/purge", &wish);
        let problem = json_of(&answer);
        assert_eq!((answer.status, problem["code"].as_str()), (400, Some(code)), "{wish}");
        let told = problem["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{wish}: {told}");
    }
    assert_eq!(call(&proxy, "GET", "/cache/purge", &json!({})).status, 405);
    assert!(is_hit(&proxy, "a.test", "/a"), "nothing was purged");
}

#[test]
fn what_is_asked_for_once_pushes_out_nothing_that_is_used() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = { memory = '256KiB' }", "");
    for _ in 0..3 {
        (0..10).for_each(|n| drop(get(&proxy, &format!("/used/{n}"))));
    }
    (0..1000).for_each(|n| drop(get(&proxy, &format!("/scanned/{n}"))));
    let hits = (0..10).filter(|n| is_hit(&proxy, "a.test", &format!("/used/{n}"))).count();
    assert_eq!(hits, 10);
    assert!(!is_hit(&proxy, "a.test", "/scanned/0"), "there is not room for all");
}

#[test]
fn the_responses_used_most_are_named_first() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    for (target, times) in [("/once", 1), ("/often?q=1", 5), ("/twice", 2)] {
        (0..times).for_each(|_| drop(get(&proxy, target)));
    }
    let top = json_of(&call(&proxy, "GET", "/cache/top?n=2", &json!({})));
    let urls: Vec<_> = top.as_array().unwrap().iter().map(|used| &used["url"]).collect();
    assert_eq!(urls, ["http://a.test/often?q=1", "http://a.test/twice"]);
    assert_eq!((&top[0]["cache"], &top[0]["hits"]), (&json!("app"), &json!(5)));
    assert_eq!(top[0]["bytes"], json!("body 2".len()));
    assert!((590..=600).contains(&top[0]["ttl"].as_i64().unwrap()), "{top}");
    for query in ["n=0", "n=1001", "n=x", "m=1"] {
        assert_eq!(call(&proxy, "GET", &format!("/cache/top?{query}"), &json!({})).status, 400);
    }
}

#[test]
fn tokens_in_urls_are_not_told() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let keys = tempfile::NamedTempFile::new().unwrap();
    // The key of RFC 7517, appendix A.1.
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
    std::fs::write(keys.path(), key).unwrap();
    let auth = format!(
        "[auth.staff]\njwt = {{ jwks = \"{}\", from = [\"query:token\"] }}\n\
         [[route]]\npath = \"/staff\"\nauth = \"staff\"\nrespond = {{}}",
        keys.path().display()
    );
    let proxy = proxy(&origin, "cache = {}", &auth);
    get(&proxy, "/a?x=1&token=abc");
    let top = json_of(&call(&proxy, "GET", "/cache/top", &json!({})));
    assert_eq!(top[0]["url"], json!("http://a.test/a?x=1&token=***"));
}

#[test]
fn warming_stores_what_clients_will_ask_for() {
    let origin = Origin::start(|request| {
        let fields = match request.target.as_str() {
            "/private" => "Cache-Control: private\r\n",
            _ => "Cache-Control: max-age=600\r\nVary: Accept-Encoding\r\n",
        };
        vec![Step::Send(answer(request, fields, "x"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let urls: Vec<String> = (0..40).map(|n| format!("http://a.test/{n}")).collect();
    let more = ["http://a.test/0", "http://a.test/private"].map(str::to_owned);
    let urls: Vec<String> = urls.into_iter().chain(more).collect();
    let answer = call(&proxy, "POST", "/cache/warm", &json!({"urls": urls, "concurrency": 1}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = json_of(&answer);
    let counts = ["urls", "done", "stored", "fresh", "not_stored", "failed"];
    assert_eq!(counts.map(|count| told[count].as_u64().unwrap()), [42, 42, 40, 1, 1, 0], "{told}");
    let problem = json!([{"url": "http://a.test/private", "reason": "status 200, private"}]);
    assert_eq!((&told["finished"], &told["problems"]), (&json!(true), &problem));
    assert_eq!(origin.requests().len(), 41);
    let browser = ask(&proxy, "GET", "/7", "Accept-Encoding: gzip, deflate\r\n");
    assert!(status(&browser).starts_with("tidegate; hit"), "{}", status(&browser));
    let shown = json_of(&call(&proxy, "GET", "/cache/warm", &json!({})));
    assert_eq!(shown, told);
}

#[test]
fn one_warming_at_a_time_within_its_bounds() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let fields = "Cache-Control: max-age=600\r\n";
        vec![Step::Until(held.clone()), Step::Send(answer(request, fields, "x"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    assert_eq!(call(&proxy, "GET", "/cache/warm", &json!({})).status, 404);
    for wish in [
        json!({"urls": []}),
        json!({"urls": vec!["http://a.test/"; 1001]}),
        json!({"urls": ["/a"]}),
        json!({"urls": ["ftp://a.test/"]}),
        json!({"urls": ["http://a.test/"], "concurrency": 65}),
        json!({"urls": ["http://a.test/"], "concurrency": 0}),
        json!({"urls": ["http://a.test/"], "concurency": 1}),
        json!({}),
    ] {
        assert_eq!(call(&proxy, "POST", "/cache/warm", &wish).status, 400, "{wish}");
    }
    let urls: Vec<String> = (0..9).map(|n| format!("http://a.test/{n}")).collect();
    let body = json!({"urls": urls, "concurrency": 3}).to_string();
    let mut admin = RawClient::connect(proxy.admin());
    admin.send(format!(
        "POST /cache/warm HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    wait_until(SOON, "three are asked for", || origin.requests().len() == 3);
    let second = call(&proxy, "POST", "/cache/warm", &json!({"urls": ["http://a.test/x"]}));
    assert_eq!((second.status, &json_of(&second)["code"]), (409, &json!("already_warming")));
    let shown = call(&proxy, "GET", "/cache/warm", &json!({}));
    assert_eq!((shown.status, &json_of(&shown)["done"]), (202, &json!(0)));
    assert_eq!(origin.requests().len(), 3, "no more than that at a time");
    gate.open();
    assert_eq!(json_of(&admin.response())["stored"], json!(9));
}

#[test]
fn calls_that_change_something_need_the_token() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let guarded = Configuration::of(&origin).admin("token = 'secret-token-of-the-test'");
    let proxy = guarded.route("name = 'app'\ncache = {}").start();
    get(&proxy, "/a");
    for path in ["/cache/purge", "/cache/warm"] {
        assert_eq!(call(&proxy, "POST", path, &json!({"all": true})).status, 401, "{path}");
    }
    assert_eq!(call(&proxy, "GET", "/cache/top", &json!({})).status, 200);
    assert!(is_hit(&proxy, "a.test", "/a"), "nothing was purged");
}
