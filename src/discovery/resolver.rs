//! Asks name servers, after the hosts file, as the machine has been told to: search domains,
//! `ndots`, time-outs.
//!
//! Messages, retries, and TCP where an answer does not fit are a library's. Its cache is not used:
//! a record would be kept for its time to live twice. Its list of names to try is not either: a
//! name server that fails for the first of them must not make another name be taken for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::known::{Heard, PLACES, Part, Target};
use super::question::Question;
use crate::clock::{self, Instant};
use crate::config::schema::discovery::Family;
use crate::files;

/// Queries under way at a time, until they are late, and as many more of those that are: a zone
/// whose name servers say nothing must not take the turn of names that are answered at once.
const AT_ONCE: usize = 32;
const LATE_AT_ONCE: usize = 224;
/// The time after which a query is late.
const PROMPT: Duration = Duration::from_millis(500);
/// Queries under way on a connection. Those that nobody waits for any more count until they are
/// answered.
const ON_A_CONNECTION: usize = 1024;
/// How long the addresses of one family wait for those of the other: some name servers never answer
/// for IPv6 (RFC 4074 §4.1).
const OTHER_FAMILY: Duration = Duration::from_secs(2);
/// Hosts that SRV records lead to and that are looked up, and the records that may lead there: one
/// host may have as many servers as it has ports.
const TARGETS: usize = 256;
const SERVICES: usize = 1024;
/// The longest time for one try of all name servers, and the most tries, whatever `resolv.conf`
/// says.
const MOST: (Duration, usize) = (Duration::from_secs(5), 3);
/// The time after which an entry of the hosts file is looked at again.
const HOSTS_TTL: Duration = Duration::from_secs(5);
/// The largest `hosts` and `resolv.conf`: lists of blocked names have a hundred thousand lines.
const LARGEST: u64 = 16 << 20;

/// Where the machine is told how to look names up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) hosts: Box<Path>,
    pub(super) resolv: Box<Path>,
}

impl Default for Paths {
    fn default() -> Self {
        let path = |text: &str| Path::new(text).into();
        Self { hosts: path("/etc/hosts"), resolv: path("/etc/resolv.conf") }
    }
}

/// How names are looked up at the moment. It does not change: another one takes its place.
pub(super) struct Resolver {
    hosts: HashMap<String, Vec<IpAddr>>,
    search: Vec<Name>,
    ndots: usize,
    /// Where name servers are asked, or why they cannot be.
    client: Result<DnsClient, String>,
    /// The addresses of those that are asked, as they are told to operators.
    asked: String,
    places: Semaphore,
    late: Semaphore,
}

/// The ways in which name servers are asked.
struct DnsClient {
    /// Over UDP, and over TCP where an answer says that it was cut off.
    usual: TokioResolver,
    /// Over TCP from the beginning.
    tcp: TokioResolver,
}

/// What one name server said of one type of records.
enum Reply {
    /// Records, and how long they may be kept.
    Found(Vec<RData>, Duration),
    /// There are none; how long that may be believed.
    Nothing(Option<Duration>),
}

/// What was wrong with a query.
type Failed = String;

/// The moment until which answers are waited for, and the time that this was when the question was
/// asked.
type Until = (Instant, Duration);

impl Resolver {
    /// Reads how the machine looks names up; `servers` are asked instead of its own if there are
    /// any. It may wait for a disk.
    pub(super) fn read_system(paths: &Paths, servers: &[SocketAddr]) -> Self {
        let text = files::read_text(&paths.resolv, LARGEST);
        // Without the file there may still be name servers of our own, and the hosts file.
        let system =
            text.and_then(|text| parse_resolv_conf(&text).map_err(|error| clip(error.to_string())));
        let (config, mut options) = match &system {
            Ok((config, options)) => (config.clone(), options.clone()),
            Err(_) => {
                (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
            }
        };
        let search = match (config.search(), config.domain()) {
            ([], Some(domain)) => vec![domain.clone()],
            (search, _) => search.to_vec(),
        };
        options.timeout = options.timeout.clamp(Duration::from_millis(1), MOST.0);
        options.attempts = options.attempts.min(MOST.1);
        options.cache_size = 0;
        options.max_active_requests = ON_A_CONNECTION;
        // Whose addresses they are is seen from the aliases.
        options.preserve_intermediates = true;
        options.use_hosts_file = ResolveHosts::Never;
        let ndots = options.ndots;
        let own = servers.iter().map(|server| name_server(*server)).collect::<Vec<_>>();
        let config = match own.is_empty() {
            true => config,
            false => ResolverConfig::from_parts(None, Vec::new(), own),
        };
        let asked = list_servers(config.name_servers());
        let client = match (servers.is_empty(), system) {
            (true, Err(why)) => Err(format!("{}: {why}", paths.resolv.display())),
            _ => build_client(config, options),
        };
        let hosts = files::read_text(&paths.hosts, LARGEST).map(|text| parse_hosts(&text));
        Self {
            hosts: hosts.unwrap_or_default(),
            search,
            ndots,
            client,
            asked,
            places: Semaphore::new(AT_ONCE),
            late: Semaphore::new(LATE_AT_ONCE),
        }
    }

    /// Asks everything that a question asks. What is not answered within `most` has failed.
    ///
    /// # Errors
    /// Why nothing is known.
    pub(super) async fn ask_question(
        self: &Arc<Self>,
        question: &Question,
        most: Duration,
    ) -> Result<Heard, Failed> {
        let until = (clock::now() + most, most);
        if !question.services {
            let (mut target, ttl) =
                self.find_addresses(&question.name, question.family, until).await;
            target.host = question.name.clone();
            return Ok(Heard { targets: vec![target], left_out: 0, ttl });
        }
        let (records, mut ttl) =
            match self.ask_names(&question.name, RecordType::SRV, until).await? {
                Reply::Found(records, ttl) => (records, Some(ttl)),
                Reply::Nothing(ttl) => return Ok(Heard { ttl, ..Heard::default() }),
            };
        let mut services: Vec<_> = records
            .into_iter()
            .filter_map(|record| match record {
                // The root as a target says that there is no such service (RFC 2782).
                RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(srv),
                _ => None,
            })
            .collect();
        services
            .sort_by(|a, b| (a.priority, &a.target, a.port).cmp(&(b.priority, &b.target, b.port)));
        let told = services.len();
        services.truncate(SERVICES);
        // What several records lead to is looked up once, and has an answer to all of them.
        let mut of_hosts: BTreeMap<String, Vec<SRV>> = BTreeMap::new();
        for srv in services {
            let host = srv.target.to_ascii().to_ascii_lowercase();
            if of_hosts.len() < TARGETS || of_hosts.contains_key(&host) {
                of_hosts.entry(host).or_default().push(srv);
            }
        }
        let mut lookups = JoinSet::new();
        for (host, services) in of_hosts {
            let (resolver, family) = (self.clone(), question.family);
            lookups.spawn(async move {
                let (target, ttl) = resolver.find_addresses(&host, family, until).await;
                (Target { host: host.trim_end_matches('.').into(), ..target }, services, ttl)
            });
        }
        let mut targets = Vec::new();
        while let Some(Ok((target, services, own))) = lookups.join_next().await {
            ttl = ttl.into_iter().chain(own).min();
            targets.extend(services.into_iter().map(|srv| {
                let (port, priority, weight) = (srv.port, srv.priority, srv.weight);
                Target { port, priority, weight, ..target.clone() }
            }));
        }
        let key = |target: &Target| (target.priority, target.host.clone(), target.port);
        targets.sort_by_key(key);
        let left_out = told.saturating_sub(targets.len());
        Ok(Heard { targets, left_out, ttl })
    }

    /// The addresses of a host, and how long they may be kept.
    async fn find_addresses(
        &self,
        host: &str,
        family: Family,
        until: Until,
    ) -> (Target, Option<Duration>) {
        let target = |v4, v6| Target { host: host.into(), port: 0, priority: 0, weight: 0, v4, v6 };
        let wants = [family != Family::V6, family != Family::V4];
        let key = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(known) = self.hosts.get(&key) {
            let of = |wanted: bool, v4: bool| match wanted {
                true => {
                    Part::Found(known.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect())
                }
                false => Part::NotAsked,
            };
            return (target(of(wants[0], true), of(wants[1], false)), Some(HOSTS_TTL));
        }
        let one = async |wanted: bool, kind| match wanted {
            true => reply_part(self.ask_names(host, kind, until).await),
            false => (Part::NotAsked, None, None),
        };
        let mut first = pin!(one(wants[0], RecordType::A));
        let mut second = pin!(one(wants[1], RecordType::AAAA));
        let ((v4, t4, n4), (v6, t6, n6)) = tokio::select! {
            v4 = &mut first => {
                let v6 = await_other(&v4, second).await;
                (v4, v6)
            }
            v6 = &mut second => (await_other(&v6, first).await, v6),
        };
        // That there is no address of one family matters only where there is none at all.
        let ttl = t4.into_iter().chain(t6).min().or_else(|| n4.into_iter().chain(n6).min());
        (target(v4, v6), ttl)
    }

    /// Asks for a name, or for what search domains make of it.
    async fn ask_names(
        &self,
        name: &str,
        kind: RecordType,
        (until, most): Until,
    ) -> Result<Reply, Failed> {
        let asked = tokio::time::timeout_at(until, self.ask_candidates(name, kind));
        asked
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {most:?} from {}", self.asked)))
    }

    async fn ask_candidates(&self, name: &str, kind: RecordType) -> Result<Reply, Failed> {
        // Names of containers have a `_` in them, which the rules for names of other scripts
        // forbid.
        let parsed = Name::from_str_relaxed(name)
            .map_err(|_| format!("\"{}\" is not the name of a host", name.escape_debug()))?;
        let mut nothing = None;
        for name in list_candidates(&parsed, &self.search, self.ndots) {
            match self.follow_aliases(name, kind).await? {
                Reply::Nothing(ttl) => nothing = nothing.into_iter().chain(ttl).min(),
                found @ Reply::Found(..) => return Ok(found),
            }
        }
        Ok(Reply::Nothing(nothing))
    }

    /// Asks for one name and, where it has no SRV records, for that which it is an alias of: the
    /// library follows aliases to addresses only.
    async fn follow_aliases(&self, mut name: Name, kind: RecordType) -> Result<Reply, Failed> {
        const ALIASES: usize = 8;
        let mut most = Duration::MAX;
        for _ in 0..ALIASES {
            let nothing = match self.query_name(name.clone(), kind).await? {
                Reply::Found(records, ttl) => return Ok(Reply::Found(records, ttl.min(most))),
                Reply::Nothing(ttl) => ttl,
            };
            let alias = match kind {
                RecordType::SRV => self.query_name(name, RecordType::CNAME).await?,
                _ => return Ok(Reply::Nothing(nothing)),
            };
            match alias {
                Reply::Found(records, ttl) => {
                    let target = records.into_iter().find_map(|record| match record {
                        RData::CNAME(alias) => Some(alias.0),
                        _ => None,
                    });
                    let Some(target) = target else { return Ok(Reply::Nothing(nothing)) };
                    (name, most) = (target, most.min(ttl));
                }
                Reply::Nothing(_) => return Ok(Reply::Nothing(nothing)),
            }
        }
        Err("it is an alias of an alias, and so on".to_owned())
    }

    async fn query_name(&self, name: Name, kind: RecordType) -> Result<Reply, Failed> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let mut answer = self.in_turn(client.usual.lookup(name.clone(), kind)).await?;
        // A datagram that is longer than was asked for has lost its end, and does not say so (RFC
        // 1035 §4.2.1 and RFC 6891 §6.2.5 forbid it). What cannot be read is asked for over TCP,
        // which every name server speaks (RFC 7766 §5).
        if let Err(NetError::Proto(_)) = answer {
            let again = self.in_turn(client.tcp.lookup(name.clone(), kind)).await?;
            // Where TCP leads nowhere, the answer is what was wrong; a connection may break for
            // another name's sake.
            if matches!(again, Ok(_) | Err(NetError::Dns(_))) {
                answer = again;
            }
        }
        match answer {
            Ok(found) => {
                let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                let wanted = of_name(found.answers(), &name, kind);
                // Who says that there is no such name says nothing of where it is.
                let no_name = found.message().metadata.response_code == ResponseCode::NXDomain;
                match wanted.is_empty() || no_name {
                    true => Ok(Reply::Nothing(None)),
                    false => Ok(Reply::Found(wanted, Duration::from_secs(ttl.into()))),
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(why)))
                if matches!(why.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
            {
                let ttl = why.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
                Ok(Reply::Nothing(ttl))
            }
            Err(error) => Err(describe_error(&error, &self.asked)),
        }
    }

    /// Waits for its turn and for the end of a query, which makes room for others when it is late.
    async fn in_turn<T>(&self, query: impl Future<Output = T>) -> Result<T, Failed> {
        let place = self.places.acquire().await.map_err(|closed| closed.to_string())?;
        let mut query = pin!(query);
        if let Ok(answered) = tokio::time::timeout(PROMPT, &mut query).await {
            return Ok(answered);
        }
        let late = self.late.try_acquire();
        // Where too many are late, it stays in its place.
        let _place = late.map_or_else(|_| (Some(place), None), |late| (None, Some(late)));
        Ok(query.await)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("ndots", &self.ndots).finish_non_exhaustive()
    }
}

fn build_client(config: ResolverConfig, options: ResolverOpts) -> Result<DnsClient, String> {
    let build = |config| {
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.with_options(options.clone()).build().map_err(|error| clip(error.to_string()))
    };
    let mut over_tcp = config.name_servers().to_vec();
    for server in &mut over_tcp {
        server.connections.retain(|connection| connection.protocol == ProtocolConfig::Tcp);
    }
    let tcp = build(ResolverConfig::from_parts(None, Vec::new(), over_tcp))?;
    Ok(DnsClient { usual: build(config)?, tcp })
}

fn name_server(at: SocketAddr) -> NameServerConfig {
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = at.port();
    }
    NameServerConfig::new(at.ip(), true, connections.into())
}

/// The data of the records that a name has, itself or what it is an alias of. Name servers send
/// other records too: whose they are must not decide where requests go.
fn of_name(records: &[Record], name: &Name, kind: RecordType) -> Vec<RData> {
    let aliases = records.iter().filter_map(|record| match &record.data {
        RData::CNAME(of) => Some((&record.name, &of.0)),
        _ => None,
    });
    let aliases: HashMap<&Name, &Name> = aliases.collect();
    let mut names = HashSet::from([name]);
    let mut last = name;
    while let Some(of) = aliases.get(last)
        && names.insert(of)
    {
        last = of;
    }
    let own = |record: &&Record| record.record_type() == kind && names.contains(&record.name);
    records.iter().filter(own).map(|record| record.data.clone()).collect()
}

/// The addresses of a reply, how long they may be kept, and how long it may be believed that there
/// are none.
type FamilyReply = (Part, Option<Duration>, Option<Duration>);

fn reply_part(reply: Result<Reply, Failed>) -> FamilyReply {
    match reply {
        Ok(Reply::Found(records, ttl)) => {
            let mut ips: Vec<IpAddr> = records.iter().filter_map(RData::ip_addr).collect();
            if ips.len() > PLACES {
                // Of more than can be used those that are kept are the same whatever their order.
                // One more tells so.
                ips.sort_unstable();
                ips.dedup();
                ips.truncate(PLACES + 1);
            }
            (Part::Found(ips), Some(ttl), None)
        }
        Ok(Reply::Nothing(ttl)) => (Part::Found(Vec::new()), None, ttl),
        Err(why) => (Part::Failed(why), None, None),
    }
}

/// Waits for the addresses of the other family: not for long where those of the first are known.
async fn await_other(first: &FamilyReply, other: impl Future<Output = FamilyReply>) -> FamilyReply {
    match &first.0 {
        Part::Found(ips) if !ips.is_empty() => {
            let why = || format!("no answer within {OTHER_FAMILY:?} of that for the other family");
            let waited = tokio::time::timeout(OTHER_FAMILY, other).await;
            waited.unwrap_or_else(|_| (Part::Failed(why()), None, None))
        }
        Part::Found(_) | Part::Failed(_) | Part::NotAsked => other.await,
    }
}

/// The names that are asked for one after the other, as the resolver of the C library does: as it
/// is written first where it has enough dots, last where it has not, alone where it ends in a dot.
fn list_candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut whole = name.clone();
    whole.set_fqdn(true);
    // What is below `localhost` is this machine, whatever the search domains are (RFC 6761 §6.3).
    if name.is_fqdn() || whole.is_localhost() {
        return vec![whole];
    }
    let mut all: Vec<Name> =
        search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    all.insert(if dots >= ndots { 0 } else { all.len() }, whole);
    all
}

/// Reads a hosts file (hosts(5)): what is not an address and names is passed over, as everybody
/// does.
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut all = HashMap::<String, Vec<IpAddr>>::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words {
            let ips = all.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
    }
    all
}

/// Name servers as they are told to operators: the first few, with their ports.
fn list_servers(all: &[NameServerConfig]) -> String {
    const SHOWN: usize = 3;
    let address = |server: &NameServerConfig| {
        let port = server.connections.first().map_or(53, |connection| connection.port);
        SocketAddr::new(server.ip, port).to_string()
    };
    let shown: Vec<String> = all.iter().take(SHOWN).map(address).collect();
    match all.len().saturating_sub(SHOWN) {
        _ if all.is_empty() => "any name server".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Says in the words of an operator what was wrong with a query to the name servers that are listed
/// in `asked`.
fn describe_error(error: &NetError, asked: &str) -> String {
    clip(match error {
        NetError::Timeout => format!("no answer in time from {asked}"),
        NetError::NoConnections => format!("no connection to {asked}"),
        NetError::Io(error) => format!("no connection to {asked}: {error}"),
        NetError::Busy => format!("no answer from {asked}: too many queries are under way there"),
        // What the library tells itself of its own channels: the task that had the connection is
        // gone.
        NetError::Message(_) | NetError::Msg(_) => {
            format!("no answer from {asked}: the connection ended before there was one")
        }
        NetError::Truncated => "the answer of the name server was cut off".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => describe_code(*code),
        NetError::Dns(DnsError::NoRecordsFound(why)) => describe_code(why.response_code),
        NetError::Proto(error) => format!("the answer of the name server cannot be read: {error}"),
        other => format!("the answer of the name server cannot be used: {other}"),
    })
}

/// Not more of what a name server said than fits into a log line.
fn clip(mut text: String) -> String {
    const WORDS: usize = 200;
    if text.len() > WORDS {
        text.truncate(text.floor_char_boundary(WORDS));
        text.push_str("...");
    }
    text
}

fn describe_code(code: ResponseCode) -> String {
    let word = match code {
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        ResponseCode::Unknown(code) => return format!("the name server answered code {code}"),
        other => other.to_str(),
    };
    format!("the name server answered {word}")
}

#[cfg(test)]
mod tests;
