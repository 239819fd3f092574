//! What a handshake told about a connection.

use std::sync::Arc;

use rustls::ServerConnection;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity::{CertificateNames, alternative_names};
use super::server::{TlsProfile, TlsServer};

/// A connection that is secure.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    server: Arc<TlsServer>,
    profile: TlsProfile,
    /// The name the client asked for, in lower case.
    pub name: Option<Box<str>>,
    /// HTTP/2 was agreed on.
    pub http2: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The client's certificate, if it has proved who it is.
    pub client: Option<Certificate>,
}

/// A client's certificate, which one of the listener's authorities has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The subject (RFC 4514), in printable ASCII.
    pub subject: Box<str>,
    /// The alternative names, addresses among them.
    pub names: Box<[Box<str>]>,
    /// SHA-256 of it, in hex digits.
    pub fingerprint: Box<str>,
}

/// The rule for misdirected requests: those for another host than the client asked for in its
/// handshake, if …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdirected {
    /// … the host's own certificate asks for client certificates, and not as the one that was shown
    /// does. Everything else is let through: clients that ask for no name, as by address, are many.
    ClientAuth,
    /// … the certificate that was shown is not good for it, or something else is asked of its
    /// clients.
    Always,
    /// None.
    Never,
}

impl TlsInfo {
    /// Reads a connection that has been made with this profile.
    #[must_use]
    pub fn from_connection(
        server: Arc<TlsServer>,
        profile: TlsProfile,
        connection: &ServerConnection,
    ) -> Self {
        let name = connection.server_name().map(|name| name.to_ascii_lowercase().into());
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let client = connection.peer_certificates().and_then(|chain| chain.first());
        let http2 = connection.alpn_protocol() == Some(b"h2");
        Self {
            server,
            profile,
            name,
            http2,
            version,
            client: client.and_then(|leaf| parse_certificate(leaf)),
        }
    }

    /// Returns whether requests for this host, in lower case, belong here (RFC 9110 §7.4,
    /// §15.5.20).
    #[must_use]
    pub fn belongs_here(&self, host: &str, misdirected: Misdirected) -> bool {
        let shown = (self.name.as_deref(), self.profile);
        host_belongs(&self.server, shown, host, misdirected)
    }
}

/// Returns whether requests for a host belong on a connection that was made for a name, and so with
/// a profile.
#[must_use]
pub fn host_belongs(
    server: &TlsServer,
    (asked, profile): (Option<&str>, TlsProfile),
    host: &str,
    misdirected: Misdirected,
) -> bool {
    // HTTP/1.0 names no host.
    if host.is_empty() || asked == Some(host) {
        return true;
    }
    match misdirected {
        Misdirected::Never => true,
        Misdirected::ClientAuth => !server.asks_more(host, profile),
        Misdirected::Always => server.covers_host(asked, host, profile),
    }
}

/// Returns what the first certificate of a PEM file says about a client that has it.
///
/// # Errors
/// Why it cannot be read.
pub fn read_client(file: &std::path::Path) -> Result<Certificate, String> {
    let chain = super::pem::read_certificates(file)?;
    let leaf = chain.first().and_then(|leaf| parse_certificate(leaf));
    leaf.ok_or_else(|| format!("{} has no certificate", file.display()))
}

fn name_texts(CertificateNames { dns, ip }: CertificateNames) -> Box<[Box<str>]> {
    let ip = ip.iter().map(|ip| ip.to_string().into());
    dns.into_iter().chain(ip).collect()
}

fn parse_certificate(der: &[u8]) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject: String = certificate.subject().to_string();
    let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    let fingerprint: String =
        Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Certificate {
        subject: subject.chars().map(printable).collect::<String>().into(),
        names: name_texts(alternative_names(&certificate)),
        fingerprint: fingerprint.into(),
    })
}
