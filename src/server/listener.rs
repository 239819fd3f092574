//! Binds listeners and accepts connections.
//!
//! Every worker has its own socket on the same address (SO_REUSEPORT), so the kernel spreads
//! connections over workers without a lock between them. Unix sockets cannot do that: all workers
//! wait on one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use super::{activation, occupant};
use crate::config::Config;
use crate::config::schema::bind::{Access, Mode};
use crate::files;
use crate::net::{Address, Stream};
use crate::snapshot::{Listener, Snapshot, compile};

/// Connections the kernel keeps for a worker that is busy; the kernel's own limit applies as well.
const BACKLOG: i32 = 4096;

/// A listener could not be opened.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address that could not be bound.
    pub address: Address,
    /// The reason.
    pub source: io::Error,
}

/// One address of one listener.
#[derive(Debug, Clone)]
pub struct ListenSite {
    /// The listener.
    pub listener: Arc<Listener>,
    /// The address as configured.
    pub address: Address,
    /// The users who may connect, if it is a Unix socket.
    pub access: Access,
}

impl ListenSite {
    /// Returns whether it is the same place, whatever its settings.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.listener.id == other.listener.id && self.address == other.address
    }
}

/// All addresses of all listeners.
#[must_use]
pub fn list_sites(config: &Config, snapshot: &Snapshot) -> Vec<ListenSite> {
    let listeners = config.listen.iter().zip(&snapshot.listeners);
    listeners
        .flat_map(|(written, listener)| {
            written.address.iter().map(|address| ListenSite {
                listener: listener.clone(),
                address: compile::listen_address(&address.value),
                access: address.value.access.clone(),
            })
        })
        .collect()
}

/// One listening socket of one worker, not yet part of a runtime.
#[derive(Debug)]
pub struct Listening {
    /// The site that it is bound to.
    pub site: ListenSite,
    fd: OwnedFd,
    unix: bool,
}

/// Listening sockets that were just opened.
#[derive(Debug)]
pub struct BoundSocket {
    /// For each worker its sockets.
    pub per_worker: Vec<Vec<Listening>>,
    /// Each bound address with its listener's name.
    pub names: Vec<(Arc<str>, Address)>,
}

/// Opens these addresses for every worker, beside those that are `open`.
///
/// # Errors
/// The first address that cannot be bound; those before it are closed again.
pub fn bind_sites(
    sites: &[ListenSite],
    open: &[ListenSite],
    workers: usize,
) -> Result<BoundSocket, BindError> {
    for site in sites {
        if let Address::Tcp(at) = &site.address
            && !open.iter().any(|open| overlaps_open(*at, &open.address))
            && !activation::has_socket(&site.address)
        {
            check_alone(*at)
                .map_err(|source| BindError { address: site.address.clone(), source })?;
        }
    }
    let mut bound =
        BoundSocket { per_worker: (0..workers).map(|_| Vec::new()).collect(), names: Vec::new() };
    for site in sites {
        let at = bind_for_all(site, &mut bound.per_worker)
            .map_err(|source| BindError { address: site.address.clone(), source })?;
        bound.names.push((site.listener.name.clone(), at));
    }
    Ok(bound)
}

/// Binds one address for each worker; returns it with the port that was chosen.
fn bind_for_all(site: &ListenSite, per_worker: &mut [Vec<Listening>]) -> io::Result<Address> {
    if let Some(socket) = activation::given_socket(&site.address)? {
        let unix = matches!(site.address, Address::Unix(_));
        for sockets in per_worker {
            sockets.push(Listening { site: site.clone(), fd: socket.try_clone()?.into(), unix });
        }
        return Ok(site.address.clone());
    }
    match &site.address {
        Address::Tcp(address) => {
            let mut at = *address;
            for sockets in per_worker {
                let socket = bind_tcp(at, true)?;
                at = socket.local_addr()?.as_socket().unwrap_or(at);
                sockets.push(Listening { site: site.clone(), fd: socket.into(), unix: false });
            }
            Ok(Address::Tcp(at))
        }
        Address::Unix(path) => {
            let socket = bind_unix(path, &site.access)?;
            for sockets in per_worker {
                let fd = socket.try_clone()?.into();
                sockets.push(Listening { site: site.clone(), fd, unix: true });
            }
            Ok(site.address.clone())
        }
    }
}

/// Opens a listening TCP socket.
///
/// # Errors
/// Whatever the system says.
pub fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // "[::]" means IPv6: "0.0.0.0" beside it must not collide.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Returns whether two addresses cannot belong to two processes.
fn overlaps_open(at: SocketAddr, open: &Address) -> bool {
    let Address::Tcp(open) = open else { return false };
    at.port() == open.port()
        && (at.ip() == open.ip() || at.ip().is_unspecified() || open.ip().is_unspecified())
}

/// Finds out whether somebody else listens there. Workers share an address by SO_REUSEPORT, and so
/// would a second process of the same user: each would get a part of the connections. A socket that
/// does not share finds out, and is gone before one that does is opened.
fn check_alone(at: SocketAddr) -> io::Result<()> {
    if at.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&at.into()).map_err(|error| name_occupant(error, occupant::of_port(at.port())))
}

/// An error about an address that is taken, with the name of who has it.
fn name_occupant(error: io::Error, who: Option<String>) -> io::Error {
    match who {
        Some(who) if error.kind() == io::ErrorKind::AddrInUse => {
            io::Error::new(io::ErrorKind::AddrInUse, format!("{who} listens there"))
        }
        _ => error,
    }
}

/// Opens a listening TCP socket that no other process may share.
///
/// # Errors
/// Whatever the system says, and who is there already.
pub fn bind_alone(at: SocketAddr) -> io::Result<Socket> {
    if let Some(socket) = activation::given_socket(&Address::Tcp(at))? {
        return Ok(socket);
    }
    bind_tcp(at, false).map_err(|error| name_occupant(error, occupant::of_port(at.port())))
}

/// Opens a listening Unix socket. A file that a dead process left behind is replaced; one that
/// somebody answers on is not.
///
/// # Errors
/// Whatever the system says.
pub fn bind_unix(path: &Path, access: &Access) -> io::Result<Socket> {
    if let Some(socket) = activation::given_socket(&Address::Unix(path.to_owned()))? {
        return Ok(socket);
    }
    if let Ok(other) = std::os::unix::net::UnixStream::connect(path) {
        return Err(name_occupant(io::ErrorKind::AddrInUse.into(), occupant::of_peer(&other)));
    }
    let is_socket = std::fs::symlink_metadata(path)
        .is_ok_and(|meta| std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()));
    if is_socket {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before it listens, so there is no moment in which others may.
    if let Err(error) = set_access(path, access) {
        let _gone = std::fs::remove_file(path);
        return Err(error);
    }
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Lets those connect to a Unix socket who may.
///
/// # Errors
/// Whatever the system says: only a member may give a file to a group.
pub fn set_access(path: &Path, access: &Access) -> io::Result<()> {
    let Access { mode, group } = access;
    let said = |what: String| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    if let Some(group) = group {
        let number = files::group_id(&group.value).map_err(io::Error::other)?;
        let what = format!("the socket cannot be given to the group `{group}`");
        std::os::unix::fs::chown(path, None, Some(number)).map_err(said(what))?;
    }
    if let Some(Mode(mode)) = mode {
        let permissions = std::fs::Permissions::from_mode(*mode);
        let what = format!("the socket cannot have the mode {mode:04o}");
        std::fs::set_permissions(path, permissions).map_err(said(what))?;
    }
    Ok(())
}

/// A listening socket that is part of a worker's runtime.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl Acceptor {
    /// Joins the current runtime.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new(listening: Listening) -> io::Result<Self> {
        if listening.unix {
            Ok(Self::Unix(UnixListener::from_std(listening.fd.into())?))
        } else {
            Ok(Self::Tcp(TcpListener::from_std(listening.fd.into())?))
        }
    }

    /// Accepts one connection; `None` as the address of a Unix socket's peer.
    ///
    /// Cancel safety: no connection is lost.
    ///
    /// # Errors
    /// Whatever the system says; the listener stays of use.
    pub async fn accept_connection(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}
