//! What a route answers itself: a fixed response, a redirect, and what the proxy says before any
//! route is known.

use super::answer::{self, OwnAnswer};
use super::rewrite::{bound_length, most_bytes};
use super::turned::keep_on_host;
use super::{MatchedRoute, WalkContext, WalkEnd};
use crate::exchange::target::{RequestTarget, TargetFault};
use crate::exchange::{Client, Refusal};
use crate::net::Timer;
use crate::policy::effects::PolicyEffects;
use crate::route::template::TemplateValues;
use crate::snapshot::route::{Redirect, Respond};

/// The answer to `OPTIONS` that is for the proxy itself.
pub(super) const OPTIONS_ANSWER: OwnAnswer<'static> = OwnAnswer {
    status: 200,
    fields: &[(b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")],
    body: b"",
    head_request: false,
    edits: None,
    added: &[],
    refusal: false,
};

/// Answers without a route.
pub(super) async fn answer_itself<C: Client>(
    ex: WalkContext<'_>,
    client: &mut C,
    timer: &mut Timer,
    answer: &OwnAnswer<'_>,
) -> WalkEnd {
    let outcome = answer::send_answer(client, timer, answer, ex.listener.write_gap).await;
    WalkEnd::from_outcome(outcome, answer.status)
}

/// `redirect = "https"` of a listener: the same host and path, for good and with the same method.
pub(super) async fn to_https<C: Client>(
    ex: WalkContext<'_>,
    target: &RequestTarget<'_>,
    host: &str,
    client: &mut C,
    timer: &mut Timer,
) -> Result<WalkEnd, Refusal> {
    if host.is_empty() {
        return Err(Refusal::Target(TargetFault::HostCount));
    }
    let mut location = b"https://".to_vec();
    location.extend_from_slice(host.as_bytes());
    location.extend_from_slice(target.path());
    if let Some(query) = target.query() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    let answer = OwnAnswer {
        status: 308,
        fields: &[(b"location", &location)],
        body: b"",
        head_request: ex.is_head(),
        edits: None,
        added: &[],
        refusal: false,
    };
    Ok(answer_itself(ex, client, timer, &answer).await)
}

impl MatchedRoute<'_, '_> {
    /// `respond`: a fixed answer.
    pub(super) async fn respond<C: Client>(
        &self,
        respond: &Respond,
        effects: &PolicyEffects<'_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        let fields: Vec<(&[u8], &[u8])> =
            respond.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
        let answer = OwnAnswer {
            status: respond.status,
            fields: &fields,
            body: &respond.body,
            head_request: self.ex.is_head(),
            edits: Some(&self.route.response_edits),
            added: &added,
            refusal: false,
        };
        answer_itself(self.ex, client, timer, &answer).await
    }

    /// `redirect`: sends the client elsewhere.
    pub(super) async fn redirect<C: Client>(
        &self,
        redirect: &Redirect,
        effects: &PolicyEffects<'_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<WalkEnd, Refusal> {
        let mut location = Vec::new();
        let values = TemplateValues { host: self.public_host.as_bytes(), ..self.template_values() };
        if values.host.is_empty() && redirect.to.has_host() {
            return Err(Refusal::Target(TargetFault::HostCount));
        }
        redirect.write_location(&mut location, &values, |n| self.capture_text(n));
        if redirect.to.is_path() {
            keep_on_host(&mut location);
        }
        if let (false, Some(query)) = (redirect.to.has_query(), self.target.query()) {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        bound_length(&location, most_bytes(self.ex.listener.head.bytes))?;
        let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
        let answer = OwnAnswer {
            status: redirect.status,
            fields: &[(b"location", &location)],
            body: b"",
            head_request: self.ex.is_head(),
            edits: Some(&self.route.response_edits),
            added: &added,
            refusal: false,
        };
        Ok(answer_itself(self.ex, client, timer, &answer).await)
    }
}
