//! Opens connections to a server.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};

use super::Endpoint;
use crate::clock::{self, Instant};
use crate::h1::Origin;
use crate::net::{Opened, Stream, Timer};
use crate::tls::client::Secured;

/// Why no connection came about. Nothing of a request was sent, so any request may go elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Every address of the server refused, or the one that did not is not who it should be.
    #[error("{0}")]
    Refused(io::Error),
    /// The deadline passed first.
    #[error("connecting took too long")]
    Timeout,
}

/// Connects to the first address of a server that accepts, shakes hands if that is asked for, or fails at `deadline`.
/// With `limit`
/// connections open already, one has to be closed first: `make_room` makes others let go of
/// idle ones.
///
/// Cancel safety: dropping the future abandons the attempt.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(
    endpoint: &Endpoint,
    secured: Option<&Secured>,
    (limit, make_room): (u32, impl Fn()),
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> Result<Box<Origin>, ConnectError> {
    let mut attempt = pin!(async {
        let opened = match Opened::new(&endpoint.open, limit) {
            Some(opened) => opened,
            None => Opened::wait(&endpoint.open, limit, make_room).await,
        };
        endpoint.connects.fetch_add(1, Ordering::Relaxed);
        let stream = first_that_accepts(endpoint).await?;
        Ok(match (stream, secured) {
            (Stream::Tcp(stream), Some(Secured { outgoing, name })) => {
                let secure = outgoing.secure(stream, name.clone()).await?;
                (Stream::Tls(Box::new(secure.into())), opened)
            }
            (stream, _) => (stream, opened),
        })
    });
    let (stream, opened) = poll_fn(|cx| {
        if let Poll::Ready(result) = attempt.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(ConnectError::Refused));
        }
        ready!(timer.poll_at(cx, deadline));
        Poll::Ready(Err(ConnectError::Timeout))
    })
    .await?;
    let mut origin = Origin::new(stream, opened, clock::now());
    origin.secured_by = secured.map_or(0, |secured| secured.outgoing.id);
    Ok(Box::new(origin))
}

async fn first_that_accepts(endpoint: &Endpoint) -> io::Result<Stream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in &endpoint.addresses {
        match Stream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
