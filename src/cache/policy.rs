//! Decides what a shared cache may store and what it may answer with (RFC 9111, RFC 5861).
//!
//! Pure: the moment is an argument, in milliseconds since 1970, because `Date` and `Expires` are
//! told in that time and other instances read what this one stored.

mod date;
mod timing;

use std::time::Duration;

pub use self::date::parse_date;
pub use self::timing::{Timing, Usability};
use super::directives::{RequestDirectives, ResponseDirectives};
use crate::wire::head::{Fields, list_items};

/// A moment, in milliseconds since 1970.
pub type Millis = u64;

/// Statuses that may be reused without explicit permission (RFC 9110 §15.1) and are no errors.
const REUSABLE: [u16; 6] = [200, 203, 204, 300, 301, 308];

/// Statuses that RFC 9110 and its extensions define so that a cache can understand them; all others
/// are stored only without `must-understand` (RFC 9111 §3).
const UNDERSTOOD: [u16; 20] = [
    200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 421, 451, 500, 501,
    503,
];

/// What a `[cache.NAME]` says about time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheSettings {
    /// The time for which a response without a word about freshness is fresh.
    pub ttl: Option<Duration>,
    /// `ttl` counts whatever the response says.
    pub force: bool,
    /// The longest that anything is fresh.
    pub max_ttl: Option<Duration>,
    /// How long after its end a response may be used while a new one is fetched; a response's own
    /// word goes first.
    pub stale_while_revalidate: Option<Duration>,
    /// How long after its end a response may be used while servers fail; likewise.
    pub stale_if_error: Option<Duration>,
    /// The time for which errors are fresh that say nothing themselves, by status.
    pub negative: Box<[(u16, Duration)]>,
}

/// The parts of a request that decide about reuse.
#[derive(Debug, Clone, Copy, Default)]
pub struct CacheQuery {
    /// The directives.
    pub directives: RequestDirectives,
    /// The client proved who it is: `Authorization`, or whatever the route's `auth` takes.
    pub authenticated: bool,
}

/// The reason why a response is not stored; told in `Cache-Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unstorable {
    /// `no-store`, of the response.
    NoStore,
    /// `no-store`, of the request.
    RequestNoStore,
    /// `private`.
    Private,
    /// The client is known, and nothing allows others to get the answer (RFC 9111 §3.5).
    Authenticated,
    /// `Vary: *`.
    VaryAny,
    /// `Set-Cookie` on a response that does not say itself that it is for everybody.
    SetCookie,
    /// Neither freshness nor a validator.
    NoFreshness,
    /// A status that is never stored: partial, not modified, interim, and 508, which tells of the
    /// way that a request took and not of what it asked for.
    Status,
    /// `must-understand` on a status that this cache does not know.
    NotUnderstood,
    /// The body is larger than what one entry may have.
    TooLarge,
    /// All memory is in use.
    NoRoom,
}

impl Unstorable {
    /// Returns whether the reason holds for whoever asks for the same: for all who proved who they
    /// are, and for all others. It does not if it is this request's own, or that of a moment.
    #[must_use]
    pub fn holds_for_others(self, status: u16) -> bool {
        !matches!(self, Unstorable::RequestNoStore | Unstorable::NoRoom) && tells_of_content(status)
    }

    /// The word for it in `Cache-Status`.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Unstorable::NoStore => "no-store",
            Unstorable::RequestNoStore => "request-no-store",
            Unstorable::Private => "private",
            Unstorable::Authenticated => "authorization",
            Unstorable::VaryAny => "vary",
            Unstorable::SetCookie => "set-cookie",
            Unstorable::NoFreshness => "no-freshness",
            Unstorable::Status => "status",
            Unstorable::NotUnderstood => "must-understand",
            Unstorable::TooLarge => "too-large",
            Unstorable::NoRoom => "no-room",
        }
    }
}

/// Returns whether a response with a status tells of what was asked for, and not of a server that
/// fails, or has too much to do.
#[must_use]
pub fn tells_of_content(status: u16) -> bool {
    !matches!(status, 408 | 425 | 429 | 500..)
}

/// A response that may or may not be stored.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: &'a Fields,
    /// When the request for it was sent.
    pub asked_at: Millis,
    /// When its head was complete.
    pub at: Millis,
}

/// Decides whether a response to a `GET` may be stored, and how it may be used then.
///
/// # Errors
/// Why it may not.
pub fn judge_response(
    received: Received<'_>,
    asked: &CacheQuery,
    settings: &CacheSettings,
) -> Result<Timing, Unstorable> {
    let Received { status, fields, asked_at, at } = received;
    if matches!(status, 100..=199 | 206 | 304 | 508) {
        return Err(Unstorable::Status);
    }
    if vary_names_all(fields) {
        return Err(Unstorable::VaryAny);
    }
    if asked.directives.no_store {
        return Err(Unstorable::RequestNoStore);
    }
    let said = ResponseDirectives::read(fields);
    let forced = settings.ttl.filter(|_| settings.force && REUSABLE.contains(&status));
    if forced.is_none() {
        if said.must_understand {
            // Where the status is known, `no-store` beside it is for caches that do not know it.
            if !UNDERSTOOD.contains(&status) {
                return Err(Unstorable::NotUnderstood);
            }
        } else if said.no_store {
            return Err(Unstorable::NoStore);
        }
        if said.private {
            return Err(Unstorable::Private);
        }
    }
    let shared = said.public || said.s_maxage.is_some() || said.must_revalidate;
    if asked.authenticated && !shared {
        return Err(Unstorable::Authenticated);
    }
    let explicit = if forced.is_some() { None } else { explicit_lifetime(&said, fields, at) };
    let has_validator =
        fields.named(b"etag").next().is_some() || fields.named(b"last-modified").next().is_some();
    // A lifetime alone is often the framework's, and the cookie a session's; "for everybody" is a
    // word of its own.
    let for_everybody = explicit.is_some() && (said.public || said.s_maxage.is_some());
    if fields.named(b"set-cookie").next().is_some()
        && !for_everybody
        && !is_withheld(&said, b"set-cookie")
    {
        return Err(Unstorable::SetCookie);
    }
    let own = forced.or_else(|| {
        let negative = settings.negative.iter().find(|(known, _)| *known == status);
        let negative = negative.map(|(_, lasts)| *lasts);
        negative.or(settings.ttl.filter(|_| REUSABLE.contains(&status)))
    });
    let lifetime = match (explicit, own) {
        (Some(explicit), _) => explicit,
        (None, Some(own)) => to_millis(own),
        (None, None) if has_validator && REUSABLE.contains(&status) => 0,
        (None, None) => return Err(Unstorable::NoFreshness),
    };
    let lifetime = settings.max_ttl.map_or(lifetime, |most| lifetime.min(to_millis(most)));
    let initial_age = if forced.is_some() { 0 } else { initial_age(fields, asked_at, at) };
    // `s-maxage` implies `proxy-revalidate` (RFC 9111 §5.2.2.10).
    let strict = forced.is_none()
        && (said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some());
    let window = |said: Option<u64>, own: Option<Duration>| match said {
        _ if strict => 0,
        Some(seconds) => seconds.saturating_mul(1000),
        None => own.map_or(0, to_millis),
    };
    let validate_always = said.no_cache && forced.is_none();
    if lifetime == 0 && !has_validator && validate_always {
        return Err(Unstorable::NoFreshness);
    }
    Ok(Timing {
        received: at,
        initial_age,
        lifetime,
        while_revalidating: window(said.stale_while_revalidate, settings.stale_while_revalidate),
        if_error: window(said.stale_if_error, settings.stale_if_error),
        stale_allowed: !strict,
        validate_always,
        has_validator,
        shared,
    })
}

/// Returns whether a stored field must not be sent on without a server's word (`no-cache="…"`), or
/// must not be stored (`private="…"`).
#[must_use]
pub fn is_withheld(said: &ResponseDirectives, name: &[u8]) -> bool {
    let mut listed = said.no_cache_fields.iter().chain(&said.private_fields);
    listed.any(|known| name.eq_ignore_ascii_case(known))
}

/// Yields the fields that ask a server whether a response with these fields is still what it would
/// send (RFC 9111 §4.3.1), as names and values.
pub fn revalidation_fields(stored: &Fields) -> impl Iterator<Item = (&'static [u8], &[u8])> {
    let validator = |name: &[u8]| stored.named(name).next();
    let etag = validator(b"etag").map(|etag| (&b"if-none-match"[..], etag));
    let modified = validator(b"last-modified").map(|at| (&b"if-modified-since"[..], at));
    etag.into_iter().chain(modified)
}

fn vary_names_all(fields: &Fields) -> bool {
    fields.named(b"vary").flat_map(list_items).any(|item| item == b"*")
}

fn to_millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}

/// The lifetime that a response gives itself, in milliseconds (RFC 9111 §4.2.1).
fn explicit_lifetime(said: &ResponseDirectives, fields: &Fields, at: Millis) -> Option<u64> {
    if let Some(seconds) = said.s_maxage.or(said.max_age) {
        return Some(seconds.saturating_mul(1000));
    }
    if said.targeted {
        return None;
    }
    let mut lines = fields.named(b"expires");
    let expires = lines.next()?;
    // What is no date, or more than one, has passed (RFC 9111 §5.3).
    let expires = if lines.next().is_some() { None } else { parse_date(expires) };
    let Some(expires) = expires else { return Some(0) };
    Some(expires.saturating_sub(read_date(fields).unwrap_or(at)))
}

/// `Date`, where there is one date.
fn read_date(fields: &Fields) -> Option<Millis> {
    parse_date(fields.named(b"date").next()?)
}

/// The age at which a response was received, in milliseconds (RFC 9111 §4.2.3).
fn initial_age(fields: &Fields, asked_at: Millis, at: Millis) -> u64 {
    let apparent = read_date(fields).map_or(0, |date| at.saturating_sub(date));
    let first = fields.named(b"age").next().and_then(|line| list_items(line).next());
    let told = first.and_then(|text| {
        let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
        Some(text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000))
    });
    let corrected = told.unwrap_or(0).saturating_add(at.saturating_sub(asked_at));
    // A clock that is a second off must not age what has just been made.
    let apparent = if apparent <= 1000 { 0 } else { apparent };
    apparent.max(if told.is_some() { corrected } else { at.saturating_sub(asked_at) })
}

#[cfg(test)]
mod tests;
