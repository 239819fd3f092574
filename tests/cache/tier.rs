//! The tier behind memory: a real Redis, and three processes that share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{call, json_of};
use crate::{answer, ask, get, status};
use support::{Origin, Redis, Response, SOON, Signal, Step, Tidegate, wait_until};

/// The names of what is kept for caches.
fn values(redis: &Redis) -> Vec<String> {
    let names = redis.command(&["--raw", "KEYS", "tidegate:cache:1:app:*"]);
    names.lines().map(str::to_owned).collect()
}

fn send_signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// One of several instances.
pub(crate) fn instance(origin: &Origin, redis: &Redis, cache: &str) -> Tidegate {
    let proxy = unlinked(origin, redis, cache);
    wait_until(SOON, "all purges are known", || tier(&proxy)["linked"] == json!(true));
    proxy
}

fn unlinked(origin: &Origin, redis: &Redis, cache: &str) -> Tidegate {
    let more = format!("[redis]\nurl = \"redis://{}/0\"\ntimeout = \"500ms\"", redis.address);
    let route = format!("cache = {{ tier = \"redis\"{cache} }}");
    crate::proxy(origin, &route, &more)
}

pub(crate) fn tier(proxy: &Tidegate) -> Value {
    let stats = json_of(&call(proxy, "GET", "/stats", &json!({})));
    stats["caches"][0]["tier"].clone()
}

pub(crate) fn count(proxy: &Tidegate, of: &str) -> u64 {
    tier(proxy)[of].as_u64().unwrap()
}

/// Asks, and waits until what was fetched is in Redis.
pub(crate) fn get_stored(proxy: &Tidegate, target: &str) -> Response {
    let before = count(proxy, "stored");
    let response = get(proxy, target);
    wait_until(SOON, "the response is in Redis", || count(proxy, "stored") > before);
    response
}

pub(crate) fn purge(proxy: &Tidegate, wish: &Value) -> Response {
    call(proxy, "POST", "/cache/purge", wish)
}

pub(crate) fn is_redis(response: &Response) -> bool {
    status(response).ends_with("; detail=redis") && status(response).starts_with("tidegate; hit")
}

pub(crate) fn origin() -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let fields = match request.target.as_str() {
            "/vary" => "Cache-Control: max-age=600\r\nVary: X-Kind\r\n",
            "/etag" => "Cache-Control: max-age=600\r\nETag: \"1\"\r\n",
            _ => "Cache-Control: max-age=600\r\nCache-Tag: red\r\n",
        };
        if request.header("if-none-match").is_some() {
            return vec![Step::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec())];
        }
        vec![Step::Send(answer(request, fields, &format!("body {n}")))]
    })
}

/// A target that one instance fetched and another answered out of Redis, and its body.
fn shared(one: &Tidegate, other: &Tidegate) -> (String, String) {
    let (mut n, mut before) = (0, None);
    let mut found = None;
    wait_until(SOON, "what is stored from now on is shared", || {
        n += 1;
        let target = format!("/new/{n}");
        let new = get(one, &target).text();
        let stored = before.replace((target, new));
        found = stored.filter(|(target, body)| get(other, target).text() == *body);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn what_one_instance_fetched_answers_from_all() {
    let (origin, redis) = (origin(), Redis::start());
    let [a, b, c] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let first = get_stored(&a, "/x?q=1");
    assert!(status(&first).starts_with("tidegate; fwd=uri-miss; stored"));
    for other in [&b, &c] {
        let restored = get(other, "/x?q=1");
        assert_eq!((restored.status, restored.text()), (200, "body 1".into()));
        assert!(is_redis(&restored), "{}", status(&restored));
        assert_eq!(restored.header("cache-tag"), Some("red"));
        assert!(restored.header("age").is_some());
        let next = get(other, "/x?q=1");
        assert!(status(&next).starts_with("tidegate; hit; ttl=") && !is_redis(&next));
        assert_eq!(count(other, "hit"), 1);
    }
    let kind =
        |proxy: &Tidegate, kind: &str| ask(proxy, "GET", "/vary", &format!("X-Kind: {kind}\r\n"));
    let before = count(&a, "stored");
    let bodies = ["1", "2"].map(|of| kind(&a, of).text());
    assert_ne!(bodies[0], bodies[1]);
    wait_until(SOON, "both are in Redis", || count(&a, "stored") == before + 2);
    for (of, body) in ["1", "2"].iter().zip(&bodies) {
        let restored = kind(&b, of);
        assert!(is_redis(&restored), "{}", status(&restored));
        assert_eq!(restored.text(), *body);
    }
    assert!(!is_redis(&kind(&b, "3")), "a variant that nobody fetched");
    let head = ask(&c, "HEAD", "/vary", "X-Kind: 1\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
}

/// What a server is asked about is what its 304 confirms: the newer response of the tier, where
/// memory has an older one.
#[test]
fn a_304_confirms_the_response_that_was_asked_about() {
    let is_second = Arc::new(AtomicBool::new(false));
    let now = is_second.clone();
    let origin = Origin::start(move |request| {
        let etag = if now.load(Ordering::SeqCst) { "\"2\"" } else { "\"1\"" };
        let fields = format!("Cache-Control: max-age=600\r\nETag: {etag}\r\n");
        if request.header("if-none-match") == Some(etag) {
            let head = format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
            return vec![Step::Send(head.into())];
        }
        vec![Step::Send(answer(request, &fields, etag))]
    });
    let redis = Redis::start();
    let [one, other] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    // A client that wants the server asked, as if what is stored were stale.
    let asking = |proxy: &Tidegate| ask(proxy, "GET", "/x", "Cache-Control: max-age=0\r\n");
    get_stored(&one, "/x");
    is_second.store(true, Ordering::SeqCst);
    let before = count(&other, "stored");
    assert_eq!(asking(&other).text(), "\"2\"");
    wait_until(SOON, "the newer one is in Redis", || count(&other, "stored") > before);
    is_second.store(false, Ordering::SeqCst);
    let response = asking(&one);
    assert_eq!(response.text(), "\"1\"", "{}", status(&response));
    let asked = origin.requests();
    assert_eq!(asked.last().unwrap().header("if-none-match"), Some("\"2\""));
}

#[test]
fn a_response_for_equivalent_urls_is_shared_and_purged_like_any_other() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |request| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let fields = "Cache-Control: max-age=600\r\nNo-Vary-Search: params=(\"utm\")\r\n";
        vec![Step::Send(answer(request, fields, &format!("body {n}")))]
    });
    let redis = Redis::start();
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let old = get_stored(&a, "/x?id=1&utm=a").text();
    let restored = get(&b, "/x?id=1&utm=a");
    assert!(is_redis(&restored), "{}", status(&restored));
    assert_eq!(get(&b, "/x?id=1&utm=b").text(), old);
    let answer = purge(&a, &json!({"url": "http://a.test/x?utm=c&id=1"}));
    assert_eq!(json_of(&answer)["purged"], json!(1));
    wait_until(SOON, "the other one has heard", || tier(&b)["purges"] == json!(1));
    assert_ne!(get(&b, "/x?id=1&utm=a").text(), old);
    let c = instance(&origin, &redis, "");
    assert_ne!(get(&c, "/x?id=1&utm=a").text(), old);
    let old = get_stored(&a, "/x?id=2&utm=a").text();
    assert_eq!(ask(&b, "POST", "/x?id=2&utm=d", "Content-Length: 0\r\n").status, 200);
    wait_until(SOON, "it is gone everywhere", || get(&a, "/x?id=2").text() != old);
    let later = instance(&origin, &redis, "");
    assert_ne!(get(&later, "/x?id=2&utm=a").text(), old, "not even out of Redis");
}

#[test]
fn a_purge_reaches_all_instances_and_all_tiers_within_a_second() {
    let (origin, redis) = (origin(), Redis::start());
    let all: [Tidegate; 3] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    for (target, wish) in [
        ("/x1", json!({"tag": "red"})),
        ("/x2", json!({"path": "/x2*"})),
        ("/x3", json!({"url": "http://a.test/x3"})),
        ("/x4", json!({"cache": "app"})),
        ("/x5", json!({"all": true})),
    ] {
        let old = get_stored(&all[0], target).text();
        assert!(all.iter().all(|proxy| get(proxy, target).text() == old), "{wish}");
        let ordered = Instant::now();
        let answer = purge(&all[0], &wish);
        assert_eq!(answer.status, 200, "{wish}: {}", answer.text());
        assert!(json_of(&answer)["purged"].as_u64() >= Some(1), "{wish}");
        for proxy in [&all[1], &all[2], &all[0]] {
            wait_until(SOON, "it is gone", || get(proxy, target).text() != old);
        }
        assert!(ordered.elapsed() < Duration::from_secs(1), "{wish}: {:?}", ordered.elapsed());
        for proxy in &all {
            assert_ne!(get(proxy, target).text(), old, "{wish}: it has come back");
        }
    }
}

#[test]
fn a_soft_purge_reaches_what_is_in_redis_and_a_server_confirms_it() {
    let (origin, redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let first = get_stored(&a, "/etag").text();
    assert_eq!(purge(&a, &json!({"path": "/etag", "soft": true})).status, 200);
    wait_until(SOON, "the other one has heard", || tier(&b)["purges"] == json!(1));
    let response = get(&b, "/etag");
    assert_eq!(response.text(), first);
    assert!(status(&response).contains("fwd-status=304"), "{}", status(&response));
    assert_eq!(count(&b, "stale"), 1);
}

#[test]
fn an_unsafe_request_makes_its_url_invalid_everywhere() {
    let (origin, redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let old = get_stored(&a, "/x").text();
    assert_eq!(get(&b, "/x").text(), old);
    assert_eq!(ask(&a, "POST", "/x", "Content-Length: 0\r\n").status, 200);
    assert_ne!(get(&a, "/x").text(), old, "not even out of Redis");
    wait_until(SOON, "the other one has heard", || get(&b, "/x").text() != old);
    assert_eq!(purge(&a, &json!({"tag": "red"})).status, 200);
    let purges =
        |proxy| json_of(&call(proxy, "GET", "/stats", &json!({})))["caches"][0]["purges"].clone();
    let expected =
        json!({"admin": 0, "webhook": 0, "method": 0, "header": 0, "instance": 2, "overrun": 0});
    wait_until(SOON, "both have come to the other one", || purges(&b) == expected);
    let expected =
        json!({"admin": 1, "webhook": 0, "method": 1, "header": 0, "instance": 0, "overrun": 0});
    assert_eq!(purges(&a), expected, "its own are not counted twice");
}

#[test]
fn an_instance_that_was_away_never_serves_what_was_purged() {
    let (origin, redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    for target in ["/1", "/2"] {
        wait_until(SOON, "it is linked", || tier(&b)["linked"] == json!(true));
        let old = get_stored(&a, target).text();
        assert_eq!(get(&b, target).text(), old);
        send_signal(b.pid(), Signal::STOP);
        assert_eq!(purge(&a, &json!({"path": target})).status, 200);
        // Longer than what was heard last counts.
        std::thread::sleep(Duration::from_millis(1500));
        let mut client = b.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        send_signal(b.pid(), Signal::CONT);
        assert_ne!(client.response().text(), old);
        assert_ne!(get(&b, target).text(), old);
    }
}

#[test]
fn a_redis_that_forgot_everything_lets_nothing_old_be_served() {
    let (origin, mut redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let old = get_stored(&a, "/x").text();
    assert_eq!(get(&b, "/x").text(), old);
    send_signal(b.pid(), Signal::STOP);
    assert_eq!(purge(&a, &json!({"all": true})).status, 200);
    redis.kill();
    redis.restart();
    send_signal(b.pid(), Signal::CONT);
    wait_until(SOON, "the other one is linked again", || tier(&b)["linked"] == json!(true));
    assert_ne!(get(&b, "/x").text(), old);
}

#[test]
fn a_redis_that_lost_the_purges_alone_lets_nothing_purged_be_served() {
    for purged_after_that in [false, true] {
        let (origin, redis) = (origin(), Redis::start());
        let a = instance(&origin, &redis, "");
        let old = get_stored(&a, "/x").text();
        assert_eq!(purge(&a, &json!({"path": "/x"})).status, 200);
        assert_eq!(redis.command(&["DEL", "tidegate:cache:1:purges"]), "1");
        if purged_after_that {
            assert_eq!(purge(&a, &json!({"path": "/y"})).status, 200);
        }
        let later = instance(&origin, &redis, "");
        assert_ne!(get(&later, "/x").text(), old, "{purged_after_that}");
        shared(&a, &later);
    }
}

#[test]
fn a_failover_that_lost_a_purge_is_noticed_behind_newer_ones() {
    let (origin, redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let old = get_stored(&a, "/x").text();
    assert_eq!(get(&b, "/x").text(), old);
    let cut_connections = || redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    send_signal(b.pid(), Signal::STOP);
    cut_connections();
    wait_until(SOON, "all are told", || purge(&a, &json!({"path": "/x"})).status == 200);
    // Nobody hears of anything until the replica has taken over, without that purge and with a
    // later one.
    send_signal(a.pid(), Signal::STOP);
    cut_connections();
    let stream = "tidegate:cache:1:purges";
    let lose = "local all = redis.call('XRANGE', KEYS[1], '-', '+')
                for at = 2, #all do redis.call('XDEL', KEYS[1], all[at][1]) end
                return #all - 1";
    assert_ne!(redis.command(&["EVAL", lose, "1", stream]), "0");
    let later = ["cache", "app", "id", "1-1", "path", "/y"];
    redis.command(&[&["XADD", stream, "*"], &later[..]].concat());
    send_signal(b.pid(), Signal::CONT);
    wait_until(SOON, "the other one is linked again", || tier(&b)["linked"] == json!(true));
    send_signal(a.pid(), Signal::CONT);
    wait_until(SOON, "the loss is noticed", || get(&b, "/x").text() != old);
    wait_until(SOON, "both are linked", || {
        [&a, &b].iter().all(|proxy| tier(proxy)["linked"] == json!(true))
    });
    shared(&a, &b);
}

#[test]
fn what_others_write_among_the_purges_stops_none() {
    let (origin, redis) = (origin(), Redis::start());
    let a = instance(&origin, &redis, "");
    redis.command(&["XADD", "tidegate:cache:1:purges", "*", "foreign", "1"]);
    let calls = || {
        let said = redis.command(&["INFO", "commandstats"]);
        let line = said.lines().find(|line| line.starts_with("cmdstat_xread:")).unwrap().to_owned();
        let calls = line.split(&['=', ','][..]).nth(1).unwrap();
        calls.parse::<u64>().unwrap()
    };
    let (before, began) = (calls(), Instant::now());
    wait_until(SOON, "the stream is waited for again and again", || calls() >= before + 3);
    // Each of them waits for up to 200 ms when there is nothing new; one that is answered at once
    // takes microseconds.
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    let old = get_stored(&a, "/x").text();
    assert_eq!(purge(&a, &json!({"path": "/x"})).status, 200);
    assert_ne!(get(&a, "/x").text(), old);
}

#[test]
fn what_others_make_of_the_keys_of_purges_keeps_none_out() {
    const HIGHEST: &str = "18446744073709551615-18446744073709551615";
    const PURGES: &str = "tidegate:cache:1:purges";
    const LINEAGE: &str = "tidegate:cache:1:lineage";
    let add = ["XADD", PURGES, HIGHEST, "foreign", "1"];
    let cases: [&[&[&str]]; 7] = [
        &[&add],
        &[&add, &["XDEL", PURGES, HIGHEST]],
        &[&["XSETID", PURGES, HIGHEST]],
        &[&["DEL", PURGES], &add],
        &[&["SET", PURGES, "x"]],
        &[&["DEL", LINEAGE], &["LPUSH", LINEAGE, "x"]],
        &[&["SET", LINEAGE, "x"]],
    ];
    for commands in cases {
        let (origin, redis) = (origin(), Redis::start());
        let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
        let old = get_stored(&a, "/x").text();
        assert_eq!(get(&b, "/x").text(), old);
        for command in commands {
            let said = redis.command(command);
            assert!(!said.contains("ERR") && !said.contains("WRONG"), "{command:?}: {said}");
        }
        let purged = purge(&a, &json!({"path": "/x"}));
        assert_eq!(purged.status, 200, "{commands:?}: {}", purged.text());
        assert_ne!(get(&a, "/x").text(), old, "{commands:?}");
        wait_until(SOON, "the other one has heard", || get(&b, "/x").text() != old);
        let (target, old) = shared(&a, &b);
        assert_eq!(purge(&b, &json!({"path": target})).status, 200, "{commands:?}");
        wait_until(SOON, "it is gone everywhere", || get(&a, &target).text() != old);
        let later = instance(&origin, &redis, "");
        assert_ne!(get(&later, &target).text(), old, "{commands:?}");
    }
}

#[test]
fn an_end_of_the_stream_is_noticed_without_a_purge() {
    let (origin, redis) = (origin(), Redis::start());
    let a = instance(&origin, &redis, "");
    let lineage = || redis.command(&["GET", "tidegate:cache:1:lineage"]);
    let before = lineage();
    redis.command(&[
        "XADD",
        "tidegate:cache:1:purges",
        "18446744073709551615-18446744073709551615",
        "foreign",
        "1",
    ]);
    wait_until(SOON, "purges begin anew", || lineage() != before);
    wait_until(SOON, "it is linked", || tier(&a)["linked"] == json!(true));
    let told = redis.command(&["XADD", "tidegate:cache:1:purges", "*", "foreign", "1"]);
    assert!(!told.contains("ERR"), "{told}");
}

#[test]
fn a_redis_that_is_gone_or_hangs_costs_no_answer_and_a_purge_is_told_later() {
    let (origin, mut redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    get_stored(&a, "/x");
    let old = get(&b, "/x").text();
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4)
            .map(|thread| {
                let (a, stop) = (&a, stop.clone());
                scope.spawn(move || {
                    let (mut count, mut slowest) = (0_u32, Duration::ZERO);
                    while !stop.load(Ordering::SeqCst) {
                        let asked = Instant::now();
                        let response = get(a, &format!("/{thread}/{}", count % 50));
                        assert_eq!(response.status, 200);
                        slowest = slowest.max(asked.elapsed());
                        count += 1;
                    }
                    (count, slowest)
                })
            })
            .collect();
        wait_until(SOON, "load is on", || count(&a, "stored") > 20);
        redis.signal(Signal::STOP);
        wait_until(SOON, "it is noticed that Redis hangs", || tier(&a)["linked"] == json!(false));
        redis.signal(Signal::CONT);
        wait_until(SOON, "Redis is back", || tier(&a)["linked"] == json!(true));
        redis.kill();
        wait_until(SOON, "it is noticed that Redis is gone", || tier(&a)["linked"] == json!(false));
        stop.store(true, Ordering::SeqCst);
        for asked in asked {
            let (count, slowest) = asked.join().unwrap();
            assert!(count > 20 && slowest < Duration::from_secs(3), "{count} in {slowest:?}");
        }
    });
    let told = purge(&a, &json!({"path": "/x"}));
    assert_eq!((told.status, &json_of(&told)["code"]), (503, &json!("not_everywhere")));
    assert_eq!(get(&b, "/x").text(), old, "memory goes on alone");
    redis.restart();
    wait_until(SOON, "it is told when Redis is back", || get(&b, "/x").text() != old);
}

#[test]
fn values_that_are_garbled_or_foreign_are_no_responses() {
    let (origin, redis) = (origin(), Redis::start());
    let [a, b] = std::array::from_fn(|_| instance(&origin, &redis, ""));
    let garbled = [
        ("/1", &["SETRANGE", "@", "40", "x"][..]),
        ("/2", &["SET", "@", "HTTP/1.1 200 OK"]),
        ("/3", &["SET", "@", ""]),
        ("/4", &["APPEND", "@", "x"]),
        ("/5", &["SETRANGE", "@", "0", "TGR2"]),
    ];
    for (target, command) in garbled {
        let known = values(&redis);
        get_stored(&a, target);
        let name = values(&redis).into_iter().find(|name| !known.contains(name)).unwrap();
        let words: Vec<&str> =
            command.iter().map(|word| if *word == "@" { &*name } else { word }).collect();
        redis.command(&words);
        let before = count(&b, "foreign");
        let response = get(&b, target);
        assert!(status(&response).starts_with("tidegate; fwd=uri-miss"), "{}", status(&response));
        assert_eq!(count(&b, "foreign"), before + 1, "{target}");
    }
    let known = values(&redis);
    get_stored(&a, "/list");
    let name = values(&redis).into_iter().find(|name| !known.contains(name)).unwrap();
    redis.command(&["DEL", &name]);
    redis.command(&["LPUSH", &name, "x"]);
    assert_eq!(get(&b, "/list").status, 200, "a value of another type is no response");
}

#[test]
fn values_are_bounded_in_size_and_time() {
    let origin = Origin::start(|request| {
        let length = if request.target == "/large" { 1 << 20 } else { 1000 };
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {length}\r\n\r\n"
        );
        vec![Step::Send(head.into()), Step::Fill(length)]
    });
    let redis = Redis::start();
    let a = instance(&origin, &redis, ", memory = \"64MiB\", tier_ttl = \"90s\"");
    let before = count(&a, "skipped");
    assert_eq!(get(&a, "/large").body.len(), 1 << 20);
    wait_until(SOON, "it is too large", || count(&a, "skipped") == before + 1);
    assert_eq!(values(&redis).len(), 0);
    get_stored(&a, "/small");
    let names = values(&redis);
    let left: i64 = redis.command(&["PTTL", &names[0]]).parse().unwrap();
    assert!((80_000..=90_000).contains(&left), "{left}");
}
