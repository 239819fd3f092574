//! Calls that concern the whole process: reload, rollback, drain, and what the configuration is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::calls::{AdminAnswer, json_answer, problem_answer};
use super::guard::KnownTokens;
use crate::config::{FindingReport, shown};
use crate::pace;
use crate::reload::ReloadOutcome;
use crate::server::control::ControlCommand;
use crate::server::status::Status;
use crate::snapshot::check;

/// The longest time for a reload: new host names are waited for, thousands of routes compiled.
const RELOAD: Duration = Duration::from_secs(30);

/// `POST /reload`, `POST /reload?force=1`: 200 when it runs, 409 when it was refused.
pub(super) async fn order_reload(
    commands: &SyncSender<ControlCommand>,
    query: Option<&str>,
) -> AdminAnswer {
    let force = query.is_some_and(|query| query.split('&').any(|pair| pair == "force=1"));
    ask_control(commands, |reply| ControlCommand::Reload { force, reply: Some(reply) }).await
}

/// `POST /rollback`.
pub(super) async fn order_rollback(commands: &SyncSender<ControlCommand>) -> AdminAnswer {
    ask_control(commands, |reply| ControlCommand::Rollback { reply: Some(reply) }).await
}

pub(super) async fn ask_control(
    commands: &SyncSender<ControlCommand>,
    command: impl FnOnce(oneshot::Sender<ReloadOutcome>) -> ControlCommand,
) -> AdminAnswer {
    match tell_control(commands, command).await {
        Ok(outcome) if outcome.ok => json_answer(StatusCode::OK, &outcome),
        Ok(outcome) => json_answer(StatusCode::CONFLICT, &outcome),
        Err(answer) => *answer,
    }
}

/// Has the control thread do something, and says what came of it.
///
/// # Errors
/// The answer where nothing did.
pub(super) async fn tell_control<T>(
    commands: &SyncSender<ControlCommand>,
    command: impl FnOnce(oneshot::Sender<T>) -> ControlCommand,
) -> Result<T, Box<AdminAnswer>> {
    let (reply, outcome) = oneshot::channel();
    let refuse = |status, code| Box::new(problem_answer(status, code));
    match commands.try_send(command(reply)) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "busy")),
        Err(TrySendError::Disconnected(_)) => {
            return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping"));
        }
    }
    match tokio::time::timeout(RELOAD, outcome).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) => Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "stopping")),
        Err(_) => Err(refuse(StatusCode::GATEWAY_TIMEOUT, "still_reloading")),
    }
}

/// The time that a drain waits for its own answer to be on its way: with nothing to do the process
/// ends at once.
const FAREWELL: Duration = Duration::from_millis(100);

/// `POST /drain`: as SIGTERM does.
pub(super) fn order_drain(status: &Arc<Status>) -> AdminAnswer {
    // Whoever was told of the drain finds it at `/ready`, whatever they ask next.
    status.ready.store(false, Ordering::Release);
    let status = status.clone();
    tokio::spawn(async move {
        tokio::time::sleep(FAREWELL).await;
        status.drain.notify_one();
    });
    json_answer(StatusCode::ACCEPTED, &json!({ "draining": true }))
}

/// `GET /config`: what is in effect, defaults filled in, secrets masked.
pub(super) fn show_config(status: &Status) -> AdminAnswer {
    json_answer(StatusCode::OK, &shown::masked(&status.store.load().shown))
}

/// `POST /config/check`: what is wrong with the configuration in the body. That may take long, so a
/// thread of its own does it, one at a time. Only who knows the token has variables of this process
/// put in.
pub(super) async fn check_config(
    body: Bytes,
    known: KnownTokens,
    turn: Option<OwnedSemaphorePermit>,
) -> AdminAnswer {
    let (tell, told) = oneshot::channel();
    let work = move || {
        pace::stand_back();
        pace::can_wait();
        let checked = check::check_bytes("body", &body, known == KnownTokens::Operator);
        let (ok, report) = match checked {
            Ok(loaded) => (true, FindingReport::of(loaded.findings, loaded.sources)),
            Err(report) => (false, report),
        };
        let mut answer = report.json();
        if let Some(object) = answer.as_object_mut() {
            object.insert("ok".into(), ok.into());
        }
        // Who asked may have gone.
        let _gone = tell.send((ok, answer));
        drop(turn);
    };
    if std::thread::Builder::new().name("check".into()).spawn(work).is_err() {
        return problem_answer(StatusCode::SERVICE_UNAVAILABLE, "busy");
    }
    match told.await {
        Ok((true, answer)) => json_answer(StatusCode::OK, &answer),
        Ok((false, answer)) => json_answer(StatusCode::UNPROCESSABLE_ENTITY, &answer),
        Err(_) => problem_answer(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}
