//! A certificate with its key, and the names it is good for.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{crypto_provider, pem};

/// A certificate chain with its key.
#[derive(Debug)]
pub struct TlsIdentity {
    /// The key that signs.
    pub(super) key: Arc<CertifiedKey>,
    /// The names it is good for.
    pub names: CertificateNames,
    /// The end of its validity, in seconds since 1970.
    pub not_after: i64,
    /// The file it came from.
    pub file: PathBuf,
}

/// The names of a certificate (RFC 6125, RFC 9525): no other part of it counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    /// In lower case; a leading `*.` stands for one label.
    pub dns: Box<[Box<str>]>,
    /// Addresses.
    pub ip: Box<[IpAddr]>,
}

impl CertificateNames {
    /// Returns whether a host in lower case is one of them.
    #[must_use]
    pub fn cover_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return self.ip.contains(&ip);
        }
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.dns.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => **name == *host,
        })
    }
}

impl TlsIdentity {
    /// Reads both files.
    ///
    /// # Errors
    /// One of them cannot be used, or they do not belong together.
    pub fn load_files(cert: &Path, key: &Path) -> Result<Self, String> {
        let chain = pem::read_certificates(cert)?;
        let leaf = chain.first().cloned().ok_or("no certificate")?;
        let (names, not_after) = names_and_end(&leaf)
            .ok_or_else(|| format!("{}: the first certificate cannot be read", cert.display()))?;
        let key = CertifiedKey::from_der(chain, pem::read_key(key)?, &crypto_provider()).map_err(
            |error| match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                    "the key {} does not belong to the certificate {}",
                    key.display(),
                    cert.display()
                ),
                error => format!("{}: {error}", key.display()),
            },
        )?;
        Ok(Self { key: Arc::new(key), names, not_after, file: cert.to_owned() })
    }
}

/// Names and end of a certificate.
fn names_and_end(der: &[u8]) -> Option<(CertificateNames, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let not_after = certificate.validity().not_after.timestamp();
    Some((alternative_names(&certificate), not_after))
}

/// The subject alternative names.
pub(super) fn alternative_names(certificate: &X509Certificate<'_>) -> CertificateNames {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return CertificateNames::default();
    };
    let all = &extension.value.general_names;
    let dns = all.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        _ => None,
    });
    let ip = all.iter().filter_map(|name| match name {
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from),
        },
        _ => None,
    });
    CertificateNames { dns: dns.collect(), ip: ip.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cover_hosts_by_label() {
        let names = CertificateNames {
            dns: ["a.test".into(), "*.b.test".into()].into(),
            ip: ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()].into(),
        };
        for host in ["a.test", "a.test.", "x.b.test", "192.0.2.1", "[2001:db8::1]"] {
            assert!(names.cover_host(host), "{host}");
        }
        for host in ["b.test", "x.y.b.test", "x.a.test", "xa.test", "", "192.0.2.2", "*.b.test.x"] {
            assert!(!names.cover_host(host), "{host}");
        }
    }
}
