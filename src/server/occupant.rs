//! Who listens on an address that is taken: an operator who starts a second process wants to know
//! which the first is.
//!
//! Asked only when binding has failed. Processes of other users stay unnamed.

use std::fs;
use std::os::unix::net::UnixStream;

/// The state of a listening socket in `/proc/net/tcp` (Linux, include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// The process that listens on a TCP port, as `nginx (process 1234)`.
pub(super) fn of_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|at| fs::read_to_string(at).ok());
    let lines = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
    let inodes: Vec<String> = lines.filter_map(|line| listening_inode(line, port)).collect();
    let mut processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok).filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
        (pid != std::process::id()).then_some(pid)
    });
    processes.find(|pid| holds_inode(*pid, &inodes)).map(process_name)
}

/// The inode of a line that is about a socket that listens on a port.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, of) = words.get(1)?.rsplit_once(':')?;
    let right = u16::from_str_radix(of, 16) == Ok(port) && *words.get(3)? == LISTEN;
    right.then(|| words.get(9).map(|inode| format!("socket:[{inode}]")))?
}

fn holds_inode(pid: u32, inodes: &[String]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links = open.filter_map(Result::ok).filter_map(|entry| fs::read_link(entry.path()).ok());
    let mut links = links.filter_map(|link| link.to_str().map(str::to_owned));
    links.any(|link| inodes.contains(&link))
}

/// The process at the other end of a Unix socket.
pub(super) fn of_peer(peer: &UnixStream) -> Option<String> {
    let peer = rustix::net::sockopt::socket_peercred(peer).ok()?;
    Some(process_name(peer.pid.as_raw_nonzero().get().unsigned_abs()))
}

fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {pid}"),
        name => format!("{name} (process {pid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 424242 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listening_inode(line, 8080), Some("socket:[424242]".to_owned()));
        assert_eq!(listening_inode(line, 8081), None);
        assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(listening_inode("", 1), None);
    }
}
