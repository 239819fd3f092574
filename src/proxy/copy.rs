//! A request as another upstream gets it too (`route.mirror`).

use std::sync::Arc;

use super::{MatchedRoute, Replaced};
use crate::exchange::forward::{self, RequestForm};
use crate::policy::effects::PolicyEffects;
use crate::telemetry::trace::Trace;
use crate::upstream::mirror::{Mirror, MirrorCopy};
use crate::upstream::retry;
use crate::wire::head::Fields;

impl<'a> MatchedRoute<'a, '_> {
    /// Returns who gets a copy of this request, if anybody does.
    pub(super) fn mirror(&self) -> Option<&'a Arc<Mirror>> {
        let mirror = self.route.mirror.as_ref()?;
        let chosen = || self.ex.worker.draw(|random| random.unit()) < mirror.share;
        (self.admitted.upgrade.is_none() && chosen()).then_some(mirror)
    }

    /// The copy, as the server got the request.
    pub(super) fn copy(
        &self,
        mirror: &Mirror,
        (replaced, effects): (Replaced<'_>, &PolicyEffects<'_>),
        trace: Option<&Trace>,
        (body, trailers): (Vec<u8>, Option<Fields>),
    ) -> MirrorCopy {
        let key = mirror.target.key.as_ref().and_then(|source| self.key(source, effects));
        // Only a body in chunks can be followed by anything.
        let length = if trailers.is_none() { Some(body.len() as u64) } else { None };
        // Which server of it is asked is not known yet.
        let nobody: Arc<str> = "".into();
        let upstream = &mirror.target.upstream.name;
        let facts = self.facts(effects.verified.as_deref(), Some((upstream, &nobody)));
        let form = RequestForm {
            expects_continue: false,
            length,
            traceparent: trace.and_then(|trace| trace.traceparent(1)),
            b3: trace.and_then(|trace| trace.b3(1)),
            facts: Some(&facts),
            ..self.form(replaced, effects)
        };
        let mut head = Vec::with_capacity(1024);
        forward::write_request(&mut head, &form);
        head.truncate(head.len() - b"\r\n".len());
        MirrorCopy {
            head,
            body,
            trailers,
            key: key.map(|key| key.to_vec()),
            request_id: self.id.as_str().to_owned(),
            head_request: self.ex.head.method() == b"HEAD",
            repeatable: retry::is_repeatable(self.ex.head),
        }
    }
}
