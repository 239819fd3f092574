//! How servers prove who they are.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};

/// Connections that trust the system's certificate authorities, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
/// They are read when they are first needed.
///
/// # Errors
/// There are none.
pub fn system() -> Result<Arc<ClientConfig>, String> {
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    SYSTEM.get_or_init(|| roots().and_then(|roots| trusting(roots).map(Arc::new))).clone()
}

fn roots() -> Result<RootCertStore, String> {
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

fn trusting(roots: RootCertStore) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
