//! Who may use a route with `auth`: its ways in are asked one after the other, until one lets the
//! client in.
//!
//! What identifies a client to servers is said by that way alone. Where none does, all of them tell
//! how to get in (`WWW-Authenticate`), and the answer is that of the way which knows most about the
//! client. A token whose key may be new is asked about again only when nobody else lets its client
//! in.

mod denial;
mod ways;

use std::fmt::Write as _;
use std::future::poll_fn;
use std::rc::Rc;

use smallvec::SmallVec;

use self::denial::{Denial, EntryAnswer};
use self::ways::{api_key, ask_judge, verify_password, verify_token};
use crate::exchange::identity::client_network;
use crate::exchange::{Client, Refusal};
use crate::policy::basic::Credentials;
use crate::policy::effects::PolicyEffects;
use crate::policy::way_in::{Auth, WayIn};
use crate::policy::{MadeValue, Policies};
use crate::proxy::MatchedRoute;
use crate::proxy::policies::PolicyVerdict;
use crate::wire::Known;

/// The verdict of a way in about a client.
enum EntryVerdict {
    /// The client is let in.
    In,
    /// The client is not let in.
    Out(Denial),
    /// The client has gone.
    Gone,
}

/// The ways that did not let the client in; most routes have one way in.
type Denials<'a> = SmallVec<[(&'a WayIn, Denial); 1]>;

/// Finds out who the client is, and whether it may use the route.
pub(super) async fn admit_client<'a, C: Client>(
    matched: &MatchedRoute<'a, '_>,
    policies: &'a Policies,
    effects: &mut PolicyEffects<'a>,
    client: &mut C,
) -> Result<PolicyVerdict, Refusal> {
    let ways = &policies.ways;
    // Whoever lets a client in, what it says of itself must not reach the server as ours.
    let mut hide = |name: &'a [u8]| {
        if !effects.hidden.contains(&name) {
            effects.hidden.push(name);
        }
    };
    for way in ways {
        match &way.auth {
            Auth::Jwt(jwt) => jwt.forwarded_claims().iter().for_each(|(_, header)| hide(header)),
            Auth::Forward(judge) => judge.copy.iter().for_each(|name| hide(name)),
            Auth::ApiKeys(_) | Auth::Basic(_) => {}
        }
    }
    let mut denials = Denials::new();
    for way in ways {
        let entry = match &way.auth {
            Auth::ApiKeys(keys) => api_key(keys, matched),
            Auth::Basic(basic) => verify_password(basic, matched).await,
            Auth::Jwt(jwt) => verify_token(jwt, matched, effects),
            Auth::Forward(judge) => ask_judge(judge, matched, effects, client).await,
        };
        match entry {
            EntryVerdict::In => {
                if ways.len() > 1 && policies.count_by_claims() {
                    effects.member = name_member(way, matched);
                }
                return Ok(PolicyVerdict::Pass);
            }
            EntryVerdict::Gone => return Ok(PolicyVerdict::Gone),
            EntryVerdict::Out(denial) => denials.push((way, denial)),
        }
    }
    for (way, denial) in denials.iter_mut().filter(|(_, denial)| denial.may_be_new_key) {
        let Auth::Jwt(jwt) = &way.auth else { continue };
        let again = tokio::select! {
            biased;
            again = jwt.keys().refetch_set() => again,
            () = poll_fn(|cx| client.poll_gone(cx)) => return Ok(PolicyVerdict::Gone),
        };
        if !again {
            continue;
        }
        match verify_token(jwt, matched, effects) {
            EntryVerdict::In => return Ok(PolicyVerdict::Pass),
            EntryVerdict::Gone => return Ok(PolicyVerdict::Gone),
            EntryVerdict::Out(new) => *denial = new,
        }
    }
    refuse_client(matched, denials, effects)
}

/// The one whose request it is, by the way in and the name known there; `None` where a token says
/// it.
fn name_member(way: &WayIn, matched: &MatchedRoute<'_, '_>) -> Option<Rc<[u8]>> {
    let fields = &matched.ex.head.fields;
    let user;
    let network = matched.identity.client.map(client_network).unwrap_or_default();
    let name: &[u8] = match &way.auth {
        Auth::Jwt(_) => return None,
        Auth::ApiKeys(keys) => {
            let given = fields.named(&keys.header).next()?;
            keys.owner_of(given).map_or(&[], str::as_bytes)
        }
        Auth::Basic(_) => {
            let mut given = fields.values(Known::Authorization);
            user = given.next().and_then(Credentials::parse_field).map(|known| known.user)?;
            user.as_bytes()
        }
        // That server says what it likes.
        Auth::Forward(_) => &network,
    };
    // No claim begins like this.
    Some([&b"\0"[..], way.name.as_bytes(), b"\0", name].concat().into())
}

/// Counts a client that nobody lets in, notes why, and says what it is told.
#[cold]
fn refuse_client(
    matched: &MatchedRoute<'_, '_>,
    denials: Denials<'_>,
    effects: &mut PolicyEffects<'_>,
) -> Result<PolicyVerdict, Refusal> {
    let mut why = String::new();
    for (way, denial) in &denials {
        matched.ex.worker.ledger.note_denied(&way.name, denial.reason);
        let separator = if why.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ok = write!(why, "{separator}{} (auth.{})", denial.why, way.name);
    }
    // The first of those that know most.
    let ranks = denials.iter().map(|(way, denial)| denial.rank_for(way));
    let chosen = ranks.enumerate().max_by_key(|(at, rank)| (*rank, usize::MAX - at));
    let chosen = chosen.map_or(0, |(at, _)| at);
    let status = denials.get(chosen).map_or(401, |(_, denial)| denial.answer_status());
    let mut told = None;
    for (at, (way, denial)) in denials.into_iter().enumerate() {
        let Denial { key, challenged, fields, told: answer, .. } = denial;
        let challenge = challenged.map(|client| MadeValue::from_slice(way.challenge_for(client)));
        let challenge = challenge.map(|value| (&b"www-authenticate"[..], value));
        let fields = fields.into_iter().map(|(name, value)| (name, MadeValue::from_vec(value)));
        for (name, value) in challenge.into_iter().chain(fields) {
            let challenge = status == 401 && name == b"www-authenticate";
            if challenge {
                add_challenge(effects, value);
            } else if at == chosen {
                effects.made.push((name, value));
            }
        }
        if at == chosen {
            effects.cause.set_cause(format_args!("{why}"), Some(key));
            told = Some(answer);
        }
    }
    match told {
        Some(EntryAnswer::Page(page)) => Ok(PolicyVerdict::Page(page)),
        Some(EntryAnswer::Status(status)) => Ok(PolicyVerdict::Answer(status)),
        Some(EntryAnswer::Refusal(refusal)) => Err(refusal),
        None => Err(Refusal::Unauthenticated),
    }
}

/// Adds a challenge to those that the client is told, unless there is one that says as much: of two
/// that differ in the error at the end the longer one stays.
fn add_challenge(effects: &mut PolicyEffects<'_>, value: MadeValue) {
    const NAME: &[u8] = b"www-authenticate";
    let known = effects.made.iter_mut().find(|(name, known)| {
        *name == NAME && (known.starts_with(&value) || value.starts_with(known))
    });
    match known {
        Some((_, known)) if known.len() < value.len() => *known = value,
        Some(_) => {}
        None => effects.made.push((NAME, value)),
    }
}
