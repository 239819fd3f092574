//! Who may use a route with `auth`: its ways in are asked one after the other, until one lets the client in.
//!
//! What identifies a client to servers is said by that way alone. Where none does, all of them tell how to get in
//! (`WWW-Authenticate`), and the answer is that of the way which knows most about the client. A token whose key may
//! be new is asked about again only when nobody else lets its client in.

use std::fmt::{self, Display, Write as _};
use std::future::poll_fn;
use std::rc::Rc;

use smallvec::SmallVec;

use super::MatchedRoute;
use super::policies::PolicyVerdict;
use crate::clock;
use crate::exchange::identity::client_network;
use crate::exchange::{Client, Refusal};
use crate::policy::api_key::ApiKeys;
use crate::policy::basic::{Basic, Busy, Credentials};
use crate::policy::effects::PolicyEffects;
use crate::policy::forward_auth::{ForwardAuth, JudgeAnswer, JudgePage, JudgeQuestion};
use crate::policy::jwt::{Jwt, TokenFault, Verified};
use crate::policy::{Auth, MadeValue, Policies, WayIn};
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

/// The reason why a way in does not let a client in, and what the client is told.
struct Denial {
    /// A word for counters.
    reason: &'static str,
    /// For operators.
    why: Why,
    /// The configuration key that would change it.
    key: &'static str,
    told: EntryAnswer,
    /// The credentials by which a client gets in that way.
    challenge: Option<Challenge>,
    /// The further fields of the answer.
    fields: Vec<(&'static [u8], Vec<u8>)>,
    /// The token may be signed with a key that is not known yet.
    may_be_new_key: bool,
}

/// Credentials that a client may get in with (RFC 9110 §11.6.1).
#[derive(Debug, Clone, Copy)]
enum Challenge {
    ApiKey,
    /// RFC 7617.
    Basic,
    /// RFC 6750.
    Bearer,
    /// The same, to who sent a token (RFC 6750 §3.1).
    OtherBearer,
}

impl Challenge {
    fn written(self, realm: &str) -> Vec<u8> {
        match self {
            Self::ApiKey => format!("ApiKey realm={realm}"),
            Self::Basic => format!("Basic realm={realm}, charset=\"UTF-8\""),
            Self::Bearer => format!("Bearer realm={realm}"),
            Self::OtherBearer => format!("Bearer realm={realm}, error=\"invalid_token\""),
        }
        .into_bytes()
    }
}

enum Why {
    Text(&'static str),
    Token(TokenFault),
    Made(String),
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Text(text) => f.write_str(text),
            Why::Token(denied) => denied.fmt(f),
            Why::Made(text) => f.write_str(text),
        }
    }
}

/// The answer to a client that is not let in.
enum EntryAnswer {
    /// The proxy's own.
    Refusal(Refusal),
    /// A status that an authentication server gave, without its page.
    Status(u16),
    /// That server's page.
    Page(Box<JudgePage>),
}

impl Denial {
    fn new(reason: &'static str, why: Why, key: &'static str, refusal: Refusal) -> Self {
        let (told, fields) = (EntryAnswer::Refusal(refusal), Vec::new());
        Self { reason, why, key, told, challenge: None, fields, may_be_new_key: false }
    }

    fn with_challenge(self, challenge: Challenge) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    /// Returns which denial is the answer, where there are several: that nobody can tell at the moment, then where to go to get
    /// in, then that a known client may not, then that it is not known. A 403 of a server that is asked may mean either,
    /// and gives way to who says how to get in (as with nginx's `satisfy any`).
    fn rank_for(&self, way: &WayIn) -> u8 {
        let asked = matches!(way.auth, Auth::Forward(_));
        match &self.told {
            EntryAnswer::Refusal(Refusal::AuthUnavailable) => 5,
            EntryAnswer::Refusal(Refusal::RateLimited) => 4,
            EntryAnswer::Refusal(Refusal::NotAllowed) if !asked => 2,
            EntryAnswer::Refusal(Refusal::NotAllowed) => 0,
            EntryAnswer::Page(page) if page.status == 403 => 0,
            EntryAnswer::Page(page) if page.status == 401 => 1,
            EntryAnswer::Page(_) | EntryAnswer::Status(_) => 3,
            EntryAnswer::Refusal(_) => 1,
        }
    }

    fn answer_status(&self) -> u16 {
        match &self.told {
            EntryAnswer::Refusal(refusal) => refusal.row().status,
            EntryAnswer::Status(status) => *status,
            EntryAnswer::Page(page) => page.status,
        }
    }
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

/// The one whose request it is, by the way in and the name known there; `None` where a token says it.
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
        let Denial { key, challenge, fields, told: answer, .. } = denial;
        let challenge =
            challenge.map(|challenge| (&b"www-authenticate"[..], challenge.written(&way.realm)));
        for (name, value) in challenge.into_iter().chain(fields) {
            let value: MadeValue = value.into();
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

/// Adds a challenge to those that the client is told, unless there is one that says as much: of two that differ in the
/// error at the end the longer one stays.
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

fn api_key(keys: &ApiKeys, matched: &MatchedRoute<'_, '_>) -> EntryVerdict {
    let mut given = matched.ex.head.fields.named(&keys.header);
    let (reason, why) = match (given.next(), given.next()) {
        (Some(key), None) if keys.owner_of(key).is_some() => return EntryVerdict::In,
        (Some(_), None) => ("unknown", "the key is not one of those known"),
        (None, _) => ("missing", "there is no key"),
        (Some(_), Some(_)) => ("several", "there is more than one key"),
    };
    let denial = Denial::new(reason, Why::Text(why), "auth.api_key", Refusal::Unauthenticated);
    EntryVerdict::Out(denial.with_challenge(Challenge::ApiKey))
}

/// Verifies name and password, unless they were right lately.
async fn verify_password(basic: &Basic, matched: &MatchedRoute<'_, '_>) -> EntryVerdict {
    const KEY: &str = "auth.basic";
    let mut given = matched.ex.head.fields.values(Known::Authorization);
    let credentials = match (given.next(), given.next()) {
        (Some(field), None) => Credentials::parse_field(field),
        _ => None,
    };
    let (reason, why) = if let Some(credentials) = credentials {
        let client = matched.identity.client.map(client_network).unwrap_or_default();
        match basic.verify_credentials(credentials, &client).await {
            Ok(true) => return EntryVerdict::In,
            Ok(false) => ("wrong", "name or password is wrong"),
            Err(Busy::Guessing) => {
                let why = Why::Text("too many guesses of one client or for one name");
                let denial = Denial::new("guessing", why, KEY, Refusal::RateLimited);
                let fields = vec![(&b"retry-after"[..], b"1".to_vec())];
                return EntryVerdict::Out(Denial { fields, ..denial });
            }
            Err(Busy::Full) => {
                let why = Why::Text("too many passwords are being verified");
                return EntryVerdict::Out(Denial::new("busy", why, KEY, Refusal::AuthUnavailable));
            }
        }
    } else {
        ("missing", "there is no name and password")
    };
    let denial = Denial::new(reason, Why::Text(why), KEY, Refusal::Unauthenticated);
    EntryVerdict::Out(denial.with_challenge(Challenge::Basic))
}

/// Asks another server about the client.
async fn ask_judge<'a, C: Client>(
    judge: &ForwardAuth,
    matched: &MatchedRoute<'a, '_>,
    effects: &mut PolicyEffects<'a>,
    client: &mut C,
) -> EntryVerdict {
    const KEY: &str = "auth.forward";
    let (head, target) = (matched.ex.head, matched.target);
    let question = JudgeQuestion {
        method: head.method(),
        path: target.path(),
        query: target.query(),
        host: target.sent_host(),
        identity: matched.identity,
        request_id: matched.id.as_str(),
        mark: matched.route.mark.as_deref(),
        fields: &head.fields,
    };
    let said = tokio::select! {
        biased;
        said = judge.ask_judge(&matched.ex.worker.judges, question) => said,
        () = poll_fn(|cx| client.poll_gone(cx)) => return EntryVerdict::Gone,
    };
    let answered = |status: u16| Why::Made(format!("{} answered {status}", judge.shown_place()));
    EntryVerdict::Out(match said {
        JudgeAnswer::Pass(fields, cookies) => {
            let cookies = cookies.into_iter();
            effects.made.extend(cookies.map(|c| (&b"set-cookie"[..], c.into())));
            effects.verified = Some(Rc::new(Verified { fields, ..Verified::default() }));
            return EntryVerdict::In;
        }
        JudgeAnswer::Deny(status, fields) => {
            let told = match status {
                401 => EntryAnswer::Refusal(Refusal::Unauthenticated),
                403 => EntryAnswer::Refusal(Refusal::NotAllowed),
                status => EntryAnswer::Status(status),
            };
            let denial = Denial::new("denied", answered(status), KEY, Refusal::Unauthenticated);
            Denial { told, fields, ..denial }
        }
        JudgeAnswer::Show(page) => {
            let why = answered(page.status);
            // A call is told in its own way.
            let told = match page.status {
                _ if !matched.admitted.grpc => EntryAnswer::Page(page),
                403 => EntryAnswer::Refusal(Refusal::NotAllowed),
                429 => EntryAnswer::Refusal(Refusal::RateLimited),
                _ => EntryAnswer::Refusal(Refusal::Unauthenticated),
            };
            Denial { told, ..Denial::new("denied", why, KEY, Refusal::Unauthenticated) }
        }
        JudgeAnswer::Nothing(reason, why) => {
            Denial::new(reason, Why::Made(why), KEY, Refusal::AuthUnavailable)
        }
    })
}

/// Verifies the client's token.
fn verify_token(
    jwt: &Jwt,
    matched: &MatchedRoute<'_, '_>,
    effects: &mut PolicyEffects<'_>,
) -> EntryVerdict {
    match known_or_verified(jwt, matched) {
        Ok(verified) if !verified.allowed => {
            let why = Why::Text("the token lacks what `allow` asks for");
            EntryVerdict::Out(Denial::new(
                "not_allowed",
                why,
                "auth.jwt.allow",
                Refusal::NotAllowed,
            ))
        }
        Ok(verified) => {
            effects.verified = Some(verified);
            EntryVerdict::In
        }
        Err(denied) => {
            let (reason, key) = (denied.reason_word(), denied.config_key());
            let made = |refusal| Denial::new(reason, Why::Token(denied), key, refusal);
            if denied == TokenFault::NoKeys {
                return EntryVerdict::Out(made(Refusal::AuthUnavailable));
            }
            // RFC 6750 §3: the error only where there was a token.
            let challenge = if denied == TokenFault::Missing {
                Challenge::Bearer
            } else {
                Challenge::OtherBearer
            };
            let denial = made(Refusal::Unauthenticated).with_challenge(challenge);
            EntryVerdict::Out(Denial { may_be_new_key: denied.may_be_new_key(), ..denial })
        }
    }
}

/// Verifies the token of a request, unless this worker has done so lately.
fn known_or_verified(
    jwt: &Jwt,
    matched: &MatchedRoute<'_, '_>,
) -> Result<Rc<Verified>, TokenFault> {
    let worker = matched.ex.worker;
    let token = jwt.find_token(&matched.ex.head.fields, matched.target.query())?;
    let now = clock::unix_seconds();
    let fingerprint = jwt.fingerprint_of(&token);
    let known = worker.tokens.borrow().get(&fingerprint).cloned();
    if let Some(known) = known.filter(|known| jwt.still_counts(known, now)) {
        return Ok(known);
    }
    let verified = Rc::new(jwt.verify(&token, now)?);
    worker.remember_token(fingerprint, verified.clone());
    Ok(verified)
}
