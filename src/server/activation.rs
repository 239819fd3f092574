//! Sockets that a service manager opened before it started the process (`sd_listen_fds(3)`):
//! connections wait in them while the process starts again, and ports below 1024 need no
//! capability.
//!
//! An address of the configuration that equals one of them uses it. They stay open as long as the
//! process runs, as they do in the service manager, so that a reload may leave one and take it up
//! again. All workers wait on the same socket: the one the kernel has.

use std::io;
use std::sync::OnceLock;

use listenfd::ListenFd;
use socket2::Socket;

use crate::net::Address;

static INHERITED: OnceLock<Vec<(Address, Socket)>> = OnceLock::new();

/// The number of the first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: usize = 3;

/// The number of descriptors that were promised, and the first that is not there.
static MISSING: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// Notes whether all descriptors are there that `LISTEN_FDS` promises to this process. Called
/// before any other is opened, which would take the number of one that is missing.
pub fn note_missing() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    // Where no process is named, or nothing, `ListenFd` takes them as well.
    let anybody = std::env::var_os("LISTEN_PID").is_none_or(|pid| pid.is_empty());
    let own = anybody || number("LISTEN_PID") == usize::try_from(std::process::id()).ok();
    let shown = std::path::Path::new("/proc/self/fd").exists();
    let promised = number("LISTEN_FDS").filter(|_| own && shown).unwrap_or(0);
    let mut all = FIRST..FIRST.saturating_add(promised);
    let missing = all.find(|descriptor| find_descriptor(*descriptor).is_none());
    // A second call finds nothing that was handed over.
    let _first = MISSING.set(missing.map(|missing| (promised, missing)));
}

/// Takes what was handed over. Called once, before anything is bound; of anything that is no
/// listening socket of TCP or a Unix path the log says so.
///
/// # Errors
/// `LISTEN_FDS` promises a descriptor that is not open.
pub(crate) fn take_over() -> Result<(), String> {
    if let Some((promised, missing)) = MISSING.get().copied().flatten() {
        return Err(format!(
            "LISTEN_FDS={promised} promises the descriptors {FIRST} to {}, and {missing} is not open: the service \
             manager has handed over {}",
            FIRST.saturating_add(promised) - 1,
            missing - FIRST
        ));
    }
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for (index, descriptor) in (0..given.len()).zip(FIRST..) {
        let what = find_descriptor(descriptor).unwrap_or_default();
        let taken = take_socket(&mut given, index);
        match taken {
            Ok(Some((address, socket))) if socket.is_listener().is_ok_and(|listens| !listens) => {
                tracing::warn!(descriptor, %address, "a socket of the service manager does not listen");
            }
            Ok(Some((address, socket))) => {
                tracing::info!(%address, "socket of the service manager");
                sockets.push((address, socket));
            }
            Ok(None) | Err(_) => {
                let why = "no TCP socket, and no Unix socket with a path";
                tracing::warn!(
                    descriptor,
                    what,
                    why,
                    "a descriptor of the service manager cannot be used"
                );
            }
        }
    }
    // A second call, in tests, finds nothing that was handed over.
    let _first = INHERITED.set(sockets);
    Ok(())
}

/// Returns what a descriptor of this process is, as the kernel names it, such as `socket:[4711]`;
/// `None` if it is not open.
fn find_descriptor(descriptor: usize) -> Option<String> {
    let named = std::fs::read_link(format!("/proc/self/fd/{descriptor}"));
    named.ok().map(|name| name.display().to_string())
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
