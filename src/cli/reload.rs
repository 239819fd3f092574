//! `tidegate reload`, `tidegate drain`, `tidegate status`: orders to a running proxy, and a look at
//! it.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value as Json;

use super::admin::CallTarget;
use super::{print_error, print_text};
use crate::clock;
use crate::config::schema::discovery::Servers;
use crate::reload::ReloadOutcome;
use crate::reload::diff::{self, ConfigChange, StayingCounts};

#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    target: CallTarget,
    /// Accept it even if it removes more than `runtime.shrink_guard` allows
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct PlainArguments {
    #[command(flatten)]
    target: CallTarget,
}

/// Exit code 0 when the new configuration runs, 1 when it was refused and the old one goes on.
pub(super) fn run_reload(arguments: &ReloadArguments) -> ExitCode {
    let path = if arguments.force { "/reload?force=1" } else { "/reload" };
    let body = match arguments.target.call_admin(Method::POST, path) {
        Ok((_, body)) => body,
        Err(error) => return print_error(&format!("error: {error}\n")),
    };
    let Ok(outcome) = serde_json::from_str::<ReloadOutcome>(&body) else {
        return print_error(&format!("error: {body}"));
    };
    if !outcome.ok {
        let error = outcome.error.trim_end();
        return print_error(&format!(
            "{error}\nrefused; generation {} goes on\n",
            outcome.generation
        ));
    }
    let mut text = match &*outcome.note {
        "" => format!("reloaded: generation {}\n", outcome.generation),
        note => format!("not reloaded: {note}; generation {} goes on\n", outcome.generation),
    };
    text.push_str(&describe_changes(&outcome.changes, &outcome.stays));
    print_text(&text, ExitCode::SUCCESS)
}

/// Describes what is different, what stays, what drains.
pub(super) fn describe_changes(changes: &[ConfigChange], stays: &StayingCounts) -> String {
    let mut text = String::new();
    for change in changes {
        text.push_str(&format!("{change}\n"));
    }
    if changes.is_empty() {
        text.push_str("nothing is different\n");
    }
    text.push_str(&format!("stays: {stays}\n"));
    for what in diff::drained_servers(changes) {
        text.push_str(&format!("drains: {what}\n"));
    }
    text
}

/// Exit code 0 when the drain has begun.
pub(super) fn run_drain(arguments: &PlainArguments) -> ExitCode {
    match arguments.target.call_admin(Method::POST, "/drain") {
        Ok((202, _)) => print_text("draining\n", ExitCode::SUCCESS),
        Ok((_, body)) => print_error(&format!("error: {body}")),
        Err(error) => print_error(&format!("error: {error}\n")),
    }
}

/// Exit code 0 when the proxy is ready for requests, 1 when it is not or cannot be reached.
pub(super) fn run_status(arguments: &PlainArguments) -> ExitCode {
    let body = match arguments.target.look_up("/stats") {
        Ok((200, body)) => body,
        Ok((_, body)) => return print_error(&format!("error: {body}")),
        Err(error) => return print_error(&format!("error: {error}\n")),
    };
    let Ok(stats) = serde_json::from_str::<Json>(&body) else {
        return print_error("error: the answer is not JSON\n");
    };
    let ready = stats["ready"] == true;
    let code = if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    print_text(&show_overview(&stats), code)
}

/// A line for the process and one for each listener, upstream and server.
fn show_overview(stats: &Json) -> String {
    let state = if stats["ready"] == true { "ready" } else { "not ready" };
    let word = |value: &Json| value.as_str().unwrap_or("?").to_owned();
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let mut text = format!(
        "{state}, version {}, up {} s, generation {}, {} requests\n",
        word(&stats["version"]),
        stats["uptime_seconds"],
        stats["generation"],
        stats["requests"]
    );
    if let Some(error) = stats["reloads"]["last_error"].as_str() {
        text.push_str(&format!("the last reload was refused: {error}\n"));
    }
    for listener in list(&stats["listeners"]) {
        let (name, open) = (word(&listener["name"]), &listener["connections"]);
        text.push_str(&format!("listener {name}: {open} connections\n"));
    }
    for upstream in &list(&stats["upstreams"]) {
        let alarm = if upstream["fail_open"] == true { ", FAILING OPEN" } else { "" };
        let breaker = match upstream["breaker"]["state"].as_str() {
            None | Some("closed") => String::new(),
            Some(state) => format!(", breaker {state}"),
        };
        let waiting = &upstream["queue"]["depth"];
        text.push_str(&format!(
            "upstream {}: {waiting} waiting{breaker}{alarm}{}\n",
            word(&upstream["name"]),
            show_supply(upstream)
        ));
        for server in list(&upstream["servers"]) {
            let fault = server["name_fault"].as_str();
            let fault = fault.map_or_else(String::new, |why| format!(", its name: {why}"));
            text.push_str(&format!(
                "  {} {}{}{fault}: {} in flight, {} requests, {} failures\n",
                word(&server["name"]),
                word(&server["state"]),
                show_member(&server),
                server["in_flight"],
                server["requests"],
                server["failures"]
            ));
        }
    }
    text
}

/// Tells where the servers of an upstream come from, and what is wrong with that; nothing where
/// they are written in the configuration.
fn show_supply(upstream: &Json) -> String {
    let Some(source) = upstream["source"].as_str().filter(|_| !upstream["supply"].is_null()) else {
        return String::new();
    };
    let mut text = format!(", servers from {source}");
    for (key, what) in [("servers_held", "held"), ("servers_waiting", "kept waiting")] {
        if let Some(number @ 1..) = upstream[key].as_u64() {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    if let Some(why) = upstream["supply"]["fault"].as_str() {
        text.push_str(&format!(", ITS SOURCE HAS A FAULT: {why}"));
    }
    text
}

/// Tells since when a server that was found elsewhere is there, and its lease.
fn show_member(server: &Json) -> String {
    let source = server["source"].as_str().unwrap_or(Servers::LIST);
    let Some(joined) = server["joined"].as_u64().filter(|_| source != Servers::LIST) else {
        return String::new();
    };
    let held = if server["held"] == true { " (held)" } else { "" };
    let there = clock::unix_seconds().saturating_sub(joined);
    let mut text = format!(", from {source}{held} since {there} s");
    if let (Some(ttl), Some(left)) =
        (server["lease"]["ttl"].as_f64(), server["lease"]["left"].as_f64())
    {
        text.push_str(&format!(", lease {ttl} s with {left:.0} s left"));
    }
    text
}
