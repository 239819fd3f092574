//! Leases that run out all at once, and servers that still answer.

use serde_json::json;

use crate::{call, deregister, metric, names, proxy, register, upstream};
use support::{Origin, SOON, Tidegate, wait_until};

fn held(proxy: &Tidegate) -> u64 {
    upstream(proxy)["servers_held"].as_u64().unwrap()
}

fn four(proxy: &Tidegate) -> Vec<Origin> {
    let origins: Vec<Origin> = (0..4).map(|_| Origin::ok("fine")).collect();
    for (n, origin) in origins.iter().enumerate() {
        register(proxy, &n.to_string(), &origin.server(), "1s");
    }
    origins
}

const FEW: &str = "slow_start = '0s'";

#[test]
fn servers_that_still_answer_are_held_for_a_while() {
    let proxy = proxy("{ registry = true }", FEW);
    let origins = four(&proxy);
    register(&proxy, "0", &origins[0].server(), "1m");
    wait_until(SOON, "three leases run out", || held(&proxy) > 0);
    // One of four may go, and which one is a matter of milliseconds; more than half may not.
    let all = upstream(&proxy);
    let servers = all["servers"].as_array().unwrap();
    let first = servers.iter().find(|server| server["name"] == "0").unwrap();
    assert_eq!((&first["held"], first["lease"].is_object()), (&json!(false), true));
    let held_one = servers.iter().find(|server| server["held"] == true).unwrap();
    assert!(held_one["lease"].is_null() && held_one["state"] == "up");
    assert!(metric(&proxy, "tidegate_upstream_members_held{upstream=\"app\"}") >= Some(1.0));
    assert!((0..20).all(|_| proxy.client().get("/").status == 200));
    // After the time that they are held for, their source is believed.
    wait_until(SOON, "they go", || names(&proxy) == ["0"]);
    let log = proxy.log();
    assert!(
        log.contains("runtime.shrink_guard") && log.contains("servers are as their source says"),
        "{log}"
    );
}

#[test]
fn servers_that_no_longer_answer_go_at_once() {
    let proxy = proxy("{ registry = true }", FEW);
    let origins = four(&proxy);
    origins.iter().for_each(Origin::stop);
    drop(origins);
    // Requests find out that nobody is there.
    wait_until(SOON, "all have gone", || {
        proxy.client().get("/");
        names(&proxy).is_empty()
    });
}

#[test]
fn goodbyes_and_operators_are_believed_at_once() {
    let proxy = proxy("{ registry = true }", FEW);
    let origins = four(&proxy);
    for (n, origin) in origins.iter().enumerate().take(3) {
        register(&proxy, &n.to_string(), &origin.server(), "1m");
    }
    for n in 0..3 {
        assert_eq!(deregister(&proxy, &n.to_string()).status, 200);
    }
    assert_eq!((names(&proxy), held(&proxy)), (vec!["3".to_owned()], 0));
    wait_until(SOON, "the last lease runs out", || held(&proxy) == 1);
    assert_eq!(proxy.client().get("/").status, 200, "the last one stays while it answers");
    assert_eq!(deregister(&proxy, "3").status, 200, "one that is held can be told to go");
    assert_eq!(names(&proxy), Vec::<String>::new());
    register(&proxy, "x", &origins[0].server(), "1s");
    wait_until(SOON, "its lease runs out", || held(&proxy) == 1);
    assert_eq!(call(&proxy, "POST", "/reload?force=1", "").status, 200);
    assert_eq!(names(&proxy), Vec::<String>::new());
}
