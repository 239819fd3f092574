//! Checks against servers on real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;

use ::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::config::schema::upstream::UpstreamConfig;
use crate::tls::client::AlpnOffer;

/// A check as written in a file.
fn check(health: &str) -> Check {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [\"127.0.0.1:1\"]\n\
         health = {health}\n[[route]]\nupstream = \"a\"\n"
    );
    let config = crate::config::load_str("test.toml", &text).unwrap().config;
    let upstream: &UpstreamConfig = config.upstream.values().next().unwrap();
    let check = Check::new(upstream.health.as_ref().unwrap(), AlpnOffer::Http1, None);
    check.for_host("a.test:80", None)
}

/// A server that answers every connection with these bytes and closes; returns what it was asked.
async fn server(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, asked)
}

async fn verdict(health: &str, answer: &'static str) -> String {
    let (address, _asked) = server(answer).await;
    said(probe_server(&check(health), &[Address::Tcp(address)]).await)
}

fn said(result: Result<(), ProbeError>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "well".to_owned())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok\n";

#[tokio::test]
async fn a_request_says_what_was_configured() {
    let (address, asked) = server(OK).await;
    let written =
        r#"{ path = "/healthz", method = "HEAD", headers = { host = "b.test", x-probe = "1" } }"#;
    assert_eq!(said(probe_server(&check(written), &[Address::Tcp(address)]).await), "well");
    let mut lines: Vec<String> = asked.await.unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "HEAD /healthz HTTP/1.1");
    lines.sort();
    let agent = format!("user-agent: tidegate/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["", "connection: close", "host: b.test", &agent, "x-probe: 1"]);
}

#[tokio::test]
async fn the_status_decides() {
    let created = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(verdict("\"/\"", created).await, "well");
    assert_eq!(verdict(r#"{ status = ["200"] }"#, created).await, "status 201");
    let moved = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(verdict("\"/\"", moved).await, "status 302");
    assert_eq!(verdict(r#"{ status = ["200-299", "302"] }"#, moved).await, "well");
}

#[tokio::test]
async fn the_body_must_contain_the_text() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nal\n\r\n4\r\nl ok\r\n0\r\n\r\n";
    assert_eq!(verdict(r#"{ body = "ok" }"#, OK).await, "well");
    assert_eq!(verdict(r#"{ body = "l ok" }"#, chunked).await, "well");
    let missing = verdict(r#"{ body = "fine" }"#, OK).await;
    assert_eq!(missing, "the body does not contain \"fine\"");
}

#[tokio::test]
async fn garbage_and_silence_are_failures() {
    assert!(verdict("\"/\"", "garbage\r\n\r\n").await.contains("HTTP version"));
    assert!(verdict("\"/\"", "").await.contains("closed"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = [Address::Tcp(listener.local_addr().unwrap())];
    let impatient = check(r#"{ timeout = "50ms" }"#);
    assert_eq!(said(probe_server(&impatient, &silent).await), "no answer within 50ms");
    drop(listener);
    assert!(said(probe_server(&impatient, &silent).await).contains("refused"));
}

#[tokio::test]
async fn another_address_and_another_port_are_tried() {
    let (address, _asked) = server(OK).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let both = [Address::Tcp(dead), Address::Tcp(address)];
    assert_eq!(said(probe_server(&check("\"/\""), &both).await), "well");
    let (address, _asked) = server(OK).await;
    let other = check(&format!("{{ port = {} }}", address.port()));
    assert_eq!(said(probe_server(&other, &[Address::Tcp(dead)]).await), "well");
}

#[tokio::test]
async fn a_unix_socket_is_asked_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(OK.as_bytes()).await.unwrap();
    });
    assert_eq!(said(probe_server(&check("\"/\""), &[Address::Unix(path)]).await), "well");
    served.await.unwrap();
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = [Address::Tcp(listener.local_addr().unwrap())];
    let tcp = check(r#"{ kind = "tcp" }"#);
    assert_eq!(said(probe_server(&tcp, &address).await), "well");
    drop(listener);
    assert!(said(probe_server(&tcp, &address).await).contains("refused"));
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// A gRPC server whose health service answers like this; it checks what it is asked.
async fn grpc(answer: fn() -> Answer) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(&body[..], b"\0\0\0\0\x0a\x0a\x08shop.Api");
            Ok::<_, Infallible>(answer())
        });
        let connection = http2::Builder::new(TokioExecutor::new());
        // The check leaves as soon as it knows.
        let _ended = connection.serve_connection(TokioIo::new(stream), service).await;
    });
    Address::Tcp(address)
}

fn serving(message: &'static [u8], status: &'static str) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let body = Full::new(Bytes::from_static(message)).with_trailers(async { Some(Ok(trailers)) });
    Response::new(body.boxed())
}

async fn grpc_verdict(answer: fn() -> Answer) -> String {
    let check = check(r#"{ kind = "grpc", path = "/shop.Api" }"#);
    said(probe_server(&check, &[grpc(answer).await]).await)
}

#[tokio::test]
async fn only_serving_is_well() {
    assert_eq!(grpc_verdict(|| serving(b"\0\0\0\0\x02\x08\x01", "0")).await, "well");
    let not = "the service is not serving";
    assert_eq!(grpc_verdict(|| serving(b"\0\0\0\0\x02\x08\x02", "0")).await, not);
    assert_eq!(grpc_verdict(|| serving(b"\0\0\0\0\0", "0")).await, not);
    assert_eq!(grpc_verdict(|| serving(b"", "0")).await, not);
    assert_eq!(grpc_verdict(|| serving(b"\0\0\0\0\x02\x08\x01", "5")).await, "grpc-status 5");
}

#[tokio::test]
async fn a_grpc_error_without_a_body_is_a_failure() {
    let verdict = grpc_verdict(|| {
        let mut response = Response::new(Full::new(Bytes::new()).boxed());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
        response
    });
    assert_eq!(verdict.await, "grpc-status 12");
}
