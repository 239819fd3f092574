//! Values that are one string with an inner form: addresses, host patterns, header names, keys.
//!
//! Each is read once, here, and cannot exist in a wrong form afterwards. Whether a name refers to
//! something is not decided here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::read::{WordReader, WrongValue, not_one_of};
use crate::shown::mask;

/// How much a compiled regular expression may cost, in bytes.
const REGEX_SIZE: usize = 1 << 20;

/// Where a listener binds: `"0.0.0.0:80"`, `"[::]:443"`, `"unix:/run/x.sock"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 lets the system choose.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Where a server answers: `"10.0.0.1:80"`, `"app.internal:80"`, `"[::1]:80"`, `"unix:/run/x.sock"`.
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

/// The hosts a route is for: `"shop.example.com"` or `"*.example.com"`, lowercase, without port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPatternConfig {
    /// This host.
    Exact(String),
    /// All hosts below this one, at any depth; the text is what follows `*.`.
    Below(String),
}

/// A name server: `"127.0.0.1:5353"`, or an address alone for port 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameServer(pub SocketAddr);

/// A network: `"10.0.0.0/8"`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub IpNet);

/// A proxy whose word about its clients counts: a network, or `"unix:"` for whoever connects to a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustedProxy {
    /// Those with an address in it.
    Network(Network),
    /// Those at the other end of the listener's Unix sockets.
    Unix,
}

/// A regular expression of bounded cost.
#[derive(Debug, Clone)]
pub struct PatternConfig(regex::Regex);

/// A header name, lowercase (RFC 9110 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(http::HeaderName);

/// A header value without line breaks or other control characters (RFC 9110 §5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderText(http::HeaderValue);

/// A request method (RFC 9110 §9).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(http::Method);

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What a consistent hash, an affinity or a shard is computed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// Path and query.
    Uri,
    /// The path alone.
    Path,
    /// The address of the client.
    ClientIp,
    /// A request header.
    Header(http::HeaderName),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// A capture of the route's path.
    Capture(String),
}

/// What a limit counts by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// The address of the client; IPv6 per /64.
    ClientIp,
    /// All requests of a route together.
    Route,
    /// A request header.
    Header(http::HeaderName),
    /// A cookie.
    Cookie(String),
    /// A claim of the verified token.
    Jwt(String),
}

/// The field by which trusted proxies name clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientIp {
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `Forwarded`.
    Forwarded,
    /// Another one, with one address.
    Header(http::HeaderName),
}

/// What a line of the access log says besides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogField {
    /// A field of the request, by its name in lower case.
    Header(String),
    /// A claim of the verified token.
    Jwt(String),
}

/// Where a client's token is looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenPlace {
    /// `Authorization: Bearer`.
    Header,
    /// A cookie.
    Cookie(String),
    /// A query parameter, by its decoded name.
    Query(String),
}

/// A range of status codes: `"200-299"` or `"204"`, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatusRange {
    /// First code.
    pub first: u16,
    /// Last code.
    pub last: u16,
}

/// When a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// The connection could not be made.
    Connect,
    /// The connection broke before the head of the response.
    Reset,
    /// The head of the response did not come in time.
    Timeout,
    /// The response was not HTTP.
    Invalid,
    /// The response has this status, 500 to 599.
    Status(u16),
    /// A gRPC call ends with this status before its first message. Whoever names one allows calls to be repeated.
    Grpc(u8),
}

impl RetryOn {
    /// What gRPC calls its statuses that a repetition can help with.
    const GRPC: [(&'static str, u8); 5] = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("resource-exhausted", 8),
        ("internal", 13),
        ("unavailable", 14),
    ];
}

impl PatternConfig {
    /// The text of the expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &regex::Regex {
        &self.0
    }
}

impl PartialEq for PatternConfig {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl HeaderName {
    /// The name.
    #[must_use]
    pub fn get(&self) -> &http::HeaderName {
        &self.0
    }
}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl HeaderText {
    /// The value.
    #[must_use]
    pub fn get(&self) -> &http::HeaderValue {
        &self.0
    }
}

impl Method {
    /// `GET`.
    pub const GET: Self = Self(http::Method::GET);

    /// The method.
    #[must_use]
    pub fn get(&self) -> &http::Method {
        &self.0
    }
}

impl Secret {
    /// The secret itself; not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
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

/// Returns whether an IP address is that of no machine in particular, which systems take for this one. `::ffff:0.0.0.0` is
/// that, too (RFC 4291 §2.5.5.2).
#[must_use]
pub fn is_of_no_machine(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

/// Returns whether an IP address leads nowhere without the name of an interface.
#[must_use]
pub fn needs_interface(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The server at an IP address, or what keeps anybody from connecting to it.
fn server_at(text: &str, ip: IpAddr, port: u16) -> Result<ServerAddress, WrongValue> {
    let help = match ip {
        _ if needs_interface(ip) => {
            "it is one of each network that this machine is in: write another one, or a name"
        }
        _ if is_of_one_machine(ip) => return Ok(ServerAddress::Ip(SocketAddr::new(ip, port))),
        _ => "many machines have it: write that of one",
    };
    let message = format!("nobody can connect to \"{text}\"");
    Err(WrongValue::new(message).help(help))
}

impl WordReader for ServerAddress {
    const WHAT: &'static str = "a server address";
    const EXAMPLE: &'static str = "10.0.0.1:8080";

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
            return server_at(text, IpAddr::V6(ip), port);
        }
        if host.contains(':') {
            return Err(wrong().help(format!("write \"[{host}]:{port}\"")));
        }
        match host.parse() {
            Ok(ip) => server_at(text, IpAddr::V4(ip), port),
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

impl WordReader for HostPatternConfig {
    const WHAT: &'static str = "a host";
    const EXAMPLE: &'static str = "shop.example.com";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let wrong = || WrongValue::new(format!("\"{text}\" is not a host"));
        if let Some(below) = text.strip_prefix("*.") {
            return host_name(below)
                .map(Self::Below)
                .ok_or_else(|| wrong().help("a wildcard is \"*.\" and a host name"));
        }
        if text.contains('*') {
            return Err(wrong().help(
                "\"*\" may only stand for the labels on the left: \"*.example.com\"; leave `host` out \
                 to match every host",
            ));
        }
        let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(ip) = bracketed.and_then(|ip| ip.parse::<std::net::Ipv6Addr>().ok()) {
            return Ok(Self::Exact(format!("[{ip}]")));
        }
        if let Some((host, _)) = text.rsplit_once(':') {
            return Err(wrong().help(format!("a host has no port: write \"{host}\"")));
        }
        if !text.is_ascii() {
            return Err(wrong().help("write an international name in its xn-- form"));
        }
        host_name(text).map(Self::Exact).ok_or_else(wrong)
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^((\\*\\.)?[0-9A-Za-z._-]+|\\[[0-9a-fA-F:.]+\\])$" })
    }
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

impl WordReader for PatternConfig {
    const WHAT: &'static str = "a regular expression";
    const EXAMPLE: &'static str = "^/v[0-9]+/";
    const COSTLY: bool = true;

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match regex::RegexBuilder::new(text).size_limit(REGEX_SIZE).build() {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(WrongValue::new("this regular expression is too large")
                    .help("its compiled form may take 1 MiB; shorten its repetitions"))
            }
            Err(error) => {
                let text = error.to_string();
                // The last line says what is wrong, those before it draw a picture.
                let last = text.lines().last().unwrap_or(&text);
                let reason = last.trim_start_matches("error: ");
                Err(WrongValue::new(format!("invalid regular expression: {reason}"))
                    .help("a single-quoted TOML string needs no doubled backslashes"))
            }
        }
    }

    fn schema_keywords() -> Json {
        json!({ "format": "regex" })
    }
}

/// RFC 9110 §5.6.2.
const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

impl WordReader for HeaderName {
    const WHAT: &'static str = "a header name";
    const EXAMPLE: &'static str = "x-env";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        text.parse().map(Self).map_err(|_| {
            WrongValue::new(format!("{text:?} is not a header name"))
                .help("letters, digits and !#$%&'*+-.^_`|~ are allowed")
        })
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": TOKEN })
    }
}

impl WordReader for HeaderText {
    const WHAT: &'static str = "a header value";
    const EXAMPLE: &'static str = "prod";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let legal = |c: char| c == '\t' || !c.is_control();
        if !text.chars().all(legal) {
            return Err(WrongValue::new(
                "a header value cannot contain line breaks or control characters",
            )
            .help("send several values as several headers"));
        }
        http::HeaderValue::from_str(text)
            .or_else(|_| http::HeaderValue::from_bytes(text.as_bytes()))
            .map(Self)
            .map_err(|_| WrongValue::new(format!("{text:?} is not a header value")))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[^\\u0000-\\u0008\\u000a-\\u001f\\u007f]*$" })
    }
}

impl WordReader for Method {
    const WHAT: &'static str = "a method";
    const EXAMPLE: &'static str = "GET";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        // Methods are case-sensitive (RFC 9110 §9.1), so "get" would never match.
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(WrongValue::new(format!("{text:?} is not a method")).help(format!(
                "methods are case-sensitive: write {:?}",
                text.to_ascii_uppercase()
            )));
        }
        text.parse().map(Self).map_err(|_| WrongValue::new(format!("{text:?} is not a method")))
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[!#$%&'*+.^_`|~0-9A-Z-]+$" })
    }
}

impl WordReader for Secret {
    const WHAT: &'static str = "a secret";
    const EXAMPLE: &'static str = "${TOKEN}";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        if text.is_empty() {
            return Err(WrongValue::new("a secret cannot be empty"));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema_keywords() -> Json {
        json!({ "minLength": 1 })
    }
}

/// Splits `"header:x-id"`; the name behind the colon is never empty.
fn kind_and_name(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((kind, name)) if !name.is_empty() => (kind, Some(name)),
        _ => (text, None),
    }
}

fn header(name: &str) -> Result<http::HeaderName, WrongValue> {
    HeaderName::parse_word(name).map(|name| name.0)
}

impl WordReader for HashKey {
    const WHAT: &'static str = "a hash key";
    const EXAMPLE: &'static str = "header:x-user-id";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("uri", None) => Ok(Self::Uri),
            ("path", None) => Ok(Self::Path),
            ("client_ip", None) => Ok(Self::ClientIp),
            ("header", Some(name)) => header(name).map(Self::Header),
            ("cookie", Some(name)) => Ok(Self::Cookie(name.to_owned())),
            ("query", Some(name)) => Ok(Self::Query(name.to_owned())),
            ("capture", Some(name)) => Ok(Self::Capture(name.to_owned())),
            _ => Err(not_one_of(
                text,
                Self::WHAT,
                &[
                    "uri",
                    "path",
                    "client_ip",
                    "header:NAME",
                    "cookie:NAME",
                    "query:NAME",
                    "capture:NAME",
                ],
            )),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(uri|path|client_ip|(header|cookie|query|capture):.+)$" })
    }
}

impl WordReader for LimitKey {
    const WHAT: &'static str = "a limit key";
    const EXAMPLE: &'static str = "client_ip";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("client_ip", None) => Ok(Self::ClientIp),
            ("route", None) => Ok(Self::Route),
            ("header", Some(name)) => header(name).map(Self::Header),
            ("cookie", Some(name)) => Ok(Self::Cookie(name.to_owned())),
            ("jwt", Some(name)) => Ok(Self::Jwt(name.to_owned())),
            _ => Err(not_one_of(
                text,
                Self::WHAT,
                &["client_ip", "route", "header:NAME", "cookie:NAME", "jwt:CLAIM"],
            )),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(client_ip|route|(header|cookie|jwt):.+)$" })
    }
}

impl WordReader for ClientIp {
    const WHAT: &'static str = "a field that names clients";
    const EXAMPLE: &'static str = "header:cf-connecting-ip";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("x-forwarded-for", None) => Ok(Self::ForwardedFor),
            ("forwarded", None) => Ok(Self::Forwarded),
            ("header", Some(name)) => match header(name)? {
                name if matches!(name.as_str(), "x-forwarded-for" | "forwarded") => {
                    Err(WrongValue::new(format!("`{name}` is a chain, not one address"))
                        .help(format!("write \"{name}\"")))
                }
                name => Ok(Self::Header(name)),
            },
            (name, None) if header(name).is_ok() && name.contains('-') => {
                Err(WrongValue::new(format!("\"{text}\" is not {}", Self::WHAT))
                    .help(format!("write \"header:{}\"", name.to_ascii_lowercase())))
            }
            _ => {
                Err(not_one_of(text, Self::WHAT, &["x-forwarded-for", "forwarded", "header:NAME"]))
            }
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(x-forwarded-for|forwarded|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$" })
    }
}

impl WordReader for LogField {
    const WHAT: &'static str = "a field of the access log";
    const EXAMPLE: &'static str = "header:user-agent";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        const SECRETS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
        match kind_and_name(text) {
            ("header", Some(name)) => {
                let name = header(name)?.as_str().to_owned();
                if SECRETS.contains(&name.as_str()) {
                    return Err(WrongValue::new(format!("`{name}` is not written down"))
                        .help("it holds what clients prove who they are with; name a claim instead: \"jwt:sub\""));
                }
                Ok(Self::Header(name))
            }
            ("jwt", Some(claim)) => Ok(Self::Jwt(claim.to_owned())),
            _ => Err(not_one_of(text, Self::WHAT, &["header:NAME", "jwt:CLAIM"])),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(header|jwt):.+$" })
    }
}

impl WordReader for TokenPlace {
    const WHAT: &'static str = "a place of a token";
    const EXAMPLE: &'static str = "cookie:session";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match kind_and_name(text) {
            ("header", None) => Ok(Self::Header),
            ("header", Some(_)) => Err(WrongValue::new(format!(
                "\"{text}\" is not a place of a token"
            ))
            .help("\"header\" is `Authorization: Bearer`, and no other header is looked at")),
            // A cookie's name is a token, like a header's (RFC 6265 §4.1.1).
            ("cookie", Some(name)) if header(name).is_ok() => Ok(Self::Cookie(name.to_owned())),
            ("cookie", Some(name)) => {
                Err(WrongValue::new(format!("{name:?} is no name of a cookie")))
            }
            ("query", Some(name)) => Ok(Self::Query(name.to_owned())),
            _ => Err(not_one_of(text, Self::WHAT, &["header", "cookie:NAME", "query:NAME"])),
        }
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(header|(cookie|query):.+)$" })
    }
}

impl WordReader for StatusRange {
    const WHAT: &'static str = "a range of status codes";
    const EXAMPLE: &'static str = "200-299";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        let code = |text: &str| {
            text.parse().ok().filter(|code| text.len() == 3 && (100..=599).contains(code))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(WrongValue::new(format!("\"{text}\" is not a range of status codes"))
                .help("write \"200-299\" or \"204\"")),
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(number.to_string())
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$" })
    }
}

impl WordReader for RetryOn {
    const WHAT: &'static str = "a reason to retry";
    const EXAMPLE: &'static str = "connect";

    fn parse_word(text: &str) -> Result<Self, WrongValue> {
        match text {
            "connect" => Ok(Self::Connect),
            "reset" => Ok(Self::Reset),
            "timeout" => Ok(Self::Timeout),
            "invalid" => Ok(Self::Invalid),
            _ => match text.parse() {
                Ok(status @ 500..=599) if text.len() == 3 => Ok(Self::Status(status)),
                _ => {
                    let grpc = Self::GRPC.iter().find(|(name, _)| *name == text);
                    let words =
                        ["connect", "reset", "timeout", "invalid", "500", "502", "503", "504"];
                    let words = words.into_iter().chain(Self::GRPC.map(|(name, _)| name));
                    grpc.map(|(_, status)| Self::Grpc(*status))
                        .ok_or_else(|| not_one_of(text, Self::WHAT, &words.collect::<Vec<_>>()))
                }
            },
        }
    }

    fn from_number(number: i64) -> Option<String> {
        Some(number.to_string())
    }

    fn schema_keywords() -> Json {
        json!({ "pattern": "^(connect|reset|timeout|invalid|5[0-9]{2}|cancelled|deadline-exceeded|resource-exhausted|internal|unavailable)$" })
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

impl fmt::Display for HostPatternConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(host) => write!(f, "*.{host}"),
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

impl fmt::Display for PatternConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri => f.write_str("uri"),
            Self::Path => f.write_str("path"),
            Self::ClientIp => f.write_str("client_ip"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Capture(name) => write!(f, "capture:{name}"),
        }
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client_ip"),
            Self::Route => f.write_str("route"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Jwt(claim) => write!(f, "jwt:{claim}"),
        }
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForwardedFor => f.write_str("x-forwarded-for"),
            Self::Forwarded => f.write_str("forwarded"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl fmt::Display for LogField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Jwt(claim) => write!(f, "jwt:{claim}"),
        }
    }
}

impl fmt::Display for TokenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Invalid => f.write_str("invalid"),
            Self::Status(status) => status.fmt(f),
            Self::Grpc(status) => {
                let named = Self::GRPC.iter().find(|(_, of)| of == status);
                f.write_str(named.map_or("unavailable", |(name, _)| name))
            }
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&mask(&self.0))
    }
}

macro_rules! serialize_as_text {
    ($($type:ty),* $(,)?) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(
    ListenAddress,
    ServerAddress,
    HostPatternConfig,
    NameServer,
    Network,
    TrustedProxy,
    PatternConfig,
    HeaderName,
    HeaderText,
    Method,
    HashKey,
    LimitKey,
    ClientIp,
    LogField,
    TokenPlace,
    StatusRange,
    RetryOn,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses() {
        let ip = ListenAddress::Ip("[::]:443".parse().unwrap());
        assert_eq!(ListenAddress::parse_word("[::]:443").unwrap(), ip);
        let unix = ListenAddress::Unix("/run/a.sock".into());
        assert_eq!(ListenAddress::parse_word("unix:/run/a.sock").unwrap(), unix);
        for text in ["", "80", ":80", "localhost:80", "1.2.3.4", "1.2.3.4:65536", "unix:", "unix:a"]
        {
            assert!(ListenAddress::parse_word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn server_addresses() {
        let name = ServerAddress::Name { host: "app.internal".into(), port: 80 };
        assert_eq!(ServerAddress::parse_word("App.internal:80").unwrap(), name);
        assert!(ServerAddress::parse_word("[::1]:80").is_ok());
        for text in [
            "",
            "app",
            "app:0",
            "app:65536",
            "app:+80",
            "1.2.3:80",
            "::1:80",
            "[::1]",
            "[1.2.3.4]:80",
            "http://app:80",
            "a b:80",
            "-a:80",
            "a..b:80",
            ":80",
            "unix:x",
            "app:80/",
        ] {
            assert!(ServerAddress::parse_word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_stands_only_on_the_left() {
        let below = HostPatternConfig::Below("example.com".into());
        assert_eq!(HostPatternConfig::parse_word("*.Example.com").unwrap(), below);
        for text in ["*", "a.*.com", "*a.com", "*.*.com", "a.com:80", "", "bücher.de", "a/b"] {
            assert!(HostPatternConfig::parse_word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_header_cannot_be_split() {
        assert!(HeaderName::parse_word("x y").is_err());
        assert!(HeaderName::parse_word("x:").is_err());
        assert!(HeaderText::parse_word("a\r\nb: c").is_err());
        assert!(HeaderText::parse_word("a\0").is_err());
        assert!(HeaderText::parse_word("a\tb").is_ok());
    }

    #[test]
    fn a_regular_expression_has_a_bounded_size() {
        assert!(PatternConfig::parse_word("(").is_err());
        let wrong = PatternConfig::parse_word("(a{1000}){1000}").unwrap_err();
        assert_eq!(wrong.message, "this regular expression is too large");
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_mask() {
        assert_eq!(
            Network::parse_word("10.0.0.1/8").unwrap_err().help.unwrap(),
            "write \"10.0.0.0/8\""
        );
        assert_eq!(Network::parse_word("::1").unwrap().to_string(), "::1/128");
        // I6: an IPv4 network is one however it is written.
        assert_eq!(Network::parse_word("::ffff:10.0.0.0/104").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(Network::parse_word("::ffff:10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(Network::parse_word("::/0").unwrap().to_string(), "::/0");
        assert_eq!(TrustedProxy::parse_word("unix:").unwrap(), TrustedProxy::Unix);
        assert!(TrustedProxy::parse_word("unix").is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::parse_word("hunter2").unwrap();
        assert_eq!(format!("{secret} {secret:?}"), "******** ********");
        assert!(!serde_json::to_string(&secret).unwrap().contains("hunter2"));
    }
}
