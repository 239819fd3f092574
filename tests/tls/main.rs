//! TLS towards clients, spoken by curl and openssl.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a panic"
)]

mod abuse;
#[path = "../observe/browser.rs"]
#[allow(dead_code, reason = "the dashboard needs more of it")]
mod browser;
mod browsers;
mod certificates;
mod clients;
mod http2;
mod pinned;
mod proxied;
mod rows;
mod scanner;
mod servers;
mod serving;

use std::io::Write as _;
use std::process::{Command, Stdio};

use support::{Authority, Certificate, Configuration, Curl, Origin, Tidegate, curl};

/// The `tls` of a listener.
fn entry(Certificate { cert, key }: &Certificate, more: &str) -> String {
    format!("{{ cert = '{}', key = '{}'{more} }}", cert.display(), key.display())
}

/// A proxy with this `tls`, and further lines of its listener, in front of `origin`.
fn config(origin: &Origin, tls: &str, more: &str) -> String {
    Configuration::of(origin)
        .runtime("workers = 2")
        .listen(&format!("name = 'main'\ntls = {tls}\n{more}"))
        .route("name = 'app'")
        .text()
}

fn proxy(origin: &Origin, tls: &str, more: &str) -> Tidegate {
    Tidegate::start(&config(origin, tls, more))
}

/// curl asks for `https://HOST/PATH` at the proxy, trusting `authority`.
fn ask(proxy: &Tidegate, authority: &Authority, host: &str, more: &[&str]) -> Curl {
    let port = proxy.address().port();
    let (ca, resolve) = (authority.ca(), format!("{host}:{port}:127.0.0.1"));
    let url = format!("https://{host}:{port}/");
    let fixed = ["--cacert", ca.to_str().unwrap(), "--resolve", &resolve, "-w", "\n%{http_code}"];
    curl(&[&fixed[..], more, &[url.as_str()]].concat())
}

/// What `openssl s_client` prints.
fn s_client(proxy: &Tidegate, more: &[&str]) -> String {
    s_client_saying(proxy, more, b"Q\n")
}

fn s_client_saying(proxy: &Tidegate, more: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-connect", &proxy.address().to_string()])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
