//! Upstreams and their servers: what they are doing, and orders to single servers.

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::calls::{Answer, problem, told};
use super::stats;
use crate::clock;
use crate::endpoint::standing::{DISABLED, DRAINING};
use crate::server::status::Status;

/// `GET /upstreams`.
pub(super) async fn all(status: &Status) -> Answer {
    let snapshot = status.store.load_full();
    let upstreams = status.desk.ask(move |history| {
        let upstreams = snapshot.upstreams.iter();
        upstreams.map(|u| stats::upstream(u, history)).collect::<Vec<_>>()
    });
    told(upstreams.await.as_ref())
}

/// `GET /upstreams/{upstream}`.
pub(super) async fn one(status: &Status, upstream: &str) -> Answer {
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    let snapshot = status.store.load();
    let Some(upstream) = snapshot.upstreams.iter().find(|u| *u.name == *name).cloned() else {
        return problem(StatusCode::NOT_FOUND, "no_such_upstream");
    };
    told(status.desk.ask(move |history| stats::upstream(&upstream, history)).await.as_ref())
}

/// `POST /upstreams/{upstream}/servers/{server}/drain|enable|disable`.
///
/// A drained server finishes what it has and gets nothing new; a disabled one is the same with
/// another word in the statistics. Both last until `enable`, whatever checks say, and survive reloads.
pub(super) async fn order(status: &Status, upstream: &str, server: &str, order: &str) -> Answer {
    let snapshot = status.store.load_full();
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    let Some(upstream) = snapshot.upstreams.iter().find(|u| *u.name == *name) else {
        return problem(StatusCode::NOT_FOUND, "no_such_upstream");
    };
    let server = percent_decode_str(server).decode_utf8_lossy();
    let mut members = upstream.pool.members().iter();
    let Some(member) = members.find(|m| *m.endpoint.name == *server) else {
        return problem(StatusCode::NOT_FOUND, "no_such_server");
    };
    let standing = &member.endpoint.standing;
    let changed = match order {
        "drain" => standing.take_out(DRAINING),
        "disable" => standing.take_out(DISABLED),
        "enable" => {
            let back = standing.bring_back(DRAINING | DISABLED, clock::now());
            upstream.state.queue.release_all();
            back
        }
        _ => return problem(StatusCode::NOT_FOUND, "no_such_call"),
    };
    if changed {
        tracing::info!(upstream = %upstream.name, server = %member.endpoint.name, order, "order given");
    }
    let (upstream, id) = (upstream.clone(), member.endpoint.id);
    let told = status.desk.ask(move |history| {
        let member = upstream.pool.members().iter().find(|m| m.endpoint.id == id)?;
        Some(json!({ "changed": changed, "server": stats::member(&upstream, member, history) }))
    });
    self::told(told.await.flatten().as_ref())
}
