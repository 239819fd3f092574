//! What a path pattern captured: ranges of the path, found without allocating.

/// The most captures of one pattern.
pub const MAX: usize = 16;

/// The captured segments of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captures {
    ranges: [(u16, u16); MAX],
    len: u8,
}

impl Captures {
    /// Adds a range. Beyond [`MAX`] it is dropped; patterns with more are refused when they are
    /// read.
    pub(super) fn push_range(&mut self, start: usize, end: usize) {
        let (Ok(start), Ok(end)) = (u16::try_from(start), u16::try_from(end)) else { return };
        if let Some(slot) = self.ranges.get_mut(usize::from(self.len)) {
            *slot = (start, end);
            self.len += 1;
        }
    }

    /// The same captures in another order: each number is the place that its capture had.
    pub(super) fn in_order(&self, order: &[u8]) -> Self {
        let mut ordered = Self::default();
        for (slot, at) in ordered.ranges.iter_mut().zip(order) {
            *slot = self.ranges.get(usize::from(*at)).copied().unwrap_or_default();
            ordered.len += 1;
        }
        ordered
    }

    /// The n-th captured segment of `path`, counted from 0; empty if there is none.
    #[must_use]
    pub fn captured_text<'p>(&self, n: usize, path: &'p [u8]) -> &'p [u8] {
        if n >= usize::from(self.len) {
            return &[];
        }
        let Some((start, end)) = self.ranges.get(n) else { return &[] };
        path.get(usize::from(*start)..usize::from(*end)).unwrap_or_default()
    }
}
