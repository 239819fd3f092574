//! How many servers of an upstream may be out at a time.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::EjectionSettings;

/// The ejections of one upstream.
#[derive(Debug, Default)]
pub struct EjectionGroup {
    pub(super) ejected: AtomicU32,
    /// Somebody is deciding. Decisions are rare; who comes second leaves his to the next failure.
    pub(super) deciding: AtomicBool,
}

/// The number of servers of an upstream.
#[derive(Debug, Clone, Copy)]
pub struct GroupSize {
    /// Altogether.
    pub total: u32,
    /// The servers that get requests now.
    pub usable: u32,
}

impl EjectionGroup {
    /// Returns how many servers are ejected.
    #[must_use]
    pub fn ejected_count(&self) -> u32 {
        self.ejected.load(Ordering::Relaxed)
    }

    /// Corrects the count: a server may have left the upstream while it was ejected, and a request
    /// that began before may even have ejected it after that.
    pub fn recount_ejected(&self, ejected: impl Fn() -> u32) {
        if let Some(_decision) = EjectionDecision::try_take(self) {
            self.ejected.store(ejected(), Ordering::Relaxed);
        }
    }
}

/// A share of a number of servers is whole if it is this close to a whole number: shares are kept
/// to a millionth, and as binary fractions 29 % of 100 are a little less than 29.
const WHOLE: f64 = 1e-7;

pub(super) fn is_allowed(
    group: &EjectionGroup,
    settings: &EjectionSettings,
    size: GroupSize,
) -> bool {
    let ejected = group.ejected_count();
    let most = (settings.at_most * f64::from(size.total) + WHOLE).floor().max(1.0);
    // An ejection that was decided a moment ago may not show in `usable` yet.
    let usable = size.usable.min(size.total.saturating_sub(ejected));
    let left = usable.saturating_sub(1);
    f64::from(ejected) + 1.0 <= most
        && left >= 1
        && f64::from(left) + WHOLE >= settings.min_healthy * f64::from(size.total)
}

pub(super) struct EjectionDecision<'a>(&'a EjectionGroup);

impl<'a> EjectionDecision<'a> {
    pub(super) fn try_take(group: &'a EjectionGroup) -> Option<Self> {
        let taken = group.deciding.swap(true, Ordering::Acquire);
        // Made only when it was taken: one that is dropped lets the next decision begin.
        (!taken).then(|| Self(group))
    }
}

impl Drop for EjectionDecision<'_> {
    fn drop(&mut self) {
        self.0.deciding.store(false, Ordering::Release);
    }
}
