//! Lists of those who wait, in the order in which they began to. They are joined at an end and left
//! from anywhere, both in constant time and without memory of their own: the places that are listed
//! carry the links.

/// No place.
const NONE: u32 = u32::MAX;

/// The neighbours of a place that is listed.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitLink {
    before: u32,
    after: u32,
}

impl Default for WaitLink {
    fn default() -> Self {
        Self { before: NONE, after: NONE }
    }
}

/// A place that can be listed.
pub(super) trait Linked {
    /// The links of this place.
    fn wait_link(&mut self) -> &mut WaitLink;
}

/// A list of places, by its two ends.
#[derive(Debug)]
pub(super) struct WaitList {
    first: u32,
    last: u32,
}

impl Default for WaitList {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl WaitList {
    /// The place that has waited longest; none has this number where nobody waits.
    pub(super) fn first_place(&self) -> u32 {
        self.first
    }

    /// Adds a place that is in no list.
    pub(super) fn join_last<P: Linked>(&mut self, places: &mut [P], at: u32) {
        let before = std::mem::replace(&mut self.last, at);
        if let Some(place) = places.get_mut(at as usize) {
            *place.wait_link() = WaitLink { before, after: NONE };
        }
        match places.get_mut(before as usize) {
            Some(before) => before.wait_link().after = at,
            None => self.first = at,
        }
    }

    /// The same, before all others.
    pub(super) fn join_first<P: Linked>(&mut self, places: &mut [P], at: u32) {
        let after = std::mem::replace(&mut self.first, at);
        if let Some(place) = places.get_mut(at as usize) {
            *place.wait_link() = WaitLink { before: NONE, after };
        }
        match places.get_mut(after as usize) {
            Some(after) => after.wait_link().before = at,
            None => self.last = at,
        }
    }

    /// Takes a place out that is in this list.
    pub(super) fn remove_place<P: Linked>(&mut self, places: &mut [P], at: u32) {
        let Some(place) = places.get_mut(at as usize) else { return };
        let WaitLink { before, after } = std::mem::take(place.wait_link());
        match places.get_mut(before as usize) {
            Some(before) => before.wait_link().after = after,
            None => self.first = after,
        }
        match places.get_mut(after as usize) {
            Some(after) => after.wait_link().before = before,
            None => self.last = before,
        }
    }
}

#[cfg(test)]
mod tests;
