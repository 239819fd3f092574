//! One check of one server, from connecting to the verdict.

mod grpc;
mod http;
mod tcp;

use std::io;
use std::time::Duration;

use ::http::StatusCode;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Check;
use crate::config::schema::health::HealthKind;
use crate::net::Address;
use crate::tls::client::Secured;

/// Why a server is not well.
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
pub async fn probe(check: &Check, addresses: &[Address]) -> Result<(), ProbeError> {
    let asked = async {
        match check.kind {
            HealthKind::Http => http::probe(check, connect(check, addresses).await?).await,
            HealthKind::Tcp => tcp::probe(connect(check, addresses).await?),
            HealthKind::Grpc => grpc::probe(check, connect(check, addresses).await?).await,
        }
    };
    match tokio::time::timeout(check.timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::Timeout(check.timeout)),
    }
}

/// A connection of any kind.
type Connected = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(check: &Check, addresses: &[Address]) -> Result<Connected, ProbeError> {
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
            Ok(Ok(stream)) => return secure(check, stream).await,
            Ok(Err(stream)) => return Ok(Box::new(stream)),
            Err(error) => last = error,
        }
    }
    Err(ProbeError::Connect(last))
}

async fn secure(check: &Check, stream: TcpStream) -> Result<Connected, ProbeError> {
    let Some(Secured { outgoing, name }) = &check.secured else { return Ok(Box::new(stream)) };
    let secure = match check.kind {
        HealthKind::Grpc => outgoing.secure_h2(stream, name.clone()).await,
        HealthKind::Http | HealthKind::Tcp => outgoing.secure(stream, name.clone()).await,
    };
    secure.map(|stream| Box::new(stream) as Connected).map_err(ProbeError::Connect)
}

#[cfg(test)]
mod tests;
