//! Servers that register themselves: what is let in, what is refused, and what becomes of those
//! that go.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test binary has no public face, and outside of test functions clippy cannot tell it is one"
)]

mod calls;
mod guards;
#[path = "../restarts/load.rs"]
#[allow(dead_code, reason = "other tests ask for more")]
mod load;
mod processes;
#[path = "../restarts/server.rs"]
#[allow(dead_code, reason = "the servers of other tests can do more")]
mod server;
mod shared;

use std::time::Duration;

use serde_json::{Value, json};

use support::{Configuration, RawClient, Response, Tidegate};

const MS: Duration = Duration::from_millis(1);

/// A proxy with an upstream `app` whose servers register, with these lines beside it.
fn proxy(servers: &str, more: &str) -> Tidegate {
    Tidegate::start(&text(servers, more))
}

fn text(servers: &str, more: &str) -> String {
    Configuration::default()
        .runtime("workers = 2\nguard_hold = '2s'")
        .admin("token = 'sesame'")
        .upstream_with("app", &format!("servers = {servers}\n{more}"))
        .text()
}

/// A call to the admin endpoint by who knows the token.
fn call(proxy: &Tidegate, method: &str, path: &str, body: &str) -> Response {
    with(proxy, method, path, "Authorization: Bearer sesame\r\n", body)
}

/// A call with these fields.
fn with(proxy: &Tidegate, method: &str, path: &str, fields: &str, body: &str) -> Response {
    RawClient::connect(proxy.admin()).exchange(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn put(proxy: &Tidegate, id: &str, body: &Value) -> Response {
    call(proxy, "PUT", &format!("/upstreams/app/servers/{id}"), &body.to_string())
}

/// Registers a server for so long; panics unless that is taken.
fn register(proxy: &Tidegate, id: &str, address: &str, ttl: &str) -> Value {
    let answer = put(proxy, id, &json!({ "address": address, "ttl": ttl }));
    assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

fn deregister(proxy: &Tidegate, id: &str) -> Response {
    call(proxy, "DELETE", &format!("/upstreams/app/servers/{id}"), "")
}

/// What the admin endpoint says of the upstream.
fn upstream(proxy: &Tidegate) -> Value {
    let answer = RawClient::connect(proxy.admin()).ask("/upstreams/app");
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// The names of the servers.
fn names(proxy: &Tidegate) -> Vec<String> {
    let all = upstream(proxy);
    let servers = all["servers"].as_array().unwrap().iter();
    servers.map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

/// The value of a metric.
fn metric(proxy: &Tidegate, sample: &str) -> Option<f64> {
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    let line = page.lines().find_map(|line| line.strip_prefix(sample))?;
    line.trim().parse().ok()
}

/// An answer of the admin endpoint that says no, with this status and code.
fn assert_refused(answer: &Response, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{text}");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{text}");
}
