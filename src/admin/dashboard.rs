//! `GET /`: a page that shows what `/stats` says. It is one file and asks nobody else for anything.

use http::{HeaderValue, StatusCode, header};

use super::calls::{AdminAnswer, text_answer};

const PAGE: &str = include_str!("dashboard.html");
/// The page's own script and style, and calls to this endpoint; nothing else, and in nobody's
/// frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

pub(super) fn dashboard_page() -> AdminAnswer {
    let mut answer = text_answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    answer
}
