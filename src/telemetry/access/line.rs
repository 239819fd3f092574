//! How a line of the access log looks.
//!
//! Everything a client can put in is escaped, so that no request can forge a line or move a
//! terminal's cursor: control bytes and bytes that are not UTF-8 never come out as they came in.

#[cfg(test)]
mod tests;
mod text;
mod time;

use std::borrow::Cow;
use std::time::Duration;

use self::text::{json_string, put_format, put_millis, put_quoted, put_word};
pub use self::time::{LineTime, WallClock};
use crate::exchange::Outcome;
use crate::exchange::outcome::OutcomeRow;
use crate::telemetry::access::{Extra, LineFormat, LineSource};
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
    /// The configuration key that would have changed that, where it is another one than the
    /// outcome's.
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

    /// Something that the line says besides, all fields of a name together; what is longer than
    /// [`LONGEST`] ends with `…`.
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

    /// `TIME CLIENT "METHOD TARGET VERSION" STATUS SENT TOTALms key=value …`; what does not apply
    /// is left out.
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
