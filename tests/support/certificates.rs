//! Certificates made for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use time::{Duration, OffsetDateTime};

/// A certificate authority, and a directory for what it signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

/// Paths of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self::of(CertifiedIssuer::self_signed(authority(name), key).unwrap())
    }

    fn of(issuer: CertifiedIssuer<'static, KeyPair>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The client's side of a TLS connection that expects this name and speaks HTTP/1.1 alone.
    pub fn client_of(&self, name: &str) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }

    /// A certificate for these names and addresses, good for a year.
    pub fn certificate(&self, file: &str, names: &[&str]) -> Certificate {
        self.sign(file, names, &PKCS_ECDSA_P256_SHA256, Duration::days(365))
    }

    /// The same with an RSA key.
    pub fn rsa(&self, file: &str, names: &[&str]) -> Certificate {
        self.sign(file, names, &PKCS_RSA_SHA256, Duration::days(365))
    }

    /// The same, good for so long from now; it may be over.
    pub fn lasting(&self, file: &str, names: &[&str], time: Duration) -> Certificate {
        self.sign(file, names, &PKCS_ECDSA_P256_SHA256, time)
    }

    /// An authority that this one has signed.
    pub fn under(&self, name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let issuer = CertifiedIssuer::signed_by(authority(name), key, &self.issuer).unwrap();
        Self::of(issuer)
    }

    /// A list of these as revoked, good for so long from now, as PEM. One that is made later has a
    /// higher number.
    pub fn revoke(&self, file: &str, revoked: &[&Certificate], time: Duration) -> PathBuf {
        self.revoke_many(file, 0, revoked, time)
    }

    /// The same with so many others in front, of whom nobody has heard.
    pub fn revoke_many(
        &self,
        file: &str,
        others: u64,
        revoked: &[&Certificate],
        time: Duration,
    ) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let now = OffsetDateTime::now_utc();
        let one = |certificate: &&Certificate| {
            let text = std::fs::read(&certificate.cert).unwrap();
            let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
            pem.parse_x509().unwrap().raw_serial().to_vec()
        };
        let strangers = (0..others).map(|number| [&[1; 8], &number.to_be_bytes()[..]].concat());
        let serials = strangers.chain(revoked.iter().map(one));
        let entry = |serial: Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now - Duration::hours(1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - Duration::days(900),
            next_update: now + time,
            crl_number: SerialNumber::from(NUMBER.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: serials.map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.directory.path().join(file);
        replace(&path, &params.signed_by(&self.issuer).unwrap().pem().unwrap());
        path
    }

    fn sign(
        &self,
        file: &str,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        time: Duration,
    ) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = named(file);
        params.not_before = OffsetDateTime::now_utc() - Duration::days(1000);
        params.not_after = OffsetDateTime::now_utc() + time;
        let key = KeyPair::generate_for(algorithm).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let [cert_path, key_path] =
            ["pem", "key"].map(|kind| self.directory.path().join(format!("{file}.{kind}")));
        replace(&cert_path, &cert.pem());
        replace(&key_path, &key.serialize_pem());
        Certificate { cert: cert_path, key: key_path }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = named(name);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// As tools do that renew certificates: never half a file.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}
