//! The tier behind memory in a Cluster, and in the primary that Sentinels name.

use serde_json::json;

use crate::get;
use crate::tier::{count, get_stored, is_redis, origin, purge, tier};
use support::{Clustered, Origin, SOON, Tidegate, Watched, wait_until};

fn instance(origin: &Origin, redis: &str) -> Tidegate {
    let more = format!("[redis]\n{redis}\ntimeout = \"500ms\"");
    let proxy = crate::proxy(origin, "cache = { tier = \"redis\" }", &more);
    wait_until(2 * SOON, "all purges are known", || tier(&proxy)["linked"] == json!(true));
    proxy
}

/// Whether purges made at one reach the other, in memory and in Redis.
fn assert_purged(one: &Tidegate, other: &Tidegate, target: &str) {
    let old = get_stored(one, target).text();
    let shared = get(other, target);
    assert!(is_redis(&shared), "{target}");
    assert_eq!(shared.text(), old);
    let answer = purge(one, &json!({"url": format!("http://a.test{target}")}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_until(SOON, "it is gone", || get(other, target).text() != old);
    assert_ne!(get(one, target).text(), old);
}

#[test]
fn a_cluster_spreads_responses_and_loses_no_purge() {
    let (origin, redis) = (origin(), Clustered::start("wonderland"));
    let text = format!("url = '{}'\ncluster = true", redis.url("wonderland"));
    let [one, two] = [instance(&origin, &text), instance(&origin, &text)];
    // Two values for each, of two keys.
    let fields = "X-Kind: a\r\n";
    let (mut stored, mut found) = (0, 0);
    for n in 0..12 {
        let target = format!("/spread{n}");
        let fetched = get_stored(&one, &target).text();
        stored += 1;
        let shared = get(&two, &target);
        assert_eq!(shared.text(), fetched);
        found += usize::from(is_redis(&shared));
    }
    assert_eq!((stored, found), (12, 12));
    let spread = redis
        .0
        .iter()
        .filter(|server| !server.command(&["--raw", "KEYS", "tidegate:cache:1:app:*"]).is_empty());
    assert_eq!(spread.count(), 3, "{:?}", redis.keys("*"));
    let before = count(&one, "stored");
    let varied = crate::ask(&one, "GET", "/vary", fields).text();
    wait_until(SOON, "both values are there", || count(&one, "stored") > before);
    let shared = crate::ask(&two, "GET", "/vary", fields);
    assert!(is_redis(&shared));
    assert_eq!(shared.text(), varied);
    for target in ["/p1", "/p2", "/p3", "/p4"] {
        assert_purged(&one, &two, target);
    }
    for proxy in [&one, &two] {
        assert!(!proxy.log().contains("Redis does not answer"), "{}", proxy.log());
    }
}

#[test]
fn what_was_purged_stays_purged_when_the_sentinels_name_another_primary() {
    let (origin, mut redis) = (origin(), Watched::start("wonderland", 1));
    let text = format!(
        "sentinel = {{ master = 'tide', nodes = {}, password = 'wonderland' }}",
        redis.nodes()
    );
    let [one, two] = [instance(&origin, &text), instance(&origin, &text)];
    assert_purged(&one, &two, "/before");
    let kept = get_stored(&one, "/kept").text();
    let gone = get_stored(&one, "/gone").text();
    assert_eq!(get(&two, "/gone").text(), gone);
    redis.servers[0].kill();
    // Told later, and carried out here at once.
    let answer = purge(&one, &json!({"url": "http://a.test/gone"}));
    assert!([200, 503].contains(&answer.status), "{}", answer.text());
    assert_ne!(get(&one, "/gone").text(), gone);
    wait_until(6 * SOON, "the replica is the primary", || redis.is_primary(1));
    for proxy in [&one, &two] {
        wait_until(3 * SOON, "all purges are known", || tier(proxy)["linked"] == json!(true));
    }
    wait_until(SOON, "the other one hears of it", || get(&two, "/gone").text() != gone);
    assert_purged(&one, &two, "/after");
    assert!([&one, &two].iter().all(|proxy| get(proxy, "/kept").status == 200), "{kept}");
}
