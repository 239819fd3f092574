//! The stages of a response that only the walk knows how to make: paths and hosts in the client's
//! terms, pages in the stead of errors, purges of what a request has changed, and fields that name
//! the server.

use super::MatchedRoute;
use super::fill::AskedServer;
use crate::cache::route::RouteCache;
use crate::exchange::Emit;
use crate::exchange::stage::{ResponseStage, Substitute};
use crate::policy::effects::PolicyEffects;
use crate::policy::grpc_notes::GrpcNotes;
use crate::policy::stages::ResponseStages;
use crate::wire::ResponseHead;

/// The walk's own stage.
pub(super) struct WalkStage<'s, 'p> {
    pub(super) matched: &'s MatchedRoute<'s, 's>,
    pub(super) effects: &'s PolicyEffects<'p>,
    /// The server that was asked last; `None` where none is.
    pub(super) asked: Option<&'s AskedServer>,
    /// The cache of which a good answer to this request drops responses.
    pub(super) invalidates: Option<&'s RouteCache>,
}

impl ResponseStage for WalkStage<'_, '_> {
    fn find_substitute(&self, head: &ResponseHead) -> Option<Substitute> {
        if self.matched.intercepts() { self.matched.substitute_for(head) } else { None }
    }

    fn edit_head(&self, head: &ResponseHead) -> Option<ResponseHead> {
        let edited = self.matched.turned_back(head);
        if let Some(cache) = self.invalidates {
            self.matched.invalidate_stored(cache, self.effects, edited.as_ref().unwrap_or(head));
        }
        edited
    }

    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        inner(out);
        if let Some(asked) = self.asked {
            self.matched.fill_late(self.effects, asked, out);
        }
    }
}

impl WalkStage<'_, '_> {
    /// Returns whether the stage does anything.
    fn is_needed(&self) -> bool {
        let route = self.matched.route;
        route.rewrite.answers.is_some()
            || self.invalidates.is_some()
            || self.matched.intercepts()
            || self.asked.is_some() && self.matched.is_late()
    }

    /// Registers all stages of the response.
    pub(super) fn response_stages(&self) -> ResponseStages<'_> {
        let Self { matched, effects, .. } = *self;
        let policies = matched.route.policies.as_deref();
        let edits = &matched.route.response_edits;
        ResponseStages {
            edits: (!edits.is_empty()).then_some(edits),
            effects: Some(effects),
            walk: if self.is_needed() { Some(self) } else { None },
            grpc: matched.admitted.grpc.then(|| GrpcNotes::new(matched.id.as_str())),
            ..ResponseStages::of_policies(policies, &matched.ex.head.fields)
        }
    }
}
