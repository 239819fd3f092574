//! Calls that concern the whole process: reload, rollback, drain, and what the configuration is.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::calls::{Answer, document, problem};
use super::guard::Known;
use crate::config::{Report, shown};
use crate::pace;
use crate::reload::Outcome;
use crate::server::control::Command;
use crate::server::status::Status;
use crate::snapshot::check;

/// The longest time for a reload: new host names are waited for, thousands of routes compiled.
const RELOAD: Duration = Duration::from_secs(30);

/// `POST /reload`, `POST /reload?force=1`: 200 when it runs, 409 when it was refused.
pub(super) async fn reload(commands: &SyncSender<Command>, query: Option<&str>) -> Answer {
    let force = query.is_some_and(|query| query.split('&').any(|pair| pair == "force=1"));
    ask(commands, |reply| Command::Reload { force, reply: Some(reply) }).await
}

/// `POST /rollback`.
pub(super) async fn rollback(commands: &SyncSender<Command>) -> Answer {
    ask(commands, |reply| Command::Rollback { reply: Some(reply) }).await
}

pub(super) async fn ask(
    commands: &SyncSender<Command>,
    command: impl FnOnce(oneshot::Sender<Outcome>) -> Command,
) -> Answer {
    match tell(commands, command).await {
        Ok(outcome) if outcome.ok => document(StatusCode::OK, &outcome),
        Ok(outcome) => document(StatusCode::CONFLICT, &outcome),
        Err(answer) => *answer,
    }
}

/// Has the control thread do something, and says what came of it.
///
/// # Errors
/// The answer where nothing did.
pub(super) async fn tell<T>(
    commands: &SyncSender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Box<Answer>> {
    let (reply, outcome) = oneshot::channel();
    let refuse = |status, code| Box::new(problem(status, code));
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

/// The time that a drain waits for its own answer to be on its way: with nothing to do the process ends at once.
const FAREWELL: Duration = Duration::from_millis(100);

/// `POST /drain`: as SIGTERM does.
pub(super) fn drain(status: &Arc<Status>) -> Answer {
    let status = status.clone();
    tokio::spawn(async move {
        tokio::time::sleep(FAREWELL).await;
        status.drain.notify_one();
    });
    document(StatusCode::ACCEPTED, &json!({ "draining": true }))
}

/// `GET /config`: what is in effect, defaults filled in, secrets masked.
pub(super) fn config(status: &Status) -> Answer {
    document(StatusCode::OK, &shown::masked(&status.store.load().shown))
}

/// `POST /config/check`: what is wrong with the configuration in the body. That may take long, so a thread of its own
/// does it, one at a time. Only who knows the token has variables of this process put in.
pub(super) async fn check(body: Bytes, known: Known, turn: Option<OwnedSemaphorePermit>) -> Answer {
    let (tell, told) = oneshot::channel();
    let work = move || {
        pace::stand_back();
        pace::can_wait();
        let checked = check::check_bytes("body", &body, known == Known::Operator);
        let (ok, report) = match checked {
            Ok(loaded) => (true, Report::of(loaded.findings, loaded.sources)),
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
        return problem(StatusCode::SERVICE_UNAVAILABLE, "busy");
    }
    match told.await {
        Ok((true, answer)) => document(StatusCode::OK, &answer),
        Ok((false, answer)) => document(StatusCode::UNPROCESSABLE_ENTITY, &answer),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}
