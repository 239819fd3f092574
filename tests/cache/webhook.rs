//! Events that say what is no longer valid, over raw sockets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Configuration, Origin, RawClient, Response, SOON, Step, Tidegate, wait_until};

use crate::admin::json_of;
use crate::{answer, get, status};

const SECRET: &str = "the secret of the shop's events";
const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn tagged() -> Origin {
    Origin::start(|request| {
        let tag = request.target.trim_start_matches('/').to_owned();
        let fields = format!("Cache-Control: max-age=600\r\nCache-Tag: {tag}\r\n");
        vec![Step::Send(answer(request, &fields, "x"))]
    })
}

/// A proxy whose admin endpoint asks for a token, with two caches of which one takes events.
fn shop(origin: &Origin) -> Tidegate {
    Configuration::of(origin)
        .admin("token = 'secret-token-of-the-test'")
        .within("cache.shop", &format!("webhook = {{ secret = [\"{SECRET}\", \"{OLD}\"] }}"))
        .route("name = 'other'\npath = '/other/*'\ncache = {}")
        .route("name = 'shop'\ncache = 'shop'")
        .start()
}

fn now() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn key(secret: &str) -> Vec<u8> {
    match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).unwrap(),
        None => secret.as_bytes().to_vec(),
    }
}

fn sign(secret: &str, id: &str, timestamp: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key(secret)).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let fields = format!("webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n");
    format!("{fields}webhook-signature: v1,{}\r\n", STANDARD.encode(mac.finalize().into_bytes()))
}

fn post(proxy: &Tidegate, cache: &str, fields: &str, body: &str) -> Response {
    RawClient::connect(proxy.admin()).exchange(format!(
        "POST /cache/webhook/{cache} HTTP/1.1\r\nHost: hooks.shop.example\r\n{fields}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn event(proxy: &Tidegate, id: &str, body: &Value) -> Response {
    let body = body.to_string();
    post(proxy, "shop", &sign(SECRET, id, now(), &body), &body)
}

fn is_hit(proxy: &Tidegate, target: &str) -> bool {
    status(&get(proxy, target)).starts_with("tidegate; hit")
}

fn fill(proxy: &Tidegate, targets: &[&str]) {
    for target in targets {
        get(proxy, target);
        assert!(is_hit(proxy, target), "{target}");
    }
}

#[test]
fn an_event_purges_what_it_names_in_its_cache() {
    let origin = tagged();
    let proxy = shop(&origin);
    let all = ["/1", "/2", "/3", "/other/1"];
    for (n, (body, gone)) in [
        (json!({"tag": "1"}), [true, false, false, false]),
        (json!({"cache": "shop", "path": "/2"}), [false, true, false, false]),
        (json!({"purge": [{"tag": "1"}, {"url": "http://a.test/3"}]}), [true, false, true, false]),
        (
            json!({"type": "stock.changed", "timestamp": "2026-11-27T00:00:00Z", "data": {"tag": "2"}}),
            [false, true, false, false],
        ),
        (json!({"type": "x", "data": {"purge": [{"tag": "3"}]}}), [false, false, true, false]),
        (json!({"all": true}), [true, true, true, false]),
    ]
    .into_iter()
    .enumerate()
    {
        fill(&proxy, &all);
        let told = event(&proxy, &format!("event-{n}"), &body);
        let count = gone.iter().filter(|gone| **gone).count();
        assert_eq!(told.status, 200, "{body}: {}", told.text());
        assert_eq!(json_of(&told), json!({"purged": count, "repeated": false}), "{body}");
        assert_eq!(all.map(|target| !is_hit(&proxy, target)), gone, "{body}");
    }
}

#[test]
fn whoever_has_no_secret_or_repeats_an_event_changes_nothing() {
    let origin = tagged();
    let proxy = shop(&origin);
    fill(&proxy, &["/1"]);
    let body = r#"{"tag":"1"}"#;
    let good = sign(SECRET, "1", now(), body);
    let [id, time, signature]: [&str; 3] =
        good.split_inclusive("\r\n").collect::<Vec<_>>().try_into().unwrap();
    let token = "Authorization: Bearer secret-token-of-the-test\r\n";
    for (fields, sent, code) in [
        (String::new(), body, "unsigned"),
        (token.into(), body, "unsigned"),
        (format!("{time}{signature}"), body, "unsigned"),
        (format!("{id}{signature}"), body, "unsigned"),
        (format!("{id}{time}"), body, "unsigned"),
        (format!("{good}{id}"), body, "unsigned"),
        (format!("{good}{time}"), body, "unsigned"),
        (format!("{good}{signature}"), body, "unsigned"),
        (format!("{id}{time}webhook-signature: \r\n"), body, "unsigned"),
        (format!("{id}{time}webhook-signature: v1,AAAA\r\n"), body, "bad_signature"),
        (good.clone(), r#"{"all":true}"#, "bad_signature"),
        // The body as it came is signed, not what it says.
        (good.clone(), r#"{"tag": "1"}"#, "bad_signature"),
        (good.clone(), "{\"tag\":\"1\"}\n", "bad_signature"),
        (format!("webhook-id: 2\r\n{time}{signature}"), body, "bad_signature"),
        (sign("another secret, which is long", "1", now(), body), body, "bad_signature"),
        (sign(SECRET, "1", now() - 400, body), body, "untimely"),
        (sign(SECRET, "1", now() + 400, body), body, "untimely"),
    ] {
        let told = post(&proxy, "shop", &fields, sent);
        assert_eq!((told.status, &json_of(&told)["code"]), (401, &json!(code)), "{fields}");
    }
    for cache in ["other", "none", "shop%2f", ""] {
        assert_eq!(post(&proxy, cache, &good, body).status, 404, "{cache}");
    }
    assert!(is_hit(&proxy, "/1"), "nothing was purged");
    let told = post(&proxy, "shop", &good, body);
    assert_eq!(json_of(&told), json!({"purged": 1, "repeated": false}));
    fill(&proxy, &["/1"]);
    let told = post(&proxy, "shop", &good, body);
    assert_eq!((told.status, json_of(&told)), (200, json!({"purged": 0, "repeated": true})));
    assert!(is_hit(&proxy, "/1"), "an event that is repeated changes nothing");
    let told = post(&proxy, "shop", &sign(OLD, "3", now(), body), body);
    assert_eq!(json_of(&told)["purged"], json!(1), "the other secret counts too");
}

#[test]
fn an_event_is_bounded_and_reaches_no_other_cache() {
    let origin = tagged();
    let proxy = shop(&origin);
    fill(&proxy, &["/1", "/other/1"]);
    for (n, body) in [
        json!({}),
        json!([]),
        json!({"cache": "other"}),
        json!({"cache": "other", "all": true}),
        json!({"tags": ["1"]}),
        json!({"purge": []}),
        json!({"purge": vec![json!({"tag": "1"}); 65]}),
        json!({"purge": [{"tag": "1"}, {"cache": "other"}]}),
        json!({"purge": [{"tag": "1"}, {}]}),
        json!({"purge": [{"tag": "1"}], "all": true}),
        json!({"data": {"tag": "1"}, "all": true}),
        json!({"data": {"tag": "2"}, "purge": [{"tag": "1"}]}),
        json!({"data": {"purge": [{"tag": "1"}], "soft": true}}),
        json!({"data": {"data": {"tag": "1"}}}),
        json!({"purge": {"tag": "1"}}),
        json!({"purge": "1"}),
        json!({"data": null}),
        json!({"tag": ["1"]}),
        json!({"tag": 1}),
        json!("tag"),
        json!({"type": "stock.changed", "data": {"sku": 7}}),
    ]
    .iter()
    .enumerate()
    {
        let told = event(&proxy, &format!("bad-{n}"), body);
        assert_eq!(told.status, 400, "{body}: {}", told.text());
    }
    for (n, body) in [
        "",
        "{",
        "{\"tag\":\"1\"",
        "{\"tag\":\"1\"}}",
        "\u{feff}{}",
        "tag=1",
        // Nobody can tell which of them was meant.
        "{\"data\":{\"tag\":\"2\"},\"data\":{\"tag\":\"1\"}}",
        "{\"purge\":[{\"tag\":\"2\"}],\"purge\":[{\"tag\":\"1\"}]}",
        "{\"data\":{\"purge\":[{\"tag\":\"2\"}],\"p\\u0075rge\":[{\"tag\":\"1\"}]}}",
    ]
    .iter()
    .enumerate()
    {
        let told = post(&proxy, "shop", &sign(SECRET, &format!("none-{n}"), now(), body), body);
        assert_eq!((told.status, &json_of(&told)["code"]), (400, &json!("bad_event")), "{body}");
    }
    let deep = format!("{{\"data\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let told = post(&proxy, "shop", &sign(SECRET, "deep", now(), &deep), &deep);
    assert_eq!(told.status, 400);
    let large = json!({"tag": "1".repeat(70_000)}).to_string();
    let told = post(&proxy, "shop", &sign(SECRET, "large", now(), &large), &large);
    assert_eq!(told.status, 413);
    assert!(is_hit(&proxy, "/1") && is_hit(&proxy, "/other/1"), "nothing was purged");
    // So is a body whose length nobody has announced; one that is cut or garbled is not too large.
    let chunked = |body: &str| {
        let framing = "POST /cache/webhook/shop HTTP/1.1\r\nHost: localhost\r\n\
                       Transfer-Encoding: chunked\r\n\r\n";
        let told = RawClient::connect(proxy.admin()).exchange(format!("{framing}{body}"));
        (told.status, json_of(&told)["code"].clone())
    };
    let large = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    assert_eq!(chunked(&large), (413, json!("body_too_large")));
    for body in ["zz\r\n", "1\r\nxx\r\n", "ffffffffffffffffff\r\n"] {
        assert_eq!(chunked(body), (400, json!("bad_body")), "{body}");
    }
    let mut client = RawClient::connect(proxy.admin());
    client.send("GET /cache/webhook/shop HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.response().status, 405);
    // The way past the token leads to events alone.
    let purge = "POST /cache/webhook/../purge HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Length: 12\r\n\r\n{\"all\":true}";
    assert!(matches!(RawClient::connect(proxy.admin()).exchange(purge).status, 401 | 404));
    assert!(is_hit(&proxy, "/1"));
    let many = json!({"purge": vec![json!({"tag": "1"}); 64]});
    assert_eq!(
        json_of(&event(&proxy, "many", &many))["purged"],
        json!(1),
        "the first of them did it"
    );
}

#[test]
fn an_event_is_json_as_it_stands() {
    let origin = tagged();
    let proxy = shop(&origin);
    fill(&proxy, &["/1"]);
    let body = r#"{"tag":"1"}"#;
    let with = |id: &str, fields: &str| {
        post(&proxy, "shop", &format!("{}{fields}", sign(SECRET, id, now(), body)), body)
    };
    for (n, fields) in [
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: \r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ]
    .iter()
    .enumerate()
    {
        let told = with(&format!("other-{n}"), fields);
        assert_eq!((told.status, &json_of(&told)["code"]), (415, &json!("not_json")), "{fields}");
    }
    assert!(is_hit(&proxy, "/1"), "nothing was purged");
    for (n, fields) in [
        "Content-Type: application/json\r\n",
        "Content-Type: Application/JSON; charset=utf-8\r\n",
        "Content-Type: application/cloudevents+json\r\n",
        "Content-Encoding: identity\r\n",
    ]
    .iter()
    .enumerate()
    {
        fill(&proxy, &["/1"]);
        let told = with(&format!("json-{n}"), fields);
        assert_eq!(json_of(&told)["purged"], json!(1), "{fields}: {}", told.text());
    }
}

#[test]
fn an_event_that_comes_several_times_at_once_is_carried_out_once() {
    let origin = tagged();
    let proxy = shop(&origin);
    fill(&proxy, &["/1"]);
    let body = r#"{"tag":"1"}"#;
    let fields = sign(SECRET, "1", now(), body);
    let told: Vec<Response> = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..8).map(|_| scope.spawn(|| post(&proxy, "shop", &fields, body))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let first = json!({"purged": 1, "repeated": false});
    assert_eq!(told.iter().filter(|told| json_of(told) == first).count(), 1);
    for told in told.iter().filter(|told| json_of(told) != first) {
        let said = json_of(told);
        let known = said == json!({"purged": 0, "repeated": true});
        let under_way = told.status == 503 && said["code"] == json!("event_under_way");
        assert!(known || under_way, "{said}");
    }
}

#[test]
fn an_event_reaches_all_instances_and_tiers() {
    let (origin, redis) = (crate::tier::origin(), support::Redis::start());
    let cache = format!(", webhook = {{ secret = \"{SECRET}\" }}");
    let all: [Tidegate; 2] =
        std::array::from_fn(|_| crate::tier::instance(&origin, &redis, &cache));
    let old = crate::tier::get_stored(&all[0], "/x1").text();
    assert!(all.iter().all(|proxy| get(proxy, "/x1").text() == old));
    let body = r#"{"path":"/x1*"}"#;
    let told = post(&all[0], "app", &sign(SECRET, "1", now(), body), body);
    assert_eq!(told.status, 200, "{}", told.text());
    for proxy in [&all[1], &all[0]] {
        wait_until(SOON, "it is gone", || get(proxy, "/x1").text() != old);
    }
    // Of an event that could not be told to all it is not said that it was carried out.
    drop(redis);
    let told = post(&all[0], "app", &sign(SECRET, "2", now(), body), body);
    assert_eq!((told.status, &json_of(&told)["code"]), (503, &json!("not_everywhere")));
    let told = post(&all[0], "app", &sign(SECRET, "2", now(), body), body);
    assert_eq!((told.status, &json_of(&told)["code"]), (503, &json!("not_everywhere")));
}

#[test]
fn events_and_purges_are_counted_by_what_became_of_them() {
    let origin = tagged();
    let proxy = shop(&origin);
    let page = || {
        RawClient::connect(proxy.admin()).exchange(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer secret-token-of-the-test\r\n\r\n",
        )
    };
    let count = |name: &str| {
        let page = page().text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {page}")).parse::<u64>().unwrap()
    };
    let events = |result: &str| {
        count(&format!("tidegate_cache_webhook_events_total{{cache=\"shop\",result=\"{result}\"}}"))
    };
    let purges = |cache: &str, source: &str| {
        count(&format!("tidegate_cache_purges_total{{cache=\"{cache}\",source=\"{source}\"}}"))
    };
    let results = [
        "done",
        "repeated",
        "unsigned",
        "untimely",
        "bad_signature",
        "malformed",
        "busy",
        "failed",
    ];
    assert_eq!(results.map(events), [0; 8]);
    let body = r#"{"purge":[{"tag":"1"},{"tag":"2"}]}"#;
    let good = sign(SECRET, "1", now(), body);
    assert_eq!(post(&proxy, "shop", &good, body).status, 200);
    for _ in 0..2 {
        assert_eq!(json_of(&post(&proxy, "shop", &good, body))["repeated"], json!(true));
    }
    assert_eq!(post(&proxy, "shop", "", body).status, 401);
    assert_eq!(post(&proxy, "shop", &sign(SECRET, "2", now() - 400, body), body).status, 401);
    assert_eq!(post(&proxy, "shop", &good, "{}").status, 401);
    assert_eq!(event(&proxy, "3", &json!({})).status, 400);
    let form = format!("{}Content-Type: text/plain\r\n", sign(SECRET, "4", now(), body));
    assert_eq!(post(&proxy, "shop", &form, body).status, 415);
    assert_eq!(event(&proxy, "5", &json!({"tag": "1".repeat(70_000)})).status, 413);
    // An event for what is no webhook belongs to no cache.
    assert_eq!(post(&proxy, "other", &good, body).status, 404);
    assert_eq!(results.map(events), [1, 2, 1, 1, 1, 3, 0, 0]);
    let sources = ["admin", "webhook", "method", "header", "instance"];
    assert_eq!(sources.map(|source| purges("shop", source)), [0, 2, 0, 0, 0]);
    assert_eq!(sources.map(|source| purges("other", source)), [0; 5]);
    assert!(!page().text().contains("webhook_events_total{cache=\"other\""), "it takes none");
}

#[test]
fn strangers_cannot_flood_the_log() {
    let origin = tagged();
    let proxy = shop(&origin);
    for _ in 0..50 {
        assert_eq!(post(&proxy, "shop", "", "{}").status, 401);
    }
    let told = proxy.log().matches("event refused").count();
    assert!((1..=4).contains(&told), "{told} lines");
}
