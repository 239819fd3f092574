//! Which call a request is, and its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::guard::{Denied, Guard, Known};
use super::seats::Seat;
use super::warm::{self, Warming};
use super::{
    caches, dashboard, explain, history, metrics, openapi, orders, refusals, servers, stats,
};
use crate::server::control::Command;
use crate::server::status::Status;

/// The largest configuration that is checked.
const CHECKED: usize = 4 << 20;
/// The longest list of URLs to warm a cache with.
const WARMED: usize = 1 << 20;
/// The largest body of any other call.
const CHANGE: usize = 64 * 1024;
/// The longest time for a body.
const BODY: Duration = Duration::from_secs(10);
/// The longest time that a check waits for the one before.
const TURN: Duration = Duration::from_secs(5);
/// The type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The paths at which health checks of orchestrators ask, by whatever name: nothing is told or changed there.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// The answer to a call.
pub(super) type Answer = Response<Full<Bytes>>;

/// Everything that calls need.
#[derive(Debug)]
pub struct Calls {
    /// The state of the process.
    pub status: Arc<Status>,
    /// The sender of commands, reloads among them.
    pub commands: SyncSender<Command>,
    /// The rules for who may call.
    pub guard: Guard,
    /// The number of configurations that may be checked at a time.
    pub checks: Arc<Semaphore>,
    /// The filling of caches that is under way.
    pub(super) warming: Warming,
}

impl Calls {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>, seat: &Seat) -> Answer {
        let known = match self.guard.admit(request.method(), request.headers()) {
            Ok(known) => known,
            Err(_) if PROBES.contains(&request.uri().path()) => Known::Nobody,
            Err(denied) => return deny(denied, request.method()),
        };
        let (request, turn) = match self.read_body(request).await {
            Ok(read) => read,
            Err(refused) => return *refused,
        };
        let _at_work = seat.work();
        let (method, path) = (request.method(), request.uri().path());
        let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
        match *steps.as_slice() {
            ["explain"] if reads(method) => explain::explain(&self.status, request.uri().query()),
            [""] => read(method, dashboard::page),
            ["openapi.json"] => read(method, openapi::page),
            ["live"] => read(method, || document(StatusCode::OK, &json!({ "live": true }))),
            ["ready"] => read(method, || self.ready()),
            ["stats"] if reads(method) => self.stats().await,
            ["metrics"] if reads(method) => self.metrics(request.headers()).await,
            ["refusals"] if reads(method) => {
                told(self.status.desk.ask(refusals::collect).await.as_ref())
            }
            ["history"] if reads(method) => {
                history::show(&self.status, request.uri().query()).await
            }
            ["reload"] if *method == Method::POST => {
                orders::reload(&self.commands, request.uri().query()).await
            }
            ["rollback"] if *method == Method::POST => orders::rollback(&self.commands).await,
            ["drain"] => change(method, || orders::drain(&self.status)),
            ["config", "check"] if *method == Method::POST => {
                orders::check(request.into_body(), known, turn).await
            }
            ["config"] => read(method, || orders::config(&self.status)),
            ["cache", "purge"] if *method == Method::POST => {
                caches::purge(&self.status, request.body()).await
            }
            ["cache", "warm"] if *method == Method::POST => {
                warm::start(&self.status, &self.warming, request.body()).await
            }
            ["cache", "warm"] if reads(method) => warm::show(&self.warming),
            ["cache", "top"] if reads(method) => {
                caches::top(&self.status, request.uri().query()).await
            }
            ["cache", "purge"] => wrong_method("POST"),
            ["cache", "warm"] => wrong_method("GET, HEAD, POST"),
            ["cache", "top"] => wrong_method("GET, HEAD"),
            ["reload" | "rollback"] | ["config", "check"] => wrong_method("POST"),
            ["upstreams"] if reads(method) => servers::all(&self.status).await,
            ["upstreams", upstream] if reads(method) => servers::one(&self.status, upstream).await,
            ["upstreams", upstream, "servers", server] if *method == Method::PUT => {
                let (upstream, server) = (upstream.to_owned(), server.to_owned());
                servers::put(self, &upstream, &server, request.into_body()).await
            }
            ["upstreams", upstream, "servers", server] if *method == Method::DELETE => {
                servers::delete(self, upstream, server).await
            }
            ["upstreams", _, "servers", _] => wrong_method("PUT, DELETE"),
            ["upstreams", upstream, "servers", server, order] if *method == Method::POST => {
                servers::order(&self.status, upstream, server, order).await
            }
            ["upstreams", _, "servers", _, _] => wrong_method("POST"),
            ["explain" | "stats" | "metrics" | "refusals" | "history" | "upstreams"]
            | ["upstreams", _] => wrong_method("GET, HEAD"),
            _ => problem(StatusCode::NOT_FOUND, "no_such_call"),
        }
    }

    async fn stats(&self) -> Answer {
        let status = self.status.clone();
        let snapshot = status.store.load_full();
        let stats = self.status.desk.ask(move |h| stats::collect(&status, &snapshot, h)).await;
        told(stats.as_ref())
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let open = metrics::wants_openmetrics(headers);
        let status = self.status.clone();
        let snapshot = status.store.load_full();
        let page = self.status.desk.ask(move |h| metrics::page(&status, &snapshot, h, open)).await;
        let kind = if open { OPENMETRICS } else { PROMETHEUS };
        page.map_or_else(stopping, |page| respond(StatusCode::OK, kind, page))
    }

    /// The body in whole, so that a client that sends one slowly only holds up itself. A configuration to be checked
    /// is large, so one is read at a time; probes have none.
    async fn read_body(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Request<Bytes>, Option<OwnedSemaphorePermit>), Box<Answer>> {
        let refuse = |status, code| Box::new(problem(status, code));
        let (head, body) = request.into_parts();
        if matches!(head.method, Method::GET | Method::HEAD) {
            return Ok((Request::from_parts(head, Bytes::new()), None));
        }
        let check = head.uri.path() == "/config/check";
        let most = match head.uri.path() {
            _ if check => CHECKED,
            "/cache/warm" => WARMED,
            _ => CHANGE,
        };
        // What is announced is not waited for when it would not be taken.
        if body.size_hint().lower() > most as u64 {
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
        }
        let turn = if check {
            let turn = tokio::time::timeout(TURN, self.checks.clone().acquire_owned()).await;
            let turn = turn.ok().and_then(Result::ok);
            Some(turn.ok_or_else(|| refuse(StatusCode::SERVICE_UNAVAILABLE, "busy"))?)
        } else {
            None
        };
        let read = tokio::time::timeout(BODY, Limited::new(body, most).collect()).await;
        match read {
            Ok(Ok(body)) => Ok((Request::from_parts(head, body.to_bytes()), turn)),
            Ok(Err(_)) => Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")),
            Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "body_timeout")),
        }
    }

    fn ready(&self) -> Answer {
        let ready = self.status.ready.load(Ordering::Acquire);
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        document(code, &json!({ "ready": ready }))
    }
}

fn deny(denied: Denied, method: &Method) -> Answer {
    let (status, code) = denied.answer();
    let mut answer = problem(status, code);
    if status == StatusCode::UNAUTHORIZED {
        let headers = answer.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        if reads(method) {
            // A browser asks for a password, which is the token.
            let scheme = HeaderValue::from_static("Basic realm=\"tidegate\"");
            headers.append(header::WWW_AUTHENTICATE, scheme);
        }
    }
    answer
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn stopping() -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "stopping")
}

/// Answers with what was read out of the counters; nobody counts any more when the process is about to end.
pub(super) fn told(what: Option<&impl Serialize>) -> Answer {
    what.map_or_else(stopping, |what| document(StatusCode::OK, what))
}

fn read(method: &Method, answer: impl FnOnce() -> Answer) -> Answer {
    if reads(method) { answer() } else { wrong_method("GET, HEAD") }
}

fn change(method: &Method, answer: impl FnOnce() -> Answer) -> Answer {
    if *method == Method::POST { answer() } else { wrong_method("POST") }
}

fn wrong_method(allowed: &'static str) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A JSON document.
pub(super) fn document(status: StatusCode, body: &impl Serialize) -> Answer {
    match serde_json::to_string(body) {
        Ok(text) => respond(status, "application/json", text + "\n"),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

/// A problem document (RFC 9457).
pub(super) fn problem(status: StatusCode, code: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "status": status.as_u16(), "title": title, "code": code });
    respond(status, "application/problem+json", format!("{body}\n"))
}

/// A problem document that says what is wrong.
pub(super) fn explained(status: StatusCode, code: &str, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "status": status.as_u16(), "title": title, "code": code, "detail": detail });
    respond(status, "application/problem+json", format!("{body}\n"))
}

pub(super) fn respond(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
