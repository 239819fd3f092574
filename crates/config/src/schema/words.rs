//! Values that are one string with an inner form: addresses here, patterns, fields and parts of
//! requests beside.
//!
//! Each is read once, here, and cannot exist in a wrong form afterwards. Whether a name refers to
//! something is not decided here.

mod failures;
mod fields;
mod patterns;
mod request_parts;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

pub use self::failures::{RetryOn, StatusRange};
pub use self::fields::{HeaderName, HeaderText, Method, Secret};
pub use self::patterns::{HostPatternConfig, PatternConfig};
pub use self::request_parts::{ClientIp, HashKey, LimitKey, LogField, TokenPlace};
use crate::read::{WordReader, WrongValue, serialize_as_text};

/// Where a listener binds: `"0.0.0.0:80"`, `"[::]:443"`, `"unix:/run/x.sock"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 lets the system choose.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Where a server answers: `"10.0.0.1:80"`, `"app.internal:80"`, `"[::1]:80"`,
/// `"unix:/run/x.sock"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerAddress {
    /// An IP address and a port other than 0.
    Ip(SocketAddr),
    /// A host name, lowercase, to be resolved, and a port other than 0.
    Name {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A name server: `"127.0.0.1:5353"`, or an address alone for port 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameServer(pub SocketAddr);

/// A network: `"10.0.0.0/8"`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub IpNet);

/// A proxy whose word about its clients counts: a network, or `"unix:"` for whoever connects to a
/// Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustedProxy {
    /// Those with an address in it.
    Network(Network),
    /// Those at the other end of the listener's Unix sockets.
    Unix,
}

impl WordReader for ListenAddress {
    const WHAT: &'static str = "an address";
    const EXAMPLE: &'static str = "0.0.0.0:8080";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        text.parse().map(Self::Ip).map_err(|_| {
            let wrong = WrongValue::new(format!("\"{text}\" is not an address to listen on"));
            match text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text) {
                port if port.parse::<u16>().is_ok() => {
                    wrong.help(format!("write \"0.0.0.0:{port}\" or \"[::]:{port}\""))
                }
                _ if text.parse::<IpAddr>().is_ok() => wrong.help("a port is missing"),
                _ => wrong.help("write IP:PORT, [IPV6]:PORT or unix:/PATH"),
            }
        })
    }

    fn from_number(number: i64) -> Option<String> {
        u16::try_from(number).ok().map(|port| format!("0.0.0.0:{port}"))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(unix:/.+|[0-9.]+:[0-9]{1,5}|\\[[0-9a-fA-F:.%]+\\]:[0-9]{1,5})$" })
    }
}

/// Returns whether one machine can be at an IP address: groups and whole networks cannot.
#[must_use]
pub fn is_of_one_machine(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !ip.is_multicast() && ip != IpAddr::from([255; 4])
}

/// Returns whether an IP address is that of no machine in particular, which systems take for this
/// one. `::ffff:0.0.0.0` is that, too (RFC 4291 §2.5.5.2).
#[must_use]
pub fn is_of_no_machine(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

/// Returns whether an IP address leads nowhere without the name of an interface.
#[must_use]
pub fn needs_interface(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

impl WordReader for ServerAddress {
    const WHAT: &'static str = "a server address";
    const EXAMPLE: &'static str = "app.internal:8080";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(path).map(Self::Unix);
        }
        let wrong = || WrongValue::new(format!("\"{text}\" is not a server address"));
        if let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
            let host = rest.split('/').next().unwrap_or(rest);
            return Err(wrong().help(format!(
                "write \"{host}\" without a scheme; `tls` on the upstream turns TLS on"
            )));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(wrong().help(format!("a port is missing: write \"{text}:80\"")));
        };
        let port = match u16::from_str(port) {
            Ok(number @ 1..) if !port.starts_with('+') => number,
            _ => return Err(wrong().help("a port is a number from 1 to 65535")),
        };
        if let Some(inner) = host.strip_prefix('[') {
            let ip = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
            let ip = ip.ok_or_else(|| wrong().help("write [IPV6]:PORT"))?;
            return Ok(Self::Ip(SocketAddr::new(IpAddr::V6(ip), port)));
        }
        if host.contains(':') {
            return Err(wrong().help(format!("write \"[{host}]:{port}\"")));
        }
        match host.parse() {
            Ok(ip) => Ok(Self::Ip(SocketAddr::new(IpAddr::V4(ip), port))),
            Err(_) => match host_name(host) {
                // A name of digits alone is a mistyped IP address.
                Some(name) if !looks_like_ip(&name) => Ok(Self::Name { host: name, port }),
                _ => Err(wrong().help("write HOST:PORT, IP:PORT, [IPV6]:PORT or unix:/PATH")),
            },
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(unix:/.+|[0-9A-Za-z._-]+:[0-9]{1,5}|\\[[0-9a-fA-F:.]+\\]:[0-9]{1,5})$" })
    }
}

/// A Unix socket's path: absolute, and short enough for `sockaddr_un` (108 bytes with its end).
fn unix_path(path: &str) -> Result<PathBuf, WrongValue> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(
            WrongValue::new("a Unix socket needs an absolute path").help("write unix:/PATH")
        );
    }
    if path.len() > 107 {
        return Err(WrongValue::new("the path of a Unix socket has at most 107 bytes"));
    }
    Ok(path.into())
}

/// A host name in lowercase, or nothing if it is none (RFC 1123 §2.1, and `_`, which is in use).
fn host_name(text: &str) -> Option<String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    (name.len() <= 253 && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

fn looks_like_ip(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

impl WordReader for NameServer {
    const WHAT: &'static str = "a name server";
    const EXAMPLE: &'static str = "127.0.0.1:53";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let alone = text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53));
        match alone.or_else(|| text.parse().ok()) {
            Some(address) if address.port() != 0 => Ok(Self(address)),
            _ => Err(WrongValue::new(format!("\"{text}\" is not a name server"))
                .help("write IP, IP:PORT or [IPV6]:PORT")),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^([0-9a-fA-F:.]+|\\[[0-9a-fA-F:.]+\\]:[0-9]{1,5}|[0-9.]+:[0-9]{1,5})$" })
    }
}

impl WordReader for Network {
    const WHAT: &'static str = "a network";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let wrong = || WrongValue::new(format!("\"{text}\" is not a network"));
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(ip.to_canonical())));
        }
        let network: IpNet = text.parse().map_err(|_| wrong())?;
        // Bits below the mask mean that either the address or the mask is a mistake.
        if network.trunc() != network {
            return Err(WrongValue::new(format!("\"{text}\" has bits set beyond its mask"))
                .help(format!("write \"{}\"", network.trunc())));
        }
        Ok(Self(canonical(network)))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" })
    }
}

/// IPv4 networks are such however they are written: `::ffff:10.0.0.0/104` is 10.0.0.0/8.
fn canonical(network: IpNet) -> IpNet {
    let mapped = |v6: ipnet::Ipv6Net| {
        let v4 = v6.addr().to_ipv4_mapped()?;
        ipnet::Ipv4Net::new(v4, v6.prefix_len().checked_sub(96)?).ok()
    };
    match network {
        IpNet::V6(v6) => mapped(v6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

impl WordReader for TrustedProxy {
    const WHAT: &'static str = "a network or \"unix:\"";
    const EXAMPLE: &'static str = "10.0.0.0/8";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        if text == "unix:" { Ok(Self::Unix) } else { Network::parse_word(text).map(Self::Network) }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(unix:|[0-9a-fA-F:.]+(/[0-9]{1,3})?)$" })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

serialize_as_text!(ListenAddress, ServerAddress, NameServer, Network, TrustedProxy);

#[cfg(test)]
mod tests;
