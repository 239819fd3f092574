//! PEM files (RFC 7468), and what a file is that was taken for one.
//!
//! Certificates come in many forms, and a tool that says "not a PEM file" sends its user to a
//! search engine. So whatever can be recognised is named, with the command that makes PEM of it.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::pinned::Authorities;
use super::revocation::RevocationList;
use crate::files;

/// The certificates of a file, in its order.
///
/// # Errors
/// It cannot be read, or has none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = path.display();
    let text = files::read_bounded(path, files::LARGEST).map_err(|why| format!("{name}: {why}"))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{name}: {}", explain_other(&text, path, PemKind::Certificate))),
        Err(_) => Err(format!("{name}: {}", explain_damage(&text, path, PemKind::Certificate))),
    }
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// It cannot be read, or has none. What it contains is not repeated.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    use rustls::pki_types::pem::Error;
    let name = path.display();
    let text = files::read_bounded(path, files::LARGEST).map_err(|why| format!("{name}: {why}"))?;
    if has_word(&text, "Proc-Type: 4,ENCRYPTED") {
        return Err(format!("{name}: {}", explain_other(&text, path, PemKind::Key)));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        Error::NoItemsFound => format!("{name}: {}", explain_other(&text, path, PemKind::Key)),
        _ => format!("{name}: {}", explain_damage(&text, path, PemKind::Key)),
    })
}

/// The certificate authorities of a file.
///
/// # Errors
/// As for [`read_certificates`], or one of them is no authority.
pub fn read_authorities(path: &Path) -> Result<Authorities, String> {
    let listed = read_certificates(path)?;
    Authorities::new(listed).map_err(|error| format!("{}: {error}", path.display()))
}

/// The certificate authorities of a file that none of the lists names.
///
/// # Errors
/// As for [`read_authorities`], none is left, or a list pretends to be one of them.
pub fn unrevoked_authorities(
    path: &Path,
    revoked: &[RevocationList],
) -> Result<Authorities, String> {
    let listed = read_authorities(path)?;
    if let Some(forged) = revoked.iter().find(|list| listed.disown(list)) {
        return Err(format!(
            "the revocation list of {} is not signed with the key of that authority in {}: all its clients would be refused",
            forged.issuer,
            path.display()
        ));
    }
    let left = listed.without_revoked(revoked);
    left.map_err(|error| format!("{}: {error}", path.display()))
}

/// The thing that a file was to contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PemKind {
    Certificate,
    Key,
    RevocationList,
}

fn has_word(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

/// Tells what a file is that has nothing of what was wanted, and how to make that of it.
pub(super) fn explain_other(text: &[u8], path: &Path, wanted: PemKind) -> String {
    let file = path.display();
    let pem = format!("{}.pem", path.with_extension("").display());
    if let Some(said) = not_text(text, path, wanted) {
        return said;
    }
    let begins = |label: &str| has_word(text, &format!("-----BEGIN {label}-----"));
    let key = begins("PRIVATE KEY") || begins("RSA PRIVATE KEY") || begins("EC PRIVATE KEY");
    match wanted {
        _ if begins("PKCS7") => format!(
            "it is a PKCS#7 bundle; convert it: openssl pkcs7 -print_certs -in {file} -out {pem}"
        ),
        PemKind::Certificate => match () {
            () if begins("TRUSTED CERTIFICATE") => format!(
                "it is a certificate in a form of OpenSSL's own; convert it: openssl x509 -in {file} -out {pem}"
            ),
            () if begins("CERTIFICATE REQUEST") || begins("NEW CERTIFICATE REQUEST") => {
                "it is a request for a certificate, which an authority has yet to sign".to_owned()
            }
            () if key || begins("ENCRYPTED PRIVATE KEY") => {
                "it is a private key and has no certificate in it; are `cert` and `key` exchanged?"
                    .to_owned()
            }
            () => "there is no certificate in it".to_owned(),
        },
        PemKind::Key => match () {
            () if begins("ENCRYPTED PRIVATE KEY") || has_word(text, "Proc-Type: 4,ENCRYPTED") => {
                format!(
                    "the private key is encrypted, and nobody is there to give its password; \
                     decrypt it: openssl pkey -in {file} -out {pem}"
                )
            }
            () if begins("OPENSSH PRIVATE KEY") => format!(
                "it is a key of OpenSSH; convert a copy of it: ssh-keygen -p -m PEM -f {file}"
            ),
            () if has_word(text, "PuTTY-User-Key-File") => format!(
                "it is a key of PuTTY; convert it: puttygen {file} -O private-openssh -o {pem}, \
                 then ssh-keygen -p -m PEM -f {pem}"
            ),
            () if begins("PUBLIC KEY") || begins("RSA PUBLIC KEY") => {
                "it is a public key; the private one is needed".to_owned()
            }
            () if begins("CERTIFICATE") => {
                "it is a certificate and has no private key in it; are `cert` and `key` exchanged?"
                    .to_owned()
            }
            () => "there is no private key in it".to_owned(),
        },
        PemKind::RevocationList if begins("CERTIFICATE") => {
            "it is a certificate and no revocation list; an authority makes one: openssl ca -gencrl"
                .to_owned()
        }
        PemKind::RevocationList => "there is no certificate revocation list in it".to_owned(),
    }
}

/// Tells what is wrong with a file in which PEM begins and does not go on.
pub(super) fn explain_damage(text: &[u8], path: &Path, wanted: PemKind) -> String {
    not_text(text, path, wanted).unwrap_or_else(|| {
        "it begins as a PEM file but is damaged: a line of it is not base64, or its end is missing"
            .to_owned()
    })
}

/// Other things than PEM, by their first bytes.
fn not_text(text: &[u8], path: &Path, wanted: PemKind) -> Option<String> {
    let file = path.display();
    let pem = format!("{}.pem", path.with_extension("").display());
    Some(match text {
        [] => "it is empty".to_owned(),
        [0xef, 0xbb, 0xbf, ..] => format!(
            "it begins with a byte order mark (BOM), which a PEM file must not; \
             take it off: sed -i '1s/^\\xEF\\xBB\\xBF//' {file}"
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            format!("it is text in UTF-16; convert it: iconv -f UTF-16 -t ASCII {file} > {pem}")
        }
        [0xfe, 0xed, 0xfe, 0xed, ..] => format!(
            "it is a Java key store (JKS); convert it: keytool -importkeystore -srckeystore {file} \
             -destkeystore store.p12 -deststoretype PKCS12, then openssl pkcs12 -in store.p12 -nodes -out {pem}"
        ),
        // PFX ::= SEQUENCE { version INTEGER {v3(3)}, … } (RFC 7292 §4).
        [0x30, 0x82, _, _, 2, 1, 3, ..]
        | [0x30, 0x83, _, _, _, 2, 1, 3, ..]
        | [0x30, 0x80, 2, 1, 3, ..] => format!(
            "it is a PKCS#12 bundle (.p12, .pfx); convert it: openssl pkcs12 -in {file} -nodes -out {pem}"
        ),
        // SEQUENCE, then an object identifier: PKCS#7 (RFC 2315 §7).
        [0x30, 0x80 | 0x82, _, _, 6, ..] | [0x30, 0x80, 6, ..] => format!(
            "it is a PKCS#7 bundle; convert it: openssl pkcs7 -inform DER -print_certs -in {file} -out {pem}"
        ),
        [0x30, second, ..] if *second >= 0x20 => match wanted {
            PemKind::Certificate => format!(
                "it is DER, not PEM; convert it: openssl x509 -inform DER -in {file} -out {pem}"
            ),
            PemKind::Key => format!(
                "it is DER, not PEM; convert it: openssl pkey -inform DER -in {file} -out {pem}"
            ),
            PemKind::RevocationList => "it is DER, but no certificate revocation list".to_owned(),
        },
        _ => return None,
    })
}
