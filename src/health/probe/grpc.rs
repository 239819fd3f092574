//! A service that calls itself `SERVING` by the gRPC health protocol (`grpc.health.v1`) is well.
//! The path of the check, without its slash, is the name of the service; `/` asks for the server.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use super::ProbeError;
use crate::net::fetch::{AnyConnection, RequestBody};
use crate::upstream::Check;

/// The longest answer: two bytes of message and a frame are expected.
const ANSWER: usize = 4096;
/// `ServingStatus.SERVING`.
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) async fn probe_grpc(check: &Check, stream: AnyConnection) -> Result<(), ProbeError> {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends when the sender is dropped; what goes wrong on it shows in the answer.
    let _ended = tokio::spawn(connection);
    let response = sender.send_request(build_request(check)?).await?;
    if let Some(status) = status_failure(response.headers()) {
        return Err(ProbeError::GrpcStatus(status));
    }
    let Ok(body) = Limited::new(response.into_body(), ANSWER).collect().await else {
        return Err(ProbeError::NotServing);
    };
    if let Some(status) = body.trailers().and_then(status_failure) {
        return Err(ProbeError::GrpcStatus(status));
    }
    let bytes = body.to_bytes();
    // One message: a byte for compression, four for its length.
    let answer = bytes.get(5..).and_then(|m| HealthCheckResponse::decode(m).ok());
    match answer {
        Some(HealthCheckResponse { status: SERVING }) if bytes.first() == Some(&0) => Ok(()),
        _ => Err(ProbeError::NotServing),
    }
}

fn build_request(check: &Check) -> Result<Request<RequestBody>, http::Error> {
    let service = check.path.trim_start_matches('/').to_owned();
    let message = HealthCheckRequest { service }.encode_to_vec();
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    let host = check.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or("localhost");
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .method(Method::POST)
        .uri(format!("http://{host}/grpc.health.v1.Health/Check"))
        .body(RequestBody::new(framed.freeze()))?;
    let headers = request.headers_mut();
    headers.clone_from(&check.headers);
    headers.remove(header::HOST);
    headers.remove(header::CONNECTION);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// The status in a set of fields, if it is an error.
fn status_failure(fields: &HeaderMap) -> Option<String> {
    let status = fields.get("grpc-status")?;
    (status != "0").then(|| String::from_utf8_lossy(status.as_bytes()).into_owned())
}
