//! What the proxy's own answers must look like (RFC 9457).

use std::time::Duration;

use super::client::RawClient;
use super::message::{Response, escape};

/// # Errors
/// The first property of a problem document that is missing. An empty `code` accepts any.
pub fn check_problem(response: &Response, statuses: &[u16], code: &str) -> Result<(), String> {
    let shown = || format!("{}{}", escape(&response.head), escape(&response.body));
    if !statuses.contains(&response.status) {
        return Err(format!("status {} is not one of {statuses:?}: {}", response.status, shown()));
    }
    if response.header("content-type") != Some("application/problem+json") {
        return Err(format!("content-type is not application/problem+json: {}", shown()));
    }
    let json: serde_json::Value = serde_json::from_slice(&response.body)
        .map_err(|e| format!("body is not JSON ({e}): {}", shown()))?;
    if json["status"] != response.status {
        return Err(format!("status in the body differs: {}", shown()));
    }
    match json["code"].as_str() {
        None | Some("") => return Err(format!("no code: {}", shown())),
        Some(found) if !code.is_empty() && found != code => {
            return Err(format!("code {found:?} instead of {code:?}: {}", shown()));
        }
        Some(_) => {}
    }
    if json["title"].as_str().is_none_or(str::is_empty) {
        return Err(format!("no title: {}", shown()));
    }
    if json["request_id"].as_str().is_none_or(str::is_empty) {
        return Err(format!("no request_id: {}", shown()));
    }
    Ok(())
}

pub fn assert_problem(response: &Response, status: u16, code: &str) {
    check_problem(response, &[status], code).unwrap_or_else(|e| panic!("{e}"));
}

/// As [`assert_problem`]; the answer also says `Connection: close`, and the connection does close.
pub fn assert_problem_and_close(
    client: &mut RawClient,
    response: &Response,
    status: u16,
    code: &str,
) {
    assert_problem(response, status, code);
    assert!(response.says_close(), "no connection: close in {}", escape(&response.head));
    client.assert_closes(Duration::from_secs(5));
}
