//! Certificates that are trusted themselves, because a file of authorities lists them.
//!
//! `openssl req -x509` makes a certificate that signs itself and is shown by its server. Path
//! validation knows authorities and those they sign for (RFC 5280 §6), and refuses one that is
//! both; OpenSSL, and with it nginx and curl, trusts what is listed. So a certificate that is byte
//! for byte one of the list is taken, in its time and for its name. Its signature in the handshake
//! still proves that the other side has the key.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

use super::crypto_provider;
use super::identity::{CertificateNames, alternative_names};
use super::revocation::RevocationList;

/// The certificates that a file of authorities lists.
#[derive(Debug)]
pub struct Authorities {
    /// To validate paths with.
    pub(super) roots: Arc<RootCertStore>,
    /// The same certificates, to be recognised when they are shown themselves.
    listed: Box<[CertificateDer<'static>]>,
}

impl Authorities {
    /// All of these certificates.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) fn new(listed: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            roots.add(certificate.clone())?;
        }
        Ok(Self { roots: Arc::new(roots), listed: listed.into() })
    }

    /// The same without those that a list of what was revoked names: the path of a certificate ends
    /// at what is listed here, and nobody looks there any more.
    ///
    /// # Errors
    /// One of them cannot be read, or none is left.
    pub(super) fn without_revoked(self, revoked: &[RevocationList]) -> Result<Self, String> {
        let is_revoked = |certificate: &CertificateDer<'_>| {
            X509Certificate::from_der(certificate)
                .is_ok_and(|(_, read)| revoked.iter().any(|list| list.names_certificate(&read)))
        };
        let listed: Vec<_> = self.listed.iter().filter(|one| !is_revoked(one)).cloned().collect();
        if listed.len() == self.listed.len() {
            return Ok(self);
        }
        if listed.is_empty() {
            return Err("all of its certificates are revoked by `client_crl`".to_owned());
        }
        Self::new(listed).map_err(|error| error.to_string())
    }

    /// Returns whether a list says that it is one of these authorities', and none of them has
    /// signed it: it would refuse everybody whom that authority has signed for.
    pub(super) fn disown(&self, list: &RevocationList) -> bool {
        let listed = self.listed.iter().filter_map(|one| X509Certificate::from_der(one).ok());
        let mut own = listed.map(|(_, read)| read).filter(|read| list.is_of(read)).peekable();
        own.peek().is_some() && !own.any(|authority| list.is_signed_by(&authority))
    }

    /// The certificate, if the list has it and its time is now.
    fn find_listed<'c>(
        &self,
        shown: &'c CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<X509Certificate<'c>, CertificateError>> {
        if !self.listed.iter().any(|listed| **listed == **shown) {
            return None;
        }
        let Ok((_, certificate)) = X509Certificate::from_der(shown) else {
            return Some(Err(CertificateError::BadEncoding));
        };
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        Some(match () {
            () if now < validity.not_before.timestamp() => Err(CertificateError::NotValidYet),
            () if now > validity.not_after.timestamp() => Err(CertificateError::Expired),
            () => Ok(certificate),
        })
    }
}

/// Returns whether a certificate is for this server. One without alternative names is for its
/// common name, as with OpenSSL: most of those that people make for themselves have nothing else.
fn is_for(certificate: &X509Certificate<'_>, server: &ServerName<'_>) -> bool {
    let host = server.to_str().to_ascii_lowercase();
    let own = alternative_names(certificate);
    if !own.dns.is_empty() || !own.ip.is_empty() {
        return own.cover_host(&host);
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let common: Box<[Box<str>]> = common.map(|name| name.to_ascii_lowercase().into()).collect();
    common.iter().any(|name| **name == *host)
        || CertificateNames { dns: common, ip: [].into() }.cover_host(&host)
}

/// The error that says which names there are.
fn other_name(certificate: &X509Certificate<'_>, expected: &ServerName<'_>) -> CertificateError {
    let CertificateNames { dns, ip } = alternative_names(certificate);
    let dns = dns.iter().map(|name| format!("{name:?}"));
    let ip = ip.iter().map(ToString::to_string);
    CertificateError::NotValidForNameContext {
        expected: expected.to_owned(),
        presented: dns.chain(ip).collect(),
    }
}

/// Trusts servers whose certificates are listed, or signed by one that is.
#[derive(Debug)]
pub(super) struct PinnedServers {
    authorities: Authorities,
    others: Arc<WebPkiServerVerifier>,
}

impl PinnedServers {
    /// # Errors
    /// What rustls does not accept.
    pub(super) fn new(authorities: Authorities) -> Result<Self, String> {
        let builder = WebPkiServerVerifier::builder_with_provider(
            authorities.roots.clone(),
            crypto_provider(),
        );
        let others = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { authorities, others })
    }
}

impl ServerCertVerifier for PinnedServers {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.authorities.find_listed(shown, now) {
            None => self.others.verify_server_cert(shown, chain, name, ocsp, now),
            Some(Ok(certificate)) if is_for(&certificate, name) => {
                Ok(ServerCertVerified::assertion())
            }
            Some(Ok(certificate)) => Err(other_name(&certificate, name).into()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

/// Trusts clients whose certificates are listed, or signed by one that is.
#[derive(Debug)]
pub(super) struct PinnedClients {
    authorities: Arc<Authorities>,
    others: Arc<dyn ClientCertVerifier>,
}

impl PinnedClients {
    /// With `required`, a client without a certificate is refused. With any lists of what was
    /// `revoked`, all authorities of a chain need one that has not expired.
    ///
    /// # Errors
    /// What rustls does not accept.
    pub(super) fn new(
        authorities: Arc<Authorities>,
        revoked: &[RevocationList],
        required: bool,
    ) -> Result<Self, String> {
        let builder = WebPkiClientVerifier::builder_with_provider(
            authorities.roots.clone(),
            crypto_provider(),
        );
        let builder = if required { builder } else { builder.allow_unauthenticated() };
        let builder = if revoked.is_empty() {
            builder
        } else {
            builder
                .with_crls(revoked.iter().map(|list| list.der.clone()))
                .enforce_revocation_expiration()
        };
        let others = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { authorities, others })
    }
}

impl ClientCertVerifier for PinnedClients {
    fn client_auth_mandatory(&self) -> bool {
        self.others.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.others.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.authorities.find_listed(shown, now) {
            None => self.others.verify_client_cert(shown, chain, now),
            Some(Ok(_)) => Ok(ClientCertVerified::assertion()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

fn signature_algorithms() -> WebPkiSupportedAlgorithms {
    crypto_provider().signature_verification_algorithms
}

/// A certificate of X.509 version 1 or 2, which webpki reads nothing from: the key in it is as good
/// as any.
fn parse_old<'c>(certificate: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    (certificate.version() != X509Version::V3).then_some(certificate)
}

/// Verifies a signature of TLS 1.2 by the key of any certificate.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(old) = parse_old(certificate) else {
        return verify_tls12_signature(message, certificate, signed, &signature_algorithms());
    };
    let known = signature_algorithms();
    let scheme = known.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, candidates) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let key = &*old.public_key().subject_public_key.data;
    // Each of them reads keys of its own kind and curve only.
    let verifies = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
        algorithm.verify_signature(key, message, signed.signature()).is_ok()
    };
    if candidates.iter().any(verifies) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

/// Verifies a signature of TLS 1.3 by the key of any certificate.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    match parse_old(certificate) {
        None => verify_tls13_signature(message, certificate, signed, &signature_algorithms()),
        Some(old) => {
            let key = SubjectPublicKeyInfoDer::from(old.public_key().raw);
            verify_tls13_signature_with_raw_key(message, &key, signed, &signature_algorithms())
        }
    }
}
