//! How many descriptors the process may open, and how many client connections fit into that.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not for connections: listeners, logs, the admin endpoint, health checks,
/// files to reload, and those who wait for a place. No more than half of all.
const RESERVED: u64 = 128;
/// Memory that there must be for each client connection: three times what an idle one of TLS takes.
const MEMORY_OF_ONE: usize = 32 * 1024;

/// Raises the soft limit on descriptors to the hard one and returns what is allowed now.
#[must_use]
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: maximum, maximum };
    if current != maximum && setrlimit(Resource::Nofile, wanted).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

/// Returns how many client connections all listeners may have open together so that descriptors
/// never run out: each may need one more towards a server. Nor may they take most of the memory,
/// even if all of them are idle.
#[must_use]
pub fn connection_limit(descriptors: u64, memory: usize) -> u32 {
    let pairs = (descriptors - RESERVED.min(descriptors / 2)) / 2;
    let fitting = u64::try_from(memory / MEMORY_OF_ONE).unwrap_or(u64::MAX);
    u32::try_from(pairs.min(fitting)).unwrap_or(u32::MAX).clamp(4, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_connection_leaves_room_for_one_to_a_server() {
        let connections = |descriptors| connection_limit(descriptors, usize::MAX);
        assert_eq!(connections(1024), 448);
        assert_eq!(connections(256), 64);
        assert_eq!(connections(64), 16);
        assert_eq!(connections(0), 4);
        assert_eq!(connections(u64::MAX), 1_000_000);
    }
}
