//! `cors`: which pages of other origins may use a route (Fetch standard, "CORS protocol").

use smallvec::SmallVec;

/// One `cors`.
#[derive(Debug, Default)]
pub struct Cors {
    /// Origins that may read answers, in lower case.
    pub origins: Box<[Box<[u8]>]>,
    /// All origins may.
    pub any: bool,
    /// True if they may send cookies.
    pub credentials: bool,
    /// The methods that a preflight is answered: `access-control-allow-methods`.
    pub methods: Box<[u8]>,
    /// `access-control-allow-headers`.
    pub headers: Box<[u8]>,
    /// `access-control-max-age`, in seconds.
    pub max_age: Option<Box<[u8]>>,
}

/// A field to be sent.
pub type CorsField<'a> = (&'static [u8], &'a [u8]);

/// Fields that are added to a response; few enough to need no memory of their own.
pub type Added<'a> = SmallVec<[CorsField<'a>; 2]>;

/// The fields that a server may not send for itself where the proxy says them.
pub const FIELDS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-expose-headers",
];

impl Cors {
    fn allows_origin(&self, origin: &[u8]) -> bool {
        self.any || self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// The fields of any answer to a request from `origin`. A page that may not read the answer
    /// gets it without them, and its browser keeps it away.
    pub fn answer_fields<'a>(&'a self, origin: Option<&'a [u8]>, out: &mut Added<'a>) {
        let star = self.any && !self.credentials;
        if !star {
            // Caches must not give the answer for one origin to another.
            out.push((b"vary", b"origin"));
        }
        let Some(origin) = origin.filter(|origin| self.allows_origin(origin)) else { return };
        out.push((b"access-control-allow-origin", if star { b"*" } else { origin }));
        if self.credentials {
            out.push((b"access-control-allow-credentials", b"true"));
        }
    }

    /// The fields of the answer to a preflight, beside those of any answer.
    pub fn preflight_fields<'a>(&'a self, origin: &[u8], out: &mut Added<'a>) {
        if !self.allows_origin(origin) {
            return;
        }
        out.push((b"access-control-allow-methods", &self.methods));
        if !self.headers.is_empty() {
            out.push((b"access-control-allow-headers", &self.headers));
        }
        if let Some(max_age) = &self.max_age {
            out.push((b"access-control-max-age", max_age));
        }
    }
}

#[cfg(test)]
mod tests;
