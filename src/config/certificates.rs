//! Compiles a listener's `tls`: reads the certificates, and refuses what does not belong together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock;
use crate::config::schema::forms::Switch;
use crate::config::schema::listen::{ClientAuth, Listen, Tls, TlsVersion};
use crate::config::schema::upstream::UpstreamTls;
use crate::config::{Config, Finding, Place};
use crate::tls::client::{ConnectorSettings, OutgoingTls};
use crate::tls::server::{ServerRules, TlsProfile, TlsServer};
use crate::tls::{TlsIdentity, pem, revocation};

/// A certificate that ends sooner than this is pointed at, in seconds: two weeks.
const SOON: i64 = 14 * 24 * 3600;

/// The protocols that are offered to clients that negotiate (RFC 7301).
const PROTOCOLS: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Compiles the certificates of a listener; `None` without any.
///
/// # Errors
/// All that is wrong with them, each at its place.
pub fn compile_listener(listen: &Listen) -> Result<Option<Arc<TlsServer>>, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut rules: Vec<ServerRules> = Vec::new();
    let mut asked: Vec<CertificateWish<'_>> = Vec::new();
    let mut identities: Vec<(TlsIdentity, TlsProfile)> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    for written in listen.tls.iter() {
        let Tls { place, cert, key, acme, client_ca, client_crl, client_auth, min_version } =
            written;
        // Reported by the check.
        let (Some(cert), Some(key), None) = (cert, key, acme) else { continue };
        let bad = |message: String| Finding::error("bad_certificate", *place, message);
        let own: CertificateWish<'_> =
            (client_ca.as_deref(), client_crl, *client_auth, *min_version);
        let profile = match asked.iter().position(|known| *known == own) {
            Some(known) => known,
            None => match self::rules(own) {
                Ok(new) => {
                    asked.push(own);
                    rules.push(new);
                    rules.len() - 1
                }
                Err(message) => {
                    findings.push(bad(message));
                    continue;
                }
            },
        };
        match TlsIdentity::load_files(cert, key) {
            Ok(identity) => {
                let same = identities.iter().position(|(other, p)| {
                    *p != profile && other.names.dns.iter().any(|n| identity.names.dns.contains(n))
                });
                if let Some(first) = same.and_then(|at| places.get(at)) {
                    let message = "two certificates for one name ask different things of clients";
                    findings.push(bad(message.to_owned()).related(*first, "the first one"));
                }
                identities.push((identity, profile));
                places.push(*place);
            }
            Err(message) => findings.push(bad(message)),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    if identities.is_empty() {
        return Ok(None);
    }
    let server = TlsServer::new(identities, &rules, &PROTOCOLS);
    server
        .map(|server| Some(Arc::new(server)))
        .map_err(|message| vec![Finding::error("bad_certificate", listen.place, message)])
}

/// The demands of a `tls` on clients, as written.
type CertificateWish<'a> = (Option<&'a Path>, &'a [PathBuf], Option<ClientAuth>, TlsVersion);

fn rules(
    (client_ca, client_crl, client_auth, oldest): CertificateWish<'_>,
) -> Result<ServerRules, String> {
    let mut revoked = Vec::new();
    for file in client_crl {
        revoked.extend(revocation::read_lists(file)?);
    }
    let revoked = revocation::keep_newest(revoked);
    let authorities =
        client_ca.map(|file| pem::unrevoked_authorities(file, &revoked)).transpose()?;
    Ok(ServerRules {
        authorities: authorities.map(Arc::new),
        revoked,
        required: client_auth != Some(ClientAuth::Optional),
        tls12: oldest == TlsVersion::V1_2,
    })
}

/// Compiles what an upstream's `tls` asks for, or returns `known` if that is the same.
///
/// # Errors
/// A file that cannot be used.
pub fn compile_upstream(
    written: &UpstreamTls,
    known: Option<&Arc<OutgoingTls>>,
) -> Result<Arc<OutgoingTls>, String> {
    let UpstreamTls { verify, ca, server_name: _, cert, key } = written;
    let identity = cert.as_deref().zip(key.as_deref());
    OutgoingTls::new(ConnectorSettings { verify: *verify, ca: ca.as_deref(), identity }, known)
}

/// Looks for what is wrong with the certificates of a configuration, and which of them end soon.
#[must_use]
pub fn inspect(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let now = i64::try_from(clock::unix_seconds()).unwrap_or(i64::MAX);
    for listen in &config.listen {
        match compile_listener(listen) {
            Err(wrong) => findings.extend(wrong),
            Ok(None) => {}
            Ok(Some(server)) => {
                findings.extend(expired_lists(listen, now));
                let ends = |tls: &Tls| {
                    let mut all = server.identities();
                    all.find(|of| tls.cert.as_deref() == Some(&*of.file)).map(|of| of.not_after)
                };
                for written in listen.tls.iter() {
                    let Some(left) = ends(written).map(|end| end - now) else { continue };
                    if left < SOON {
                        findings.push(ending(written.place, left));
                    }
                }
            }
        }
    }
    for upstream in config.upstream.values() {
        let Switch::On(written) = &upstream.tls else { continue };
        if let Err(message) = compile_upstream(written, None) {
            findings.push(Finding::error("bad_certificate", upstream.place, message));
        }
    }
    findings
}

/// Points at the revocation lists by which nobody passes any more.
fn expired_lists(listen: &Listen, now: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tls in listen.tls.iter() {
        // What cannot be read is reported already.
        let lists =
            tls.client_crl.iter().filter_map(|file| revocation::read_lists(file).ok()).flatten();
        let lists = revocation::keep_newest(lists.collect()).into_iter();
        for list in lists.filter(|list| list.next_update.is_some_and(|end| end <= now)) {
            let message = format!(
                "the revocation list of {} has expired: its clients are refused",
                list.issuer
            );
            findings.push(Finding::warning("certificate_expiry", tls.place, message));
        }
    }
    findings
}

fn ending(place: Place, left: i64) -> Finding {
    let days = left.unsigned_abs() / (24 * 3600);
    let message = if left < 0 {
        format!("this certificate ended {days} days ago")
    } else {
        format!("this certificate ends in {days} days")
    };
    Finding::warning("certificate_expiry", place, message)
}

/// The certificates, keys and lists that a configuration names, to be watched.
pub fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let listeners = config.listen.iter().flat_map(|listen| listen.tls.iter());
    let listeners = listeners.flat_map(|tls| [&tls.cert, &tls.key, &tls.client_ca]);
    let upstreams = config.upstream.values().filter_map(|upstream| match &upstream.tls {
        Switch::On(tls) => Some([&tls.ca, &tls.cert, &tls.key]),
        Switch::Off => None,
    });
    let redis = config.redis.iter().flat_map(|redis| [&redis.ca, &redis.cert, &redis.key]);
    let judges = config.auth.values().filter_map(|auth| auth.forward.as_ref());
    let judges = judges.map(|forward| &forward.ca);
    let others = redis.chain(judges).flatten().map(|file| file.value.as_path());
    let lists = config.listen.iter().flat_map(|listen| listen.tls.iter());
    let lists = lists.flat_map(|tls| tls.client_crl.iter().map(PathBuf::as_path));
    listeners
        .chain(upstreams.flatten())
        .filter_map(|file| file.as_deref())
        .chain(lists)
        .chain(others)
}
