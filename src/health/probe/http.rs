//! A server that answers a request as expected is well. Redirects are not followed.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{Connected, ProbeError};
use crate::health::Check;

/// How much of a body is looked through.
const BODY: usize = 64 * 1024;

pub(super) async fn probe(check: &Check, stream: Connected) -> Result<(), ProbeError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request =
        Request::builder().method(&check.method).uri(&check.path).body(Empty::<Bytes>::new())?;
    request.headers_mut().clone_from(&check.headers);
    let answer = async {
        let response = sender.send_request(request).await?;
        judge(check, response).await
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

async fn judge(check: &Check, response: Response<Incoming>) -> Result<(), ProbeError> {
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
