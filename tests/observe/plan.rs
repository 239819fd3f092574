//! `tidegate plan`: what it computes, from where, and what it says to figures that are none.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use support::{Configuration, Origin, Step, ok, wait_until};

fn plan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("plan").args(arguments).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = plan(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str], code: i32) -> String {
    let output = plan(arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn s4_4_instances_are_the_rate_by_what_one_does_at_seventy_percent() {
    let plan = json(&["--rate", "1000/s", "--service", "20ms"]);
    assert_eq!((&plan["instances"], &plan["cores"]), (&29.into(), &29.into()), "{plan}");
    assert_eq!(plan["memory_bytes"], 29_u64 * 512 * 1024 * 1024);
    assert_eq!(plan["decides"]["by"], "service");
    let of = |rate: &str, service: &str, used: &str| {
        let flags = ["--rate", rate, "--service", service, "--utilisation", used];
        json(&flags)["instances"].as_u64().unwrap()
    };
    assert_eq!(of("100", "50ms", "0.7"), 8);
    assert_eq!(of("700/s", "100ms", "70%"), 100);
    assert_eq!(of("60000/min", "20ms", "100%"), 20);
}

#[test]
fn s5_7_a_thousand_an_instance_and_five_thousand_at_the_peak_twice_are_ten() {
    let flags = ["--rate", "5000/s", "--capacity", "1000/s", "--head-room", "2"];
    let plan = json(&flags);
    assert_eq!(plan["instances"], 10, "{plan}");
    assert_eq!(plan["decides"]["by"], "capacity");
    assert_eq!(plan["decides"]["source"], "--capacity");
    let text = String::from_utf8(self::plan(&flags).stdout).unwrap();
    assert!(text.starts_with(
        "servers\n  instances  10\n  cores      10  1 each\n  memory     5 GiB  512 MiB each\n  \
         decided by capacity: 1000/s each (--capacity)\ntidegate in front of them\n  \
         instances  2  of which 1 to spare\n"
    ), "{text}");
    assert!(text.contains("  head-room    2          --head-room\n"), "{text}");
    assert!(text.contains("  cores        1          assumed, --cores\n"), "{text}");
}

#[test]
fn the_assumption_that_asks_for_the_most_decides() {
    let of = |capacity: &str| {
        let flags =
            ["--rate", "1000/s", "--service", "20ms", "--concurrency", "4", "--capacity", capacity];
        let plan = json(&flags);
        (plan["instances"].as_u64().unwrap(), plan["decides"]["by"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("100/s"), (15, "capacity".to_owned()));
    assert_eq!(of("1000/s"), (8, "service".to_owned()));
    let spared = [
        "--rate",
        "10/s",
        "--capacity",
        "1/s",
        "--utilisation",
        "1",
        "--zones",
        "3",
        "--spare",
        "1",
    ];
    assert_eq!(json(&spared)["instances"], 18);
}

#[test]
fn the_proxy_is_planned_for_too() {
    let flags = [
        "--rate",
        "500000/s",
        "--capacity",
        "1000/s",
        "--connections",
        "100000",
        "--proxy-cpu",
        "20us",
        "--proxy-cores",
        "4",
        "--utilisation",
        "50%",
    ];
    let proxy = json(&flags)["tidegate"].clone();
    // 500 000 × 20 us = 10 cores; at half of four each that is 5, and one may be away.
    assert_eq!((&proxy["instances"], &proxy["cores"]), (&6.into(), &24.into()), "{proxy}");
    assert_eq!((&proxy["decides"]["by"], &proxy["spare"]), (&"cpu".into(), &1.into()));
    // 32 MiB, and 32 KiB for each of the 20 000 connections that an instance has when one is away.
    assert_eq!(proxy["memory_bytes_each"], (32_u64 << 20) + 20_000 * (32 << 10));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let flags = [
        "--rate",
        "fast",
        "--service",
        "20",
        "--utilisation",
        "150%",
        "--head-room",
        "0.5",
        "--cores",
        "0",
        "--memory",
        "512",
        "--clients",
        "3",
    ];
    let told = refused(&flags, 2);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 9, "{told}");
    for (flag, help) in [
        ("--rate", "5000/s"),
        ("--service", "20ms"),
        ("--utilisation", "70%"),
        ("--head-room", "from 1 to 100"),
        ("--cores", "from 1 to 4096"),
        ("--memory", "512B"),
        ("--clients", "--load"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(&format!("error: {flag}")));
        assert!(line.is_some_and(|line| line.contains(help)), "{flag}: {told}");
    }
    assert!(told.contains("--utilisation and --head-room say the same thing"), "{told}");
    assert!(told.ends_with("8 errors\n"), "{told}");
    let told = refused(&[], 2);
    assert!(
        told.contains("--rate is missing") && told.contains("what a server does is missing"),
        "{told}"
    );
    let told = refused(&["--rate", "999999999/s", "--service", "1h"], 1);
    assert!(told.contains("more than 1000000000 instances"), "{told}");
}

#[test]
fn a_running_proxy_says_what_its_peak_was() {
    let past = |request: &support::Request| {
        vec![Step::Send(ok(match &*request.target {
            "/history?points=2160&of=all" => {
                r#"{"point_seconds":10,"all":{"classes":[[0,10000,0,0,0,0],[0,2,0,0,0,0]],"p50_ms":[20.0,1.0]}}"#
            }
            "/metrics" => "tidegate_requests_total 10002\nprocess_cpu_seconds_total 0.50010\n",
            other => panic!("asked for {other}"),
        }))]
    };
    let admin = Origin::start(past);
    let at = format!("http://{}", admin.server());
    let plan = json(&["--from-history", "--admin", &at]);
    // 1 000 a second, of which each takes 20 ms.
    assert_eq!(plan["instances"], 29, "{plan}");
    let source = |name: &str| {
        let rows = plan["assumptions"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["source"].clone()
    };
    assert_eq!(source("rate"), "peak of the history");
    assert_eq!(source("service"), "median at the peak of the history");
    assert_eq!(plan["tidegate"]["decides"]["because"], "50us of CPU a request, 2 cores");
    assert!(plan["notes"][0].as_str().unwrap().contains("20 s only"), "{plan}");
    // A flag goes first.
    assert_eq!(json(&["--from-history", "--admin", &at, "--rate", "100/s"])["instances"], 3);
}

#[test]
fn the_history_of_a_real_proxy_can_be_read() {
    let origin = Origin::ok("ok");
    let proxy = Configuration::of(&origin).start();
    let at = format!("http://{}", proxy.admin());
    assert!(refused(&["--from-history", "--admin", &at], 1).contains("no history of requests yet"));
    let mut client = proxy.client();
    (0..50).for_each(|_| assert_eq!(client.get("/").status, 200));
    wait_until(Duration::from_secs(30), "a step of ten seconds has ended", || {
        plan(&["--from-history", "--admin", &at]).status.success()
    });
    let plan = json(&["--from-history", "--admin", &at]);
    assert_eq!(
        (&plan["instances"], &plan["decides"]["by"]),
        (&1.into(), &"service".into()),
        "{plan}"
    );
    assert_eq!(plan["assumptions"][0]["value"], "5/s", "{plan}");
}

#[test]
fn a_short_load_finds_out_what_a_server_does() {
    let origin = Origin::ok("ok");
    let url = format!("http://{}/x", origin.server());
    let plan = json(&["--rate", "1/s", "--load", &url, "--seconds", "1", "--clients", "2"]);
    assert_eq!(
        (&plan["instances"], &plan["decides"]["by"]),
        (&1.into(), &"capacity".into()),
        "{plan}"
    );
    assert_eq!(plan["decides"]["source"], "measured in 1 s on 2 connections");
    let requests = origin.requests();
    assert!(requests.len() > 10, "{}", requests.len());
    assert!(requests.iter().all(|request| request.target == "/x"));
    assert_eq!(origin.accepts(), 2);
    let note = plan["notes"][0].as_str().unwrap();
    assert!(note.starts_with(&format!("{} requests were answered", requests.len())), "{note}");
}

#[test]
fn a_load_is_for_this_machine_and_for_servers_that_answer() {
    // An address for documentation (RFC 5737), which nothing is sent to.
    let load = ["--rate", "1/s", "--load", "http://192.0.2.1/"];
    assert!(refused(&load, 1).contains("is not on this machine: --force"));
    let failing = Origin::start(|_| {
        vec![Step::Send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".into())]
    });
    let url = format!("http://{}/", failing.server());
    let told = refused(&["--rate", "1/s", "--load", &url, "--seconds", "1", "--clients", "1"], 1);
    assert!(told.contains("failed, and a plan cannot rest on that: it answered 503"), "{told}");
    let nobody = format!("http://{}/", support::refused_address());
    assert!(refused(&["--rate", "1/s", "--load", &nobody], 1).contains("refused"));
    assert!(refused(&["--rate", "1/s", "--load", "ftp://x/"], 2).contains("--load: write http://"));
}
