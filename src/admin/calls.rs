//! Which call a request is, and its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::guard::{AdminDenial, AdminGuard, KnownTokens};
use super::seats::AdminSeat;
use super::warm::{self, Warming};
use super::{
    caches, certificates, dashboard, explain, history, metrics, openapi, orders, refusals, servers,
    stats, webhook,
};
use crate::server::control::ControlCommand;
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
/// The paths at which health checks of orchestrators ask, by whatever name: nothing is told or
/// changed there.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// The answer to a call.
pub(super) type AdminAnswer = Response<Full<Bytes>>;

/// Everything that calls need.
#[derive(Debug)]
pub struct Calls {
    /// The state of the process.
    pub status: Arc<Status>,
    /// The sender of commands, reloads among them.
    pub commands: SyncSender<ControlCommand>,
    /// The rules for who may call.
    pub guard: AdminGuard,
    /// The number of configurations that may be checked at a time.
    pub checks: Arc<Semaphore>,
    /// The filling of caches that is under way.
    pub(super) warming: Warming,
}

impl Calls {
    /// Answers a request.
    pub(super) async fn answer_request(
        &self,
        request: Request<Incoming>,
        seat: &AdminSeat,
    ) -> AdminAnswer {
        let known = match self.guard.admit_request(request.method(), request.headers()) {
            Ok(known) => known,
            Err(_) if PROBES.contains(&request.uri().path()) => KnownTokens::Nobody,
            // Events are signed with a secret of their own.
            Err(_) if is_event(&request) => KnownTokens::Nobody,
            Err(denied) => return denial_answer(denied, request.method()),
        };
        let event = is_event(&request).then(|| request.uri().path().to_owned());
        let (request, turn) = match self.read_body(request).await {
            Ok(read) => read,
            Err(refused) => {
                let cache = event.as_deref().and_then(|path| path.strip_prefix(webhook::PATH));
                cache.iter().for_each(|cache| webhook::count_unread(&self.status, cache));
                return *refused;
            }
        };
        let _at_work = seat.begin_work();
        self.answer_call(request, known, turn).await
    }

    /// Answers a request that was let in and read.
    async fn answer_call(
        &self,
        request: Request<Bytes>,
        known: KnownTokens,
        turn: Option<OwnedSemaphorePermit>,
    ) -> AdminAnswer {
        let (method, path) = (request.method(), request.uri().path());
        let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
        match *steps.as_slice() {
            ["explain"] if is_read(method) => {
                explain::explain_request(&self.status, request.uri().query())
            }
            [""] => read_call(method, dashboard::dashboard_page),
            ["openapi.json"] => read_call(method, openapi::openapi_page),
            ["live"] => read_call(method, || json_answer(StatusCode::OK, &json!({ "live": true }))),
            ["ready"] => read_call(method, || self.answer_readiness()),
            ["stats"] if is_read(method) => self.answer_stats().await,
            ["metrics"] if is_read(method) => self.answer_metrics(request.headers()).await,
            ["refusals"] if is_read(method) => found_answer(
                self.status.desk.ask_history(refusals::collect_refusals).await.as_ref(),
            ),
            ["history"] if is_read(method) => {
                history::show_history(&self.status, request.uri().query()).await
            }
            ["certificates"] => read_call(method, || certificates::list_certificates(&self.status)),
            ["reload"] if *method == Method::POST => {
                orders::order_reload(&self.commands, request.uri().query()).await
            }
            ["rollback"] if *method == Method::POST => orders::order_rollback(&self.commands).await,
            ["drain"] => change_call(method, || orders::order_drain(&self.status)),
            ["config", "check"] if *method == Method::POST => {
                orders::check_config(request.into_body(), known, turn).await
            }
            ["config"] => read_call(method, || orders::show_config(&self.status)),
            ["cache", "purge"] if *method == Method::POST => {
                caches::purge_caches(&self.status, request.body()).await
            }
            ["cache", "warm"] if *method == Method::POST => {
                warm::start_warming(&self.status, &self.warming, request.body()).await
            }
            ["cache", "warm"] if is_read(method) => warm::show_warming(&self.warming),
            ["cache", "webhook", cache] if *method == Method::POST => {
                let event = (request.headers(), &**request.body());
                webhook::receive_event(&self.status, cache, event).await
            }
            ["cache", "webhook", _] => wrong_method("POST"),
            ["cache", "top"] if is_read(method) => {
                caches::top_entries(&self.status, request.uri().query()).await
            }
            ["cache", "purge"] => wrong_method("POST"),
            ["cache", "warm"] => wrong_method("GET, HEAD, POST"),
            ["cache", "top"] => wrong_method("GET, HEAD"),
            ["reload" | "rollback"] | ["config", "check"] => wrong_method("POST"),
            ["upstreams"] if is_read(method) => servers::list_upstreams(&self.status).await,
            ["upstreams", upstream] if is_read(method) => {
                servers::show_upstream(&self.status, upstream).await
            }
            ["upstreams", upstream, "servers", server] if *method == Method::PUT => {
                let (upstream, server) = (upstream.to_owned(), server.to_owned());
                servers::put_server(self, &upstream, &server, request.into_body()).await
            }
            ["upstreams", upstream, "servers", server] if *method == Method::DELETE => {
                servers::delete_server(self, upstream, server).await
            }
            ["upstreams", _, "servers", _] => wrong_method("PUT, DELETE"),
            ["upstreams", upstream, "servers", server, order] if *method == Method::POST => {
                servers::order_server(&self.status, upstream, server, order).await
            }
            ["upstreams", _, "servers", _, _] => wrong_method("POST"),
            ["explain" | "stats" | "metrics" | "refusals" | "history" | "upstreams"]
            | ["upstreams", _] => wrong_method("GET, HEAD"),
            _ => problem_answer(StatusCode::NOT_FOUND, "no_such_call"),
        }
    }

    async fn answer_stats(&self) -> AdminAnswer {
        let status = self.status.clone();
        let snapshot = status.store.load_full();
        let stats = self
            .status
            .desk
            .ask_history(move |h| stats::collect_stats(&status, &snapshot, h))
            .await;
        found_answer(stats.as_ref())
    }

    async fn answer_metrics(&self, headers: &HeaderMap) -> AdminAnswer {
        let open = metrics::wants_openmetrics(headers);
        let status = self.status.clone();
        let snapshot = status.store.load_full();
        let page = self
            .status
            .desk
            .ask_history(move |h| metrics::metrics_page(&status, &snapshot, h, open))
            .await;
        let kind = if open { OPENMETRICS } else { PROMETHEUS };
        page.map_or_else(stopping_answer, |page| text_answer(StatusCode::OK, kind, page))
    }

    /// The body in whole, so that a client that sends one slowly only holds up itself. A
    /// configuration to be checked is large, so one is read at a time; probes have none.
    async fn read_body(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Request<Bytes>, Option<OwnedSemaphorePermit>), Box<AdminAnswer>> {
        let refuse = |status, code| Box::new(problem_answer(status, code));
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
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"))
            }
            // Chunks that are none, or an end before the last of them.
            Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "bad_body")),
            Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "body_timeout")),
        }
    }

    fn answer_readiness(&self) -> AdminAnswer {
        let ready = self.status.ready.load(Ordering::Acquire);
        let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_answer(code, &json!({ "ready": ready }))
    }
}

fn denial_answer(denied: AdminDenial, method: &Method) -> AdminAnswer {
    let (status, code) = denied.status_and_code();
    let mut answer = problem_answer(status, code);
    if status == StatusCode::UNAUTHORIZED {
        let headers = answer.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        if is_read(method) {
            // A browser asks for a password, which is the token.
            let scheme = HeaderValue::from_static("Basic realm=\"tidegate\"");
            headers.append(header::WWW_AUTHENTICATE, scheme);
        }
    }
    answer
}

fn is_event(request: &Request<Incoming>) -> bool {
    *request.method() == Method::POST && request.uri().path().starts_with(webhook::PATH)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn stopping_answer() -> AdminAnswer {
    problem_answer(StatusCode::SERVICE_UNAVAILABLE, "stopping")
}

/// Answers with what was read out of the counters; nobody counts any more when the process is about
/// to end.
pub(super) fn found_answer(what: Option<&impl Serialize>) -> AdminAnswer {
    what.map_or_else(stopping_answer, |what| json_answer(StatusCode::OK, what))
}

fn read_call(method: &Method, answer: impl FnOnce() -> AdminAnswer) -> AdminAnswer {
    if is_read(method) { answer() } else { wrong_method("GET, HEAD") }
}

fn change_call(method: &Method, answer: impl FnOnce() -> AdminAnswer) -> AdminAnswer {
    if *method == Method::POST { answer() } else { wrong_method("POST") }
}

fn wrong_method(allowed: &'static str) -> AdminAnswer {
    let mut answer = problem_answer(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A JSON document.
pub(super) fn json_answer(status: StatusCode, body: &impl Serialize) -> AdminAnswer {
    match serde_json::to_string(body) {
        Ok(text) => text_answer(status, "application/json", text + "\n"),
        Err(_) => problem_answer(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

/// A problem document (RFC 9457).
pub(super) fn problem_answer(status: StatusCode, code: &str) -> AdminAnswer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "status": status.as_u16(), "title": title, "code": code });
    text_answer(status, "application/problem+json", format!("{body}\n"))
}

/// A problem document that says what is wrong.
pub(super) fn problem_with_detail(status: StatusCode, code: &str, detail: &str) -> AdminAnswer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "status": status.as_u16(), "title": title, "code": code, "detail": detail });
    text_answer(status, "application/problem+json", format!("{body}\n"))
}

pub(super) fn text_answer(status: StatusCode, kind: &'static str, body: String) -> AdminAnswer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
