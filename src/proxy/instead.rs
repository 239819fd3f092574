//! Pages in the stead of errors: the proxy's own, and with `intercept` those of servers.

use super::{MatchedRoute, WalkEnd, answer};
use crate::exchange::refusal::Problem;
use crate::exchange::stage::Substitute;
use crate::exchange::{Client, Emit, Length, Outgoing, Refusal, pump};
use crate::net::Timer;
use crate::policy::pages::{ErrorForm, ErrorPage, without_content};
use crate::snapshot::Route;
use crate::wire::ResponseHead;
use crate::wire::head::Fields;

/// The page that a route has for a refusal, and whether this client wants it.
pub(super) fn refusal_page<'r>(
    route: &'r Route,
    refusal: Refusal,
    request: &Fields,
) -> Option<(&'r ErrorPage, ErrorForm)> {
    let pages = route.pages.as_deref()?;
    let own = pages.maintenance.as_ref().filter(|_| refusal == Refusal::Maintenance);
    let page = own.or_else(|| pages.page_for(refusal.row().status))?;
    Some((page, ErrorForm::from_request(request)))
}

impl MatchedRoute<'_, '_> {
    /// Returns whether something may stand in for what servers answer to this request.
    pub(super) fn intercepts(&self) -> bool {
        let pages = self.route.pages.as_deref();
        pages.is_some_and(|pages| pages.intercepts()) && !self.admitted.grpc
    }

    /// The page for an answer of the proxy's own that is no refusal, if this client wants it.
    pub(super) fn wanted_page(&self, status: u16) -> Option<&ErrorPage> {
        let page = self.route.pages.as_deref()?.page_for(status)?;
        let wanted =
            ErrorForm::from_request(&self.ex.head.fields) == ErrorForm::Html && !self.admitted.grpc;
        wanted.then_some(page)
    }

    /// Returns what stands in for this answer of a server: a page for browsers, a problem document
    /// for others. Who wants JSON gets what the server says.
    pub(super) fn substitute_for(&self, head: &ResponseHead) -> Option<Substitute> {
        let page = self.route.pages.as_deref()?.instead_of(head)?;
        let (kind, body) = match ErrorForm::from_request(&self.ex.head.fields) {
            ErrorForm::Html => (answer::HTML, page.clone()),
            ErrorForm::Anything => (answer::PROBLEM, self.problem_body(head.status).into()),
            ErrorForm::Json => return None,
        };
        let mut head = without_content(head);
        head.fields.push(b"content-type", kind);
        answer::NEGOTIATED.iter().for_each(|(name, value)| head.fields.push(name, value));
        Some(Substitute { head, body })
    }

    fn problem_body(&self, status: u16) -> Vec<u8> {
        let code = http::StatusCode::from_u16(status).ok();
        let detail = format!("the server answered {status}");
        Problem {
            status,
            title: code.and_then(|code| code.canonical_reason()).unwrap_or("Error"),
            code: "upstream_error",
            detail: &detail,
            request_id: self.id.as_str(),
        }
        .problem_document()
    }

    /// Answers with what stands in for a server's answer.
    pub(super) async fn send_instead<C: Client>(
        &self,
        Substitute { head, body }: &Substitute,
        fields: &dyn Fn(&mut dyn Emit),
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        let (length, sent): (_, &[u8]) = if self.ex.head.method() == b"HEAD" {
            (Length::Bodiless(Some(body.len() as u64)), &[])
        } else {
            (Length::Known(body.len() as u64), body)
        };
        client.begin_response(&Outgoing {
            status: head.status,
            reason: head.reason(),
            fields,
            length,
        });
        let outcome = pump::send_bytes(client, timer, sent, self.ex.listener.write_gap).await;
        WalkEnd::from_outcome(outcome, head.status)
    }
}
