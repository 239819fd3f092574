//! What a fetch says of those who ask for the same: whether they wait for it, and for each other.

use super::{FillOrder, Filling, Millis};

/// What a response says of those who ask for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnsharedWord {
    /// They may have it, or it says nothing of them.
    None,
    /// They cannot use it: the key's mark was left by it.
    Marked,
    /// The same, and the key was marked before.
    Renewed,
}

impl Filling {
    /// Makes room for the next fetch.
    pub(super) fn leave_flight(&self) {
        let FillOrder { store, key, place, flight, .. } = &self.order;
        store.land_flight(key, *place, flight);
    }

    /// Notes that others cannot use the response: those who ask for the same are not to wait for
    /// each other for a while.
    pub(super) fn mark_unshared(&mut self, at: Millis) {
        let FillOrder { store, key, place, flight, .. } = &self.order;
        let has_left = store.mark_unshared(key, *place, flight, at);
        self.word = if has_left { UnsharedWord::Marked } else { UnsharedWord::Renewed };
    }

    /// Notes that others can use the response.
    pub(super) fn end_mark(&self) {
        let FillOrder { store, key, place, flight, .. } = &self.order;
        store.end_mark(key, *place, flight);
    }

    /// Notes that a response was whole which others cannot use.
    pub(super) fn prove_mark(&self) {
        if self.word != UnsharedWord::None
            && let Some(mark) = self.order.flight.mark()
        {
            mark.prove_mark();
        }
    }

    /// Notes that the response was cut: it marks nothing, unless others have proven the mark.
    pub(super) fn take_back_mark(&self) {
        if self.word == UnsharedWord::Marked {
            let FillOrder { store, key, place, flight, .. } = &self.order;
            store.take_back_mark(key, *place, flight);
        }
    }
}
