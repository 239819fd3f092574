//! What a worker holds of the servers of upstreams, so that a request reads one shared word.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;

use super::{CurrentMembers, Membership};
use crate::upstream::Upstream;

/// The servers of an upstream for one request: cloning it touches nothing that other workers touch.
pub type HeldMembers = Rc<Arc<Membership>>;

/// A worker's view of the memberships of all upstreams. Looking at one reads one shared word and
/// writes none.
#[derive(Debug, Default)]
pub struct MembershipViews(Vec<Option<MembershipView>>);

struct MembershipView {
    newest: Cache<Arc<ArcSwap<Membership>>, Arc<Membership>>,
    held: HeldMembers,
    /// Somebody has looked at it since the last sweep.
    used: bool,
}

impl std::fmt::Debug for MembershipView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.held.fmt(f)
    }
}

impl MembershipViews {
    /// The servers of an upstream, for one request from its start to its end.
    #[inline]
    pub fn members_of(&mut self, upstream: &Upstream) -> HeldMembers {
        let CurrentMembers { newest, slot } = &upstream.current;
        let Some(slot) = slot.index() else { return Rc::new(newest.load_full()) };
        if let Some(Some(view)) = self.0.get_mut(slot)
            && std::ptr::eq(view.newest.arc_swap(), &**newest)
        {
            view.used = true;
            let current = view.newest.load();
            if !Arc::ptr_eq(current, &view.held) {
                // The count that all workers share changes once per change, not per request.
                view.held = Rc::new(current.clone());
            }
            return view.held.clone();
        }
        self.begin_view(slot, newest)
    }

    #[cold]
    fn begin_view(&mut self, slot: usize, newest: &Arc<ArcSwap<Membership>>) -> HeldMembers {
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        let held = Rc::new(newest.load_full());
        let view =
            MembershipView { newest: Cache::new(newest.clone()), held: held.clone(), used: true };
        if let Some(place) = self.0.get_mut(slot) {
            *place = Some(view);
        }
        held
    }

    /// Lets go of what nobody has looked at since this was called last: a worker without requests
    /// must not keep servers that left. Called once a second.
    pub fn drop_unused(&mut self) {
        for view in &mut self.0 {
            if !view.as_mut().is_some_and(|view| std::mem::take(&mut view.used)) {
                *view = None;
            }
        }
    }
}

thread_local! {
    /// The memberships as the thread of a worker sees them.
    static VIEWS: RefCell<MembershipViews> = const { RefCell::new(MembershipViews(Vec::new())) };
}

/// The servers of an upstream, for one request from its start to its end, as this thread sees them.
#[inline]
#[must_use]
pub fn hold_members(upstream: &Upstream) -> HeldMembers {
    VIEWS.with_borrow_mut(|views| views.members_of(upstream))
}

/// Lets go of servers that no request of this thread asks for. Called once a second.
pub fn sweep_held() {
    VIEWS.with_borrow_mut(MembershipViews::drop_unused);
}
