//! The bytes that were sent on a connection of TCP and that the other side's system has not
//! acknowledged, as this one counts them (`sock_diag(7)`).
//!
//! That a socket takes more says less: a system that is short of memory for sockets takes nothing
//! for a long time, however fast the other side reads. The answer is there as soon as the question
//! is asked, so nothing waits; it costs two calls, and is asked for only where somebody may be cut
//! for not reading.

use std::cell::{Cell, OnceCell};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK`, `NETLINK_SOCK_DIAG`, `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST` and `IPPROTO_TCP` of
/// Linux.
const NETLINK: i32 = 16;
const SOCK_DIAG: i32 = 4;
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
/// The length of `struct nlmsghdr` and of `struct inet_diag_req_v2`, and the place of
/// `idiag_wqueue` in an answer.
const HEADER: usize = 16;
const QUESTION: usize = 56;
const UNTAKEN_AT: usize = HEADER + 4 + 48 + 4 + 4;
/// Answers that are read for a question.
const ANSWERS: usize = 8;

thread_local! {
    /// The socket for such questions; `None` where the system has none.
    static ASKED: OnceCell<Option<Socket>> = const { OnceCell::new() };
    /// The number of the last question.
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

/// Counts them on the connection between these addresses. `None` where the system does not tell.
#[cold]
#[must_use]
pub fn count_untaken(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    ASKED.with(|asked| {
        let mut socket = asked.get_or_init(open_socket).as_ref()?;
        let number = NUMBER.get().wrapping_add(1);
        NUMBER.set(number);
        socket.send(&write_question(number, local, remote)).ok()?;
        // One that nobody fetched may be before it.
        for _ in 0..ANSWERS {
            let mut answer = [0; 256];
            let length = socket.read(&mut answer).ok()?;
            let answer = answer.get(..length)?;
            if answer.get(8..12) == Some(&number.to_ne_bytes()[..]) {
                return read_answer(answer);
            }
        }
        None
    })
}

fn open_socket() -> Option<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    Socket::new(Domain::from(NETLINK), kind, Some(Protocol::from(SOCK_DIAG))).ok()
}

fn write_question(number: u32, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + QUESTION);
    out.extend_from_slice(&u32::try_from(HEADER + QUESTION).unwrap_or(0).to_ne_bytes());
    out.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&REQUEST.to_ne_bytes());
    out.extend_from_slice(&number.to_ne_bytes());
    // Whose question it is: nobody else asks here.
    out.extend_from_slice(&[0; 4]);
    let [v4, v6] = FAMILIES;
    out.extend_from_slice(&[if local.is_ipv6() { v6 } else { v4 }, TCP, 0, 0]);
    // In whatever state.
    out.extend_from_slice(&u32::MAX.to_ne_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
    out.extend_from_slice(&remote.port().to_be_bytes());
    for end in [local, remote] {
        match end.ip() {
            IpAddr::V4(ip) => {
                out.extend_from_slice(&ip.octets());
                out.extend_from_slice(&[0; 12]);
            }
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    let interface = match local {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(local) => local.scope_id(),
    };
    out.extend_from_slice(&interface.to_ne_bytes());
    // Whichever it is (`INET_DIAG_NOCOOKIE`).
    out.extend_from_slice(&[0xff; 8]);
    out
}

fn read_answer(answer: &[u8]) -> Option<u32> {
    let kind = answer.get(4..6)?.first_chunk().copied().map(u16::from_ne_bytes)?;
    let untaken = answer.get(UNTAKEN_AT..)?.first_chunk().copied().map(u32::from_ne_bytes)?;
    (kind == BY_FAMILY).then_some(untaken)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_is_read_is_taken_and_what_is_not_is_counted() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(place).unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            let (local, remote) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
            assert_eq!(count_untaken(local, remote), Some(0));
            near.set_nonblocking(true).unwrap();
            let mut sent = 0;
            while let Ok(n) = near.write(&[0; 65536]) {
                sent += n;
            }
            let untaken = count_untaken(local, remote).unwrap();
            assert!(untaken > 0 && untaken as usize <= sent, "{untaken} of {sent}");
            let mut left = vec![0; sent];
            far.read_exact(&mut left).unwrap();
            while count_untaken(local, remote) != Some(0) {
                std::thread::yield_now();
            }
            drop((near, far));
            assert_eq!(count_untaken(local, SocketAddr::new(remote.ip(), 1)), None);
        }
    }
}
