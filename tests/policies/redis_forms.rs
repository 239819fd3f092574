//! Limits that are shared through a Redis over TLS, one that Sentinels watch, or a Cluster.

use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    Authority, Certificate, Clustered, Configuration, Origin, RawClient, Redis, Response, SOON,
    Signal, Tidegate, Watched, assert_problem, wait_until,
};

/// An instance whose clients are counted in a Redis: the keys of `[redis]`, and the rate of each
/// client.
pub(crate) fn instance(origin: &Origin, redis: &str, rate: &str) -> Tidegate {
    let rate = format!("{rate}\nkey = 'header:x-api-key'\nstore = 'redis'");
    let base = Configuration::of(origin).runtime("workers = 2").within("redis", redis);
    base.within("limit.per_key", &rate).route("limit = 'per_key'").start()
}

pub(crate) const HUNDRED: &str = "rate = '100/h'\nburst = 99";
/// Whoever asks too often is told so, and whoever asks nobody waits for nobody.
const DENY: &str = "on_error = 'deny'\ntimeout = '1s'";

pub(crate) fn ask(client: &mut RawClient, key: &str) -> Response {
    client.exchange(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Api-Key: {key}\r\n\r\n"))
}

/// How much of the limit is left, as an answer says.
fn left(response: &Response) -> u32 {
    let told = response.header("ratelimit").expect("a limit").to_owned();
    let left = told.split("r=").nth(1).and_then(|rest| rest.split(';').next());
    left.unwrap().parse().unwrap()
}

fn is_up(proxy: &Tidegate) -> bool {
    RawClient::connect(proxy.admin()).ask("/metrics").text().contains("tidegate_redis_up 1\n")
}

fn secure(redis: &Redis, ca: &Path, more: &str) -> String {
    let port = redis.address.port();
    format!("url = 'rediss://127.0.0.1:{port}/0'\nca = '{}'\n{more}", ca.display())
}

fn identity(certificate: &Certificate) -> String {
    let Certificate { cert, key } = certificate;
    format!("cert = '{}'\nkey = '{}'", cert.display(), key.display())
}

#[test]
fn tls_with_a_private_authority_and_a_certificate_of_the_proxy() {
    let (authority, origin) = (Authority::new("Private"), Origin::ok("fine"));
    let server = authority.certificate("server", &["127.0.0.1"]);
    let client = authority.certificate("client", &["proxy.test"]);
    let redis = Redis::with_tls(&authority.ca(), &server, true);
    let text = secure(&redis, &authority.ca(), &format!("{}\n{DENY}", identity(&client)));
    let instances = [0, 1].map(|_| instance(&origin, &text, HUNDRED));
    let mut clients = instances.each_ref().map(Tidegate::client);
    let passed: Vec<_> = (0..10).map(|n| left(&ask(&mut clients[n % 2], "k"))).collect();
    assert_eq!(passed, (90..100).rev().collect::<Vec<_>>());
    // Without the certificate it is not let in, and the line says where.
    let text = secure(&redis, &authority.ca(), DENY);
    let without = instance(&origin, &text, HUNDRED);
    assert_problem(&ask(&mut without.client(), "k"), 503, "limit_unavailable");
    let place = redis.address.to_string();
    wait_until(SOON, "it is in the log", || without.log().contains(&place));
    assert!(without.log().contains("CertificateRequired"), "{}", without.log());
}

#[test]
fn a_certificate_of_an_authority_that_is_not_trusted_is_refused_and_named() {
    let (authority, other) = (Authority::new("Private"), Authority::new("Other"));
    let (server, origin) = (authority.certificate("server", &["127.0.0.1"]), Origin::ok("fine"));
    let redis = Redis::with_tls(&authority.ca(), &server, false);
    let elsewhere = authority.certificate("elsewhere", &["redis.test"]);
    let named_wrong = Redis::with_tls(&authority.ca(), &elsewhere, false);
    for (redis, ca, cause) in [
        (&redis, other.ca(), "UnknownIssuer"),
        (&named_wrong, authority.ca(), "not valid for name"),
    ] {
        let proxy = instance(&origin, &secure(redis, &ca, DENY), HUNDRED);
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_problem(&ask(&mut client, "k"), 503, "limit_unavailable");
        }
        let log = proxy.log();
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains("Redis cannot be reached")).collect();
        let [line] = lines[..] else { panic!("told once: {log}") };
        for part in [cause, "key=\"redis.ca\"", &redis.address.to_string()] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(redis.command(&["DBSIZE"]), "0");
    }
    // Whoever speaks no TLS is not told anything in the clear.
    let plain = Redis::with_password("wonderland");
    let url = format!("url = 'rediss://:wonderland@{}'\n{DENY}", plain.address);
    let proxy = instance(&origin, &format!("{url}\nca = '{}'", other.ca().display()), HUNDRED);
    assert_problem(&ask(&mut proxy.client(), "k"), 503, "limit_unavailable");
    wait_until(SOON, "it is in the log", || proxy.log().contains("key=\"redis"));
    assert!(!proxy.log().contains("wonderland"), "{}", proxy.log());
}

#[test]
fn a_self_signed_certificate_that_is_named_is_trusted_and_a_new_authority_counts_after_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-out", cert.to_str().unwrap(), "-keyout", key.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success());
    let redis = Redis::with_tls(&cert, &Certificate { cert: cert.clone(), key }, false);
    let origin = Origin::ok("fine");
    let ca = directory.path().join("ca.pem");
    std::fs::copy(Authority::new("Other").ca(), &ca).unwrap();
    let proxy = instance(&origin, &secure(&redis, &ca, DENY), HUNDRED);
    let mut client = proxy.client();
    assert_problem(&ask(&mut client, "k"), 503, "limit_unavailable");
    std::fs::copy(&cert, &ca).unwrap();
    wait_until(2 * SOON, "the file is read again", || ask(&mut client, "k").status == 200);
    assert!(left(&ask(&mut client, "k")) < 99);
}

/// Asks without a pause in two threads while `change` is made; returns what was answered and the
/// longest wait.
fn under_load(proxy: &Tidegate, change: impl FnOnce()) -> (Vec<u16>, Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        let threads = [0, 1].map(|n| {
            let mut client = proxy.client();
            scope.spawn(move || {
                let (mut statuses, mut longest) = (Vec::new(), Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    statuses.push(ask(&mut client, &format!("load{n}")).status);
                    longest = longest.max(began.elapsed());
                    thread::sleep(Duration::from_millis(2));
                }
                (statuses, longest)
            })
        });
        // What goes wrong in it ends the load, too.
        let changed = catch_unwind(AssertUnwindSafe(change));
        over.store(true, Ordering::Relaxed);
        changed.unwrap_or_else(|cause| resume_unwind(cause));
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(
            Default::default(),
            |(mut all, longest): (Vec<u16>, Duration), (statuses, own)| {
                all.extend(statuses);
                (all, longest.max(own))
            },
        )
    })
}

#[test]
fn limits_go_on_when_the_sentinels_name_another_primary() {
    let (mut redis, origin) = (Watched::start("wonderland", 3), Origin::ok("fine"));
    let text = |on_error: &str| {
        format!(
            "sentinel = {{ master = 'tide', nodes = {}, password = 'wonderland' }}\non_error = '{on_error}'\ntimeout = '200ms'",
            redis.nodes()
        )
    };
    let [local, deny] = ["local", "deny"].map(|on| instance(&origin, &text(on), HUNDRED));
    let mut client = local.client();
    for n in 1..=10 {
        wait_until(SOON, "it is counted", || left(&ask(&mut client, &format!("first{n}"))) == 99);
    }
    assert_eq!(left(&ask(&mut client, "k")), 99);
    wait_until(SOON, "the replica has it", || {
        redis.servers[1].command(&["DBSIZE"]) == redis.servers[0].command(&["DBSIZE"])
    });
    // The primary is gone without a word.
    let (statuses, longest) = under_load(&local, || {
        redis.servers[0].signal(Signal::STOP);
        wait_until(6 * SOON, "the replica is the primary", || redis.is_primary(1));
        wait_until(2 * SOON, "it is used", || {
            let _asked = ask(&mut client, "again");
            is_up(&local)
                && redis.servers[1].command(&["--raw", "DBSIZE"]).parse::<u32>().unwrap() > 13
        });
    });
    assert!(statuses.len() > 100, "{}", statuses.len());
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!(left(&ask(&mut client, "k")), 98);
    let mut strict = deny.client();
    wait_until(2 * SOON, "the other one counts there, too", || ask(&mut strict, "k").status == 200);
    // The other way, in order: the old one is back, follows, and takes over.
    redis.servers[0].signal(Signal::CONT);
    wait_until(6 * SOON, "the old one follows", || {
        redis.servers[0].command(&["INFO", "replication"]).contains("master_link_status:up")
    });
    wait_until(3 * SOON, "it is told to take over", || {
        redis.sentinels[0].command(&["SENTINEL", "FAILOVER", "tide"]) == "OK"
    });
    wait_until(6 * SOON, "it has", || redis.is_primary(0));
    redis.servers[1].kill();
    wait_until(2 * SOON, "it is used", || ask(&mut strict, "k").status == 200 && is_up(&deny));
    assert!(left(&ask(&mut strict, "k")) < 97);
    for proxy in [&local, &deny] {
        assert!(!proxy.log().contains("wonderland"), "{}", proxy.log());
    }
}

#[test]
fn a_sentinel_that_hangs_or_knows_nothing_is_passed_over() {
    let (redis, origin) = (Watched::start("wonderland", 1), Origin::ok("fine"));
    let (silent, stranger) = (TcpListener::bind("127.0.0.1:0").unwrap(), Redis::start());
    let text = |nodes: &str| {
        format!(
            "sentinel = {{ master = 'tide', nodes = [{nodes}], password = 'wonderland' }}\n{DENY}"
        )
    };
    let [silent, stranger] = [silent.local_addr().unwrap(), stranger.address];
    let known = redis.sentinels[0].address;
    let proxy = instance(&origin, &text(&format!("'{silent}', '{stranger}', '{known}'")), HUNDRED);
    let mut client = proxy.client();
    wait_until(2 * SOON, "it is reached", || ask(&mut client, "k").status == 200);
    // A name that none of them knows.
    let nobody = text(&format!("'{known}'")).replace("tide", "nobody");
    let proxy = instance(&origin, &nobody, HUNDRED);
    assert_problem(&ask(&mut proxy.client(), "k"), 503, "limit_unavailable");
    wait_until(SOON, "it is in the log", || proxy.log().contains("knows no master \\\"nobody"));
}

#[test]
fn a_cluster_keeps_the_count_of_a_key_whose_slot_moves() {
    let (redis, origin) = (Clustered::start("wonderland"), Origin::ok("fine"));
    let text = format!("url = '{}'\ncluster = true\n{DENY}", redis.url("wonderland"));
    let instances = [0, 1].map(|_| instance(&origin, &text, HUNDRED));
    let mut clients = instances.each_ref().map(Tidegate::client);
    // Keys live on all servers.
    for n in 0..30 {
        assert_eq!(left(&ask(&mut clients[n % 2], &format!("spread{n}"))), 99);
    }
    for server in &redis.0 {
        assert_ne!(server.command(&["DBSIZE"]), "0");
    }
    redis.0.iter().for_each(|server| {
        server.command(&["FLUSHALL"]);
    });
    assert_eq!(left(&ask(&mut clients[0], "k")), 99);
    let key = redis.keys("tidegate:limit:*").pop().unwrap();
    let ((from, slot), to) = (redis.home(&key), |from: usize| (from + 1) % 3);
    let to = to(from);
    let set = |at: usize, words: &[&str]| {
        let answer = redis.0[at].command(&[&["CLUSTER", "SETSLOT", &slot], words].concat());
        assert_eq!(answer, "OK", "{words:?}");
    };
    // While it moves, the old server has the key, then the new one, to which the old one sends
    // those who ask.
    set(to, &["IMPORTING", &redis.id(from)]);
    set(from, &["MIGRATING", &redis.id(to)]);
    assert_eq!(left(&ask(&mut clients[1], "k")), 98);
    let port = redis.0[to].address.port().to_string();
    let moved = redis.0[from].command(&[
        "MIGRATE",
        "127.0.0.1",
        &port,
        "",
        "0",
        "5000",
        "AUTH",
        "wonderland",
        "KEYS",
        &key,
    ]);
    assert_eq!(moved, "OK");
    assert_eq!(left(&ask(&mut clients[0], "k")), 97);
    assert_eq!(left(&ask(&mut clients[1], "k")), 96);
    // Then it has moved.
    for at in [to, from, 3 - from - to] {
        set(at, &["NODE", &redis.id(to)]);
    }
    assert_eq!(left(&ask(&mut clients[0], "k")), 95);
    assert_eq!(left(&ask(&mut clients[1], "k")), 94);
    for proxy in &instances {
        assert!(!proxy.log().contains("Redis"), "{}", proxy.log());
    }
    // A server that hangs holds up nobody whose keys are elsewhere.
    redis.0[from].signal(Signal::STOP);
    let (statuses, longest) = under_load(&instances[0], || {
        for _ in 0..50 {
            assert_eq!(ask(&mut clients[0], "k").status, 200);
        }
    });
    assert!(!statuses.is_empty());
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    redis.0[from].signal(Signal::CONT);
}

#[test]
fn a_server_of_a_cluster_that_is_used_alone_says_what_is_missing() {
    let (redis, origin) = (Clustered::start("wonderland"), Origin::ok("fine"));
    let text = format!("url = '{}'\n{DENY}", redis.url("wonderland"));
    let proxy = instance(&origin, &text, HUNDRED);
    let mut client = proxy.client();
    wait_until(SOON, "a key is elsewhere", || {
        let key = format!("{:?}", Instant::now());
        ask(&mut client, &key).status == 503
    });
    wait_until(SOON, "it is in the log", || proxy.log().contains("`redis.cluster` is not set"));
}
