//! The frames of an HTTP/2 connection as they go by (RFC 9113 §4.1): what they cost, and where a head with too many
//! fields ends. Nothing is decoded.

use super::hpack::Count;

/// Frames that ask for nothing, at once and in every second after that.
const ALLOWANCE: u32 = 1000;
/// Cancelled streams from which on they are compared with all streams.
const RESETS: u32 = 100;
/// What every connection begins with.
const PREFACE: usize = 24;
/// The head of a frame.
const HEAD: usize = 9;

/// What was seen in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing that matters.
    Fine,
    /// A head of many fields ends after so many of the bytes.
    Large(usize),
    /// More than a client may send.
    TooMuch,
}

/// Where in the frames the reader is, and what has come so far. Pure: bytes in, verdicts out.
#[derive(Debug)]
pub struct Sight {
    fields: usize,
    /// Bytes that are of no interest: the preface, and what frames carry.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
    /// Fields of the block that is being read, if they have to be counted, and the bytes of it in this frame.
    block: Option<Count>,
    left: usize,
    /// The frame that is being read ends its block.
    ends: bool,
    allowance: u32,
    streams: u32,
    resets: u32,
    since: u64,
}

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

impl Sight {
    /// At the beginning of a connection, in this second. Heads of more than `fields` fields are large.
    #[must_use]
    pub fn new(fields: usize, now: u64) -> Self {
        Self {
            fields,
            skip: PREFACE,
            head: [0; HEAD],
            have: 0,
            block: None,
            left: 0,
            ends: false,
            allowance: ALLOWANCE,
            streams: 0,
            resets: 0,
            since: now,
        }
    }

    /// The other side has been sent something that it may answer by so many frames.
    pub fn earn(&mut self, frames: u32) {
        self.allowance = self.allowance.saturating_add(frames).min(ALLOWANCE);
    }

    /// The next bytes; `now` is the current second, asked for only where it matters.
    pub fn look(&mut self, bytes: &[u8], now: fn() -> u64) -> Seen {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if self.skip > 0 {
                let n = self.skip.min(rest.len());
                self.skip -= n;
                at += n;
            } else if self.left > 0 {
                let n = self.left.min(rest.len());
                self.left -= n;
                at += n;
                if let Some(block) = &mut self.block {
                    block.add(rest.get(..n).unwrap_or_default());
                }
                if self.left == 0
                    && self.ends
                    && self.block.take().is_some_and(|block| block.fields() > self.fields)
                {
                    return Seen::Large(at);
                }
            } else {
                let n = (HEAD - self.have).min(rest.len());
                let (Some(to), Some(from)) =
                    (self.head.get_mut(self.have..self.have + n), rest.get(..n))
                else {
                    return Seen::TooMuch;
                };
                to.copy_from_slice(from);
                self.have += n;
                at += n;
                if self.have == HEAD {
                    self.have = 0;
                    if !self.frame(now) {
                        return Seen::TooMuch;
                    }
                }
            }
        }
        Seen::Fine
    }

    /// The head of a frame is there. `false` when it is one too many.
    fn frame(&mut self, now: fn() -> u64) -> bool {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.skip = length;
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => true,
            HEADERS => {
                self.streams += 1;
                self.begin(length, flags);
                true
            }
            CONTINUATION => {
                self.ends = flags & END_HEADERS != 0;
                self.left = std::mem::take(&mut self.skip);
                self.spend(now)
            }
            RST_STREAM => {
                self.resets += 1;
                self.spend(now)
                    && (self.resets <= RESETS || self.resets <= self.streams / 2 || {
                        self.forget(now);
                        self.resets <= RESETS
                    })
            }
            // SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, and what nobody knows.
            _ => self.spend(now),
        }
    }

    /// A head begins. Its fields are counted if there can be too many of them: each takes a byte at least.
    fn begin(&mut self, length: usize, flags: u8) {
        self.ends = flags & END_HEADERS != 0;
        if self.ends && length <= self.fields {
            return;
        }
        // What stands before the fields is skipped; padding behind them may be taken for a few more.
        let padded = usize::from(flags & PADDED != 0);
        let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
        self.block = Some(Count::after(padded + priority));
        self.left = std::mem::take(&mut self.skip);
    }

    fn spend(&mut self, now: fn() -> u64) -> bool {
        if self.allowance == 0 {
            self.forget(now);
        }
        let left = self.allowance.checked_sub(1);
        self.allowance = left.unwrap_or(0);
        left.is_some()
    }

    /// With time, all of it counts less.
    fn forget(&mut self, now: fn() -> u64) {
        let now = now();
        if now > self.since {
            self.since = now;
            self.allowance = ALLOWANCE;
            self.resets /= 2;
            self.streams /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });

    fn now() -> u64 {
        NOW.get()
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn sight() -> Sight {
        let mut sight = Sight::new(10, now());
        assert_eq!(sight.look(&[0; PREFACE], now), Seen::Fine);
        sight
    }

    const ENDS: u8 = END_HEADERS | END_STREAM;

    #[test]
    fn a_large_head_is_found_however_it_arrives() {
        let large = [frame(HEADERS, 0, &[0x82; 8]), frame(CONTINUATION, END_HEADERS, &[0x82; 3])];
        let bytes =
            [frame(HEADERS, ENDS, &[0x82; 10]), large.concat(), frame(DATA, 0, b"x")].concat();
        let end = bytes.len() - HEAD - 1;
        assert_eq!(sight().look(&bytes, now), Seen::Large(end));
        let mut slow = sight();
        let found = bytes.iter().position(|byte| slow.look(&[*byte], now) == Seen::Large(1));
        assert_eq!(found, Some(end - 1));
        // Priorities that look like a long string do not hide what follows.
        let hidden = [&[0x00, 0x7f, 0xff, 0xff, 0x7f][..], &[0x82; 11]].concat();
        let hidden = frame(HEADERS, ENDS | PRIORITY, &hidden);
        assert_eq!(sight().look(&hidden, now), Seen::Large(hidden.len()));
    }

    #[test]
    fn frames_that_ask_for_nothing_are_too_many_at_some_point_but_not_over_time() {
        for kind in [2, 4, 6, 8, 99] {
            let mut sight = sight();
            let ping = frame(kind, 0, &[0; 8]);
            for _ in 0..ALLOWANCE {
                assert_eq!(sight.look(&ping, now), Seen::Fine);
            }
            assert_eq!(sight.look(&ping, now), Seen::TooMuch);
            NOW.set(NOW.get() + 1);
            assert_eq!(sight.look(&ping, now), Seen::Fine);
        }
        let mut sight = sight();
        for _ in 0..10_000 {
            assert_eq!(sight.look(&frame(DATA, 0, b"x"), now), Seen::Fine);
        }
    }

    #[test]
    fn cancelling_is_fine_as_long_as_it_is_not_all_there_is() {
        let (head, reset) = (frame(HEADERS, ENDS, &[0x82]), frame(RST_STREAM, 0, &[0; 4]));
        let mut rapid = sight();
        let pair = [head.clone(), reset.clone()].concat();
        let cut = (0..1000).position(|_| rapid.look(&pair, now) == Seen::TooMuch);
        assert_eq!(cut, Some(usize::try_from(RESETS).unwrap()));
        let mut third = sight();
        for _ in 0..900 {
            assert_eq!(third.look(&[&head[..], &head, &head, &reset].concat(), now), Seen::Fine);
        }
    }
}
