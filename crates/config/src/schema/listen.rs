//! Where clients come in: `[[listen]]`.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use super::bind::Bind;
use super::defaults;
use super::forms::OneOrMany;
use super::units::{Bytes, OrOff, Timeout};
use super::words::{ClientIp, TrustedProxy};
use crate::read::{settings, table, words};
use crate::source::{Place, Spanned};

table! {
    /// A listener.
    pub struct Listen {
        [#[serde(skip)] place: Place]
        /// A name for routes to refer to. Routes without `listen` belong to every listener.
        name: Option<Spanned<String>> = None,
        /// Where it binds: IP:PORT, unix:/PATH or { unix, mode, group }, one or several.
        address: OneOrMany<Spanned<Bind>>,
        /// Answers every request with a redirect; "https": 308 to the same host and path.
        redirect: Option<Spanned<ListenRedirect>> = None,
        /// Certificates; several are chosen by SNI, the first is the default.
        tls: OneOrMany<Tls> = OneOrMany::default(),
        /// Also serves HTTP/3 on the same ports.
        http3: bool = false,
        /// Networks whose X-Forwarded-* fields and PROXY headers count; "unix:" for whoever
        /// connects to a Unix socket of the listener. Default: nobody's.
        trusted_proxies: Vec<Spanned<TrustedProxy>> = Vec::new(),
        /// Which field of a trusted proxy names the client: "x-forwarded-for", "forwarded" (RFC
        /// 7239), or "header:NAME" for one that holds a single address, such as
        /// "header:cf-connecting-ip". Who is not trusted cannot send that field.
        client_ip: ClientIp = ClientIp::ForwardedFor,
        /// Accepts PROXY v1 and v2, from trusted proxies only.
        proxy_protocol: bool = false,
        /// Upper bounds.
        limits: ListenLimits = ListenLimits::default(),
        /// How long is waited for a client.
        timeout: ListenTimeout = ListenTimeout::default(),
        /// What happens to requests that two servers could understand differently.
        strict: Strict = Strict::default(),
    }
}

impl Listen {
    /// Its name, or its first address.
    #[must_use]
    pub fn shown_name(&self) -> String {
        let first = || self.address.first().map(|a| a.value.to_string()).unwrap_or_default();
        self.name.as_ref().map_or_else(first, |name| name.value.clone())
    }
}

words! {
    /// Where a redirecting listener sends its clients.
    pub enum ListenRedirect ("a redirect of a listener") {
        /// 308 to the same host and path with `https`.
        Https = "https",
    }
}

settings! {
    /// Upper bounds of a listener.
    pub struct ListenLimits {
        /// Open client connections. At the limit those that have been idle longest make room. All
        /// listeners together have no more than the file descriptor limit allows, which is the
        /// default.
        connections: Option<NonZeroU32> = None,
        /// Open connections of one client, by its address (IPv6: its /64). Trusted proxies are not
        /// counted, but those whom they name in a PROXY header. Default: no cap.
        connections_per_client: Option<NonZeroU32> = None,
        /// Requests after which a connection is ended: Connection: close, or GOAWAY. Default: no
        /// cap.
        requests_per_connection: Option<NonZeroU32> = None,
        /// Bytes of a request head.
        header_bytes: Spanned<Bytes> = defaults::HEADER_BYTES.into(),
        /// Number of header fields of a request.
        headers: NonZeroU16 = defaults::HEADERS,
        /// Bytes of a request body; a route can say otherwise with `body_limit`.
        body: Bytes = defaults::BODY,
        /// Concurrent streams of an HTTP/2 or HTTP/3 connection.
        streams: NonZeroU16 = defaults::STREAMS,
    }
}

settings! {
    /// How long is waited for a client.
    pub struct ListenTimeout {
        /// For the whole TLS handshake.
        tls: Timeout = defaults::TLS_HANDSHAKE,
        /// For a whole request head, from its first byte.
        headers: Timeout = defaults::CLIENT_HEADERS,
        /// For the next request on a connection.
        idle: Timeout = defaults::CLIENT_IDLE,
        /// Between two pieces of a request body.
        body_gap: Timeout = defaults::BODY_GAP,
        /// Between two signs that the client takes what it is sent: a successful write, or bytes of
        /// earlier ones that its system has acknowledged.
        write_gap: Timeout = defaults::WRITE_GAP,
        /// For a whole connection, within 10 % less: then it is ended as soon as what is under way
        /// has been answered.
        connection_age: OrOff<Timeout> = OrOff::Off,
    }
}

settings! {
    /// What happens to requests that two servers could understand differently.
    pub struct Strict {
        /// Header names with an underscore.
        underscores: UnderscoresConfig = UnderscoresConfig::Drop,
        /// Refuses TRACE and CONNECT, which ask a proxy to reveal or to tunnel.
        max_forwards: bool = true,
        /// Dot segments and encoded slashes.
        path: StrictPath = StrictPath::Normalize,
        /// Requests for another host than the TLS connection was made for.
        sni: StrictSni = StrictSni::ClientAuth,
        /// Methods of requests; `max_forwards` is asked beside it.
        methods: StrictMethods = StrictMethods::Known,
    }
}

words! {
    /// Which methods are let through.
    pub enum StrictMethods ("a treatment of methods") {
        /// Those written as all known ones are: capitals, digits and `-`. Everything else is
        /// refused with 501.
        Known = "known",
        /// Every token (RFC 9110 §9.1), such as `get`, which is another method than `GET`.
        Any = "any",
    }
}

words! {
    /// What happens to header names with an underscore.
    pub enum UnderscoresConfig ("a treatment of underscores") {
        /// The field is dropped.
        Drop = "drop",
        /// The request is refused with 400.
        Refuse = "refuse",
        /// The field is forwarded.
        Keep = "keep",
    }
}

words! {
    /// When a request whose host is not the one of its TLS connection is refused with 421.
    pub enum StrictSni ("a treatment of names") {
        /// Where the host's own certificate asks for client certificates in another way than the
        /// one that was shown.
        ClientAuth = "client_auth",
        /// Also where the certificate that was shown is not good for the host.
        Always = "always",
        /// Never.
        Off = "off",
    }
}

words! {
    /// What happens to dot segments and encoded slashes.
    pub enum StrictPath ("a treatment of paths") {
        /// Dot segments are resolved before a route is chosen; what cannot be resolved safely is
        /// refused. The same bytes are forwarded as were matched.
        Normalize = "normalize",
        /// The request is refused with 400.
        Refuse = "refuse",
    }
}

table! {
    /// A certificate, or an account to get one.
    pub struct Tls {
        [#[serde(skip)] place: Place]
        /// PEM file with the certificate chain.
        cert: Option<PathBuf> = None,
        /// PEM file with the private key.
        key: Option<PathBuf> = None,
        /// Certificates by ACME, in place of `cert` and `key`.
        acme: Option<Acme> = None,
        /// PEM file with the authorities of client certificates.
        client_ca: Option<PathBuf> = None,
        /// Files with revocation lists of those authorities, PEM or DER. As with nginx, each
        /// authority of a chain needs one that has not expired.
        client_crl: OneOrMany<PathBuf> = OneOrMany::default(),
        /// Whether a client must have a certificate. Default with `client_ca`: required.
        client_auth: Option<ClientAuth> = None,
        /// The oldest version of TLS that is spoken.
        min_version: TlsVersion = TlsVersion::V1_2,
    }
}

words! {
    /// Whether a client must have a certificate.
    pub enum ClientAuth ("a rule for client certificates") {
        /// Clients without one are refused.
        Required = "required",
        /// A certificate is verified where there is one.
        Optional = "optional",
    }
}

words! {
    /// Versions of TLS.
    pub enum TlsVersion ("a TLS version") {
        /// TLS 1.2.
        V1_2 = "1.2",
        /// TLS 1.3.
        V1_3 = "1.3",
    }
}

table! {
    /// Certificates by ACME (RFC 8555).
    pub struct Acme {
        /// The names to ask for.
        domains: Vec<Spanned<String>>,
        /// Contact of the account.
        email: Option<String> = None,
        /// URL of the directory.
        directory: Option<Spanned<String>> = None,
        /// Directory in which account and certificates are kept.
        storage: PathBuf,
    }
}
