//! Upstreams and their servers: what they are doing, and orders to single servers.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Serialize;

use super::calls::{AdminAnswer, Calls, found_answer, problem_answer, problem_with_detail};
use super::registry::{self, Wish};
use super::stats::ServerStats;
use super::{orders, stats};
use crate::clock;
use crate::discovery::registry::book::Refused;
use crate::endpoint::standing::{DISABLED, DRAINING};
use crate::quota::LineQuota;
use crate::server::control::ControlCommand;
use crate::server::status::Status;
use crate::upstream::{Membership, membership};

/// The lines about orders that were given.
static ORDERS: LineQuota = LineQuota::ten_a_second();

/// The effect of an order to a server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Changed {
    /// True if it made a difference.
    changed: bool,
    /// The server as it is now.
    server: ServerStats,
}

/// `GET /upstreams`.
pub(super) async fn list_upstreams(status: &Arc<Status>) -> AdminAnswer {
    let (snapshot, known) = (status.store.load_full(), status.clone());
    let upstreams = status.desk.ask_history(move |history| {
        let upstreams = snapshot.upstreams.iter();
        upstreams.map(|u| stats::upstream_stats(u, &known.registry, history)).collect::<Vec<_>>()
    });
    found_answer(upstreams.await.as_ref())
}

/// `GET /upstreams/{upstream}`.
pub(super) async fn show_upstream(status: &Arc<Status>, upstream: &str) -> AdminAnswer {
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    let snapshot = status.store.load();
    let Some(upstream) = snapshot.upstreams.iter().find(|u| *u.name == *name).cloned() else {
        return problem_answer(StatusCode::NOT_FOUND, "no_such_upstream");
    };
    let known = status.clone();
    let asked =
        status.desk.ask_history(move |h| stats::upstream_stats(&upstream, &known.registry, h));
    found_answer(asked.await.as_ref())
}

/// `POST /upstreams/{upstream}/servers/{server}/drain|enable|disable`.
///
/// A drained server finishes what it has and gets nothing new; a disabled one is the same with
/// another word in the statistics. Both last until `enable`, whatever checks say, and survive
/// reloads.
pub(super) async fn order_server(
    status: &Arc<Status>,
    upstream: &str,
    server: &str,
    order: &str,
) -> AdminAnswer {
    give_order(status, (upstream, server), order, false).await
}

/// Gives an order to the servers that go by a name. `reweighted` says that the same call has given
/// them another weight.
async fn give_order(
    status: &Arc<Status>,
    (upstream, server): (&str, &str),
    order: &str,
    reweighted: bool,
) -> AdminAnswer {
    let snapshot = status.store.load_full();
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    let Some(upstream) = snapshot.upstreams.iter().find(|u| *u.name == *name) else {
        return problem_answer(StatusCode::NOT_FOUND, "no_such_upstream");
    };
    let server = percent_decode_str(server).decode_utf8_lossy();
    let members = upstream.members();
    let called: Vec<_> = members_called(&members, &server).collect();
    let Some(first) = called.first() else {
        return problem_answer(StatusCode::NOT_FOUND, "no_such_server");
    };
    let mut changed = false;
    for server in &called {
        let standing = &server.endpoint.standing;
        changed |= match order {
            "drain" => standing.take_out(DRAINING),
            "disable" => standing.take_out(DISABLED),
            "enable" => standing.bring_back(DRAINING | DISABLED, clock::now()),
            "none" => false,
            _ => return problem_answer(StatusCode::NOT_FOUND, "no_such_call"),
        };
    }
    if order == "enable" {
        upstream.state.queue.release_all();
    }
    if changed && let Some(left_out) = ORDERS.take(clock::now()) {
        tracing::info!(upstream = %upstream.name, %server, order, left_out, "order given");
    }
    let (upstream, id, known) = (upstream.clone(), first.endpoint.id, status.clone());
    let told = status.desk.ask_history(move |history| {
        let all = upstream.members();
        let member = all.members().iter().find(|m| m.endpoint.id == id)?;
        Some(Changed {
            changed: changed || reweighted,
            server: {
                let view = known.registry.view(&upstream.name);
                stats::server_stats(&upstream, &all, view.as_deref(), member, history)
            },
        })
    });
    self::found_answer(told.await.flatten().as_ref())
}

/// `PUT /upstreams/{upstream}/servers/{server}`: a registration, another weight, another state.
pub(super) async fn put_server(
    calls: &Calls,
    upstream: &str,
    server: &str,
    body: Bytes,
) -> AdminAnswer {
    let wish = match Wish::parse_body(&body) {
        Ok(wish) => wish,
        Err(why) => {
            return problem_with_detail(StatusCode::UNPROCESSABLE_ENTITY, "bad_server", &why);
        }
    };
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    let registry = calls.status.registry.view(&name).is_some();
    if registry && (wish.is_registration() || wish.weight.is_some()) {
        return registry::put_server(calls, (upstream, server), wish).await;
    }
    if !registry && wish.is_registration() {
        let snapshot = calls.status.store.load();
        if snapshot.upstreams.iter().any(|known| *known.name == *name) {
            return registry::refusal_answer(&Refused::NoRegistry);
        }
        return problem_answer(StatusCode::NOT_FOUND, "no_such_upstream");
    }
    let mut reweighted = false;
    if let Some(weight) = wish.weight {
        let before = match member_weights(calls, upstream, server) {
            Ok(before) => before,
            Err(code) => return problem_answer(StatusCode::NOT_FOUND, code),
        };
        reweighted = before.iter().any(|before| *before != u32::from(weight.get()));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (upstream, server) = (decoded(upstream), decoded(server));
        let command = |reply| ControlCommand::Weigh { upstream, server, weight, reply };
        match orders::tell_control(&calls.commands, command).await {
            Ok(true) => {}
            Ok(false) => return problem_answer(StatusCode::CONFLICT, "not_in_the_file"),
            Err(answer) => return *answer,
        }
    }
    let state = wish.state.as_deref().unwrap_or("none");
    give_order(&calls.status, (upstream, server), state, reweighted).await
}

/// `DELETE /upstreams/{upstream}/servers/{server}`: only what registered itself can be removed
/// here.
pub(super) async fn delete_server(calls: &Calls, upstream: &str, server: &str) -> AdminAnswer {
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    if calls.status.registry.view(&name).is_some() {
        return registry::delete_server(calls, upstream, server).await;
    }
    match member_weights(calls, upstream, server) {
        Ok(_) => registry::refusal_answer(&Refused::NoRegistry),
        Err(code) => problem_answer(StatusCode::NOT_FOUND, code),
    }
}

/// Whether an upstream has a server of this id.
pub(super) fn has_server(status: &Status, upstream: &str, server: &str) -> bool {
    let snapshot = status.store.load();
    let found = snapshot.upstreams.iter().find(|known| *known.name == *upstream);
    found.is_some_and(|found| members_called(&found.members(), server).next().is_some())
}

/// The servers that go by a name: one, or all those that a name with several addresses leads to.
fn members_called<'a>(
    members: &'a Membership,
    name: &'a str,
) -> impl Iterator<Item = &'a Arc<membership::ServerChange>> {
    let all = members.servers().iter();
    all.filter(move |server| *server.spec.written == *name || *server.endpoint.name == *name)
}

/// The weights of the servers that go by a name, or the code for why there are none.
fn member_weights(calls: &Calls, upstream: &str, server: &str) -> Result<Vec<u32>, &'static str> {
    let snapshot = calls.status.store.load();
    let name = percent_decode_str(upstream).decode_utf8_lossy();
    let upstream =
        snapshot.upstreams.iter().find(|u| *u.name == *name).ok_or("no_such_upstream")?;
    let server = percent_decode_str(server).decode_utf8_lossy();
    let weights: Vec<_> =
        members_called(&upstream.members(), &server).map(|server| server.spec.weight).collect();
    if weights.is_empty() { Err("no_such_server") } else { Ok(weights) }
}
