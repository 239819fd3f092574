//! The admin endpoint: a plain HTTP server on a thread of its own, so that nothing asked of it can
//! slow a request down.
//!
//! So far it only answers questions: `/live`, `/ready`, `/stats`, `/metrics`.

pub mod metrics;
pub mod stats;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower::service_fn;

use crate::net::Address;
use crate::server::listener::{BindError, bind_tcp, bind_unix};
use crate::server::status::Status;

/// The type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections served at a time; further ones wait.
const CONNECTIONS: usize = 64;
/// How long a client may take for a request head.
const HEADERS: Duration = Duration::from_secs(5);
/// How long a connection may live: long enough for a scrape, short enough for slow readers.
const LIFETIME: Duration = Duration::from_secs(60);

/// Starts the endpoint and returns the address it is bound to.
///
/// # Errors
/// When the address cannot be bound or the thread not be started.
pub fn start(address: &Address, status: Arc<Status>) -> Result<Address, BindError> {
    let fail = |source| BindError { address: address.clone(), source };
    let socket = match address {
        Address::Tcp(at) => bind_tcp(*at, false),
        Address::Unix(path) => bind_unix(path),
    }
    .map_err(fail)?;
    let bound = match address {
        Address::Tcp(at) => {
            let local = socket.local_addr().map_err(fail)?;
            Address::Tcp(local.as_socket().unwrap_or(*at))
        }
        Address::Unix(path) => Address::Unix(path.clone()),
    };
    let unix = matches!(bound, Address::Unix(_));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let serve = move || {
        runtime.block_on(async {
            let served = if unix {
                match UnixListener::from_std(socket.into()) {
                    Ok(listener) => serve_unix(listener, status).await,
                    Err(error) => Err(error),
                }
            } else {
                match TcpListener::from_std(socket.into()) {
                    Ok(listener) => serve_tcp(listener, status).await,
                    Err(error) => Err(error),
                }
            };
            if let Err(error) = served {
                tracing::error!(%error, "the admin endpoint stopped");
            }
        });
    };
    std::thread::Builder::new().name("admin".into()).spawn(serve).map_err(fail)?;
    Ok(bound)
}

async fn serve_tcp(listener: TcpListener, status: Arc<Status>) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _) = listener.accept().await?;
        let status = status.clone();
        tokio::spawn(async move {
            connection(stream, status).await;
            drop(place);
        });
    }
}

async fn serve_unix(listener: UnixListener, status: Arc<Status>) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _) = listener.accept().await?;
        let status = status.clone();
        tokio::spawn(async move {
            connection(stream, status).await;
            drop(place);
        });
    }
}

async fn connection<S>(stream: S, status: Arc<Status>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = ServiceBuilder::new().service(service_fn(move |request| {
        let status = status.clone();
        async move { Ok::<_, Infallible>(answer(&request, &status)) }
    }));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // Whatever goes wrong here is the admin client's own doing.
    let _ended = tokio::time::timeout(LIFETIME, connection).await;
}

fn answer(request: &Request<Incoming>, status: &Status) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    }
    match request.uri().path() {
        "/live" => document(StatusCode::OK, &json!({ "live": true })),
        "/ready" => {
            let ready = status.ready.load(Ordering::Acquire);
            let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            document(code, &json!({ "ready": ready }))
        }
        "/stats" => match serde_json::to_value(stats::collect(status)) {
            Ok(stats) => document(StatusCode::OK, &stats),
            Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        },
        "/metrics" => respond(StatusCode::OK, PROMETHEUS, metrics::page(status)),
        _ => problem(StatusCode::NOT_FOUND, "no_such_call"),
    }
}

fn document(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", format!("{body}\n"))
}

fn problem(status: StatusCode, code: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "status": status.as_u16(), "title": title, "code": code });
    respond(status, "application/problem+json", format!("{body}\n"))
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
