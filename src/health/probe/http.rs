//! A server that answers a request as expected is well. Redirects are not followed.

use http::{Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::ProbeError;
use crate::net::fetch::{AnyConnection, RequestBody};
use crate::upstream::Check;

/// Bytes of a body that are looked through.
const BODY: usize = 64 * 1024;

pub(super) async fn probe_http(
    check: &Check,
    stream: AnyConnection,
    h2: bool,
) -> Result<(), ProbeError> {
    if h2 {
        return probe_h2(check, stream).await;
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request =
        Request::builder().method(&check.method).uri(&check.path).body(RequestBody::default())?;
    request.headers_mut().clone_from(&check.headers);
    let answer = async {
        let response = sender.send_request(request).await?;
        judge_response(check, response).await
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        verdict = &mut answer => verdict,
        ended = &mut connection => {
            // What the connection delivered before it ended is still to be read.
            let verdict = answer.await;
            ended.map_err(ProbeError::from).and(verdict)
        }
    }
}

async fn probe_h2(check: &Check, stream: AnyConnection) -> Result<(), ProbeError> {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends when the sender is dropped; what goes wrong on it shows in the answer.
    let _ended = tokio::spawn(connection);
    let host = check.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let scheme = if check.secured.is_some() { "https" } else { "http" };
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .method(&check.method)
        .uri(format!("{scheme}://{}{}", host.unwrap_or("localhost"), check.path))
        .body(RequestBody::default())?;
    request.headers_mut().clone_from(&check.headers);
    for name in [header::HOST, header::CONNECTION] {
        request.headers_mut().remove(name);
    }
    judge_response(check, sender.send_request(request).await?).await
}

async fn judge_response(check: &Check, response: Response<Incoming>) -> Result<(), ProbeError> {
    let status = response.status();
    let fits = |range: &crate::config::schema::words::StatusRange| {
        (range.first..=range.last).contains(&status.as_u16())
    };
    if !check.status.iter().any(fits) {
        return Err(ProbeError::Status(status));
    }
    let Some(text) = &check.body else { return Ok(()) };
    let mut body = response.into_body();
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            seen.extend(data.iter().take(BODY - seen.len()));
        }
        if memchr::memmem::find(&seen, text.as_bytes()).is_some() {
            return Ok(());
        }
        if seen.len() >= BODY {
            break;
        }
    }
    Err(ProbeError::Body(text.clone()))
}
