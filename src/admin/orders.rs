//! Calls that concern the whole process: reload, rollback, drain, and what the configuration is.

use std::sync::mpsc::Sender;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use tokio::sync::oneshot;

use super::calls::{Answer, document, problem};
use crate::config::{self, Report};
use crate::reload::Outcome;
use crate::server::control::Command;
use crate::server::status::Status;

/// How long a reload may take: host names are looked up, thousands of routes compiled.
const RELOAD: Duration = Duration::from_secs(30);
/// The largest configuration that is checked.
const CHECKED: usize = 16 << 20;

/// `POST /reload`, `POST /reload?force=1`: 200 when it runs, 409 when it was refused.
pub(super) async fn reload(commands: &Sender<Command>, query: Option<&str>) -> Answer {
    let force = query.is_some_and(|query| query.split('&').any(|pair| pair == "force=1"));
    ask(commands, |reply| Command::Reload { force, reply: Some(reply) }).await
}

/// `POST /rollback`.
pub(super) async fn rollback(commands: &Sender<Command>) -> Answer {
    ask(commands, |reply| Command::Rollback { reply: Some(reply) }).await
}

pub(super) async fn ask(
    commands: &Sender<Command>,
    command: impl FnOnce(oneshot::Sender<Outcome>) -> Command,
) -> Answer {
    let (reply, outcome) = oneshot::channel();
    if commands.send(command(reply)).is_err() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    match tokio::time::timeout(RELOAD, outcome).await {
        Ok(Ok(outcome)) if outcome.ok => document(StatusCode::OK, &outcome),
        Ok(Ok(outcome)) => document(StatusCode::CONFLICT, &outcome),
        Ok(Err(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, "still_reloading"),
    }
}

/// How long a drain waits for its own answer to be on its way: with nothing to do the process ends at once.
const FAREWELL: Duration = Duration::from_millis(100);

/// `POST /drain`: as SIGTERM does.
pub(super) fn drain() -> Answer {
    tokio::spawn(async {
        tokio::time::sleep(FAREWELL).await;
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!(%error, "the drain that was asked for could not begin");
        }
    });
    document(StatusCode::ACCEPTED, &json!({ "draining": true }))
}

/// `GET /config`: what is in effect, defaults filled in, secrets masked.
pub(super) fn config(status: &Status) -> Answer {
    document(StatusCode::OK, &status.store.load().shown)
}

/// `POST /config/check`: what is wrong with the configuration in the body.
pub(super) async fn check(body: Incoming) -> Answer {
    let Ok(body) = Limited::new(body, CHECKED).collect().await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");
    };
    let (ok, report) = match config::load_bytes("body", &body.to_bytes()) {
        Ok(loaded) => (true, Report { findings: loaded.findings, sources: loaded.sources }),
        Err(report) => (false, report),
    };
    let mut answer = report.json();
    if let Some(object) = answer.as_object_mut() {
        object.insert("ok".into(), ok.into());
    }
    document(if ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY }, &answer)
}
