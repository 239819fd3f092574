//! Pages of one's own in the stead of errors: for browsers, who say that they want HTML. Programs
//! are told the same in problem+json, and neither calls of gRPC nor those who ask for JSON alone
//! ever see a page.

use std::sync::Arc;

use crate::exchange::accept::parse_weight;
use crate::wire::head::{Fields, list_items};
use crate::wire::{Known, ResponseHead, grpc};

/// An HTML page, read when the configuration was loaded.
pub type ErrorPage = Arc<[u8]>;

/// The pages of a route.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// First and last status and their page, narrow ranges first.
    errors: Box<[(u16, u16, ErrorPage)]>,
    /// True if they also stand in for what servers answer.
    intercept: bool,
    /// Shown during maintenance.
    pub maintenance: Option<ErrorPage>,
}

/// The form in which an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// A page: HTML is accepted by name, and nothing that a program reads is preferred.
    Html,
    /// JSON, and no page.
    Json,
    /// Whatever there is.
    Anything,
}

impl ErrorForm {
    /// Reads `Accept` (RFC 9110 §12.5.1). Who calls by gRPC wants nothing else in its stead,
    /// whatever it accepts.
    #[must_use]
    pub fn from_request(request: &Fields) -> Self {
        if request.named(b"content-type").any(grpc::is_type) {
            return Self::Json;
        }
        let (mut html, mut json) = (None, None);
        for item in request.named(b"accept").flat_map(list_items) {
            let mut parts = item.split(|byte| *byte == b';');
            let kind = parts.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
            let weight = parse_weight(parts);
            let known = match &*kind {
                b"text/html" | b"application/xhtml+xml" => &mut html,
                b"text/*" => &mut html,
                b"application/json" => &mut json,
                kind if kind.starts_with(b"application/") && kind.ends_with(b"json") => &mut json,
                _ => continue,
            };
            *known = (*known).max(Some(weight));
        }
        match (html.filter(|weight| *weight > 0), json.filter(|weight| *weight > 0)) {
            (Some(html), json) if json.is_none_or(|json| json <= html) => Self::Html,
            (_, Some(_)) => Self::Json,
            _ => Self::Anything,
        }
    }
}

impl Pages {
    /// Pages by status, and the one shown during maintenance.
    #[must_use]
    pub fn new(
        mut errors: Vec<(u16, u16, ErrorPage)>,
        intercept: bool,
        maintenance: Option<ErrorPage>,
    ) -> Self {
        errors.sort_by_key(|(first, last, _)| (last - first, *first));
        Self { errors: errors.into(), intercept, maintenance }
    }

    /// The page for an answer of the proxy's own with this status.
    #[must_use]
    pub fn page_for(&self, status: u16) -> Option<&ErrorPage> {
        let found = self.errors.iter().find(|(first, last, _)| (*first..=*last).contains(&status));
        found.map(|(.., page)| page)
    }

    /// Returns whether any page stands in for what servers answer.
    #[must_use]
    pub fn intercepts(&self) -> bool {
        self.intercept
    }

    /// The page that stands in for what a server answered. Calls of gRPC get what it answered.
    #[must_use]
    pub fn instead_of(&self, head: &ResponseHead) -> Option<&ErrorPage> {
        if !self.intercept || grpc::parse_status(&head.fields).is_some() {
            return None;
        }
        let kind = head.fields.named(b"content-type").next().unwrap_or_default();
        self.page_for(head.status).filter(|_| !grpc::is_type(kind))
    }
}

/// The head of a server's answer without what describes its content, of which another one takes the
/// place (RFC 9110 §8). What tells a client how to go on stays: `Retry-After`, `WWW-Authenticate`,
/// `Set-Cookie`.
#[must_use]
pub fn without_content(head: &ResponseHead) -> ResponseHead {
    let describes: [&[u8]; 18] = [
        b"content-type",
        b"content-encoding",
        b"content-language",
        b"content-location",
        b"content-range",
        b"content-disposition",
        b"content-md5",
        b"content-digest",
        b"repr-digest",
        b"digest",
        b"content-security-policy",
        b"etag",
        b"last-modified",
        b"accept-ranges",
        b"cache-control",
        b"expires",
        b"pragma",
        b"trailer",
    ];
    let mut left = ResponseHead::default();
    left.set(head.status, head.reason());
    for field in head.fields.iter() {
        let own = field.known == Known::ContentLength
            || describes.iter().any(|name| field.name.eq_ignore_ascii_case(name));
        if !own {
            left.fields.push_known(field.name, field.value, field.known);
        }
    }
    left
}

#[cfg(test)]
mod tests;
