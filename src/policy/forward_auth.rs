//! `auth.NAME.forward`: another server is asked who the client is, as nginx's `auth_request` and
//! Traefik's `forwardAuth` do.
//!
//! It gets the request's head and the same identity that servers are told, with
//! `X-Forwarded-Method` and `-Uri`, never its body. 2xx lets the request pass, 401, 403 and
//! redirects go to the client, and everything else closes the door. `pass = "answer"` shows the
//! client every refusal as it was written.

mod fields;

use std::cell::RefCell;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;

use self::fields::{is_condition, is_passed_on, shown_fields, told_fields};
use crate::exchange::identity::Identity;
use crate::exchange::{FieldPair, forward, loops};
use crate::net::fetch::{FetchError, Remote, RequestBody};
use crate::wire::head::Fields;

/// Idle connections that a worker keeps for all such servers together.
const KEEP: usize = 32;
/// Bytes that are read of an answer's body: to show it to the client, or to use the connection
/// again.
const BODY: usize = 1 << 20;
/// The fields that a refusal may tell the client.
const TOLD: [(HeaderName, &[u8]); 3] = [
    (header::WWW_AUTHENTICATE, b"www-authenticate"),
    (header::LOCATION, b"location"),
    (header::SET_COOKIE, b"set-cookie"),
];

/// One `forward`.
#[derive(Debug)]
pub struct ForwardAuth {
    id: u32,
    remote: Remote,
    /// Fields of the answer that go on to the server, in lower case.
    pub copy: Box<[Box<[u8]>]>,
    timeout: Duration,
    /// The client gets refusals as they were written, and the cookies that come with a yes.
    passes_answers: bool,
}

/// An answer as the server wrote it, without what concerns its connection.
#[derive(Debug)]
pub struct JudgePage {
    /// 300 to 499.
    pub status: u16,
    /// The fields of the answer, in their order.
    pub fields: Vec<FieldPair>,
    /// The body of the answer.
    pub body: Bytes,
}

/// The request that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct JudgeQuestion<'a> {
    /// The method of the request.
    pub method: &'a [u8],
    /// The path in normal form, as it was matched and is sent.
    pub path: &'a [u8],
    /// The query of the request.
    pub query: Option<&'a [u8]>,
    /// The host of the request, where no trusted proxy tells another one.
    pub host: &'a [u8],
    /// The sender of the request.
    pub identity: &'a Identity<'a>,
    /// The id of the request.
    pub request_id: &'a str,
    /// The mark of the route, by which a question that comes back is told.
    pub mark: Option<&'a str>,
    /// The fields of the request, after the door.
    pub fields: &'a Fields,
}

/// The decision of the server.
#[derive(Debug)]
pub enum JudgeAnswer {
    /// The request may pass, with these fields for the server and these cookies for the client.
    Pass(Vec<FieldPair>, Vec<Vec<u8>>),
    /// The client is to see this.
    Show(Box<JudgePage>),
    /// The client is to be told this.
    Deny(u16, Vec<(&'static [u8], Vec<u8>)>),
    /// Nothing of use, for this reason: a word for counters, and a sentence for operators.
    Nothing(&'static str, String),
}

/// Idle connections of a worker.
#[derive(Debug, Default)]
pub struct Idle(RefCell<Vec<(u32, SendRequest<RequestBody>)>>);

impl Idle {
    fn take_sender(&self, id: u32) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.0.borrow_mut();
        idle.retain(|(_, sender)| !sender.is_closed());
        let at = idle.iter().rposition(|(of, sender)| *of == id && sender.is_ready())?;
        Some(idle.swap_remove(at).1)
    }

    fn put_sender(&self, id: u32, sender: SendRequest<RequestBody>) {
        let mut idle = self.0.borrow_mut();
        if idle.len() >= KEEP {
            idle.swap_remove(0);
        }
        idle.push((id, sender));
    }
}

impl ForwardAuth {
    /// A policy that asks there.
    #[must_use]
    pub fn new(
        remote: Remote,
        copy: Box<[Box<[u8]>]>,
        timeout: Duration,
        passes_answers: bool,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { id: NEXT.fetch_add(1, Relaxed), remote, copy, timeout, passes_answers }
    }

    /// Returns where it asks, without what may be secret in that.
    #[must_use]
    pub fn shown_place(&self) -> String {
        let uri = self.remote.uri();
        let host = uri.host().unwrap_or_default();
        let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}{}", uri.scheme_str().unwrap_or_default(), uri.path())
    }

    /// Asks. An error, or no answer in time, is [`JudgeAnswer::Nothing`].
    pub async fn ask_judge(&self, idle: &Idle, question: JudgeQuestion<'_>) -> JudgeAnswer {
        let asked = tokio::time::timeout(self.timeout, self.exchange_request(idle, question)).await;
        match asked {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => {
                let why =
                    format!("{} cannot be asked: {}", self.shown_place(), error_chain(&*error));
                JudgeAnswer::Nothing("unreachable", why)
            }
            Err(_) => {
                let why =
                    format!("{} did not answer within {:?}", self.shown_place(), self.timeout);
                JudgeAnswer::Nothing("timeout", why)
            }
        }
    }

    async fn exchange_request(
        &self,
        idle: &Idle,
        question: JudgeQuestion<'_>,
    ) -> Result<JudgeAnswer, FetchError> {
        if let Some(mut sender) = idle.take_sender(self.id) {
            // A connection may have been closed meanwhile; asking changes nothing, so it may be
            // done again.
            if let Ok(response) = sender.send_request(self.build_request(question)?).await {
                return self.read_answer(response, sender, idle).await;
            }
        }
        let mut sender = self.remote.open_connection().await?;
        let response = sender.send_request(self.build_request(question)?).await?;
        self.read_answer(response, sender, idle).await
    }

    fn build_request(
        &self,
        question: JudgeQuestion<'_>,
    ) -> Result<Request<RequestBody>, FetchError> {
        let JudgeQuestion { method, path, query, host, identity, request_id, mark, fields } =
            question;
        let mut request = Request::new(RequestBody::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.remote.request_target();
        let headers = request.headers_mut();
        let asked =
            fields.iter().filter(|field| is_passed_on(field.known) && !is_condition(field.name));
        for field in asked {
            let (name, value) = (field.name.try_into(), HeaderValue::from_bytes(field.value));
            if let (Ok(name), Ok(value)) = (name, value) {
                let name: HeaderName = name;
                headers.append(name, value);
            }
        }
        let target = [path, query.map_or(&b""[..], |_| b"?"), query.unwrap_or_default()].concat();
        let client = identity.client_text().map(str::as_bytes);
        let own: [(&'static str, Option<&[u8]>); 9] = [
            ("host", Some(self.remote.authority().as_bytes())),
            ("x-forwarded-method", Some(method)),
            ("x-forwarded-proto", Some(identity.scheme.as_bytes())),
            ("x-forwarded-host", Some(identity.host.unwrap_or(host))),
            ("x-forwarded-port", identity.port),
            ("x-forwarded-uri", Some(&target)),
            ("x-forwarded-for", client),
            ("x-real-ip", client),
            ("x-request-id", Some(request_id.as_bytes())),
        ];
        for (name, value) in own {
            match value {
                Some(value) => headers.insert(name, HeaderValue::from_bytes(value)?),
                None => headers.remove(name),
            };
        }
        if let Some(mark) = mark {
            headers.append(loops::FIELD, HeaderValue::from_str(mark)?);
        }
        let mut wrong = Ok(());
        if let Some(certificate) = identity.peer.certificate {
            forward::certificate_fields(certificate, |name, value| {
                match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                    (Ok(name), Ok(value)) => {
                        headers.append(name, value);
                    }
                    (Err(error), _) => wrong = Err(FetchError::from(error)),
                    (_, Err(error)) => wrong = Err(FetchError::from(error)),
                }
            });
        }
        wrong.map(|()| request)
    }

    async fn read_answer(
        &self,
        response: Response<Incoming>,
        sender: SendRequest<RequestBody>,
        idle: &Idle,
    ) -> Result<JudgeAnswer, FetchError> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY).collect().await;
        if body.is_ok() {
            idle.put_sender(self.id, sender);
        }
        let status = parts.status.as_u16();
        Ok(match status {
            200..=299 => {
                let cookies = parts.headers.get_all(header::SET_COOKIE).iter();
                let cookies = cookies.filter(|_| self.passes_answers);
                let cookies = cookies.map(|cookie| cookie.as_bytes().to_vec()).collect();
                JudgeAnswer::Pass(self.copied_fields(&parts.headers), cookies)
            }
            // Half a page is none, and one that is "not modified" is of no use to somebody who has
            // another one.
            304 => {
                JudgeAnswer::Nothing("status", format!("{} answered {status}", self.shown_place()))
            }
            300..=499 if self.passes_answers => {
                let body = body?.to_bytes();
                JudgeAnswer::Show(Box::new(JudgePage {
                    status,
                    fields: shown_fields(&parts.headers),
                    body,
                }))
            }
            301..=303 | 307 | 308 | 401 | 403 => {
                JudgeAnswer::Deny(status, told_fields(&parts.headers))
            }
            status => {
                JudgeAnswer::Nothing("status", format!("{} answered {status}", self.shown_place()))
            }
        })
    }

    fn copied_fields(&self, headers: &HeaderMap) -> Vec<FieldPair> {
        let named = self.copy.iter().filter_map(|name| {
            let name = std::str::from_utf8(name).ok()?;
            Some(headers.get_all(name).iter().map(move |value| (name, value)))
        });
        named.flatten().map(|(n, v)| (n.as_bytes().into(), v.as_bytes().into())).collect()
    }
}

/// An error and what caused it.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
