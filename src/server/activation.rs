//! Sockets that a service manager opened before it started the process (`sd_listen_fds(3)`): connections wait in
//! them while the process starts again, and ports below 1024 need no capability.
//!
//! An address of the configuration that equals one of them uses it. They stay open as long as the process runs, as
//! they do in the service manager, so that a reload may leave one and take it up again. All workers wait on the same
//! socket: the one the kernel has.

use std::io;
use std::sync::OnceLock;

use listenfd::ListenFd;
use socket2::Socket;

use crate::net::Address;

static INHERITED: OnceLock<Vec<(Address, Socket)>> = OnceLock::new();

/// Takes what was handed over. Called once, before anything is bound; of anything that is no listening socket of TCP
/// or a Unix path the log says so.
pub(crate) fn take_over() {
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        match take_socket(&mut given, index) {
            Ok(Some((address, socket))) if socket.is_listener().is_ok_and(|listens| !listens) => {
                tracing::warn!(index, %address, "a socket of the service manager does not listen");
            }
            Ok(Some((address, socket))) => {
                tracing::info!(%address, "socket of the service manager");
                sockets.push((address, socket));
            }
            Ok(None) => tracing::warn!(index, "a descriptor of the service manager cannot be used"),
            Err(error) => {
                tracing::warn!(index, %error, "a descriptor of the service manager cannot be used");
            }
        }
    }
    // A second call, in tests, finds nothing that was handed over.
    let _first = INHERITED.set(sockets);
}

fn take_socket(given: &mut ListenFd, index: usize) -> io::Result<Option<(Address, Socket)>> {
    if let Ok(Some(listener)) = given.take_tcp_listener(index) {
        let address = Address::Tcp(listener.local_addr()?);
        return Ok(Some((address, listener.into())));
    }
    let Some(listener) = given.take_unix_listener(index)? else { return Ok(None) };
    let path = listener.local_addr()?.as_pathname().map(|path| path.to_owned());
    Ok(path.map(|path| (Address::Unix(path), listener.into())))
}

/// Returns whether the service manager listens there.
pub(crate) fn has_socket(address: &Address) -> bool {
    INHERITED.get().is_some_and(|all| all.iter().any(|(at, _)| at == address))
}

/// The service manager's socket at this address, if there is one.
///
/// # Errors
/// When the process may have no more descriptors.
pub(crate) fn given_socket(address: &Address) -> io::Result<Option<Socket>> {
    let mut all = INHERITED.get().into_iter().flatten();
    let Some((_, socket)) = all.find(|(at, _)| at == address) else { return Ok(None) };
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

/// Addresses of the service manager's sockets that none of these is.
pub(crate) fn unused_sockets<'a>(
    addresses: impl Iterator<Item = &'a Address> + Clone,
) -> Vec<&'static Address> {
    let all = INHERITED.get().into_iter().flatten().map(|(at, _)| at);
    all.filter(|at| !addresses.clone().any(|used| used == *at)).collect()
}
