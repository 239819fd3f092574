//! How a listener proves who it is, and what it asks of clients.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm, SupportedProtocolVersion, version};

use super::pinned::{Authorities, PinnedClients};
use super::revocation::RevocationList;
use super::{TlsIdentity, crypto_provider, tickets};

/// The demands on clients: the number of a [`ServerRules`] of the listener.
pub type TlsProfile = usize;

/// The demands of a listener's `tls` on clients.
#[derive(Debug)]
pub struct ServerRules {
    /// The authorities that sign their certificates; `None` asks for none.
    pub authorities: Option<Arc<Authorities>>,
    /// The lists of certificates that those authorities have revoked; empty asks for none.
    pub revoked: Vec<RevocationList>,
    /// A client without a certificate is refused.
    pub required: bool,
    /// TLS 1.2 is spoken too.
    pub tls12: bool,
}

/// The `tls` of a listener.
#[derive(Debug)]
pub struct TlsServer {
    names: Arc<NameIndex>,
    profiles: Vec<Arc<ServerConfig>>,
    /// For each profile, whether it asks for client certificates.
    asks: Vec<bool>,
}

/// Certificates by the names they are good for.
#[derive(Debug, Default)]
struct NameIndex {
    all: Vec<(TlsIdentity, TlsProfile)>,
    /// Places in `all` by name. The parent of a wildcard is in `wild`.
    exact: HashMap<Box<str>, Vec<usize>>,
    wild: HashMap<Box<str>, Vec<usize>>,
}

impl TlsServer {
    /// A listener with these certificates, the first of which is shown to clients that ask for no
    /// name or an unknown one; each goes with one of `rules`. `protocols` are offered, the best
    /// first (RFC 7301).
    ///
    /// # Errors
    /// What rustls does not accept.
    pub fn new(
        identities: Vec<(TlsIdentity, TlsProfile)>,
        rules: &[ServerRules],
        protocols: &[&[u8]],
    ) -> Result<Self, String> {
        let names = Arc::new(NameIndex::new(identities));
        let config =
            |rules: &ServerRules| server_config(rules, names.clone(), protocols).map(Arc::new);
        let profiles = rules.iter().map(config).collect::<Result<_, _>>()?;
        let asks = rules.iter().map(|rules| rules.authorities.is_some()).collect();
        Ok(Self { names, profiles, asks })
    }

    /// The rules and settings for a client that asks for this name.
    #[must_use]
    pub fn for_name(&self, name: Option<&str>) -> Option<(TlsProfile, Arc<ServerConfig>)> {
        let (_, profile) = self.names.candidates_for(name).next()?;
        self.profiles.get(profile).map(|config| (profile, config.clone()))
    }

    /// Returns the certificates of the listener.
    pub fn identities(&self) -> impl Iterator<Item = &TlsIdentity> {
        self.names.all.iter().map(|(identity, _)| identity)
    }

    /// Returns whether the certificate of a host asks for client certificates in another way than
    /// this profile.
    pub(super) fn asks_more(&self, host: &str, profile: TlsProfile) -> bool {
        let own = self.names.candidates_for(Some(host)).next().map(|(_, own)| own);
        own.is_some_and(|own| own != profile && self.asks.get(own).is_some_and(|asks| *asks))
    }

    /// Returns whether a connection for `name` may carry requests for `host`.
    pub(super) fn covers_host(&self, name: Option<&str>, host: &str, profile: TlsProfile) -> bool {
        let mut shown = self.names.candidates_for(name);
        let same = self.for_name(Some(host)).is_some_and(|(own, _)| own == profile);
        same && shown.any(|(identity, _)| identity.names.cover_host(host))
    }
}

impl NameIndex {
    fn new(all: Vec<(TlsIdentity, TlsProfile)>) -> Self {
        let mut this = Self::default();
        for (at, (identity, _)) in all.iter().enumerate() {
            for name in &identity.names.dns {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut this.wild, parent),
                    None => (&mut this.exact, &**name),
                };
                map.entry(name.into()).or_default().push(at);
            }
        }
        // With two kinds of key for one name, the one that is cheaper to sign with is tried first.
        let cheapest = |places: &mut Vec<usize>| {
            places.sort_by_key(|at| all.get(*at).is_none_or(|(of, _)| !is_ecdsa(&of.key)));
        };
        this.exact.values_mut().chain(this.wild.values_mut()).for_each(cheapest);
        this.all = all;
        this
    }

    /// Returns those for a name: exact ones, else wildcards, else the default.
    fn candidates_for<'a>(
        &'a self,
        name: Option<&str>,
    ) -> impl Iterator<Item = (&'a TlsIdentity, TlsProfile)> + use<'a> {
        let found = name.and_then(|name| {
            let parent = name.split_once('.').map(|(_, parent)| parent);
            let exact = self.exact.get(name);
            exact.or_else(|| parent.and_then(|parent| self.wild.get(parent)))
        });
        let places = found.map_or(&[0][..], |places| places);
        places.iter().filter_map(|at| self.all.get(*at)).map(|(identity, p)| (identity, *p))
    }
}

impl ResolvesServerCert for NameIndex {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let usable = |identity: &TlsIdentity| {
            identity.key.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let mut candidates = self.candidates_for(name.as_deref());
        candidates.find(|(identity, _)| usable(identity)).map(|(identity, _)| identity.key.clone())
    }
}

fn is_ecdsa(key: &CertifiedKey) -> bool {
    key.key.algorithm() != SignatureAlgorithm::RSA
}

fn server_config(
    rules: &ServerRules,
    names: Arc<NameIndex>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, String> {
    let ServerRules { authorities, revoked, required, tls12 } = rules;
    let versions: &[&SupportedProtocolVersion] =
        if *tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let (builder, rule) = match authorities {
        None => (builder.with_no_client_auth(), tickets::ticket_rule([].into_iter(), false)),
        Some(authorities) => {
            let verifier = Arc::new(PinnedClients::new(authorities.clone(), revoked, *required)?);
            let roots = &authorities.roots.roots;
            let subjects: Vec<_> =
                roots.iter().map(|root| root.subject_public_key_info.to_vec()).collect();
            // Who resumes a session shows no certificate: with other lists, tickets of before count
            // no more.
            let lists = revoked.iter().map(|list| list.der.as_ref());
            let rule = tickets::ticket_rule(subjects.iter().map(|s| &**s).chain(lists), *required);
            (builder.with_client_cert_verifier(verifier), rule)
        }
    };
    let mut config = builder.with_cert_resolver(names);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Of what both sides have, the server's first: a client cannot choose the weakest.
    config.ignore_client_order = true;
    config.ticketer = tickets::tickets_for(rule)?;
    // Tickets keep what is needed at the client; memory here would be shared between workers,
    // behind a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
