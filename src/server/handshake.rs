//! TLS handshakes: bounded in number and time, and taking turns, so that a flood of them cannot
//! starve the connections that are there.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use super::connection::plain_answer;
use crate::clock;
use crate::net::Stream;
use crate::snapshot::Listener;
use crate::telemetry::refusals::Quotas;
use crate::tls::revocation::RevocationFault;
use crate::tls::{TlsInfo, TlsServer};

/// Handshakes of a worker that have begun and not ended.
const MOST: u32 = 2048;
/// Handshakes that may compute before everybody else on the worker gets a turn: a signature takes
/// tenths of a millisecond.
const TURNS: usize = 2;
/// The longest time for somebody who does not speak TLS to read that.
const GOODBYE: Duration = Duration::from_secs(2);

/// The handshakes of a worker.
#[derive(Debug)]
pub struct Handshakes {
    under_way: Cell<u32>,
    turns: Semaphore,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { under_way: Cell::new(0), turns: Semaphore::new(TURNS) }
    }
}

/// Counts a handshake as under way until it is dropped.
struct HandshakeUnderWay<'a>(&'a Cell<u32>);

impl Drop for HandshakeUnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Handshakes {
    /// Makes a connection secure; `None` when it comes to nothing, which has been counted and,
    /// where that helps, answered.
    pub async fn secure_connection(
        &self,
        stream: Stream,
        (listener, client): (&Listener, Option<IpAddr>),
        server: &Arc<TlsServer>,
        quotas: &Quotas,
    ) -> Option<(Stream, TlsInfo)> {
        let counts = &listener.counts;
        let Stream::Tcp(stream) = stream else { return None };
        if self.under_way.get() >= MOST {
            counts.handshakes_refused.fetch_add(1, Relaxed);
            return None;
        }
        self.under_way.set(self.under_way.get() + 1);
        let under_way = HandshakeUnderWay(&self.under_way);
        let ended = timeout(listener.handshake, self.shake_hands(stream, server)).await;
        drop(under_way);
        let failed = match ended {
            Ok(Ok(secure)) => {
                counts.handshakes.fetch_add(1, Relaxed);
                return Some(secure);
            }
            Ok(Err(failed)) => failed,
            Err(_) => HandshakeFailed { error: io::ErrorKind::TimedOut.into(), plain: None },
        };
        counts.handshakes_failed.fetch_add(1, Relaxed);
        log_failure(listener, client, &failed.error, quotas);
        if let Some(stream) = failed.plain {
            // Whether it is read or not.
            let _told = timeout(GOODBYE, answer_plainly(stream)).await;
        }
        None
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        server: &Arc<TlsServer>,
    ) -> Result<(Stream, TlsInfo), HandshakeFailed> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first.iter().all(u8::is_ascii_uppercase) {
            // A method of HTTP. TLS begins with 22.
            return Err(HandshakeFailed {
                error: io::ErrorKind::InvalidData.into(),
                plain: Some(stream),
            });
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let name = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let (profile, config) =
            server.for_name(name.as_deref()).ok_or(io::ErrorKind::Unsupported)?;
        let mut accept = start.into_stream(config);
        let first = {
            let _turn = self.turns.acquire().await;
            tokio::task::yield_now().await;
            poll_fn(|cx| Poll::Ready(Pin::new(&mut accept).poll(cx))).await
        };
        let stream = match first {
            Poll::Ready(ended) => ended?,
            Poll::Pending => accept.await?,
        };
        let facts = TlsInfo::from_connection(server.clone(), profile, stream.get_ref().1);
        Ok((Stream::from_tls(TlsStream::Server(stream)), facts))
    }
}

/// Tells why there was no handshake. Scanners cause most of those that fail, and they are nobody's
/// fault; who is refused for a certificate wants to know why, and asks the operator.
#[cold]
fn log_failure(listener: &Listener, client: Option<IpAddr>, error: &io::Error, quotas: &Quotas) {
    let client = client.map(|ip| ip.to_string());
    let (counts, listener) = (&listener.counts, &*listener.name);
    let cause = error.to_string();
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let refused = matches!(
        tls,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    );
    if !refused {
        let key = "listen.tls";
        tracing::debug!(listener, client, cause, key, "no TLS handshake");
        return;
    }
    let refused = tls.and_then(RevocationFault::from_error);
    match refused {
        Some(RevocationFault::Revoked) => counts.revoked.fetch_add(1, Relaxed),
        Some(RevocationFault::Unknown) => counts.revocation_unknown.fetch_add(1, Relaxed),
        None => 0,
    };
    if let Some(left_out) = quotas.take_line("client_certificate", clock::now()) {
        let (reason, key) = match refused {
            Some(refused) => (refused.log_word(), "listen.tls.client_crl"),
            None => ("certificate", "listen.tls.client_ca"),
        };
        tracing::warn!(
            listener,
            client,
            reason,
            cause,
            key,
            left_out,
            "client certificate refused"
        );
    }
}

/// A handshake that did not succeed, and the reason.
struct HandshakeFailed {
    error: io::Error,
    /// The connection, if it speaks HTTP.
    plain: Option<TcpStream>,
}

impl<E: Into<io::Error>> From<E> for HandshakeFailed {
    fn from(error: E) -> Self {
        Self { error: error.into(), plain: None }
    }
}

/// Tells somebody who spoke HTTP that this is the wrong protocol.
async fn answer_plainly(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&plain_answer()).await?;
    stream.shutdown().await?;
    // What is not read would turn the close into a reset, and the answer would be lost.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
