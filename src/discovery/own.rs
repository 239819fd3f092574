//! Whether a server is the proxy itself: what is forwarded there comes back for ever.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Returns whether who connects to `address` comes to somebody who listens at `listens`.
pub(super) fn is_same_place(
    listens: SocketAddr,
    address: SocketAddr,
    is_local: fn(IpAddr) -> bool,
) -> bool {
    let (at, ip) = (listens.ip().to_canonical(), address.ip().to_canonical());
    if listens.port() != address.port() {
        return false;
    }
    match at.is_unspecified() {
        // `[::]` is IPv4 as well.
        true if at.is_ipv4() && ip.is_ipv6() => false,
        true => ip.is_loopback() || ip.is_unspecified() || is_local(ip),
        false => at == ip,
    }
}

/// Returns whether an address is one of this machine's: no socket can have another one.
pub(super) fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_machine_counts_where_all_of_them_are_listened_at() {
        let local = |ip: IpAddr| ip == IpAddr::from([10, 0, 0, 5]);
        for (listens, address, expected) in [
            ("10.0.0.5:80", "10.0.0.5:80", true),
            ("10.0.0.5:80", "10.0.0.5:81", false),
            ("10.0.0.5:80", "10.0.0.6:80", false),
            ("10.0.0.5:80", "[::ffff:10.0.0.5]:80", true),
            ("0.0.0.0:80", "10.0.0.5:80", true),
            ("0.0.0.0:80", "10.0.0.6:80", false),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "10.0.0.5:80", true),
        ] {
            let found = is_same_place(listens.parse().unwrap(), address.parse().unwrap(), local);
            assert_eq!(found, expected, "{listens} {address}");
        }
        assert!(is_local([127, 0, 0, 1].into()));
        // TEST-NET-1 (RFC 5737) belongs to nobody.
        assert!(!is_local([192, 0, 2, 1].into()));
    }
}
