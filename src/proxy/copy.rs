//! A request as another upstream gets it too (`route.mirror`).

use std::sync::Arc;

use super::MatchedRoute;
use super::fill::ServerNames;
use super::forward::RouteRequester;
use crate::exchange::forward::{self, RequestForm};
use crate::upstream::mirror::{Mirror, MirrorCopy};
use crate::upstream::mirror_buffer::MirroredBody;
use crate::upstream::retry;

impl<'a> MatchedRoute<'a, '_> {
    /// Returns who gets a copy of this request, if anybody does.
    pub(super) fn chosen_mirror(&self) -> Option<&'a Arc<Mirror>> {
        let mirror = self.route.mirror.as_ref()?;
        let chosen = || self.ex.worker.draw_random(|random| random.unit()) < mirror.share;
        (self.admitted.upgrade.is_none() && chosen()).then_some(mirror)
    }
}

impl RouteRequester<'_, '_, '_> {
    /// The copy, as the server got the request.
    pub(super) fn copy(&self, mirror: &Mirror, kept: MirroredBody) -> MirrorCopy {
        let Self { matched, effects, replaced, trace, .. } = *self;
        let MirroredBody { bytes: body, trailers } = kept;
        let source = mirror.target.key.as_ref();
        let key = source.and_then(|source| matched.balance_key(source, effects));
        // Only a body in chunks can be followed by anything.
        let length = if trailers.is_none() { Some(body.len() as u64) } else { None };
        // Which server of it is asked is not known yet.
        let nobody: Arc<str> = "".into();
        let names = ServerNames { upstream: &mirror.target.upstream.name, server: &nobody };
        let facts = matched.request_facts(effects.verified.as_deref(), Some(names));
        let form = RequestForm {
            expects_continue: false,
            length,
            traceparent: trace.and_then(|trace| trace.traceparent(1)),
            b3: trace.and_then(|trace| trace.b3(1)),
            facts: Some(&facts),
            ..matched.form(replaced, effects)
        };
        let mut head = Vec::with_capacity(1024);
        forward::write_request(&mut head, &form);
        head.truncate(head.len() - b"\r\n".len());
        MirrorCopy {
            head,
            body,
            trailers,
            key: key.map(|key| key.to_vec()),
            request_id: matched.ex.id.as_str().to_owned(),
            head_request: matched.ex.is_head(),
            repeatable: retry::is_repeatable(matched.ex.head),
        }
    }
}
