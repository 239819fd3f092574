//! How servers prove who they are, and the proxy to them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{crypto_provider, pem, pinned};
use crate::files;

/// The protocols that are offered to a server (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlpnOffer {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// Both, HTTP/2 rather than HTTP/1.1.
    Either,
    /// None: what is spoken has no name there.
    Nothing,
}

impl AlpnOffer {
    const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::Either, Self::Nothing];

    fn alpn_protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            AlpnOffer::Http1 => &[b"http/1.1"],
            AlpnOffer::Http2 => &[b"h2"],
            AlpnOffer::Either => &[b"h2", b"http/1.1"],
            AlpnOffer::Nothing => &[],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// Connections that trust the system's certificate authorities, or those of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`. They are read when they are first needed.
///
/// # Errors
/// There are none.
pub fn system_config() -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    SYSTEM
        .get_or_init(|| system_roots().and_then(|roots| trusting_config(roots).map(Arc::new)))
        .clone()
}

/// Connections that trust the authorities of a PEM file, and certificates that are in it.
///
/// # Errors
/// The file cannot be used.
pub fn pinned_config(ca: &Path) -> Result<Arc<ClientConfig>, String> {
    client_config(ConnectorSettings { verify: true, ca: Some(ca), identity: None }).map(Arc::new)
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that no library reads.
    let (usable, _unusable) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!("this system has no certificate authorities{why}"));
    }
    Ok(roots)
}

fn trusting_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The demands of an upstream's `tls`.
#[derive(Debug, Clone, Copy)]
pub struct ConnectorSettings<'a> {
    /// Certificates are verified.
    pub verify: bool,
    /// By these authorities; `None` is those of the system.
    pub ca: Option<&'a Path>,
    /// The proxy's own certificate and its key.
    pub identity: Option<(&'a Path, &'a Path)>,
}

/// The settings of connections to an upstream's servers, with the sessions that can be resumed.
#[derive(Debug)]
pub struct OutgoingTls {
    /// Unique in the process. A connection is only used again under the settings it was made with.
    pub id: u64,
    /// A hash of all that was asked for, the contents of files included.
    fingerprint: [u8; 32],
    /// One for each [`AlpnOffer`], with the same sessions.
    configs: [Arc<ClientConfig>; 4],
}

impl OutgoingTls {
    /// Compiles what was asked for, or returns `known` if that is the same.
    ///
    /// # Errors
    /// A file that cannot be used, or a key that does not belong to its certificate.
    pub fn new(
        wanted: ConnectorSettings<'_>,
        known: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let fingerprint = settings_fingerprint(wanted);
        if let Some(known) = known.filter(|known| known.fingerprint == fingerprint) {
            return Ok(known.clone());
        }
        let config = client_config(wanted)?;
        let configs = AlpnOffer::ALL.map(|offer| {
            let mut config = config.clone();
            config.alpn_protocols = offer.alpn_protocols();
            Arc::new(config)
        });
        let id = NEXT.fetch_add(1, Relaxed);
        Ok(Arc::new(Self { id, fingerprint, configs }))
    }

    /// Makes a connection secure.
    ///
    /// # Errors
    /// The server is not the one it should be, or does not speak TLS.
    pub async fn secure_connection(
        &self,
        stream: TcpStream,
        name: ServerName<'static>,
        offer: AlpnOffer,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let [http1, http2, either, nothing] = &self.configs;
        let config = match offer {
            AlpnOffer::Http1 => http1,
            AlpnOffer::Http2 => http2,
            AlpnOffer::Either => either,
            AlpnOffer::Nothing => nothing,
        };
        TlsConnector::from(config.clone()).connect(name, stream).await
    }
}

/// The settings for one server.
#[derive(Debug, Clone)]
pub struct TlsTarget {
    /// Shared by all servers of the upstream.
    pub outgoing: Arc<OutgoingTls>,
    /// The name that its certificate must be good for.
    pub name: ServerName<'static>,
}

impl PartialEq for TlsTarget {
    fn eq(&self, other: &Self) -> bool {
        self.outgoing.id == other.outgoing.id && self.name == other.name
    }
}

fn client_config(
    ConnectorSettings { verify, ca, identity }: ConnectorSettings<'_>,
) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if verify {
        match ca {
            Some(ca) => {
                let verifier = pinned::PinnedServers::new(pem::read_authorities(ca)?)?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            None => builder.with_root_certificates(system_roots()?),
        }
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(crypto_provider())))
    };
    let Some((cert, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    // Checks that they belong together.
    super::TlsIdentity::load_files(cert, key)?;
    builder
        .with_client_auth_cert(pem::read_certificates(cert)?, pem::read_key(key)?)
        .map_err(|error| format!("{}: {error}", cert.display()))
}

fn settings_fingerprint(
    ConnectorSettings { verify, ca, identity }: ConnectorSettings<'_>,
) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix([u8::from(verify)]);
    let (cert, key) = identity.unzip();
    for path in [ca, cert, key] {
        // A file that cannot be read is an error elsewhere.
        let text = path.map(|path| files::read_bounded(path, files::LARGEST).unwrap_or_default());
        hash.update([u8::from(text.is_some())]);
        hash.update(Sha256::digest(text.unwrap_or_default()));
    }
    hash.finalize().into()
}

/// `verify = false`: whoever answers is the server.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        pinned::verify_tls12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        pinned::verify_tls13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
