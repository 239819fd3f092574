//! Where the servers of an upstream come from: `servers` of `[upstream.NAME]`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;

use super::defaults;
use super::forms::{OneOrMany, Switch};
use super::units::Timeout;
use super::upstream::ServerConfig;
use super::words::{NameServer, Network, ServerAddress};
use crate::finding::Finding;
use crate::read::{Reader, Shape, any_of, settings, table, words};
use crate::source::{Place, Spanned};
use crate::tree::{TreeNode, Value};

/// Where the servers of an upstream come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Servers {
    /// Written in the file.
    List(Vec<ServerConfig>),
    /// Found elsewhere, while the proxy runs.
    Elsewhere(Elsewhere),
}

/// Servers that are not written in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Elsewhere {
    /// Where they are found.
    #[serde(flatten)]
    pub source: Source,
    /// The networks that they must be in; all of them if none is named.
    pub allow: Vec<Network>,
    /// The use of records; for sources that are records of name servers.
    #[serde(flatten)]
    pub records: Option<Records>,
}

settings! {
    /// The name servers that are asked for the names of servers.
    pub struct Dns {
        /// Where they are: IP or IP:PORT. Default: those of `/etc/resolv.conf`. Its search domains,
        /// `ndots` and time-outs count in any case, and `/etc/hosts` is read first.
        servers: Vec<NameServer> = Vec::new(),
    }
}

settings! {
    /// The use of records of name servers.
    pub struct Records {
        /// The addresses that are asked for and used.
        family: Family = Family::Any,
        /// The shortest time after which records are asked for again, whatever their TTL is.
        min_ttl: Timeout = defaults::MIN_TTL,
        /// The longest one.
        max_ttl: Timeout = defaults::MAX_TTL,
    }
}

words! {
    /// Which addresses of a name are used.
    pub enum Family ("a family of addresses") {
        /// All of them.
        Any = "any",
        /// A records.
        V4 = "v4",
        /// AAAA records.
        V6 = "v6",
    }
}

/// What tells which servers there are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A and AAAA records, resolved again when their TTL ends.
    Dns(Spanned<ServerAddress>),
    /// SRV records.
    Srv(Spanned<String>),
    /// A watched file.
    File(Spanned<PathBuf>),
    /// EndpointSlices of `namespace/service:port`.
    Kubernetes(Spanned<String>),
    /// Instances register themselves on the admin API.
    Registry(Registry),
}

settings! {
    /// Instances that register themselves with a lease.
    pub struct Registry {
        /// The most servers that may be registered at a time, 1 to 100 000.
        max: Spanned<NonZeroU32> = defaults::REGISTRY_MAX.into(),
        /// All instances that use the same `[redis]` share the registrations: a service registers
        /// with one of them.
        redis: Spanned<bool> = false.into(),
    }
}

table! {
    /// Where servers are found. Exactly one of dns, srv, file, registry.
    pub struct Discovery {
        /// Host name and port of A and AAAA records: "search.internal:8080".
        dns: Option<Spanned<ServerAddress>> = None,
        /// Name of SRV records: "_http._tcp.search.internal".
        srv: Option<Spanned<String>> = None,
        /// A watched file: TOML or JSON with `servers = [ … ]` in the forms that they have here, or
        /// the JSON of Prometheus' `file_sd`. A relative path starts in the working directory.
        file: Option<Spanned<PathBuf>> = None,
        /// A Kubernetes service: "namespace/service:port".
        kubernetes: Option<Spanned<String>> = None,
        /// Instances register themselves on the admin API with a lease: `true`, or a table.
        registry: Switch<Registry> = Switch::Off,
        /// Networks that servers must be in. What is found elsewhere is not used, and may not be
        /// registered. Default: anywhere.
        allow: OneOrMany<Network> = OneOrMany::default(),
        /// With dns and srv: the addresses that are asked for and used. Default: "any".
        family: Option<Spanned<Family>> = None,
        /// With dns and srv: the shortest time after which records are asked for again, whatever
        /// their TTL is. Default: 1s.
        min_ttl: Option<Spanned<Timeout>> = None,
        /// With dns and srv: the longest one. Default: 60s.
        max_ttl: Option<Spanned<Timeout>> = None,
    }
}

impl Elsewhere {
    /// Returns whether a server may be at an address.
    #[must_use]
    pub fn allows(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|network| network.0.contains(&ip))
    }
}

impl Discovery {
    /// The use of records as it is written, or what is wrong with it. Only records have such keys.
    fn records(&self, source: &Source) -> Result<Option<Records>, Box<Finding>> {
        let Self { family, min_ttl, max_ttl, .. } = self;
        if !matches!(source, Source::Dns(_) | Source::Srv(_)) {
            let places = [
                ("family", family.map(|it| it.place)),
                ("min_ttl", min_ttl.map(|it| it.place)),
                ("max_ttl", max_ttl.map(|it| it.place)),
            ];
            let written = places.into_iter().find_map(|(key, place)| Some((key, place?)));
            return match written {
                Some((key, place)) => {
                    let message = format!("`{key}` is for `dns` and `srv`");
                    Err(Finding::error("bad_value", place, message).into())
                }
                None => Ok(None),
            };
        }
        let records = Records {
            family: family.map_or(Family::Any, |it| it.value),
            min_ttl: min_ttl.map_or(defaults::MIN_TTL, |it| it.value),
            max_ttl: max_ttl.map_or(defaults::MAX_TTL, |it| it.value),
        };
        if records.min_ttl > records.max_ttl {
            let place = min_ttl.or(*max_ttl).map_or(Place::NOWHERE, |it| it.place);
            let (least, most) = (records.min_ttl, records.max_ttl);
            let message = format!("min_ttl = {least} is longer than max_ttl = {most}");
            return Err(Finding::error("bad_value", place, message).into());
        }
        Ok(Some(records))
    }
}

/// Returns what is wrong with a source by itself.
fn wrong_source(source: &Source) -> Option<Finding> {
    match source {
        Source::Dns(Spanned { value: ServerAddress::Name { .. }, .. }) => None,
        Source::Dns(address) => {
            let message = format!("`{address}` is no name that could be looked up");
            let finding = Finding::error("bad_value", address.place, message);
            Some(finding.help(format!("write servers = [\"{address}\"]")))
        }
        Source::Srv(name) => {
            let fits = |label: &str| {
                let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                (1..=63).contains(&label.len()) && label.chars().all(part)
            };
            let text = name.value.strip_suffix('.').unwrap_or(&name.value);
            if text.len() <= 253 && text.split('.').all(fits) {
                return None;
            }
            let message = format!("\"{name}\" is not the name of SRV records");
            let finding = Finding::error("bad_value", name.place, message);
            Some(finding.help("it looks like \"_http._tcp.app.internal\", without a port"))
        }
        Source::File(path) if path.value.as_os_str().is_empty() => {
            Some(Finding::error("bad_value", path.place, "a file needs a name"))
        }
        Source::File(_) | Source::Kubernetes(_) | Source::Registry(_) => None,
    }
}

/// A name that name servers are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RecordName<'s> {
    /// A host, with the port of its servers.
    Host(&'s ServerAddress),
    /// A service, whose records say the ports.
    Service(&'s str),
}

impl Source {
    /// The name of what is asked, as it is written: a host, a service or a file; empty for the
    /// registry.
    #[must_use]
    pub fn written_name(&self) -> String {
        match self {
            Self::Dns(name) => name.value.to_string(),
            Self::Srv(name) | Self::Kubernetes(name) => name.value.clone(),
            Self::File(path) => path.value.display().to_string(),
            Self::Registry(_) => String::new(),
        }
    }

    /// The name that name servers are asked for, if it is they who know.
    #[must_use]
    pub fn record_name(&self) -> Option<RecordName<'_>> {
        match self {
            Self::Dns(address) => Some(RecordName::Host(&address.value)),
            Self::Srv(name) => Some(RecordName::Service(&name.value)),
            Self::File(_) | Self::Kubernetes(_) | Self::Registry(_) => None,
        }
    }

    /// The file that tells which servers there are, if it is a file.
    #[must_use]
    pub fn file_path(&self) -> Option<&Spanned<PathBuf>> {
        match self {
            Self::File(path) => Some(path),
            Self::Dns(_) | Self::Srv(_) | Self::Kubernetes(_) | Self::Registry(_) => None,
        }
    }

    /// The word for it in stats and metrics: the key that it is written with.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Srv(_) => "srv",
            Self::File(_) => "file",
            Self::Kubernetes(_) => "kubernetes",
            Self::Registry(_) => "registry",
        }
    }
}

impl Servers {
    /// The word for servers that are written in the file.
    pub const LIST: &'static str = "config";

    /// The servers written in the file; empty for those that are found elsewhere.
    #[must_use]
    pub fn listed(&self) -> &[ServerConfig] {
        match self {
            Self::List(servers) => servers,
            Self::Elsewhere(_) => &[],
        }
    }

    /// The same, to be changed.
    pub fn listed_mut(&mut self) -> &mut [ServerConfig] {
        match self {
            Self::List(servers) => servers,
            Self::Elsewhere(_) => &mut [],
        }
    }

    /// What tells which servers there are, when they are not written in the file.
    #[must_use]
    pub fn elsewhere(&self) -> Option<&Elsewhere> {
        match self {
            Self::List(_) => None,
            Self::Elsewhere(elsewhere) => Some(elsewhere),
        }
    }

    /// The settings of the registry that servers register in.
    #[must_use]
    pub fn registry(&self) -> Option<&Registry> {
        match &self.elsewhere()?.source {
            Source::Registry(registry) => Some(registry),
            Source::Dns(_) | Source::Srv(_) | Source::File(_) | Source::Kubernetes(_) => None,
        }
    }

    /// The word for where the servers come from.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.elsewhere().map_or(Self::LIST, |elsewhere| elsewhere.source.word())
    }
}

impl Shape for Servers {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Array(_) => Vec::read_node(node, reader).map(Self::List),
            Value::Table(_) => {
                let findings = reader.findings.len() + reader.dropped;
                let written = Discovery::read_node(node, reader)?;
                let mut sources = Vec::new();
                sources.extend(written.dns.clone().map(Source::Dns));
                sources.extend(written.srv.clone().map(Source::Srv));
                sources.extend(written.file.clone().map(Source::File));
                sources.extend(written.kubernetes.clone().map(Source::Kubernetes));
                sources.extend(match &written.registry {
                    Switch::On(registry) => Some(Source::Registry(registry.clone())),
                    Switch::Off => None,
                });
                match sources.pop() {
                    Some(source) if sources.is_empty() => {
                        let records = match (wrong_source(&source), written.records(&source)) {
                            (None, Ok(records)) => records,
                            (Some(finding), _) => {
                                reader.report(finding);
                                return None;
                            }
                            (None, Err(finding)) => {
                                reader.report(*finding);
                                return None;
                            }
                        };
                        let allow = written.allow.0;
                        Some(Self::Elsewhere(Elsewhere { source, allow, records }))
                    }
                    // What is wrong with it may be all that there is.
                    None if reader.findings.len() + reader.dropped > findings => None,
                    _ => {
                        let message = "a way to find servers is exactly one key";
                        reader.report(
                            Finding::error("bad_value", node.place, message)
                                .help("keep one of dns, srv, file, registry = true"),
                        );
                        None
                    }
                }
            }
            _ => reader.mismatch(node, "an array of servers or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([Vec::<ServerConfig>::json_schema(generator), Discovery::json_schema(generator)])
    }
}
