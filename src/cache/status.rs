//! `Cache-Status` (RFC 9211): what the cache did with a request.

use std::fmt::Write as _;

use super::policy::{Millis, Timing, Unstorable};

/// Why a request went to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// The cache does not serve this method, kind of body, protocol or range.
    Bypass(&'static str),
    /// The method is none that is answered from a cache.
    Method,
    /// Nothing is stored for the URL.
    UriMiss,
    /// What is stored was selected by other fields.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// The client asked for something newer.
    Request,
}

impl Forwarded {
    /// The most precise word for it.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Forwarded::Bypass(detail) => detail,
            other => other.word(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Forwarded::Bypass(_) => "bypass",
            Forwarded::Method => "method",
            Forwarded::UriMiss => "uri-miss",
            Forwarded::VaryMiss => "vary-miss",
            Forwarded::Stale => "stale",
            Forwarded::Request => "request",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// Answered from the store; `true` while or because no fresh response was to be had.
    Hit(&'static str),
    /// A server was asked.
    Asked {
        /// Why.
        why: Forwarded,
        /// The status it answered with, where that is not the response's own.
        status: Option<u16>,
        /// The response is stored.
        stored: bool,
        /// Another request had asked already.
        collapsed: bool,
        /// Why the response is not stored.
        unstorable: Option<Unstorable>,
    },
}

impl CacheStatus {
    /// A server was asked, and the response was not stored.
    #[must_use]
    pub fn asked(why: Forwarded) -> Self {
        Self::Asked { why, status: None, stored: false, collapsed: false, unstorable: None }
    }

    /// Writes the field's value.
    #[must_use]
    pub fn write_value(&self, timing: Option<&Timing>, now: Millis) -> String {
        let mut out = String::from("tidegate");
        // Writing to a string cannot fail.
        let mut add = |text: std::fmt::Arguments<'_>| {
            let _written = out.write_fmt(text);
        };
        let mut detail = "";
        match *self {
            CacheStatus::Hit(told) => {
                add(format_args!("; hit"));
                detail = told;
            }
            CacheStatus::Asked { why, status, stored, collapsed, unstorable } => {
                add(format_args!("; fwd={}", why.word()));
                if let Some(status) = status {
                    add(format_args!("; fwd-status={status}"));
                }
                if stored {
                    add(format_args!("; stored"));
                }
                if collapsed {
                    add(format_args!("; collapsed"));
                }
                if let Forwarded::Bypass(told) = why {
                    detail = told;
                }
                if let Some(unstorable) = unstorable {
                    detail = unstorable.detail();
                }
            }
        }
        if let Some(timing) = timing {
            add(format_args!("; ttl={}", timing.fresh_for(now).div_euclid(1000)));
        }
        if !detail.is_empty() {
            add(format_args!("; detail={detail}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_one_order() {
        let timing = Timing { lifetime: 5000, ..Timing::default() };
        assert_eq!(CacheStatus::Hit("").write_value(Some(&timing), 1500), "tidegate; hit; ttl=3");
        assert_eq!(
            CacheStatus::Hit("stale").write_value(Some(&timing), 6500),
            "tidegate; hit; ttl=-2; detail=stale"
        );
        assert_eq!(
            CacheStatus::asked(Forwarded::Bypass("range")).write_value(None, 0),
            "tidegate; fwd=bypass; detail=range"
        );
        let asked = CacheStatus::Asked {
            why: Forwarded::Stale,
            status: Some(304),
            stored: true,
            collapsed: true,
            unstorable: None,
        };
        assert_eq!(
            asked.write_value(None, 0),
            "tidegate; fwd=stale; fwd-status=304; stored; collapsed"
        );
    }
}
