//! Requests that the proxy makes for itself: key sets, traces, authentication servers, its own admin endpoint.
//!
//! Off the data path, so hyper speaks here. There is no deadline inside: every caller has one.

use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Whatever kept an answer from coming.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Sends one request to the server that its URI names, on a connection of its own.
///
/// # Errors
/// The URI has no host, or the server cannot be reached or does not answer in HTTP/1.
pub async fn send<B>(mut request: Request<B>) -> Result<Response<Incoming>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
{
    let mut sender = connect(request.uri()).await?;
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority)?;
    request.headers_mut().insert(header::HOST, host);
    *request.uri_mut() = origin_form(request.uri());
    Ok(sender.send_request(request).await?)
}

/// A connection to the server that a URI names.
///
/// # Errors
/// As for [`send`].
pub async fn connect<B>(uri: &Uri) -> Result<SendRequest<B>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
{
    let authority = uri.authority().ok_or("the URL has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    over(stream).await
}

/// Speaks HTTP/1 on a stream.
///
/// # Errors
/// The stream ends at once.
pub async fn over<B, S>(stream: S) -> Result<SendRequest<B>, Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Error>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender or the last answer; what goes wrong on it shows there.
    let _ended = tokio::spawn(connection);
    Ok(sender)
}

/// A URI as a server wants to see it: path and query.
#[must_use]
pub fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into()
}
