//! One connection, TCP, TLS over TCP, or Unix, with the few operations the data path needs.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::held::Weight;
use super::{Address, untaken};

/// The part of a socket that moving the bytes of a connection needs. There are real ones, and one
/// that a simulation makes up.
pub trait Transport {
    /// Ready when [`Transport::poll_read`] is worth a try: until then a reader needs no buffer.
    ///
    /// # Errors
    /// As for [`Transport::poll_read`].
    fn poll_readable(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Reads what is there. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// Whatever the system says, except for "would block", which is `Pending`.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much of the slices as fits.
    ///
    /// # Errors
    /// As for [`Transport::poll_read`].
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Tries a write that was not possible, although the system has not said that it is now: it
    /// says so only when a third of what it may keep for the other side has left.
    ///
    /// # Errors
    /// As for [`Transport::poll_read`].
    fn poll_write_again(
        &mut self,
        _cx: &mut Context<'_>,
        _slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    /// Sends what a write has only encrypted so far.
    ///
    /// # Errors
    /// As for [`Transport::poll_read`].
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the other side that nothing more will be sent.
    ///
    /// # Errors
    /// As for [`Transport::poll_read`].
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A connected, non-blocking socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix stream socket.
    Unix(UnixStream),
    /// TLS over TCP, its handshake done.
    Tls(Box<Secure>),
    /// A pipe within the process.
    #[cfg(fuzzing)]
    Memory(super::Memory),
}

/// A connection of TLS.
#[derive(Debug)]
pub struct Secure {
    stream: TlsStream<TcpStream>,
    /// The bytes that it has encrypted and could not send.
    unsent: Weight,
}

/// Bytes that rustls encrypts ahead at most (`set_buffer_limit`), which tells nobody how much of
/// that it has.
const AHEAD: usize = 64 * 1024;

impl Secure {
    /// Sends what is encrypted, as far as the system takes it, whatever it has said before. Returns
    /// whether it took anything.
    fn send_encrypted(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            let written = match &mut self.stream {
                TlsStream::Client(stream) => {
                    let (socket, session) = stream.get_mut();
                    session.write_tls(&mut &*SockRef::from(&*socket))
                }
                TlsStream::Server(stream) => {
                    let (socket, session) = stream.get_mut();
                    session.write_tls(&mut &*SockRef::from(&*socket))
                }
            };
            match written {
                Ok(0) => break,
                Ok(_) => any = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.weigh_unsent();
        Ok(any)
    }

    /// Weighs what has not been sent.
    fn weigh_unsent(&mut self) {
        let waits = self.stream.get_ref().1.wants_write();
        self.unsent.set_bytes(if waits { AHEAD } else { 0 });
    }
}

impl Stream {
    /// TLS after its handshake.
    #[must_use]
    pub fn from_tls(stream: TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Secure { stream, unsent: Weight::default() }))
    }

    /// Connects. Dropping the future closes the half-open socket. There is no deadline here: the
    /// caller has one.
    ///
    /// # Errors
    /// Whatever the system says about the address.
    pub async fn connect_to(address: &Address) -> io::Result<Self> {
        #[cfg(fuzzing)]
        if cfg!(fuzzing) {
            return super::Memory::connect().map(Stream::Memory);
        }
        match address {
            Address::Tcp(address) => Ok(Stream::Tcp(TcpStream::connect(address).await?)),
            Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Reads what is there. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// Whatever the system says, except for "would block", which is `Pending`.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        match self {
            Stream::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buf))?,
            Stream::Unix(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buf))?,
            #[cfg(fuzzing)]
            Stream::Memory(stream) => ready!(Pin::new(stream).poll_read(cx, &mut buf))?,
            Stream::Tls(secure) => {
                match ready!(Pin::new(&mut secure.stream).poll_read(cx, &mut buf)) {
                    // Many clients close without saying so first. What they send tells by itself
                    // whether it is whole; what servers send may not.
                    Err(error)
                        if is_abrupt(&error) && matches!(secure.stream, TlsStream::Server(_)) => {}
                    read => read?,
                }
            }
        }
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes as much of the slices as fits.
    ///
    /// # Errors
    /// Whatever the system says, except for "would block", which is `Pending`.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(stream) => match slices {
                // One slice needs no vector: `send` is cheaper than `sendmsg`.
                [one] => Pin::new(stream).poll_write(cx, one),
                many => Pin::new(stream).poll_write_vectored(cx, many),
            },
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(fuzzing)]
            Stream::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(secure) => {
                let written = Pin::new(&mut secure.stream).poll_write_vectored(cx, slices);
                secure.weigh_unsent();
                written
            }
        }
    }

    /// As [`Transport::poll_write_again`].
    ///
    /// # Errors
    /// Whatever the system says, except for "would block", which is `Pending`.
    pub fn poll_write_again(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = match self {
            Stream::Tcp(stream) => SockRef::from(&*stream).send_vectored(slices),
            Stream::Unix(stream) => SockRef::from(&*stream).send_vectored(slices),
            Stream::Tls(secure) => {
                return if secure.send_encrypted()? {
                    self.poll_write(cx, slices)
                } else {
                    Poll::Pending
                };
            }
            #[cfg(fuzzing)]
            Stream::Memory(_) => return Poll::Pending,
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            sent => Poll::Ready(sent),
        }
    }

    /// Sends what a write has only encrypted so far.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            #[cfg(fuzzing)]
            Stream::Memory(_) => Poll::Ready(Ok(())),
            Stream::Tls(secure) => {
                let flushed = Pin::new(&mut secure.stream).poll_flush(cx);
                secure.weigh_unsent();
                flushed
            }
        }
    }

    /// Tries to send what was encrypted although the system has not said that it takes more.
    /// Returns whether it took anything; there is nothing to send without TLS.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn flush_again(&mut self) -> io::Result<bool> {
        if let Stream::Tls(secure) = self { secure.send_encrypted() } else { Ok(false) }
    }

    /// Tells the other side that nothing more will be sent.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(fuzzing)]
            Stream::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(secure) => Pin::new(&mut secure.stream).poll_shutdown(cx),
        }
    }

    /// Returns whether an idle connection still is what it should be: open, with nothing to read.
    /// Costs a system call only if the reactor has seen an event since the last read.
    pub fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0; 1];
        self.poll_read(cx, &mut byte).is_pending()
    }

    /// Returns whether both sides have agreed on HTTP/2.
    #[must_use]
    pub fn speaks_h2(&self) -> bool {
        match self {
            Stream::Tls(secure) => secure.stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            Stream::Tcp(_) | Stream::Unix(_) => false,
            #[cfg(fuzzing)]
            Stream::Memory(_) => false,
        }
    }

    /// The address of this end; `None` without a network.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.tcp_stream()?.local_addr().ok()
    }

    /// Returns whether it is TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    fn tcp_stream(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
            Stream::Tls(secure) => Some(secure.stream.get_ref().0),
            Stream::Unix(_) => None,
            #[cfg(fuzzing)]
            Stream::Memory(_) => None,
        }
    }

    /// Makes small writes leave at once instead of waiting for the answer to earlier ones (Nagle).
    /// The first write of a connection never waits, so a connection of one answer is spared this.
    pub fn send_at_once(&self) {
        if let Some(stream) = self.tcp_stream() {
            // A socket that is already gone delays nothing.
            let _gone = stream.set_nodelay(true);
        }
    }

    /// Returns whether the socket has failed in a way that reading does not tell, because the end
    /// of the stream came before it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let error = match self {
            Stream::Tcp(stream) => stream.take_error(),
            Stream::Unix(stream) => stream.take_error(),
            Stream::Tls(secure) => secure.stream.get_ref().0.take_error(),
            #[cfg(fuzzing)]
            Stream::Memory(stream) => return stream.was_reset(),
        };
        !matches!(error, Ok(None))
    }

    /// Returns whether the system holds bytes for it that nobody has read: one call, for where a
    /// connection is about to be closed.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        let unread = match self {
            Stream::Tcp(stream) => rustix::io::ioctl_fionread(stream),
            Stream::Unix(stream) => rustix::io::ioctl_fionread(stream),
            Stream::Tls(secure) => rustix::io::ioctl_fionread(secure.stream.get_ref().0),
            #[cfg(fuzzing)]
            Stream::Memory(_) => return false,
        };
        unread.is_ok_and(|unread| unread > 0)
    }

    /// Counts the bytes that were sent and that the other side's system has not acknowledged.
    /// `None` where nobody tells.
    #[must_use]
    pub fn count_untaken(&self) -> Option<u32> {
        let (local, remote) = self.both_ends()?;
        untaken::count_untaken(local, remote)
    }

    /// The addresses of both ends; `None` without a network.
    #[must_use]
    pub fn both_ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let stream = self.tcp_stream()?;
        Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
    }

    /// Returns whether a close can be a reset. That of a Unix socket cannot.
    #[must_use]
    pub fn can_reset(&self) -> bool {
        !matches!(self, Stream::Unix(_))
    }

    /// Makes the coming close a reset, so that a message that was cut short cannot look complete.
    pub fn reset_on_close(&self) {
        #[cfg(fuzzing)]
        if let Stream::Memory(stream) = self {
            stream.reset_on_close();
        }
        if let Some(stream) = self.tcp_stream() {
            // A socket that is already gone cannot be misread any more.
            let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Makes the coming close an ordinary one again.
    pub fn close_in_order(&self) {
        #[cfg(fuzzing)]
        if let Stream::Memory(stream) = self {
            stream.close_in_order();
        }
        if let Some(stream) = self.tcp_stream() {
            // One that stays a reset cuts what is whole: the client asks again.
            let _gone = SockRef::from(stream).set_linger(None);
        }
    }
}

impl Transport for Stream {
    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(stream) => stream.poll_read_ready(cx),
            Stream::Unix(stream) => stream.poll_read_ready(cx),
            // It may have read already what it has not decrypted yet.
            Stream::Tls(_) => Poll::Ready(Ok(())),
            #[cfg(fuzzing)]
            Stream::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Stream::poll_read(self, cx, buf)
    }

    #[inline]
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(self, cx, slices)
    }

    fn poll_write_again(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write_again(self, cx, slices)
    }

    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self, cx)
    }

    #[inline]
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(self, cx)
    }
}

/// For what is written once: the header that says whose a connection is.
impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), cx, &[IoSlice::new(buf)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_shutdown(self.get_mut(), cx)
    }
}

/// Returns whether a connection ended without TLS's own end (RFC 8446 §6.1).
fn is_abrupt(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
