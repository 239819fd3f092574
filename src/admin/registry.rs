//! Servers that register themselves: registration, renewal and goodbye.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calls::{AdminAnswer, Calls, json_answer, problem_answer, problem_with_detail};
use super::{orders, servers};
use crate::clock;
use crate::config::read::WordReader as _;
use crate::config::schema::units::Timeout;
use crate::config::schema::words::ServerAddress;
use crate::config::suggest::did_you_mean;
use crate::discovery::registry::book::{Refused, Registered};
use crate::discovery::registry::lease::{self, Lease, Registration};
use crate::server::control::ControlCommand;

/// What is said of a server. The parts that are left out stay as they are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Where the server answers, as `IP:PORT` or `[IPV6]:PORT`: registers it, or renews its lease.
    /// Only in an upstream with `servers = { registry = … }`.
    address: Option<String>,
    /// The length of its lease, from `1s` to `1h`; a new one lasts `30s` unless this is given.
    /// Renews the lease.
    ttl: Option<String>,
    /// The server's share of requests relative to the others, from 1 to 65535. Of a server that is
    /// written in the file it lasts until the file gives the server another weight than it does
    /// now.
    pub(super) weight: Option<NonZeroU16>,
    /// What routes choose it by: at most 32 labels.
    labels: Option<BTreeMap<String, String>>,
    /// Where it is.
    zone: Option<String>,
    /// Servers of the lowest number are used while there are enough of them.
    priority: Option<u16>,
    /// `drain`, `disable` or `enable`.
    pub(super) state: Option<String>,
}

impl Wish {
    const NAMES: [&'static str; 7] =
        ["address", "ttl", "weight", "labels", "zone", "priority", "state"];
    /// The orders that `state` can give.
    const STATES: [&'static str; 3] = ["drain", "disable", "enable"];

    /// Reads the body of a call.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn parse_body(body: &[u8]) -> Result<Self, String> {
        let wish: Self =
            serde_json::from_slice(body).map_err(|error| explain_json_error(&error))?;
        match wish.state.as_deref().filter(|state| !Self::STATES.contains(state)) {
            Some(state) => {
                let advice = did_you_mean(state, Self::STATES).unwrap_or_default();
                Err(format!("`state` is drain, disable or enable, not `{state}`. {advice}"))
            }
            None => Ok(wish),
        }
    }

    /// Whether it says what only a server that registers can say.
    pub(super) fn is_registration(&self) -> bool {
        let Self { address, ttl, weight: _, labels, zone, priority, state: _ } = self;
        address.is_some()
            || ttl.is_some()
            || labels.is_some()
            || zone.is_some()
            || priority.is_some()
    }

    fn to_registration(&self) -> Result<Registration, String> {
        let said = Registration {
            address: self.address.as_deref().map(parse_address).transpose()?,
            weight: self.weight,
            labels: self.labels.clone(),
            zone: self.zone.clone(),
            priority: self.priority,
            ttl: self.ttl.as_deref().map(parse_ttl).transpose()?,
        };
        said.check().map_err(|unfit| unfit.to_string())?;
        Ok(said)
    }
}

/// What the JSON reader says, with the nearest name where one is close.
fn explain_json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let strange = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match strange.and_then(|name| did_you_mean(name, Wish::NAMES)) {
        Some(advice) => format!("{text}. {advice}"),
        None => text,
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    match ServerAddress::parse_word(text) {
        Ok(ServerAddress::Ip(address)) => {
            Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
        }
        Ok(ServerAddress::Name { .. } | ServerAddress::Unix(_)) => {
            Err(format!("`address` is an IP address with a port, not `{text}`"))
        }
        Err(wrong) => {
            let help = wrong.help.map(|help| format!(": {help}")).unwrap_or_default();
            Err(format!("`address`: {}{help}", wrong.message))
        }
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    Timeout::parse_word(text).map(Timeout::get).map_err(|wrong| {
        let help = wrong.help.map(|help| format!(": {help}")).unwrap_or_default();
        format!("`ttl`: {}{help}", wrong.message)
    })
}

/// The lease of a server that registered itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LeaseStats {
    /// Its length in seconds.
    ttl: f64,
    /// What is left of it in seconds; 0 when it is over.
    left: f64,
    /// Since when it was renewed without a break, in seconds since 1970.
    since: u64,
}

impl LeaseStats {
    pub(super) fn from_lease(lease: &Lease) -> Self {
        Self {
            ttl: lease.known.ttl().as_secs_f64(),
            left: lease.left(clock::now()).as_secs_f64(),
            since: lease.known.since,
        }
    }
}

/// What came of a registration.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RegisteredServer {
    id: String,
    address: String,
    /// True if no server was registered by this id before.
    created: bool,
    /// True if something about the server is other than before.
    changed: bool,
    lease: LeaseStats,
}

/// The answer to what is refused.
pub(super) fn refusal_answer(refused: &Refused) -> AdminAnswer {
    let (status, code) = match refused {
        Refused::NoRegistry => (StatusCode::CONFLICT, "not_a_registry"),
        Refused::Unknown => (StatusCode::NOT_FOUND, "no_such_server"),
        Refused::Taken { .. } => (StatusCode::CONFLICT, "address_taken"),
        Refused::Full(_) => (StatusCode::CONFLICT, "registry_full"),
        Refused::Foreign(_) => (StatusCode::FORBIDDEN, "address_not_allowed"),
        Refused::Own(_) => (StatusCode::FORBIDDEN, "own_address"),
        Refused::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
    };
    problem_with_detail(status, code, &refused.to_string())
}

fn bad_server_answer(why: &str) -> AdminAnswer {
    problem_with_detail(StatusCode::UNPROCESSABLE_ENTITY, "bad_server", why)
}

/// Registers a server, or changes what is known of it.
pub(super) async fn put_server(
    calls: &Calls,
    (upstream, id): (&str, &str),
    wish: Wish,
) -> AdminAnswer {
    let upstream = percent_decode_str(upstream).decode_utf8_lossy();
    let name = percent_decode_str(id).decode_utf8_lossy();
    let registration = match wish.to_registration() {
        Ok(_) if lease::check_id(&name).is_err() => {
            return bad_server_answer(&lease::Unfit::Id.to_string());
        }
        Ok(registration) => registration,
        Err(why) => return bad_server_answer(&why),
    };
    let registry = &calls.status.registry;
    let registered = match registry.register(&upstream, &name, registration).await {
        Ok(registered) => registered,
        Err(refused) => return refusal_answer(&refused),
    };
    if registered != Registered::Renewed {
        await_membership(calls).await;
    }
    if let Some(order) = &wish.state {
        let given = servers::order_server(&calls.status, &upstream, id, order).await;
        if given.status() != StatusCode::OK {
            return given;
        }
    }
    // Others may have removed it meanwhile.
    let view = registry.view(&upstream);
    let Some(lease) = view.as_ref().and_then(|view| view.leases.get(&*name)) else {
        return problem_answer(StatusCode::NOT_FOUND, "no_such_server");
    };
    let created = registered == Registered::New;
    let outcome = RegisteredServer {
        id: name.into_owned(),
        address: lease.known.address.to_string(),
        created,
        changed: registered != Registered::Renewed,
        lease: LeaseStats::from_lease(lease),
    };
    json_answer(if created { StatusCode::CREATED } else { StatusCode::OK }, &outcome)
}

/// Waits until requests go to the servers that there are now. It happens all the same when that
/// takes long.
async fn await_membership(calls: &Calls) {
    let _busy = orders::tell_control(&calls.commands, |reply| ControlCommand::Follow {
        reply: Some(reply),
    })
    .await;
}

/// Removes a server: it gets nothing new, and finishes what it has.
pub(super) async fn delete_server(calls: &Calls, upstream: &str, id: &str) -> AdminAnswer {
    let (upstream, id) = (
        percent_decode_str(upstream).decode_utf8_lossy(),
        percent_decode_str(id).decode_utf8_lossy(),
    );
    // A server whose lease ran out may be held by a guard.
    let held = servers::has_server(&calls.status, &upstream, &id);
    match calls.status.registry.remove(&upstream, &id).await {
        Ok(removed) if removed || held => {
            await_membership(calls).await;
            json_answer(StatusCode::OK, &Removed { removed: true })
        }
        Ok(_) => problem_answer(StatusCode::NOT_FOUND, "no_such_server"),
        Err(refused) => refusal_answer(&refused),
    }
}

/// What came of a goodbye.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Removed {
    /// True: it gets nothing new, and finishes what it has.
    removed: bool,
}
