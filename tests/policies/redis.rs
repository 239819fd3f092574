//! Limits that several instances share through a real Redis.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::redis_forms::{self, HUNDRED, ask};
use support::{Origin, RawClient, Redis, SOON, Signal, Tidegate, assert_problem, wait_until};

fn instance(origin: &Origin, redis: SocketAddr, more: &str, rate: &str) -> Tidegate {
    redis_forms::instance(origin, &format!("url = 'redis://:wonderland@{redis}/0'\n{more}"), rate)
}

#[test]
fn what_passes_is_the_limit_whatever_the_instance() {
    let (redis, origin) = (Redis::with_password("wonderland"), Origin::ok("fine"));
    let instances = [0, 1].map(|_| instance(&origin, redis.address, "", HUNDRED));
    let threads: Vec<_> = (0..6)
        .map(|n| {
            let mut client = instances[n % 2].client();
            thread::spawn(move || (0..50).filter(|_| ask(&mut client, "k").status == 200).count())
        })
        .collect();
    let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(passed, 100);
    assert_eq!(origin.requests().len(), 100);
    let refused = ask(&mut instances[0].client(), "k");
    assert_problem(&refused, 429, "rate_limited");
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=36).contains(&seconds), "{seconds}");
    let other = ask(&mut instances[1].client(), "other");
    assert_eq!(other.header("ratelimit"), Some("\"per_key\";r=99;t=36"));
    // Keys expire by themselves, and nothing of a client's is in them.
    let keys = redis.command(&["KEYS", "*"]);
    assert_eq!(keys.lines().count(), 2, "{keys}");
    let key = keys.lines().next().unwrap();
    assert!(redis.command(&["PTTL", key]).parse::<i64>().unwrap() > 0);
}

#[test]
fn without_redis_each_instance_goes_on_as_it_is_told() {
    let origin = Origin::ok("fine");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (on_error, expected) in [
        ("local", vec![200, 200, 429]),
        ("allow", vec![200, 200, 200]),
        ("deny", vec![503, 503, 503]),
    ] {
        let more = format!("on_error = '{on_error}'");
        let proxy = instance(&origin, nobody, &more, "rate = '1/h'\nburst = 1");
        let mut client = proxy.client();
        let statuses: Vec<u16> = (0..3).map(|_| ask(&mut client, "k").status).collect();
        assert_eq!(statuses, expected, "{on_error}");
        let metrics = RawClient::connect(proxy.admin()).ask("/metrics").text();
        assert!(metrics.contains("tidegate_redis_up 0\n"), "{metrics}");
        assert!(!proxy.log().contains("wonderland"));
    }
}

#[test]
fn a_redis_that_hangs_or_restarts_holds_nobody_up() {
    let (mut redis, origin) = (Redis::with_password("wonderland"), Origin::ok("fine"));
    let proxy = instance(&origin, redis.address, "timeout = '50ms'", HUNDRED);
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "a").status, 200);
    redis.signal(Signal::STOP);
    let began = Instant::now();
    for _ in 0..200 {
        assert!([200, 429].contains(&ask(&mut client, "a").status));
    }
    // One wait for the timeout, then it is left alone: not two hundred waits.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    redis.signal(Signal::CONT);
    let up = |proxy: &Tidegate| {
        let _noticed = ask(&mut proxy.client(), "b");
        RawClient::connect(proxy.admin()).ask("/metrics").text().contains("tidegate_redis_up 1\n")
    };
    wait_until(2 * SOON, "it is used again", || up(&proxy));
    // A new one at the same place knows neither the script nor the counts.
    redis.kill();
    assert!([200, 429].contains(&ask(&mut client, "c").status));
    redis.restart();
    wait_until(2 * SOON, "the new one is used", || up(&proxy));
    assert!(!redis.command(&["KEYS", "tidegate:*"]).is_empty());
}

#[test]
fn what_redis_refuses_is_an_error_and_not_a_verdict() {
    let (redis, origin) = (Redis::with_password("wonderland"), Origin::ok("fine"));
    let proxy = instance(&origin, redis.address, "on_error = 'deny'", HUNDRED);
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "k").status, 200);
    let key = redis.command(&["KEYS", "*"]);
    redis.command(&["DEL", &key]);
    redis.command(&["LPUSH", &key, "not a number"]);
    assert_problem(&ask(&mut client, "k"), 503, "limit_unavailable");
    wait_until(SOON, "other keys are counted again", || ask(&mut client, "x").status == 200);
    // A failover has made it a replica, and then the primary again.
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_problem(&ask(&mut client, "x"), 503, "limit_unavailable");
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    wait_until(SOON, "it counts again", || ask(&mut client, "x").status == 200);
    redis.command(&["CONFIG", "SET", "requirepass", "changed"]);
    let wrong = instance(&origin, redis.address, "on_error = 'deny'", HUNDRED);
    assert_problem(&ask(&mut wrong.client(), "k"), 503, "limit_unavailable");
    wait_until(SOON, "it is in the log", || wrong.log().contains("key=\"redis\""));
    assert!(!wrong.log().contains("wonderland"));
}

/// `config/scenarios/s5.2-shared-rate-limit.toml`: a hundred a minute, whichever of two instances
/// is asked.
#[test]
fn s5_2_a_hundred_a_minute_over_all_instances() {
    let (redis, origin) = (Redis::with_password("wonderland"), Origin::ok("fine"));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios/s5.2-shared-rate-limit.toml");
    let mut text = std::fs::read_to_string(file).unwrap();
    for (from, to) in [
        ("redis://127.0.0.1:6379/0", format!("redis://:wonderland@{}/0", redis.address)),
        ("127.0.0.1:9900", "127.0.0.1:0".to_owned()),
        ("0.0.0.0:8080", "127.0.0.1:0".to_owned()),
        ("10.0.0.1:8080", origin.server()),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &to);
    }
    let instances = [0, 1].map(|_| Tidegate::start(&text));
    let mut clients = instances.each_ref().map(Tidegate::client);
    let began = Instant::now();
    let passed = (0..240).filter(|n| ask(&mut clients[n % 2], "k").status == 200).count();
    // One more for every 600 ms that it took.
    let due = began.elapsed().as_millis() / 600;
    assert!((100..=100 + due as usize + 1).contains(&passed), "{passed} in {:?}", began.elapsed());
}

#[test]
fn windows_and_exceptions_hold_in_redis_too() {
    let (redis, origin) = (Redis::with_password("wonderland"), Origin::ok("fine"));
    for (rate, burst, told) in
        [("3/2d", 2, "r=2;t=57600"), ("7/3h", 6, "r=6;t=1543"), ("2/500ms", 1, "r=1;t=1")]
    {
        redis.command(&["FLUSHALL"]);
        let limit = format!("rate = '{rate}'\nburst = {burst}");
        let instances = [0, 1].map(|_| instance(&origin, redis.address, "", &limit));
        let mut clients = instances.each_ref().map(Tidegate::client);
        let began = Instant::now();
        let first = ask(&mut clients[0], "k");
        assert_eq!(first.header("ratelimit"), Some(&*format!("\"per_key\";{told}")));
        let passed = 1 + (0..40).filter(|n| ask(&mut clients[n % 2], "k").status == 200).count();
        let due = match rate {
            "2/500ms" => began.elapsed().as_millis() / 250,
            _ => 0,
        };
        let least = burst + 1;
        assert!((least..=least + due as usize).contains(&passed), "{rate}: {passed}");
        // A key lives no longer than it takes to pay for what was let in.
        let key = redis.command(&["KEYS", "*"]);
        let left: i64 = redis.command(&["PTTL", &key]).parse().unwrap();
        let most = match rate {
            "3/2d" => 172_800_000,
            "7/3h" => 10_800_001,
            _ => 500,
        };
        assert!(left > most * 9 / 10 || rate == "2/500ms", "{rate}: {left} of {most}");
        assert!(left <= most, "{rate}: {left} of {most}");
    }
    redis.command(&["FLUSHALL"]);
    let spared = "rate = '1/h'\nexcept = '127.0.0.0/8'";
    let proxy = instance(&origin, redis.address, "", spared);
    let mut client = proxy.client();
    assert_eq!([0, 1, 2].map(|_| ask(&mut client, "k").status), [200; 3]);
    assert_eq!(redis.command(&["KEYS", "*"]), "");
}
