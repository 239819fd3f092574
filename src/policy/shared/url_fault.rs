//! The fault of a URL of `[redis]` that cannot be used. The message repeats nothing of the URL: a
//! password may be in it, and where nobody expects one.

use std::net::Ipv6Addr;

/// Returns which part of a URL is wrong, and how.
#[cold]
pub(super) fn find_url_fault(url: &str) -> &'static str {
    let (scheme, rest) = match url.split_once("://") {
        Some(parts) => parts,
        None => url.strip_prefix("unix:").map_or(("redis", url), |path| ("unix", path)),
    };
    match &*scheme.to_ascii_lowercase() {
        "redis" | "rediss" | "valkey" | "valkeys" => find_network_fault(rest),
        "unix" | "redis+unix" | "valkey+unix" => find_socket_fault(rest),
        _ => "the scheme is none of redis, rediss, valkey, valkeys and unix",
    }
}

fn find_socket_fault(rest: &str) -> &'static str {
    if rest.contains('#') {
        return "nothing of a Redis is behind a `#`";
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return "the path of the socket does not begin with a slash";
    }
    if has_bad_number(find_parameter(query, "db").unwrap_or_default()) {
        return "the database (`db`) is no number";
    }
    find_common_fault(query)
}

fn find_network_fault(rest: &str) -> &'static str {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    if behind.contains('@') {
        return "the user or the password has a `/`, `?` or `#`, which is written %2F, %3F or %23";
    }
    if behind.ends_with("#insecure") {
        return "certificates are always verified; `ca` names whom to trust";
    }
    if behind.contains('#') {
        return "nothing of a Redis is behind a `#`; in a password it is written %23";
    }
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    if let Some(fault) = find_server_fault(server) {
        return fault;
    }
    let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
    if has_bad_number(path.trim_matches('/')) {
        return "the database, behind the `/`, is no number";
    }
    find_common_fault(query)
}

/// Looks at `HOST:PORT`.
fn find_server_fault(server: &str) -> Option<&'static str> {
    let (host, port) = if let Some(address) = server.strip_prefix('[') {
        let Some((address, port)) = address.split_once(']') else {
            return Some("the `]` behind the IPv6 address is missing");
        };
        if address.parse::<Ipv6Addr>().is_err() {
            return Some("what is in brackets is no IPv6 address");
        }
        (address, port.strip_prefix(':').unwrap_or(port))
    } else if server.matches(':').count() > 1 {
        return Some("an IPv6 address is written in brackets");
    } else {
        server.split_once(':').unwrap_or((server, ""))
    };
    if host.is_empty() {
        return Some("the host is missing");
    }
    if host == "0.0.0.0" || host == "::" {
        return Some("the host is the address of no server");
    }
    if !port.is_empty() && port.parse::<u16>().is_err() {
        return Some("the port is no number from 1 to 65535");
    }
    let odd = |byte: u8| byte <= b' ' || b"\"<>\\^`{|}".contains(&byte);
    host.bytes().any(odd).then_some("the host is no name of a host")
}

/// Returns the fault of what all kinds of URLs have, once the rest is known to be right.
fn find_common_fault(query: &str) -> &'static str {
    match find_parameter(query, "protocol") {
        Some(protocol) if !["2", "3", "resp2", "resp3"].contains(&protocol) => {
            "the protocol is neither resp2 nor resp3"
        }
        Some(_) | None => "the user or the password is not UTF-8 once its %XX are read",
    }
}

fn find_parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Returns whether a database is given and no number.
fn has_bad_number(text: &str) -> bool {
    !text.is_empty() && text.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::super::connector::RedisUrl;

    #[test]
    fn a_wrong_url_is_told_which_part_is_wrong() {
        for (url, part) in [
            ("http://cache.test", "the scheme is none of"),
            ("redis://", "the host is missing"),
            ("redis://:pass@:6379", "the host is missing"),
            ("redis://cache.test:redis", "the port is no number"),
            ("cache.test:70000", "the port is no number"),
            ("redis://0.0.0.0:6379", "the address of no server"),
            ("REDIS://0.0.0.0:6379", "the address of no server"),
            ("redis://fd00::1:6379", "in brackets"),
            ("redis://[fd00::1:6379", "the `]`"),
            ("redis://[fd00::x]:6379", "no IPv6 address"),
            ("redis://ca che.test", "the host is no name"),
            ("redis://cache.test/main", "the database"),
            ("redis://:pa/ss@cache.test/0", "written %2F"),
            ("redis://:pa#ss@cache.test/0", "written %2F"),
            ("rediss://cache.test#insecure", "certificates are always verified"),
            ("rediss://cache.test#x", "behind a `#`"),
            ("redis://:%ff@cache.test", "not UTF-8"),
            ("redis://cache.test?protocol=4", "the protocol"),
            ("unix:///run/a#b.sock", "behind a `#`"),
            ("unix:redis.sock", "the path of the socket"),
            ("unix:///run/redis.sock?db=a", "the database"),
        ] {
            let Err(error) = RedisUrl::parse_url(url) else { panic!("{url}") };
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
