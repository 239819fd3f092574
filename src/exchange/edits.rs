//! `request_headers` and `response_headers`: set, add and remove, as an overlay that is applied
//! while fields are written. Nothing is copied for a route that edits nothing.

use std::fmt;

use super::sides::Emit;
use super::stage::ResponseStage;
use crate::route::template::FieldPlace;
use crate::wire::head::{FieldRef, Fields};
use crate::wire::{Known, known};

/// The longest value that is filled in, in bytes: a path may stand in it any number of times. Most
/// peers take no larger head.
const LONGEST_VALUE: usize = 64 << 10;

/// A field's name and value.
pub type FieldPair = (Box<[u8]>, Box<[u8]>);

/// A part of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPart {
    /// Itself.
    Text(Box<[u8]>),
    /// The value that stands there for a request.
    Place(FieldPlace),
}

/// The facts about a request that header values are filled with.
pub trait FieldFacts: fmt::Debug {
    /// Appends what stands in a place; nothing where there is nothing.
    fn append_place(&self, place: &FieldPlace, out: &mut Vec<u8>);
}

/// A header whose value is filled in for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledField {
    /// The name of the field.
    pub name: Box<[u8]>,
    /// The value of the field.
    pub parts: Box<[FieldPart]>,
}

/// The moment at which the value of a header can be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillMoment {
    /// As soon as the route is known.
    Early,
    /// Once a server has been chosen.
    Late,
}

impl FilledField {
    /// Returns when its value can be filled in.
    #[must_use]
    pub fn fill_moment(&self) -> FillMoment {
        let late = |part: &FieldPart| matches!(part, FieldPart::Place(place) if place.is_late());
        if self.parts.iter().any(late) { FillMoment::Late } else { FillMoment::Early }
    }

    /// Fills `out` with the value; false where the field is not to be written, because the value is
    /// empty, is longer than 64 KiB or holds what could end a line (RFC 9110 §5.5).
    pub fn fill_value(&self, facts: &dyn FieldFacts, out: &mut Vec<u8>) -> bool {
        out.clear();
        for part in &self.parts {
            match part {
                FieldPart::Text(text) => out.extend_from_slice(text),
                FieldPart::Place(place) => facts.append_place(place, out),
            }
            if out.len() > LONGEST_VALUE {
                return false;
            }
        }
        let end = out.trim_ascii_end().len();
        out.truncate(end);
        let start = out.len() - out.trim_ascii_start().len();
        out.drain(..start);
        !out.is_empty() && !out.iter().any(|b| b.is_ascii_control() && *b != b'\t')
    }
}

/// The compiled edits of one direction.
#[derive(Debug, Default)]
pub struct HeaderEdits {
    /// Names whose received fields are left out: removed ones and those that are set.
    hidden: Box<[Box<[u8]>]>,
    /// Fields to write after the received ones.
    written: Box<[FieldPair]>,
    /// Fields to write after those, with values of the request's own.
    filled: Box<[FilledField]>,
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
        let touched = hidden.iter().fold(0, |bits, name| bits | known_bit(known::lookup(name)));
        let written = set
            .chain(add)
            .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
            .collect();
        Self { hidden, written, filled: [].into(), touched }
    }

    /// The same, and these fields with values of the request's own.
    #[must_use]
    pub fn with_filled(self, filled: Box<[FilledField]>) -> Self {
        Self { filled, ..self }
    }

    /// The same, and this field after those that are written.
    #[must_use]
    pub fn with_added(self, (name, value): (&str, &str)) -> Self {
        let mut written = self.written.into_vec();
        written.push((name.as_bytes().into(), value.as_bytes().into()));
        Self { written: written.into(), ..self }
    }

    /// The fields whose values are filled in for each request.
    #[inline]
    #[must_use]
    pub fn filled(&self) -> &[FilledField] {
        &self.filled
    }

    /// Returns whether nothing is hidden or written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty() && self.written.is_empty()
    }

    /// Returns whether a received field is left out.
    #[inline]
    #[must_use]
    pub fn hides_field(&self, name: &[u8]) -> bool {
        !self.hidden.is_empty() && self.hidden.iter().any(|h| h.eq_ignore_ascii_case(name))
    }

    /// Returns whether a field that the proxy would write itself is set or removed here instead.
    #[inline]
    #[must_use]
    pub fn replaces_field(&self, known: Known) -> bool {
        self.touched & known_bit(known) != 0
    }

    /// The fields to write after the received ones.
    #[inline]
    pub fn written_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.written.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl ResponseStage for &HeaderEdits {
    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        inner(&mut Unhidden { out, edits: self });
        self.written_fields().for_each(|(name, value)| out.emit_field(name, value));
    }
}

/// Passes on the fields that edits do not hide.
struct Unhidden<'o> {
    out: &'o mut dyn Emit,
    edits: &'o HeaderEdits,
}

impl Emit for Unhidden<'_> {
    fn emit_field(&mut self, name: &[u8], value: &[u8]) {
        if !self.edits.hides_field(name) {
            self.out.emit_field(name, value);
        }
    }

    fn emit_received(&mut self, fields: &Fields, keep: &mut dyn FnMut(FieldRef<'_>) -> bool) {
        let edits = self.edits;
        self.out.emit_received(fields, &mut |field| keep(field) && !edits.hides_field(field.name));
    }
}

fn known_bit(known: Known) -> u64 {
    if known == Known::Other { 0 } else { 1 << known as u8 }
}

#[cfg(test)]
mod tests;
