//! `route.cache` over real sockets: what is answered without a server, and what must not be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a panic"
)]

mod admin;
mod queries;
mod safety;
mod seen;
mod serving;
mod slow;
mod stampede;
mod tier;
mod tier_forms;
mod unshared;
mod webhook;

use support::{Configuration, Origin, Request, Response, Step, Tidegate};

/// A proxy with a cached route in front of `origin`.
fn proxy(origin: &Origin, route: &str, more: &str) -> Tidegate {
    Configuration::of(origin)
        .runtime("workers = 2")
        .log("access = '{dir}/access.log'")
        .listen("trusted_proxies = ['127.0.0.0/8']")
        .app("eject = false")
        .route(&format!("name = 'app'\n{route}\n{more}"))
        .start()
}

/// An origin that answers everything with these fields and a body that counts its answers.
fn counting(fields: &'static str) -> Origin {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Origin::start(move |request| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        vec![Step::Send(answer(request, fields, &format!("body {n}")))]
    })
}

/// A response with a length; without its body where the request is `HEAD`.
fn answer(request: &Request, fields: &str, body: &str) -> Vec<u8> {
    let body_sent = if request.method == "HEAD" { "" } else { body };
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body_sent}", body.len()).into()
}

/// Asks on a connection of its own.
fn ask(proxy: &Tidegate, method: &str, target: &str, fields: &str) -> Response {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let mut client = proxy.client();
    client.send(request);
    client.try_response(method).unwrap()
}

fn get(proxy: &Tidegate, target: &str) -> Response {
    ask(proxy, "GET", target, "")
}

/// `Cache-Status` without its `ttl`, and the `ttl`.
fn status_and_ttl(response: &Response) -> (String, i64) {
    let (kept, ttl): (Vec<&str>, Vec<&str>) =
        status(response).split("; ").partition(|part| !part.starts_with("ttl="));
    (kept.join("; "), ttl.first().map_or(0, |ttl| ttl[4..].parse().unwrap()))
}

fn status(response: &Response) -> &str {
    response.header("cache-status").unwrap_or("none")
}
