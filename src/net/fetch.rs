//! Requests that the proxy makes for itself: key sets, traces, authentication servers, its own
//! admin endpoint.
//!
//! Off the data path, so hyper speaks here. There is no deadline inside: every caller has one.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// Whatever kept an answer from coming.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// The body of such a request: empty, or all at once.
///
/// hyper is compiled anew for every pair of a type of body and one of connection, so there is one
/// of each for all requests that the program makes for itself.
pub type RequestBody = Full<Bytes>;

/// A connection of any kind.
pub type AnyConnection = Box<dyn Duplex>;

/// What HTTP can be spoken on.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// An `http` or `https` URL.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Without user and password.
    uri: Uri,
    /// User and password of the URL, as `Authorization` carries them.
    credentials: Option<HeaderValue>,
    host: Box<str>,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.uri == other.uri && self.credentials == other.credentials
    }
}

impl Eq for Remote {}

impl Remote {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse_url(url: &str) -> Result<Self, String> {
        Self::parse_with(url, tls::client::system_config)
    }

    /// Reads the URL of a server whose certificate must be of the authorities in a file, or in it.
    ///
    /// # Errors
    /// As for [`Remote::parse_url`]; the file cannot be used.
    pub fn parse_url_trusting(url: &str, ca: &Path) -> Result<Self, String> {
        Self::parse_with(url, || tls::client::pinned_config(ca))
    }

    fn parse_with(
        url: &str,
        trusted: impl FnOnce() -> Result<Arc<ClientConfig>, String>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("write http://HOST/PATH or https://HOST/PATH".to_owned()),
        };
        let (uri, credentials) = without_credentials(uri)?;
        let authority = uri.authority().ok_or("the URL has no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|_| format!("`{host}` is no name that can be verified"))?;
            Some((trusted()?, name))
        } else {
            None
        };
        Ok(Self { uri, credentials, host: host.into(), port, tls })
    }

    /// Returns whether the URL names a user.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.credentials.is_some()
    }

    /// The URL, without user and password.
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
    pub fn request_target(&self) -> Uri {
        self.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into()
    }

    /// The URL of another path below this one.
    ///
    /// # Errors
    /// The path is none.
    pub fn at_path(&self, path: &str) -> Result<Self, FetchError> {
        let mut parts = self.uri.clone().into_parts();
        let target = format!("{}/{path}", self.uri.path().trim_end_matches('/'));
        parts.path_and_query = Some(target.parse()?);
        Ok(Self { uri: Uri::from_parts(parts)?, ..self.clone() })
    }

    /// Sends one request there, on a connection of its own. Its target and `Host` are written here.
    ///
    /// # Errors
    /// The server cannot be reached, is not the one it should be, or does not answer in HTTP/1.
    pub async fn send_request(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut sender = self.open_connection().await?;
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(self.authority())?);
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(header::AUTHORIZATION, credentials.clone());
        }
        *request.uri_mut() = self.request_target();
        Ok(sender.send_request(request).await?)
    }

    /// A connection.
    ///
    /// # Errors
    /// As for [`Remote::send_request`].
    pub async fn open_connection(&self) -> Result<SendRequest<RequestBody>, FetchError> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                speak_http1(Box::new(connector.connect(name.clone(), stream).await?)).await
            }
            None => speak_http1(Box::new(stream)).await,
        }
    }
}

/// Takes user and password out of a URL: they are credentials (RFC 7617) and no part of `Host` (RFC
/// 9110 §4.2.4).
fn without_credentials(uri: Uri) -> Result<(Uri, Option<HeaderValue>), String> {
    let Some((user, host)) = uri.authority().and_then(|all| all.as_str().rsplit_once('@')) else {
        return Ok((uri, None));
    };
    let plain: Vec<u8> = percent_decoded(user.as_bytes()).collect();
    let plain = if plain.contains(&b':') { plain } else { [&plain[..], b":"].concat() };
    let text = format!("Basic {}", STANDARD.encode(plain));
    let mut credentials = HeaderValue::try_from(text).map_err(|error| error.to_string())?;
    credentials.set_sensitive(true);
    let bare = host.parse().map_err(|error| format!("no URL: {error}"))?;
    let mut parts = uri.into_parts();
    parts.authority = Some(bare);
    let uri = Uri::from_parts(parts).map_err(|error| format!("no URL: {error}"))?;
    Ok((uri, Some(credentials)))
}

fn percent_decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match escaped.filter(|_| *byte == b'%') {
            Some(decoded) => {
                rest = after.get(2..).unwrap_or_default();
                Some(decoded)
            }
            None => {
                rest = after;
                Some(*byte)
            }
        }
    })
}

/// Speaks HTTP/1 on a stream.
///
/// # Errors
/// The stream ends at once.
pub async fn speak_http1(stream: AnyConnection) -> Result<SendRequest<RequestBody>, FetchError> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends with the sender or the last answer; what goes wrong on it shows there.
    let _ended = tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i18_a_user_is_no_part_of_the_host() {
        let remote = Remote::parse_url("http://anna:s%3Acret@issuer.test:8080/keys?x").unwrap();
        assert_eq!(remote.authority(), "issuer.test:8080");
        assert_eq!(remote.uri().to_string(), "http://issuer.test:8080/keys?x");
        // printf 'anna:s:cret' | base64
        assert_eq!(remote.credentials.as_ref().unwrap(), "Basic YW5uYTpzOmNyZXQ=");
        assert!(!format!("{remote:?}").contains("YW5u"));
        assert_eq!(&*remote.host, "issuer.test");
        let nobody = Remote::parse_url("http://issuer.test/keys").unwrap();
        assert_eq!((nobody.has_user(), nobody.authority()), (false, "issuer.test"));
        assert_eq!(remote.at_path("v1").unwrap().authority(), "issuer.test:8080");
    }
}
