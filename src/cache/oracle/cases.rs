//! Random responses, requests and times.

use std::time::{Duration, SystemTime};

use crate::cache::policy::Millis;
use crate::clock::Random;

/// A directive: name and value.
pub(super) type Directive = (String, Option<String>);

/// When responses are received, give or take; whole seconds.
const AROUND: Millis = 1_800_000_000_000;

/// A moment as it stands in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DateText {
    /// The form that is to be written.
    Usual(Millis),
    /// The form of RFC 850.
    Rfc850(Millis),
    /// The form of C's `asctime`.
    Asctime(Millis),
    /// A form of mail alone.
    Mail(Millis),
    /// None of them.
    Garbage,
}

impl DateText {
    fn draw(random: &mut Random, from: i64, seconds: u64) -> Self {
        let shift = from.saturating_add_unsigned(random.below(seconds));
        let at = AROUND.saturating_add_signed(shift * 1000);
        match random.below(16) {
            0 => Self::Rfc850(at),
            1 => Self::Asctime(at),
            2 => Self::Mail(at),
            3 => Self::Garbage,
            _ => Self::Usual(at),
        }
    }

    fn write(self) -> String {
        let usual = |at: Millis| {
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(at))
        };
        let of = |at: Millis| -> [String; 6] {
            let text = usual(at);
            let parts: Vec<String> = text.split([' ', ',']).map(str::to_owned).collect();
            let [day, _, date, month, year, time, _] = parts.try_into().unwrap();
            let names =
                ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
            let whole = *names.iter().find(|name| name.starts_with(&day)).unwrap();
            [day, whole.to_owned(), date, month, year, time]
        };
        match self {
            Self::Usual(at) => usual(at),
            Self::Rfc850(at) => {
                let [_, day, date, month, year, time] = of(at);
                format!("{day}, {date}-{month}-{} {time} GMT", &year[2..])
            }
            Self::Asctime(at) => {
                let [day, _, date, month, year, time] = of(at);
                let date = date.trim_start_matches('0');
                format!("{day} {month} {date:>2} {time} {year}")
            }
            Self::Mail(at) => usual(at).replace("GMT", "+0000"),
            Self::Garbage => "0".to_owned(),
        }
    }
}

/// What a client asks.
#[derive(Debug, Clone)]
pub(super) struct OracleRequest {
    pub(super) directives: Vec<Directive>,
    pub(super) pragma: Option<&'static str>,
    pub(super) authorization: bool,
    /// It has conditions of its own.
    pub(super) conditional: bool,
}

/// A response, the request that it answers, and one that comes later.
#[derive(Debug, Clone)]
pub(super) struct OracleCase {
    pub(super) status: u16,
    pub(super) directives: Vec<Directive>,
    /// `CDN-Cache-Control`.
    pub(super) targeted: Vec<Directive>,
    pub(super) date: Option<DateText>,
    pub(super) expires: Vec<DateText>,
    pub(super) age: Option<String>,
    pub(super) etag: Option<&'static str>,
    pub(super) last_modified: Option<DateText>,
    pub(super) cookie: bool,
    pub(super) vary: Option<&'static str>,
    pub(super) pragma: bool,
    pub(super) first: OracleRequest,
    pub(super) next: OracleRequest,
    pub(super) asked_at: Millis,
    pub(super) at: Millis,
    pub(super) now: Millis,
    /// For the other one alone: no use when stale, without a word about storing.
    pub(super) strict: bool,
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    let at = random.below(from.len() as u64);
    from[usize::try_from(at).unwrap()]
}

fn is_one_in(random: &mut Random, many: u64) -> bool {
    random.below(many) == 0
}

/// The value of a directive that takes seconds, more often a good one than not.
fn draw_seconds(random: &mut Random) -> Option<String> {
    let number = random.below(30).saturating_sub(3);
    Some(match random.below(24) {
        0 => return None,
        1 => "abc".to_owned(),
        2 => String::new(),
        3 => "-1".to_owned(),
        4 => "1.5".to_owned(),
        5 => format!("+{number}"),
        6 => "99999999999999999999999".to_owned(),
        7 => "4294967296".to_owned(),
        8 => format!("\"{number}\""),
        _ => number.to_string(),
    })
}

fn draw_directives(random: &mut Random, flags: &[&str], timed: &[&str]) -> Vec<Directive> {
    let mut drawn: Vec<Directive> = Vec::new();
    for _ in 0..pick(random, &[0, 1, 1, 2, 2, 3, 4]) {
        let mut directive = if random.below(3) > 0 {
            (pick(random, timed).to_owned(), draw_seconds(random))
        } else {
            (pick(random, flags).to_owned(), None)
        };
        if ["no-cache", "private"].contains(&&*directive.0) && is_one_in(random, 2) {
            let names = ["", "x-a", "x-a, set-cookie", "set-cookie"];
            directive.1 = Some(format!("\"{}\"", pick(random, &names)));
        }
        if is_one_in(random, 12) {
            directive.0 = directive.0.to_ascii_uppercase();
        }
        drawn.push(directive);
    }
    drawn
}

fn write(directives: &[Directive]) -> String {
    let one = |(name, value): &Directive| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    directives.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl OracleRequest {
    fn draw(random: &mut Random) -> Self {
        let flags = ["no-cache", "no-store", "only-if-cached", "unknown"];
        let timed = ["max-age", "min-fresh", "max-stale", "max-stale", "stale-if-error"];
        let directives =
            if is_one_in(random, 2) { Vec::new() } else { draw_directives(random, &flags, &timed) };
        let pragma = is_one_in(random, 12).then(|| pick(random, &["no-cache", "not-no-cache"]));
        let (authorization, conditional) = (is_one_in(random, 8), is_one_in(random, 8));
        Self { directives, pragma, authorization, conditional }
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut push = |name, value: &str| lines.push((name, value.to_owned()));
        if !self.directives.is_empty() {
            push("cache-control", &write(&self.directives));
        }
        self.pragma.into_iter().for_each(|value| push("pragma", value));
        if self.authorization {
            push("authorization", "Basic YTpi");
        }
        if self.conditional {
            push("if-none-match", "\"mine\"");
            push("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT");
        }
        lines
    }
}

impl OracleCase {
    pub(super) fn draw(random: &mut Random) -> Self {
        let flags = [
            "no-store",
            "no-cache",
            "private",
            "public",
            "public",
            "must-revalidate",
            "proxy-revalidate",
            "must-understand",
            "immutable",
            "unknown",
        ];
        let timed =
            ["max-age", "max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "other"];
        let targeted = if is_one_in(random, 8) {
            let mut drawn = draw_directives(random, &flags, &timed);
            // The names of a dictionary are in lower case, and the last of a name counts.
            drawn.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
            drawn.sort();
            drawn.dedup_by(|a, b| a.0 == b.0);
            drawn
        } else {
            Vec::new()
        };
        let statuses =
            [200, 200, 200, 200, 200, 204, 206, 301, 302, 304, 404, 410, 421, 451, 499, 503, 508];
        let expires = pick(random, &[0, 0, 0, 1, 1, 1, 2]);
        let asked_at = AROUND - random.below(4) * pick(random, &[0, 500, 1000]);
        let at = AROUND;
        Self {
            status: pick(random, &statuses),
            directives: draw_directives(random, &flags, &timed),
            targeted,
            date: (!is_one_in(random, 4)).then(|| DateText::draw(random, -10, 14)),
            expires: (0..expires).map(|_| DateText::draw(random, -5, 40)).collect(),
            age: is_one_in(random, 3).then(|| {
                let value = draw_seconds(random).unwrap_or_else(|| "3, 9".to_owned());
                value.trim_matches('"').to_owned()
            }),
            etag: pick(random, &[None, None, Some("\"a\""), Some("W/\"a\"")]),
            last_modified: is_one_in(random, 2).then(|| DateText::draw(random, -5000, 1000)),
            cookie: is_one_in(random, 8),
            vary: pick(random, &[None, None, None, None, None, None, Some("accept"), Some("*")])
                .map(|vary| if is_one_in(random, 4) { "accept, *" } else { vary }),
            pragma: is_one_in(random, 12),
            first: OracleRequest::draw(random),
            next: OracleRequest::draw(random),
            asked_at,
            at,
            now: at + random.below(45) * pick(random, &[1000, 1000, 999]),
            strict: false,
        }
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let mut push = |name, value: String| lines.push((name, value));
        self.date.into_iter().for_each(|date| push("date", date.write()));
        let (first, second) = self.directives.split_at(self.directives.len() / 2);
        for line in [first, second].into_iter().filter(|line| !line.is_empty()) {
            push("cache-control", write(line));
        }
        if !self.targeted.is_empty() {
            push("cdn-cache-control", write(&self.targeted));
        }
        self.expires.iter().for_each(|date| push("expires", date.write()));
        self.age.iter().for_each(|age| push("age", age.clone()));
        self.etag.into_iter().for_each(|etag| push("etag", etag.to_owned()));
        self.last_modified.into_iter().for_each(|date| push("last-modified", date.write()));
        if self.cookie {
            push("set-cookie", "id=1".to_owned());
        }
        self.vary.into_iter().for_each(|names| push("vary", names.to_owned()));
        if self.pragma {
            push("pragma", "no-cache".to_owned());
        }
        lines
    }
}
