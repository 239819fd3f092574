//! The seam between sources of whole lists and those who use them: which sources a configuration
//! names, and what each has sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Entry;
use super::question::{Question, Questions};
use super::updates::{Update, Updates};
use crate::config::Config;
use crate::config::schema::discovery::Elsewhere;
use crate::config::schema::words::ServerAddress;

/// The source of each upstream that finds its servers elsewhere, by the upstream's name.
pub type UpstreamSources = BTreeMap<Arc<str>, Arc<Elsewhere>>;

/// A source of servers: its kind, and the name that tells it apart from others of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The key of `servers` that it is written with.
    pub word: &'static str,
    /// The file, or what is asked of name servers; empty for the registry.
    pub name: Arc<str>,
}

impl Origin {
    /// The origin of what a source says. A source with another one is another source: no guard
    /// keeps what was known of the one before.
    #[must_use]
    pub fn from_source(elsewhere: &Elsewhere) -> Self {
        let mut name = elsewhere.source.written_name();
        if let Some(records) = &elsewhere.records {
            name = format!("{name} {}", records.family.as_str());
        }
        Self { word: elsewhere.source.word(), name: name.into() }
    }

    /// The origin of servers that register themselves.
    #[must_use]
    pub fn of_registry() -> Self {
        Self { word: "registry", name: "".into() }
    }
}

/// The account of what one source has said, which is sent when it is new.
#[derive(Debug)]
pub(super) struct SourceAccount {
    upstream: Arc<str>,
    elsewhere: Arc<Elsewhere>,
    origin: Origin,
    sent: Option<Update>,
}

/// The statement of a source at a time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Statement {
    /// All servers that there are; `None` if the source cannot tell at the moment.
    pub(super) entries: Option<Arc<[Entry]>>,
    /// The fault of the source, or of some of what it says.
    pub(super) fault: Option<String>,
    /// The time for which it says that this may be believed.
    pub(super) ttl: Option<Duration>,
}

impl SourceAccount {
    /// An account of a source that has said nothing yet.
    pub(super) fn new(upstream: Arc<str>, elsewhere: Arc<Elsewhere>) -> Self {
        let origin = Origin::from_source(&elsewhere);
        Self { upstream, elsewhere, origin, sent: None }
    }

    /// Returns whether it is for this source.
    pub(super) fn is_of(&self, elsewhere: &Elsewhere) -> bool {
        *self.elsewhere == *elsewhere
    }

    /// The source as it is written.
    pub(super) fn elsewhere(&self) -> &Arc<Elsewhere> {
        &self.elsewhere
    }

    /// Sends a statement, unless it says what was sent before. A source that cannot tell takes no
    /// server away.
    pub(super) fn send_statement(&mut self, statement: Statement, updates: &Updates) {
        let before = self.sent.as_ref();
        let known = before.and_then(|update| update.entries.clone());
        let update = Update {
            entries: statement.entries.or(known),
            fault: statement.fault.map(Into::into),
            ttl: statement.ttl.or(before.and_then(|update| update.ttl)),
            dismissed: BTreeSet::new(),
        };
        if before != Some(&update) {
            updates.send_update(&self.upstream, &self.origin, &update);
            self.sent = Some(update);
        }
    }
}

/// The sources of a configuration.
#[must_use]
pub fn list_sources(config: &Config) -> UpstreamSources {
    let elsewhere = config.upstream.iter().filter_map(|(name, upstream)| {
        let elsewhere = upstream.servers.elsewhere()?;
        Some((name.value.as_str().into(), Arc::new(elsewhere.clone())))
    });
    elsewhere.collect()
}

/// All that name servers are asked for a configuration: the names of servers that have one.
#[must_use]
pub fn list_questions(config: &Config) -> Questions {
    let listed = config.upstream.values().flat_map(|upstream| upstream.servers.listed());
    listed
        .filter_map(|server| name_question(&server.address.value))
        .map(Question::with_usual_pauses)
        .collect()
}

/// The questions for the servers of a list that have names.
#[must_use]
pub fn questions_of(entries: &[Entry]) -> Questions {
    entries
        .iter()
        .filter_map(|entry| name_question(&entry.address))
        .map(Question::with_usual_pauses)
        .collect()
}

fn name_question(address: &ServerAddress) -> Option<Question> {
    match address {
        ServerAddress::Name { host, .. } => Some(Question::for_host(host)),
        ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
    }
}

/// Says which addresses are not used because they are outside of `allow`.
pub(super) fn outside_allow(refused: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = refused.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match refused.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more are outside `allow`"),
        _ if refused.len() == 1 => format!("{shown} is outside `allow`"),
        _ => format!("{shown} are outside `allow`"),
    }
}
