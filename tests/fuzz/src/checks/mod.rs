//! What must hold for any bytes whatever: one module per target, each with a `check` that panics.
//!
//! The first byte of an input is not sent but says how: its low five bits how much arrives at a
//! time, its high three bits which limits apply. A seed whose first byte is `!` is read in pieces
//! of two bytes under the default limits.

pub mod chunked;
pub mod differential_request;
pub mod differential_response;
pub mod grammar;
pub mod hpack;
pub mod http2;
pub mod peer;
pub mod reading;
pub mod request;
pub mod response;
pub mod round_trip;

use http_codec::request::{Limits, Underscores};

/// Panics when the bytes break a rule.
pub type Check = fn(&[u8]);

/// Every target: its name and its check.
pub const ALL: &[(&str, Check)] = &[
    ("request", request::check),
    ("response", response::check),
    ("chunked", chunked::check),
    ("differential_request", differential_request::check),
    ("differential_response", differential_response::check),
    ("round_trip", round_trip::check),
    ("hpack", hpack::check),
    ("http2", http2::check),
];

/// Inputs up to this length are also cut in two at every position.
const CUT_EVERYWHERE: usize = 96;

/// How the bytes of one input arrive.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Bytes per read.
    pub piece: usize,
    /// What a request head may be like.
    pub limits: Limits,
    /// Whether a response answers a HEAD request.
    pub head_request: bool,
}

impl Plan {
    /// Takes the plan off the input.
    pub fn split(input: &[u8]) -> Option<(Plan, &[u8])> {
        let (first, wire) = input.split_first()?;
        let profile = first >> 5;
        let limits = match profile {
            0 => Limits { bytes: 64, fields: 3, underscores: Underscores::Refuse },
            1 => Limits::default(),
            2 => Limits { underscores: Underscores::Keep, ..Limits::default() },
            3 => Limits { underscores: Underscores::Refuse, ..Limits::default() },
            4 => Limits { bytes: 32, fields: 0, underscores: Underscores::Drop },
            5 => Limits { bytes: 40, fields: 1, underscores: Underscores::Keep },
            6 => Limits { bytes: 256, fields: 1000, underscores: Underscores::Drop },
            _ => Limits { bytes: usize::MAX, fields: usize::MAX, underscores: Underscores::Keep },
        };
        let piece = 1 + usize::from(first & 0x1f);
        Some((Plan { piece, limits, head_request: profile % 2 == 0 }, wire))
    }

    /// The ways in which `wire` is fed, the first of them all at once.
    pub fn feeds<'a>(&self, wire: &'a [u8]) -> Vec<Vec<&'a [u8]>> {
        let mut feeds = vec![vec![wire], wire.chunks(self.piece).collect()];
        if wire.len() <= CUT_EVERYWHERE {
            feeds.extend((1..wire.len()).map(|cut| vec![&wire[..cut], &wire[cut..]]));
        }
        feeds
    }
}

/// Bytes for a panic message.
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
