//! Certificate revocation lists (RFC 5280 §5): what an authority says about certificates that count
//! no more.
//!
//! Whether a certificate is on a list is decided by rustls. Here is read what a file has, and
//! refused what rustls would not use: a list that nobody looks at would let in whom it names.

use std::collections::BTreeSet;
use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, Error};
use x509_parser::num_bigint::BigUint;
use x509_parser::oid_registry::{
    OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, Oid,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate, X509Version};

use super::crypto_provider;
use super::pem::{self, PemKind};
use crate::files;

/// The certificates that one authority has revoked.
#[derive(Debug, Clone)]
pub struct RevocationList {
    /// As the authority has signed it.
    pub(super) der: CertificateRevocationListDer<'static>,
    /// The name of the authority.
    pub issuer: String,
    /// The same as it is signed: reading a list again takes a second where it is a large one.
    issuer_der: Box<[u8]>,
    /// When the next one should have come, in seconds since 1970; from then on nobody passes by
    /// this one.
    pub next_update: Option<i64>,
    /// When it was made, in seconds since 1970, and its number.
    made: (i64, Option<BigUint>),
    /// It tells of all certificates of the authority, not of a part of them (RFC 5280 §5.2.5).
    is_whole: bool,
}

impl RevocationList {
    /// Returns whether it is signed with the key of this certificate, which says that it is the
    /// list's authority.
    pub(super) fn is_signed_by(&self, authority: &X509Certificate<'_>) -> bool {
        let Ok((_, read)) = CertificateRevocationList::from_der(&self.der) else { return false };
        let signed = read.signature_algorithm.algorithm.as_bytes();
        let key = &*authority.public_key().subject_public_key.data;
        let (text, signature) = (read.tbs_cert_list.as_ref(), &*read.signature_value.data);
        let provider = crypto_provider();
        let mut algorithms = provider.signature_verification_algorithms.all.iter();
        // An algorithm is named by an OBJECT IDENTIFIER (tag 6) and parameters; one name may stand
        // for several curves.
        algorithms.any(|algorithm| {
            let named = algorithm.signature_alg_id();
            let named = named.as_ref().strip_prefix(&[6]).and_then(|rest| rest.split_first());
            named.is_some_and(|(_, rest)| rest.starts_with(signed))
                && algorithm.verify_signature(key, text, signature).is_ok()
        })
    }

    /// Returns whether it is one of the authority of this certificate.
    pub(super) fn is_of(&self, authority: &X509Certificate<'_>) -> bool {
        *self.issuer_der == *authority.subject().as_raw()
    }

    /// Returns whether it names this certificate.
    pub(super) fn names_certificate(&self, certificate: &X509Certificate<'_>) -> bool {
        if *self.issuer_der != *certificate.issuer().as_raw() {
            return false;
        }
        let Ok((_, read)) = CertificateRevocationList::from_der(&self.der) else { return true };
        read.iter_revoked_certificates()
            .any(|revoked| revoked.raw_serial() == certificate.raw_serial())
    }
}

/// The lists that count of those of several files: of those of one authority the newest. rustls
/// asks the first one that it finds, which in a file that lists are added to is the oldest.
#[must_use]
pub fn keep_newest(mut lists: Vec<RevocationList>) -> Vec<RevocationList> {
    // Of two that say the same of themselves, the one that was written last.
    lists.reverse();
    lists.sort_by(|one, other| other.made.cmp(&one.made));
    let mut whole = BTreeSet::new();
    lists.retain(|list| {
        let superseded = whole.contains(&list.issuer);
        if list.is_whole {
            whole.insert(list.issuer.clone());
        }
        !superseded
    });
    lists
}

/// The lists of a file, in its order: PEM, or one in DER.
///
/// # Errors
/// It cannot be read, has none, or has one that cannot be used. One that has expired is none of
/// these.
pub fn read_lists(path: &Path) -> Result<Vec<RevocationList>, String> {
    let name = path.display();
    let said = |why: String| format!("{name}: {why}");
    let text = files::read_bounded(path, files::LARGEST_LIST).map_err(said)?;
    // SEQUENCE begins every list in DER.
    let lists = if text.first() == Some(&0x30) {
        vec![text.clone().into()]
    } else {
        let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
        read.map_err(|_| said(pem::explain_damage(&text, path, PemKind::RevocationList)))?
    };
    if lists.is_empty() {
        return Err(said(pem::explain_other(&text, path, PemKind::RevocationList)));
    }
    lists.into_iter().map(|der| parse_list(der, &text, path).map_err(said)).collect()
}

fn parse_list(
    der: CertificateRevocationListDer<'static>,
    text: &[u8],
    path: &Path,
) -> Result<RevocationList, String> {
    let Ok((_, read)) = CertificateRevocationList::from_der(&der) else {
        return Err(pem::explain_damage(text, path, PemKind::RevocationList));
    };
    if read.version() != Some(X509Version::V2) || read.extensions().is_empty() {
        return Err("it lacks the extensions that a list must have (RFC 5280 §5.2); make one that has them: \
                    openssl ca -gencrl -crlexts crl_ext"
            .to_owned());
    }
    let has = |oid: &Oid<'_>| read.extensions().iter().any(|extension| extension.oid == *oid);
    if has(&OID_X509_EXT_DELTA_CRL_INDICATOR) {
        return Err(
            "it is a delta list, which tells only what is new; a complete one is needed".to_owned()
        );
    }
    let issuer = read.issuer().to_string();
    let issuer_der = read.issuer().as_raw().into();
    let next_update = read.next_update().map(|time| time.timestamp());
    let made = (read.last_update().timestamp(), read.crl_number().cloned());
    let is_whole = !has(&OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
    Ok(RevocationList { der, issuer, issuer_der, next_update, made, is_whole })
}

/// The part that revocation lists had in the refusal of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationFault {
    /// A list names the certificate, or one above it.
    Revoked,
    /// The list that should tell has expired, or there is none.
    Unknown,
}

impl RevocationFault {
    /// That of an error; `None` when the certificate was refused for something else.
    #[must_use]
    pub fn from_error(error: &Error) -> Option<Self> {
        let Error::InvalidCertificate(error) = error else { return None };
        match error {
            CertificateError::Revoked => Some(Self::Revoked),
            CertificateError::UnknownRevocationStatus
            | CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => Some(Self::Unknown),
            _ => None,
        }
    }

    /// The word in logs and metrics.
    #[must_use]
    pub fn log_word(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Unknown => "revocation_unknown",
        }
    }
}
