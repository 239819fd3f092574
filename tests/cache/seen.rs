//! What operators see of a cache: metrics, `/stats`, the access log, `explain`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::call;
use crate::{answer, ask, counting, get, proxy, status};
use support::{Origin, RawClient, SOON, Step, Tidegate, wait_until};

fn metrics(proxy: &Tidegate) -> BTreeMap<String, f64> {
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn log_lines(proxy: &Tidegate, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(proxy.path("access.log")).unwrap_or_default();
    wait_until(SOON, "the lines are written", || read().lines().count() >= count);
    read().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_request_is_counted_by_what_became_of_it() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = { memory = \"8MiB\", entries = 50 }", "");
    get(&proxy, "/a");
    get(&proxy, "/a");
    get(&proxy, "/a");
    ask(&proxy, "POST", "/b", "Content-Length: 0\r\n");
    let seen = metrics(&proxy);
    let of = |result: &str| {
        seen[&format!("tidegate_cache_requests_total{{cache=\"app\",result=\"{result}\"}}")]
    };
    let words = ["hit", "miss", "stale", "revalidated", "expired", "coalesced", "bypass"];
    assert_eq!(words.map(of), [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let one = |name: &str| seen[&format!("tidegate_cache_{name}{{cache=\"app\"}}")];
    assert_eq!(one("entries"), 1.0);
    assert_eq!(one("memory_limit_bytes"), 8.0 * 1024.0 * 1024.0);
    assert!((512.0..2048.0).contains(&one("bytes")), "{}", one("bytes"));
    let none = ["evicted_total", "purged_total", "no_room_total"];
    assert_eq!(none.map(one), [0.0; 3]);
    let stats = &proxy.stats()["caches"];
    assert_eq!(stats.as_array().unwrap().len(), 1);
    let cache = &stats[0];
    assert_eq!((&cache["name"], &cache["entry_limit"]), (&json!("app"), &json!(50)));
    assert_eq!((&cache["requests"]["hit"], &cache["requests"]["bypass"]), (&json!(2), &json!(1)));
}

#[test]
fn purges_are_counted_by_who_ordered_them() {
    let origin = Origin::start(|request| {
        let named = "Location: /b\r\nX-Invalidate: red, /d/*\r\n";
        let fields =
            if request.method == "POST" { named } else { "Cache-Control: max-age=600\r\n" };
        vec![Step::Send(answer(request, fields, "x"))]
    });
    let proxy = proxy(&origin, "cache = { invalidate_header = \"x-invalidate\" }", "");
    let counted = || {
        let seen = metrics(&proxy);
        ["admin", "webhook", "method", "header", "instance", "overrun"].map(|source| {
            seen[&format!("tidegate_cache_purges_total{{cache=\"app\",source=\"{source}\"}}")]
        })
    };
    get(&proxy, "/a");
    assert_eq!(counted(), [0.0; 6]);
    ask(&proxy, "POST", "/a", "Content-Length: 0\r\n");
    // Its URL and `/b`; `red` and `/d/*`.
    assert_eq!(counted(), [0.0, 0.0, 2.0, 2.0, 0.0, 0.0]);
    let told = call(&proxy, "POST", "/cache/purge", &json!({"all": true}));
    assert_eq!(told.status, 200, "{}", told.text());
    let told = call(&proxy, "POST", "/cache/purge", &json!({"al": true}));
    assert_eq!(told.status, 400);
    assert_eq!(counted(), [1.0, 0.0, 2.0, 2.0, 0.0, 0.0]);
    let purges = &proxy.stats()["caches"][0]["purges"];
    let expected = json!({
        "admin": 1, "webhook": 0, "method": 2, "header": 2, "instance": 0, "overrun": 0
    });
    assert_eq!(*purges, expected);
    assert_eq!(proxy.stats()["caches"][0].get("events"), None, "there is no webhook");
}

#[test]
fn a_body_that_came_in_parts_is_stored_in_one_piece() {
    let origin = Origin::start(|_| {
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 200000\r\n\r\n";
        let mut steps = vec![Step::Send(head.as_bytes().to_vec())];
        for n in 0..20 {
            steps.push(Step::Send(vec![b'a' + n; 10_000]));
            steps.push(Step::Pause(Duration::from_millis(5)));
        }
        steps
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let expected: Vec<u8> = (0..20).flat_map(|n| vec![b'a' + n; 10_000]).collect();
    assert!(get(&proxy, "/a").body == expected);
    let hit = get(&proxy, "/a");
    assert!(hit.body == expected && status(&hit).starts_with("tidegate; hit"), "{}", status(&hit));
    let part = ask(&proxy, "GET", "/a", "Range: bytes=9999-10000\r\n");
    assert_eq!((part.status, part.text()), (206, "ab".to_owned()));
    // Two of them were there for a moment; what is counted is the one that stayed.
    let bytes = || metrics(&proxy)["tidegate_cache_bytes{cache=\"app\"}"];
    wait_until(SOON, "the parts are freed", || (229_376.0..232_000.0).contains(&bytes()));
}

#[test]
fn the_access_log_has_the_word_and_the_server_of_a_fetch() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let mut client = proxy.client();
    client.get("/a");
    client.get("/a");
    client.exchange("PUT /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    client.exchange("GET /c HTTP/1.1\r\nHost: a.test\r\nCache-Control: only-if-cached\r\n\r\n");
    let told: Vec<_> = log_lines(&proxy, 4)
        .iter()
        .map(|line| json!([line["cache"], line["upstream"], line["attempts"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["miss", "app", 1]),
            json!(["hit", null, 0]),
            json!(["bypass", "app", 1]),
            json!(["miss", null, 0]),
        ]
    );
    assert_eq!(log_lines(&proxy, 4)[0]["server"], json!(origin.server()));
}

#[test]
fn a_server_is_counted_for_what_was_fetched_and_for_nothing_else() {
    let origin = Origin::start(|request| {
        if request.target == "/cut" {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!";
            return vec![Step::Send(head.into()), Step::Close];
        }
        vec![Step::Send(answer(request, "Cache-Control: max-age=600\r\n", "0123456789"))]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    (0..3).for_each(|_| drop(get(&proxy, "/a")));
    let mut client = proxy.client();
    client.send("GET /cut HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.try_response("GET").is_err());
    let server = || proxy.stats()["upstreams"][0]["servers"][0].clone();
    let counted = |server: &Value| {
        let outcomes = &server["outcomes"];
        ["whole", "server_cut"].map(|outcome| outcomes[outcome].as_u64().unwrap())
    };
    wait_until(SOON, "both fetches are counted", || counted(&server()) == [1, 1]);
    assert_eq!(server()["sent_bytes"], json!(15));
    let route = &proxy.stats()["routes"][0];
    assert_eq!(route["outcomes"]["whole"], json!(3));
    let cuts: f64 = metrics(&proxy)
        .iter()
        .filter(|(name, _)| name.starts_with("tidegate_server_cuts_total"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(cuts, 1.0);
}

#[test]
fn explain_says_whether_and_under_which_key() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = { vary_on = [\"header:x-plan\"] }", "");
    let explain = |query: &str| {
        let path = format!("/explain?url=http%3A%2F%2Fa.test%2Fa%3Fq%3D1&{query}");
        let answer = RawClient::connect(proxy.admin()).ask(&path);
        serde_json::from_slice::<Value>(&answer.body).unwrap()["cache"].clone()
    };
    let before = explain("header=x-plan:gold");
    assert_eq!(before["key"], json!("http://a.test/a?q=1 header:x-plan=gold"));
    assert_eq!((&before["stored"], &before["bypass"]), (&json!(false), &Value::Null));
    ask(&proxy, "GET", "/a?q=1", "X-Plan: gold\r\n");
    let after = explain("header=x-plan:gold");
    assert_eq!((&after["cache"], &after["stored"]), (&json!("app"), &json!(true)));
    assert!((590..=600).contains(&after["ttl"].as_i64().unwrap()), "{after}");
    assert_eq!(explain("header=x-plan:tin")["stored"], json!(false));
    assert_eq!(explain("method=DELETE")["bypass"], json!("method"));
}
