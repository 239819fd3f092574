//! Transport security by rustls, with the primitives of aws-lc-rs: one provider for everything
//! here.

pub mod client;
pub mod facts;
pub mod identity;
pub mod pem;
pub mod pinned;
pub mod revocation;
pub mod server;
mod tickets;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use facts::{Certificate, TlsInfo};
pub use identity::TlsIdentity;
pub use server::TlsServer;

/// The process's primitives: TLS 1.2 and 1.3, post-quantum key exchange first.
#[must_use]
pub fn crypto_provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn post_quantum_key_exchange_comes_first() {
        let groups: Vec<NamedGroup> =
            crypto_provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(groups.first(), Some(&NamedGroup::X25519MLKEM768));
        assert!(groups.contains(&NamedGroup::X25519) && groups.contains(&NamedGroup::secp256r1));
    }
}
