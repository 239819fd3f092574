//! How a line of the access log looks.
//!
//! Everything a client can put in is escaped, so that no request can forge a line or move a terminal's
//! cursor: control bytes and bytes that are not UTF-8 never come out as they came in.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::{Extra, LineFormat, LineSource};
use crate::clock;
use crate::exchange::Outcome;
use crate::exchange::outcome::OutcomeRow;
use crate::wire::pairs::mask_target;
use crate::wire::{Known, RequestHead, Version};

/// The most bytes of one thing that a line says besides.
const LONGEST: usize = 1024;

/// The facts about a request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// The trace it belongs to, when requests are traced.
    pub trace_id: Option<&'a [u8]>,
    /// The address of the client.
    pub client: &'a str,
    /// The listener that it came in by.
    pub listener: &'a str,
    /// The head of the request, or what could be made out of it.
    pub head: &'a RequestHead,
    /// The query parameters that hold secrets.
    pub masked: &'a [Box<[u8]>],
    /// The claims of the client's verified token.
    pub claims: &'a [(Box<str>, Box<str>)],
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The upstream asked last.
    pub upstream: Option<&'a str>,
    /// The server asked last.
    pub server: Option<&'a str>,
    /// The result of the route's cache, in one word.
    pub cache: Option<&'static str>,
    /// The number of attempts.
    pub attempts: u32,
    /// The status that the client was answered.
    pub status: u16,
    /// The end of the exchange.
    pub outcome: Outcome,
    /// The configuration key that would have changed that, where it is another one than the outcome's.
    pub key: Option<&'static str>,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// The time that it waited for a server.
    pub queue: Duration,
    /// The time that the last attempt took to connect.
    pub connect: Duration,
    /// From the last attempt's first byte out to the head of its response.
    pub first_byte: Option<Duration>,
    /// From the end of the request's head to the end of the response.
    pub total: Duration,
}

/// The time of day as text. Most requests come in the same second as the one before.
#[derive(Debug, Default)]
pub struct WallClock {
    seconds: u64,
    /// `2026-11-21T04:20:18`
    iso: String,
    /// `21/Nov/2026:04:20:18 +0000`
    combined: String,
}

/// A moment.
#[derive(Debug, Clone, Copy)]
pub struct LineTime<'a> {
    iso: &'a str,
    combined: &'a str,
    millis: u32,
}

const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
const COMBINED: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

impl WallClock {
    /// Now.
    pub fn time_now(&mut self) -> LineTime<'_> {
        self.time_at(clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn time_at(&mut self, since: Duration) -> LineTime<'_> {
        if self.iso.is_empty() || self.seconds != since.as_secs() {
            self.seconds = since.as_secs();
            let seconds = i64::try_from(self.seconds).unwrap_or(i64::MAX);
            let date =
                OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            self.iso = date.format(ISO).unwrap_or_default();
            self.combined = date.format(COMBINED).unwrap_or_default();
        }
        LineTime { iso: &self.iso, combined: &self.combined, millis: since.subsec_millis() }
    }
}

impl AccessLine<'_> {
    /// Writes the line with its end.
    pub fn write_line(
        &self,
        out: &mut Vec<u8>,
        (format, extra): (LineFormat, &[Extra]),
        at: LineTime<'_>,
    ) {
        match format {
            LineFormat::Text => self.write_text(out, extra, at),
            LineFormat::Json => self.write_json(out, extra, at),
            LineFormat::Combined => self.write_combined(out, at),
        }
        out.push(b'\n');
    }

    fn request_line(&self) -> (&[u8], Cow<'_, [u8]>, &'static str) {
        let head = self.head;
        if head.method().is_empty() {
            return (b"-", Cow::Borrowed(b"-"), "-");
        }
        let version = match head.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        };
        (head.method(), mask_target(head.target(), self.masked), version)
    }

    fn outcome_row(&self) -> OutcomeRow {
        let row = self.outcome.outcome_row();
        OutcomeRow { key: self.key.or(row.key), ..row }
    }

    fn known_field(&self, known: Known) -> Option<&[u8]> {
        self.head.fields.first(known)
    }

    fn named_field(&self, name: &[u8]) -> Option<&[u8]> {
        self.head.fields.named(name).next()
    }

    /// Something that the line says besides, all fields of a name together; what is longer than [`LONGEST`] ends with `…`.
    fn extra_value(&self, of: &LineSource) -> Option<Cow<'_, [u8]>> {
        let value = match of {
            LineSource::Header(name) => {
                let mut all = self.head.fields.named(name);
                let mut value = mask_target(all.next()?, self.masked);
                for other in all {
                    value.to_mut().extend_from_slice(b", ");
                    value.to_mut().extend_from_slice(&mask_target(other, self.masked));
                    if value.len() > LONGEST {
                        break;
                    }
                }
                value
            }
            LineSource::Claim(claim) => {
                let mut all = self.claims.iter();
                Cow::Borrowed(all.find(|(name, _)| name == claim)?.1.as_bytes())
            }
        };
        if value.len() <= LONGEST {
            return Some(value);
        }
        let mut cut = value.get(..LONGEST).unwrap_or_default().to_vec();
        cut.extend_from_slice("…".as_bytes());
        Some(Cow::Owned(cut))
    }

    /// Returns where the client says that it comes from, which may be a URL with a token.
    fn referer(&self) -> Option<Cow<'_, [u8]>> {
        self.named_field(b"referer").map(|referer| mask_target(referer, self.masked))
    }

    /// `TIME CLIENT "METHOD TARGET VERSION" STATUS SENT TOTALms key=value …`; what does not apply is left out.
    fn write_text(&self, out: &mut Vec<u8>, extra: &[Extra], at: LineTime<'_>) {
        let (method, target, version) = self.request_line();
        out.extend_from_slice(at.iso.as_bytes());
        put_format(out, format_args!(".{:03}Z {} \"", at.millis, self.client));
        put_quoted(out, method);
        out.push(b' ');
        put_quoted(out, &target);
        put_format(out, format_args!(" {version}\" {} {} ", self.status, self.sent));
        put_millis(out, self.total);
        out.extend_from_slice(b"ms");
        let words = [("route", self.route), ("upstream", self.upstream), ("server", self.server)];
        for (key, value) in words {
            if let Some(value) = value {
                put_format(out, format_args!(" {key}="));
                put_word(out, value);
            }
        }
        if let Some(cache) = self.cache {
            put_format(out, format_args!(" cache={cache}"));
        }
        if self.attempts > 0 {
            put_format(out, format_args!(" attempts={}", self.attempts));
        }
        let times = [
            ("queue", Some(self.queue)),
            ("connect", Some(self.connect)),
            ("first_byte", self.first_byte),
        ];
        for (key, time) in times {
            if let Some(time) = time.filter(|time| !time.is_zero()) {
                put_format(out, format_args!(" {key}="));
                put_millis(out, time);
                out.extend_from_slice(b"ms");
            }
        }
        if self.received > 0 {
            put_format(out, format_args!(" received={}", self.received));
        }
        let OutcomeRow { outcome, code, key } = self.outcome_row();
        put_format(out, format_args!(" outcome={outcome}"));
        if let Some(code) = code {
            put_format(out, format_args!(" code={code}"));
        }
        if let Some(key) = key {
            put_format(out, format_args!(" key={key}"));
        }
        put_format(out, format_args!(" id={}", self.request_id));
        for Extra { key, of } in extra {
            if let Some(value) = self.extra_value(of) {
                out.push(b' ');
                put_quoted(out, key.as_bytes());
                out.extend_from_slice(b"=\"");
                put_quoted(out, &value);
                out.push(b'"');
            }
        }
    }

    /// One object; what does not apply is null.
    fn write_json(&self, out: &mut Vec<u8>, extra: &[Extra], at: LineTime<'_>) {
        let (method, target, version) = self.request_line();
        put_format(out, format_args!("{{\"time\":\"{}.{:03}Z\"", at.iso, at.millis));
        let OutcomeRow { outcome, code, key } = self.outcome_row();
        let referer = self.referer();
        let words: [(&str, Option<&[u8]>); 17] = [
            ("request_id", Some(self.request_id.as_bytes())),
            ("client", Some(self.client.as_bytes())),
            ("listener", Some(self.listener.as_bytes())),
            ("method", Some(method)),
            ("host", self.known_field(Known::Host)),
            ("target", Some(&target)),
            ("protocol", Some(version.as_bytes())),
            ("route", self.route.map(str::as_bytes)),
            ("upstream", self.upstream.map(str::as_bytes)),
            ("server", self.server.map(str::as_bytes)),
            ("cache", self.cache.map(str::as_bytes)),
            ("outcome", Some(outcome.as_bytes())),
            ("code", code.map(str::as_bytes)),
            ("key", key.map(str::as_bytes)),
            ("referer", referer.as_deref()),
            ("user_agent", self.named_field(b"user-agent")),
            ("trace_id", self.trace_id),
        ];
        for (key, value) in words {
            put_format(out, format_args!(",\"{key}\":"));
            match value {
                Some(value) => json_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        }
        let Self { attempts, status, received, sent, .. } = self;
        put_format(
            out,
            format_args!(
                ",\"status\":{status},\"attempts\":{attempts},\"received\":{received},\"sent\":{sent}"
            ),
        );
        let times = [
            ("queue_ms", Some(self.queue)),
            ("connect_ms", Some(self.connect)),
            ("first_byte_ms", self.first_byte),
            ("total_ms", Some(self.total)),
        ];
        for (key, time) in times {
            put_format(out, format_args!(",\"{key}\":"));
            match time {
                Some(time) => put_millis(out, time),
                None => out.extend_from_slice(b"null"),
            }
        }
        for Extra { key, of } in extra {
            out.push(b',');
            json_string(out, key.as_bytes());
            out.push(b':');
            match self.extra_value(of) {
                Some(value) => json_string(out, &value),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }

    /// nginx's `combined`, escaped as nginx does.
    fn write_combined(&self, out: &mut Vec<u8>, at: LineTime<'_>) {
        let (method, target, version) = self.request_line();
        put_format(out, format_args!("{} - - [{}] \"", self.client, at.combined));
        put_quoted(out, method);
        out.push(b' ');
        put_quoted(out, &target);
        put_format(out, format_args!(" {version}\" {} {} \"", self.status, self.sent));
        put_quoted(out, &self.referer().unwrap_or(Cow::Borrowed(b"-")));
        out.extend_from_slice(b"\" \"");
        put_quoted(out, self.named_field(b"user-agent").unwrap_or(b"-"));
        out.push(b'"');
    }
}

fn put_format(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ok = out.write_fmt(what);
}

/// Milliseconds with three decimals.
fn put_millis(out: &mut Vec<u8>, time: Duration) {
    let micros = time.as_micros();
    put_format(out, format_args!("{}.{:03}", micros / 1000, micros % 1000));
}

/// Printable ASCII but quotes and backslashes; the rest as `\xHH`.
fn put_quoted(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\' {
            out.push(byte);
        } else {
            put_format(out, format_args!("\\x{byte:02X}"));
        }
    }
}

/// A value that may need quotes.
fn put_word(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'"' && b != b'\\') {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(b'"');
        put_quoted(out, text.as_bytes());
        out.push(b'"');
    }
}

/// A JSON string; bytes that are not UTF-8 become U+FFFD.
fn json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => {
                    out.push(b'\\');
                    out.push(char as u8);
                }
                // C0, DEL and C1 controls, and the two line ends that JavaScript knows besides.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    put_format(out, format_args!("\\u{:04x}", u32::from(char)));
                }
                _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::Refusal;
    use crate::wire::Fault;

    fn head(target: &[u8], fields: &[(&[u8], &[u8])]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set(b"GET", target, Version::Http11);
        for (name, value) in fields {
            head.fields.push(name, value);
        }
        head
    }

    fn line(head: &RequestHead) -> AccessLine<'_> {
        AccessLine {
            request_id: "0af7",
            trace_id: None,
            client: "10.0.0.9",
            listener: "public",
            head,
            masked: &[],
            claims: &[],
            route: Some("shop"),
            upstream: Some("app"),
            server: Some("127.0.0.1:3000"),
            cache: Some("miss"),
            attempts: 2,
            status: 200,
            outcome: Outcome::Whole,
            key: None,
            received: 0,
            sent: 512,
            queue: Duration::ZERO,
            connect: Duration::from_micros(240),
            first_byte: Some(Duration::from_micros(1_500)),
            total: Duration::from_micros(1_822),
        }
    }

    fn extra() -> [Extra; 2] {
        let header = Extra { key: "header:x-a".into(), of: LineSource::Header(b"x-a"[..].into()) };
        [header, Extra { key: "jwt:sub".into(), of: LineSource::Claim("sub".into()) }]
    }

    fn written(line: &AccessLine<'_>, format: LineFormat) -> String {
        let mut out = Vec::new();
        let mut clock = WallClock::default();
        let now = clock.time_at(Duration::from_millis(1_795_234_818_042));
        line.write_line(&mut out, (format, &extra()), now);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_in_each_format() {
        let head = head(b"/a?b=1", &[(b"host", b"x.example"), (b"user-agent", b"curl/8")]);
        assert_eq!(
            written(&line(&head), LineFormat::Text),
            "2026-11-21T04:20:18.042Z 10.0.0.9 \"GET /a?b=1 HTTP/1.1\" 200 512 1.822ms route=shop upstream=app \
             server=127.0.0.1:3000 cache=miss attempts=2 connect=0.240ms first_byte=1.500ms outcome=whole id=0af7\n"
        );
        assert_eq!(
            written(&line(&head), LineFormat::Combined),
            "10.0.0.9 - - [21/Nov/2026:04:20:18 +0000] \"GET /a?b=1 HTTP/1.1\" 200 512 \"-\" \"curl/8\"\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&written(&line(&head), LineFormat::Json)).unwrap();
        assert_eq!(json["time"], "2026-11-21T04:20:18.042Z");
        assert_eq!(json["host"], "x.example");
        assert_eq!(json["referer"], serde_json::Value::Null);
        assert_eq!(json["first_byte_ms"], 1.5);
        assert_eq!(json["attempts"], 2);
        assert_eq!(json["cache"], "miss");
        assert_eq!(json["outcome"], "whole");
        assert_eq!((&json["code"], &json["key"]), (&json["referer"], &json["referer"]));
    }

    #[test]
    fn a_line_says_besides_what_it_is_told_to() {
        let long = [b'x'; 2000];
        let fields: [(&[u8], &[u8]); 3] =
            [(b"x-a", b"q\"\r\n\xff"), (b"X-A", b"two"), (b"x-a", &long)];
        let head = head(b"/", &fields);
        let claims = [("sub".into(), "anna\"".into())];
        let line = AccessLine { claims: &claims, ..line(&head) };
        let text = written(&line, LineFormat::Text);
        let start = "id=0af7 header:x-a=\"q\\x22\\x0D\\x0A\\xFF, two, xxx";
        assert!(
            text.contains(start) && text.ends_with("xx\\xE2\\x80\\xA6\" jwt:sub=\"anna\\x22\"\n"),
            "{text}"
        );
        assert!(text.len() < 1400);
        let json: serde_json::Value =
            serde_json::from_str(&written(&line, LineFormat::Json)).unwrap();
        assert_eq!(json["jwt:sub"], "anna\"");
        assert!(json["header:x-a"].as_str().unwrap().starts_with("q\"\r\n\u{fffd}, two, xxx"));
        let empty = RequestHead::default();
        let json = written(&AccessLine { head: &empty, claims: &[], ..line }, LineFormat::Json);
        assert!(json.ends_with(",\"header:x-a\":null,\"jwt:sub\":null}\n"), "{json}");
    }

    #[test]
    fn a_request_that_could_not_be_read() {
        let empty = RequestHead::default();
        let refused = AccessLine {
            route: None,
            upstream: None,
            server: None,
            cache: None,
            attempts: 0,
            status: 400,
            outcome: Outcome::Refused(Refusal::Malformed(Fault::Field)),
            first_byte: None,
            connect: Duration::ZERO,
            ..line(&empty)
        };
        assert_eq!(
            written(&refused, LineFormat::Text),
            "2026-11-21T04:20:18.042Z 10.0.0.9 \"- - -\" 400 512 1.822ms outcome=refused code=bad_request id=0af7\n"
        );
        assert!(written(&refused, LineFormat::Json).contains("\"code\":\"bad_request\""));
    }

    proptest! {
        #[test]
        fn nothing_a_client_sends_gets_out_of_its_place(target: Vec<u8>, agent: Vec<u8>) {
            let head = head(&target, &[(b"user-agent", &agent)]);
            for format in [LineFormat::Text, LineFormat::Combined] {
                let text = written(&line(&head), format);
                prop_assert!(text.trim_end_matches('\n').bytes().all(|b| matches!(b, b' '..=b'~')));
                let quotes = if format == LineFormat::Text { 2 } else { 6 };
                prop_assert_eq!(text.matches('"').count(), quotes);
            }
            let text = written(&line(&head), LineFormat::Json);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(json["target"].as_str().unwrap(), &String::from_utf8_lossy(&target));
            prop_assert_eq!(json["user_agent"].as_str().unwrap(), &String::from_utf8_lossy(&agent));
            prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control));
        }
    }
}
