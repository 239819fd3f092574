//! `request_headers` and `response_headers`: set, add and remove, as an overlay that is applied
//! while fields are written. Nothing is copied for a route that edits nothing.

use crate::wire::{Known, known};

/// A field's name and value.
pub type Pair = (Box<[u8]>, Box<[u8]>);

/// The compiled edits of one direction.
#[derive(Debug, Default)]
pub struct HeaderEdits {
    /// Names whose received fields are left out: removed ones and those that are set.
    hidden: Box<[Box<[u8]>]>,
    /// Fields to write after the received ones.
    written: Box<[Pair]>,
    touched: u64,
}

impl HeaderEdits {
    /// Compiles edits. `set` replaces all fields of a name, `add` leaves them, `remove` drops them.
    pub fn new<'a>(
        set: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        add: impl Iterator<Item = (&'a str, &'a str)>,
        remove: impl Iterator<Item = &'a str>,
    ) -> Self {
        let hidden: Box<[Box<[u8]>]> = set
            .clone()
            .map(|(name, _)| name)
            .chain(remove)
            .map(|name| name.as_bytes().into())
            .collect();
        let touched = hidden.iter().fold(0, |bits, name| bits | bit(known::lookup(name)));
        let written = set
            .chain(add)
            .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
            .collect();
        Self { hidden, written, touched }
    }

    /// Whether a received field is left out.
    #[inline]
    #[must_use]
    pub fn hides(&self, name: &[u8]) -> bool {
        !self.hidden.is_empty() && self.hidden.iter().any(|h| h.eq_ignore_ascii_case(name))
    }

    /// Whether a field that the proxy would write itself is set or removed here instead.
    #[inline]
    #[must_use]
    pub fn replaces(&self, known: Known) -> bool {
        self.touched & bit(known) != 0
    }

    /// The fields to write after the received ones.
    #[inline]
    pub fn written(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.written.iter().map(|(name, value)| (&**name, &**value))
    }
}

fn bit(known: Known) -> u64 {
    if known == Known::Other { 0 } else { 1 << known as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_hides_what_was_received_and_add_does_not() {
        let set = [("X-Env", "prod"), ("host", "h")];
        let edits =
            HeaderEdits::new(set.into_iter(), [("x-b", "2")].into_iter(), ["Server"].into_iter());
        assert!(edits.hides(b"x-env") && edits.hides(b"SERVER") && !edits.hides(b"x-b"));
        assert!(edits.replaces(Known::Host) && edits.replaces(Known::Server));
        assert!(!edits.replaces(Known::Via));
        let written: Vec<_> = edits.written().collect();
        assert_eq!(written, [(&b"X-Env"[..], &b"prod"[..]), (b"host", b"h"), (b"x-b", b"2")]);
    }
}
