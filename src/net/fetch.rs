//! Requests that the proxy makes for itself: key sets, traces, authentication servers, its own admin endpoint.
//!
//! Off the data path, so hyper speaks here. There is no deadline inside: every caller has one.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// Whatever kept an answer from coming.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// An `http` or `https` URL.
#[derive(Debug, Clone)]
pub struct Remote {
    uri: Uri,
    host: Box<str>,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.uri == other.uri
    }
}

impl Eq for Remote {}

impl Remote {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("write http://HOST/PATH or https://HOST/PATH".to_owned()),
        };
        let authority = uri.authority().ok_or("the URL has no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|_| format!("`{host}` is no name that can be verified"))?;
            Some((tls::client::system()?, name))
        } else {
            None
        };
        Ok(Self { uri, host: host.into(), port, tls })
    }

    /// The URL.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The `Host` of requests.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The target of requests: path and query.
    #[must_use]
    pub fn target(&self) -> Uri {
        self.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into()
    }

    /// The URL of another path below this one.
    ///
    /// # Errors
    /// The path is none.
    pub fn below(&self, path: &str) -> Result<Self, Error> {
        let mut parts = self.uri.clone().into_parts();
        let target = format!("{}/{path}", self.uri.path().trim_end_matches('/'));
        parts.path_and_query = Some(target.parse()?);
        Ok(Self { uri: Uri::from_parts(parts)?, ..self.clone() })
    }

    /// Sends one request there, on a connection of its own. Its target and `Host` are written here.
    ///
    /// # Errors
    /// The server cannot be reached, is not the one it should be, or does not answer in HTTP/1.
    pub async fn send<B>(&self, mut request: Request<B>) -> Result<Response<Incoming>, Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        let mut sender = self.connect().await?;
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(self.authority())?);
        *request.uri_mut() = self.target();
        Ok(sender.send_request(request).await?)
    }

    /// A connection.
    ///
    /// # Errors
    /// As for [`Remote::send`].
    pub async fn connect<B>(&self) -> Result<SendRequest<B>, Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Error>,
    {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                over(connector.connect(name.clone(), stream).await?).await
            }
            None => over(stream).await,
        }
    }
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
