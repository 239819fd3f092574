//! One check of one server, from connecting to the verdict.

mod grpc;
mod http;
mod tcp;

use std::io;
use std::time::Duration;

use ::http::StatusCode;
use thiserror::Error;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::config::schema::health::HealthKind;
use crate::net::fetch::AnyConnection;
use crate::net::{Address, Ends};
use crate::tls::client::{AlpnOffer, TlsTarget};
use crate::upstream::Check;

/// A reason why a server is not well.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// Not done in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than expected.
    #[error("status {}", .0.as_u16())]
    Status(StatusCode),
    /// The text is missing.
    #[error("the body does not contain {0:?}")]
    Body(String),
    /// The connection ended, or what came is not HTTP.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// The request could not be made: a path that no request may have.
    #[error("the check cannot be sent: {0}")]
    Request(#[from] ::http::Error),
    /// A gRPC error.
    #[error("grpc-status {0}")]
    GrpcStatus(String),
    /// The service said so itself, or something that is not an answer.
    #[error("the service is not serving")]
    NotServing,
}

/// Asks a server once. All of it happens within the check's timeout.
///
/// # Errors
/// [`ProbeError`].
pub async fn probe_server(check: &Check, addresses: &[Address]) -> Result<(), ProbeError> {
    let asked = async {
        match check.kind {
            HealthKind::Http => {
                let (stream, h2) = connect_probe(check, addresses, check.offer).await?;
                http::probe_http(check, stream, h2).await
            }
            HealthKind::Tcp => {
                tcp::probe_tcp(connect_probe(check, addresses, check.offer).await?.0)
            }
            HealthKind::Grpc => {
                grpc::probe_grpc(check, connect_probe(check, addresses, AlpnOffer::Http2).await?.0)
                    .await
            }
        }
    };
    match tokio::time::timeout(check.timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Timeout(check.timeout)),
    }
}

/// Connects, and says whether HTTP/2 is to be spoken.
async fn connect_probe(
    check: &Check,
    addresses: &[Address],
    offer: AlpnOffer,
) -> Result<(AnyConnection, bool), ProbeError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let connected = match address {
            Address::Tcp(at) => {
                let mut at = *at;
                at.set_port(check.port.unwrap_or(at.port()));
                TcpStream::connect(at).await.map(Ok)
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Err),
        };
        match connected {
            Ok(Ok(mut stream)) => {
                write_proxy_header(check, &mut stream).await?;
                return shake_hands(check, stream, offer).await;
            }
            Ok(Err(mut stream)) => {
                write_proxy_header(check, &mut stream).await?;
                return Ok((Box::new(stream), offer == AlpnOffer::Http2));
            }
            Err(error) => last = error,
        }
    }
    Err(ProbeError::Connect(last))
}

async fn write_proxy_header(
    check: &Check,
    stream: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ProbeError> {
    let header = check.announce.map(Ends::anonymous_header).unwrap_or_default();
    stream.write_all(header).await.map_err(ProbeError::Connect)
}

async fn shake_hands(
    check: &Check,
    stream: TcpStream,
    offer: AlpnOffer,
) -> Result<(AnyConnection, bool), ProbeError> {
    let Some(TlsTarget { outgoing, name }) = &check.secured else {
        return Ok((Box::new(stream), offer == AlpnOffer::Http2));
    };
    let secure = outgoing
        .secure_connection(stream, name.clone(), offer)
        .await
        .map_err(ProbeError::Connect)?;
    let h2 = secure.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(secure), h2))
}

#[cfg(test)]
mod tests;
