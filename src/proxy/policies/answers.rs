//! Answers that policies give.

use crate::exchange::{Client, Outcome};
use crate::net::Timer;
use crate::policy::effects::PolicyEffects;
use crate::policy::forward_auth::JudgePage;
use crate::proxy::{MatchedRoute, answer};

/// The answer of an authentication server, as it wrote it.
pub(super) async fn show_page<C: Client>(
    matched: &MatchedRoute<'_, '_>,
    page: &JudgePage,
    effects: &PolicyEffects<'_>,
    client: &mut C,
    timer: &mut Timer,
) -> Outcome {
    let JudgePage { status, fields, body } = page;
    let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
    let answer = answer::OwnAnswer {
        status: *status,
        fields: &fields,
        body,
        head_request: matched.ex.head.method() == b"HEAD",
        edits: Some(&matched.route.response_edits),
        added: &added,
        refusal: false,
    };
    answer::send_answer(client, timer, &answer, matched.ex.listener.write_gap).await
}

/// The answer that a policy gives, with all that was effects.
pub(super) async fn respond_with<C: Client>(
    matched: &MatchedRoute<'_, '_>,
    status: u16,
    effects: &PolicyEffects<'_>,
    client: &mut C,
    timer: &mut Timer,
) -> Outcome {
    let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
    if matched.admitted.grpc && status >= 300 {
        let edits = Some(&matched.route.response_edits);
        // Where a client is sent to get in is not known here.
        let status = if status < 400 { 401 } else { status };
        let message = format!("the proxy answers {status} ({})", matched.id.as_str());
        let gap = matched.ex.listener.write_gap;
        let end = answer::CallEnd { status, message: &message, edits, added: &added };
        return answer::end_call(client, timer, &end, gap).await;
    }
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    let page = matched.wanted_page(status);
    if page.is_some() {
        fields.push((b"content-type", answer::HTML));
        fields.extend(answer::NEGOTIATED);
    }
    let answer = answer::OwnAnswer {
        status,
        fields: &fields,
        body: page.map_or(&[], |page| page),
        head_request: matched.ex.head.method() == b"HEAD",
        edits: Some(&matched.route.response_edits),
        added: &added,
        refusal: status >= 400,
    };
    answer::send_answer(client, timer, &answer, matched.ex.listener.write_gap).await
}
