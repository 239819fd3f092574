//! Answers of the proxy itself: refusals, fixed answers, redirects.

use std::time::Duration;

use crate::clock;
use crate::exchange::HeaderEdits;
use crate::exchange::{Client, Emit, Length, Outcome, Outgoing, Refusal, pump};
use crate::net::Timer;
use crate::policy::pages::{ErrorForm, ErrorPage};
use crate::wire::grpc;

/// The type of pages.
pub(super) const HTML: &[u8] = b"text/html; charset=utf-8";
/// The type of problem documents (RFC 9457).
pub(super) const PROBLEM: &[u8] = b"application/problem+json";
/// Fields of answers that are a page for some and a problem document for others: no cache between
/// may mix them up, and none may go on telling of an error that is over.
pub(super) const NEGOTIATED: [(&[u8], &[u8]); 2] =
    [(b"cache-control", b"no-store"), (b"vary", b"accept")];

/// An answer that is known before it is sent.
#[derive(Debug, Clone, Copy)]
pub struct OwnAnswer<'a> {
    /// 200 to 599.
    pub status: u16,
    /// The fields of the answer, without those that every answer has.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    /// The body of the answer.
    pub body: &'a [u8],
    /// The request was `HEAD`.
    pub head_request: bool,
    /// The changes that the route makes.
    pub edits: Option<&'a HeaderEdits>,
    /// The fields that the route's policies add, whatever it changes.
    pub added: &'a [(&'a [u8], &'a [u8])],
    /// A refusal: for how long a response may be stored is not said of it by the route's changes,
    /// which mean what the route serves.
    pub refusal: bool,
}

/// Fields that say whether and for how long a response may be stored.
const STORING: [&[u8]; 5] =
    [b"cache-control", b"expires", b"cdn-cache-control", b"surrogate-control", b"pragma"];

/// Sends an answer: [`Outcome::Whole`], [`Outcome::ClientGone`], [`Outcome::Timeout`] or
/// [`Outcome::ProxyCut`].
pub async fn send_answer<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    answer: &OwnAnswer<'_>,
    write_gap: Option<Duration>,
) -> Outcome {
    let emit = |out: &mut dyn Emit| {
        let kept = |name: &[u8]| {
            answer.refusal && STORING.iter().any(|storing| storing.eq_ignore_ascii_case(name))
        };
        let hides =
            |name: &[u8]| !kept(name) && answer.edits.is_some_and(|edits| edits.hides_field(name));
        for (name, value) in answer.fields {
            if !hides(name) {
                out.emit_field(name, value);
            }
        }
        if !hides(b"date") {
            clock::with_http_date(|date| out.emit_field(b"date", date));
        }
        answer.added.iter().for_each(|(name, value)| out.emit_field(name, value));
        if let Some(edits) = answer.edits {
            let written = edits.written_fields().filter(|(name, _)| !kept(name));
            written.for_each(|(name, value)| out.emit_field(name, value));
        }
    };
    let length = answer.body.len() as u64;
    let bodiless = matches!(answer.status, 204 | 304);
    client.begin_response(&Outgoing {
        status: answer.status,
        reason: b"",
        fields: &emit,
        length: match (bodiless, answer.head_request) {
            (true, _) => Length::Bodiless(None),
            (false, true) => Length::Bodiless(Some(length)),
            (false, false) => Length::Known(length),
        },
    });
    let body = if bodiless || answer.head_request { &[] } else { answer.body };
    pump::send_bytes(client, timer, body, write_gap).await
}

/// A refusal on its way to a client.
#[derive(Debug, Clone, Copy)]
pub struct RefusedAnswer<'a> {
    /// The reason.
    pub refusal: Refusal,
    /// The request's id.
    pub request_id: &'a str,
    /// The request was `HEAD`.
    pub head_request: bool,
    /// True for a call of gRPC.
    pub grpc: bool,
    /// The page that is shown for it, where the route has one for its status, and whether this
    /// client wants it.
    pub page: Option<(&'a ErrorPage, ErrorForm)>,
    /// The changes that the route makes.
    pub edits: Option<&'a HeaderEdits>,
    /// The fields that the route's policies add.
    pub added: &'a [(&'a [u8], &'a [u8])],
}

/// Answers with a problem document.
pub async fn send_refusal<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    refused: &RefusedAnswer<'_>,
    write_gap: Option<Duration>,
) -> Outcome {
    let RefusedAnswer { refusal, request_id, head_request, grpc, page, edits, added } = *refused;
    if refusal.closes_connection() {
        client.close_after();
    }
    if grpc {
        return refuse_call(client, timer, refused, write_gap).await;
    }
    let problem;
    let (kind, body): (&[u8], &[u8]) = match page {
        Some((page, ErrorForm::Html)) => (HTML, page),
        Some((_, ErrorForm::Json | ErrorForm::Anything)) | None => {
            problem = refusal.problem_body(request_id);
            (PROBLEM, &problem)
        }
    };
    let mut fields: Vec<(&[u8], &[u8])> = vec![(b"content-type", kind)];
    if page.is_some() {
        fields.extend(NEGOTIATED);
    }
    if refusal == Refusal::Method {
        fields.push((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if refusal.is_of_a_limit() {
        fields.push((b"retry-after", b"1"));
    }
    if refusal == Refusal::WebSocketVersion {
        fields.push((b"upgrade", b"websocket"));
        fields.push((b"sec-websocket-version", b"13"));
    }
    let answer = OwnAnswer {
        status: refusal.row().status,
        fields: &fields,
        body,
        head_request,
        edits,
        added,
        refusal: true,
    };
    send_answer(client, timer, &answer, write_gap).await
}

/// Answers a call of gRPC with nothing but trailers, which is how clients of it are told: the
/// status of HTTP is always 200.
async fn refuse_call<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    refused: &RefusedAnswer<'_>,
    write_gap: Option<Duration>,
) -> Outcome {
    let RefusedAnswer { refusal, request_id, edits, added, .. } = *refused;
    let row = refusal.row();
    let message = format!("{}: {refusal} ({request_id})", row.code);
    let end = CallEnd { status: row.status, message: &message, edits, added };
    end_call(client, timer, &end, write_gap).await
}

/// The end that a call of gRPC comes to without a server.
pub(super) struct CallEnd<'f> {
    /// The status of HTTP that it stands for.
    pub(super) status: u16,
    /// The text for developers.
    pub(super) message: &'f str,
    /// The changes that a route makes to the fields of answers.
    pub(super) edits: Option<&'f HeaderEdits>,
    /// The fields that policies add.
    pub(super) added: &'f [(&'f [u8], &'f [u8])],
}

/// Ends a call of gRPC with nothing but trailers that stand for a status of HTTP.
pub(super) async fn end_call<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    end: &CallEnd<'_>,
    write_gap: Option<Duration>,
) -> Outcome {
    let CallEnd { status, message, edits, added } = *end;
    let (status, message) = (grpc::of_http(status).to_string(), grpc::encode_message(message));
    let answer = OwnAnswer {
        status: 200,
        fields: &[
            (b"content-type", b"application/grpc"),
            (b"grpc-status", status.as_bytes()),
            (b"grpc-message", message.as_bytes()),
        ],
        body: b"",
        head_request: false,
        edits,
        added,
        refusal: true,
    };
    send_answer(client, timer, &answer, write_gap).await
}
