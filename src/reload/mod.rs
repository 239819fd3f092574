//! From a changed file to a new snapshot, or to a clear refusal with the old one going on.
//!
//! This prepares and remembers; `server::control` opens and closes what has to be opened and closed.

pub mod diff;
pub mod watch;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::diff::{ConfigChange, StayingCounts};
use self::watch::{Watched, WatchedContent, Watcher};
use crate::clock;
use crate::config::certificates;
use crate::config::schema::policy::BasicConfig;
use crate::config::schema::process::ReloadBy;
use crate::config::schema::upstream::Servers;
use crate::config::schema::words::ListenAddress;
use crate::config::{self, Config, FindingReport, Loaded, Sources};
use crate::discovery::guard::Bounds;
use crate::discovery::{
    self, Found, Lists, Names, Origin, Question, Questions, RunningSources, source,
};
use crate::snapshot::compile::Purpose;
use crate::snapshot::weights::Weights;
use crate::snapshot::{Snapshot, compile, pages};

/// Configurations that can be gone back to.
const HISTORY: usize = 10;

/// The longest wait of a start or a reload for names that were not looked up before. Servers whose names take
/// longer have no address until the answer is there.
pub const NAME_PATIENCE: Duration = Duration::from_secs(3);

/// The age of the last look-up of a name at which a reload looks it up again.
const NAME_PAUSE: Duration = Duration::from_secs(1);

/// Prepares reloads.
#[derive(Debug)]
pub struct Reloader {
    /// `None` when the configuration came from no file: there is nothing to read again.
    file: Option<PathBuf>,
    /// The running configuration, as it was written.
    running: Arc<Config>,
    /// The configurations that were written before, the latest last.
    before: VecDeque<Arc<Config>>,
    watcher: Option<Watcher>,
    /// The content of the files when they were last read.
    content: WatchedContent,
    /// The file is another one than what runs, because an operator went back.
    held: bool,
    weights: Weights,
    /// The addresses that the names of servers lead to.
    names: Names,
    /// The sources of servers that are asked.
    sources: RunningSources,
    /// The servers that sources have told of each upstream.
    lists: Lists,
    /// The addresses at which the proxy itself listens, as far as sockets have told.
    own: Vec<SocketAddr>,
    /// The connections that a listener may have open that sets no limit.
    connections: u32,
}

/// The plan that reading the files again leads to.
#[derive(Debug)]
pub enum ReloadPlan {
    /// To nothing: what runs is what they say, or what an operator went back to.
    Nothing(&'static str),
    /// To another configuration.
    Switch(Box<Prepared>),
}

/// The origin of a configuration that may run.
#[derive(Debug)]
enum ReloadOrigin {
    /// The files.
    Files,
    /// The configurations before.
    Before,
}

/// A configuration that may run.
#[derive(Debug)]
pub struct Prepared {
    /// As written.
    pub config: Arc<Config>,
    /// Compiled.
    pub snapshot: Snapshot,
    /// The differences.
    pub changes: Vec<ConfigChange>,
    /// The number of each that goes on as it was.
    pub stays: StayingCounts,
    origin: ReloadOrigin,
    /// The weights that an operator has changed, if this comes to run.
    weights: Weights,
}

/// A reason why a configuration may not run.
#[derive(Debug, Error)]
pub enum ReloadRefused {
    /// The configuration does not load.
    #[error("{}", .0.lines())]
    Report(FindingReport),
    /// The change would remove too much.
    #[error(
        "{what} would go from {from} to {to}, which `runtime.shrink_guard` does not allow; \
         force it if it is meant"
    )]
    Shrinks {
        /// Routes or servers, all of them or those of an upstream.
        what: String,
        /// The number there is.
        from: usize,
        /// The number there would be.
        to: usize,
    },
    /// A listener cannot be opened.
    #[error("{0}")]
    Bind(String),
    /// No such server is known.
    #[error("no server `{0}`")]
    NoServer(String),
    /// No file is read, or nothing is left to go back to.
    #[error("{0}")]
    Nothing(&'static str),
}

/// The end of a reload, as it is told to whoever asked for it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReloadOutcome {
    /// True if it runs.
    pub ok: bool,
    /// The generation that runs now.
    pub generation: u64,
    /// The differences.
    pub changes: Vec<ConfigChange>,
    /// The number of each that goes on as it was.
    pub stays: StayingCounts,
    /// The things that get nothing new any more and finish what they have.
    pub drains: Vec<String>,
    /// The reason of a refusal; empty otherwise.
    pub error: String,
    /// The reason why nothing was done although nothing is wrong; empty otherwise.
    #[serde(default)]
    pub note: String,
}

impl Reloader {
    /// Remembers what runs and where it came from, and begins to look at its files and to follow names.
    ///
    /// # Errors
    /// The threads that look cannot be started.
    pub fn new(
        file: Option<&Path>,
        config: &Config,
        sources: &Sources,
        connections: u32,
    ) -> std::io::Result<Self> {
        let watched = watched_files(sources, config);
        let content = watched.read_content();
        let watcher = file.map(|_| Watcher::start_watching(watched, content)).transpose()?;
        let running = Arc::new(config.clone());
        let lists = Lists::default();
        Ok(Self {
            file: file.map(Path::to_owned),
            running,
            before: VecDeque::new(),
            watcher,
            content,
            held: false,
            weights: Weights::default(),
            names: Names::start_thread()?,
            sources: RunningSources::start_threads(lists.updates().clone())?,
            lists,
            own: Vec::new(),
            connections,
        })
    }

    /// Returns whether the files have changed and are to be read for that; true once after each change.
    pub fn has_changed(&self) -> bool {
        let changed = self.watcher.as_ref().is_some_and(Watcher::has_changed);
        changed && self.running.runtime.reload == ReloadBy::Watch
    }

    /// Returns where the names of servers lead.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Follows the names and sources of what runs, and no others.
    pub fn follow_running(&mut self) {
        let sources = source::list_sources(&self.running);
        self.lists.retain_sources(&sources);
        self.sources.follow_only(sources);
        self.names.ask_at(name_servers(&self.running));
        self.follow_names();
    }

    /// Follows the names of what runs and of the servers that were found for it, and no others.
    pub fn follow_names(&self) {
        let mut questions = all_questions(&self.running);
        for list in self.lists.used().values() {
            for (question, bounds) in source::questions_of(&list.entries) {
                discovery::add_question(&mut questions, question, bounds);
            }
        }
        self.names.follow_only(questions);
    }

    /// All that has been found out about servers.
    #[must_use]
    pub fn found_servers(&self) -> Found {
        let (names, own) = (self.names.known(), self.own_addresses(&self.running));
        Found { names, lists: self.lists.used().clone(), own }
    }

    /// All that has been found out about servers, once the names and sources of a configuration
    /// were asked.
    #[must_use]
    pub fn learn_servers(&mut self, config: &Config) -> Found {
        let until = clock::now() + NAME_PATIENCE;
        let left = || until.saturating_duration_since(clock::now());
        self.names.ask_at(name_servers(config));
        let sources = source::list_sources(config);
        self.sources.learn_sources(&sources, NAME_PATIENCE);
        let mut names = self.names.learn_names(all_questions(config), left());
        self.sources.tell_answers(&names);
        self.lists.hear_new(belief_bounds(config), clock::now());
        let mut named = Questions::new();
        for (upstream, elsewhere) in &sources {
            let list = self.lists.used().get(&(upstream.clone(), Origin::from_source(elsewhere)));
            named.extend(list.into_iter().flat_map(|list| source::questions_of(&list.entries)));
        }
        if !named.is_empty() {
            names = self.names.learn_names(named, left());
        }
        Found { names, own: self.own_addresses(config), ..self.found_servers() }
    }

    /// Notes the addresses at which the proxy itself listens now.
    pub fn note_own(&mut self, own: Vec<SocketAddr>) {
        self.own = own;
    }

    /// Returns the addresses at which the proxy itself listens, or will with a configuration.
    fn own_addresses(&self, config: &Config) -> Arc<[SocketAddr]> {
        let addresses = config.listen.iter().flat_map(|listener| listener.address.iter());
        let written = addresses.filter_map(|address| match &address.value.at {
            ListenAddress::Ip(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        });
        written.chain(self.own.iter().copied()).collect()
    }

    /// Returns what sources have told of the servers of each upstream.
    #[must_use]
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The same, to be changed.
    pub fn lists_mut(&mut self) -> &mut Lists {
        &mut self.lists
    }

    /// Sends what answers of name servers say of servers, as a source of lists does.
    pub fn tell_records(&mut self) {
        self.sources.tell_answers(&self.names.known());
    }

    /// Returns the question whose answer tells the servers of an upstream.
    #[must_use]
    pub fn record_question(&self, upstream: &str) -> Option<&Question> {
        self.sources.question_of(upstream)
    }

    /// Returns how far sources are believed at once.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        belief_bounds(&self.running)
    }

    /// Returns what an operator has said about servers.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The configuration that runs.
    #[must_use]
    pub fn running(&self) -> &Arc<Config> {
        &self.running
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`ReloadRefused`].
    pub fn read_files(
        &mut self,
        current: &Snapshot,
        force: bool,
    ) -> Result<ReloadPlan, ReloadRefused> {
        let file = self.file.clone().ok_or(ReloadRefused::Nothing("there is no file to read"))?;
        let before = self.watcher.as_ref().map(Watcher::watched).unwrap_or_default();
        let found = before.read_content();
        if self.held && found == self.content && !force {
            return Ok(ReloadPlan::Nothing(
                "the files are those that an operator went back from; they are read when they \
                 change, or when it is forced",
            ));
        }
        let Loaded { config: written, findings: _, sources } = match config::load(&file) {
            Ok(loaded) => loaded,
            Err(report) => {
                // What is wrong may be put right in any file that was read this time or before.
                self.follow_files(
                    watched_files(&report.sources, &self.running).joined_with(&before),
                    None,
                );
                return Err(ReloadRefused::Report(report));
            }
        };
        let now = watched_files(&sources, &written);
        // A file that changed while it was read is read again.
        let found = (now == *before).then_some(found);
        let outside = self.content.outside;
        self.follow_files(now, found);
        if !force {
            guard_shrinking(&self.running, &written)?;
        }
        let same = written == *self.running && outside == self.content.outside;
        if same && !force {
            self.held = false;
            // They are followed anyway; who asks for a reload wants to see their answers soon.
            self.names.hurry_lookups(all_questions(&written).into_keys().collect(), NAME_PAUSE);
            return Ok(ReloadPlan::Nothing("nothing is different"));
        }
        self.prepare_reload(Arc::new(written), ReloadOrigin::Files, &sources, current)
            .map(|prepared| ReloadPlan::Switch(Box::new(prepared)))
    }

    /// Remembers what is in these files: what was found before they were read, or what is in them now.
    fn follow_files(&mut self, watched: Watched, found: Option<WatchedContent>) {
        self.content = found.unwrap_or_else(|| watched.read_content());
        if let Some(watcher) = &self.watcher {
            watcher.follow_files(watched, self.content);
        }
    }

    /// Goes back to the configuration before.
    ///
    /// # Errors
    /// [`ReloadRefused`].
    pub fn go_back(&mut self, current: &Snapshot) -> Result<Prepared, ReloadRefused> {
        let nothing = ReloadRefused::Nothing("there is no configuration to go back to");
        let written = self.before.back().cloned().ok_or(nothing)?;
        self.prepare_reload(written, ReloadOrigin::Before, &Sources::default(), current)
    }

    /// Gives a server another weight, until the file gives it another one.
    ///
    /// # Errors
    /// There is no such server in the file.
    pub fn set_weight(
        &mut self,
        (upstream, server): (&str, &str),
        weight: NonZeroU16,
    ) -> Result<(), ReloadRefused> {
        match self.weights.set_weight(&self.running, upstream, server, weight) {
            true => Ok(()),
            false => Err(ReloadRefused::NoServer(format!("{upstream}/{server}"))),
        }
    }

    fn prepare_reload(
        &mut self,
        config: Arc<Config>,
        origin: ReloadOrigin,
        sources: &Sources,
        current: &Snapshot,
    ) -> Result<Prepared, ReloadRefused> {
        // Those that are followed are not waited for, but their answers are wanted soon.
        self.names.hurry_lookups(all_questions(&config).into_keys().collect(), NAME_PAUSE);
        let found = self.learn_servers(&config);
        let mut weights = self.weights.clone();
        weights.retain_current(&config);
        let outside = (Some(current), (&found, &weights));
        let snapshot = compile::compile_for(Purpose::Run, &config, outside, self.connections);
        let snapshot = snapshot.map_err(|findings| {
            ReloadRefused::Report(FindingReport::of(findings, sources.clone()))
        })?;
        let (changes, stays) = diff::diff_configs(&current.shown, &snapshot.shown);
        Ok(Prepared { config, snapshot, changes, stays, origin, weights })
    }

    /// Notes that what was prepared runs now; until then nothing of it counts.
    pub fn note_accepted(&mut self, accepted: Accepted) {
        let Accepted { config, origin, weights } = accepted;
        match origin {
            ReloadOrigin::Files => {
                self.held = false;
                if *config != *self.running {
                    self.before.push_back(self.running.clone());
                    if self.before.len() > HISTORY {
                        self.before.pop_front();
                    }
                }
            }
            ReloadOrigin::Before => {
                self.held = true;
                self.before.pop_back();
            }
        }
        self.weights = weights;
        self.running = config;
    }
}

/// The parts of a [`Prepared`] that runs which are to be remembered.
#[derive(Debug)]
pub struct Accepted {
    config: Arc<Config>,
    origin: ReloadOrigin,
    weights: Weights,
}

impl Prepared {
    /// The snapshot, and what is to be remembered once it runs.
    #[must_use]
    pub fn into_parts(self) -> (Snapshot, Vec<ConfigChange>, StayingCounts, Accepted) {
        let Self { config, snapshot, changes, stays, origin, weights } = self;
        (snapshot, changes, stays, Accepted { config, origin, weights })
    }
}

/// All files that a configuration is made of.
fn watched_files(sources: &Sources, config: &Config) -> Watched {
    let users = config.auth.values().filter_map(|auth| auth.basic.as_ref());
    let users = users.map(|BasicConfig { users_file }| users_file.as_path());
    let outside = certificates::files(config)
        .chain(users)
        .chain(pages::page_files(config))
        .chain(sources.named().map(PathBuf::as_path));
    let texts = sources.files().iter().map(|source| Path::new(&source.name));
    Watched::new(texts, outside, sources.patterns())
}

/// All that name servers are asked for a configuration.
fn all_questions(config: &Config) -> Questions {
    let mut all = discovery::record_questions(&source::list_sources(config));
    for (question, bounds) in source::list_questions(config) {
        discovery::add_question(&mut all, question, bounds);
    }
    all
}

/// The bounds within which a configuration believes sources at once.
fn belief_bounds(config: &Config) -> Bounds {
    let runtime = &config.runtime;
    Bounds {
        shrink: runtime.shrink_guard.fraction(),
        growth: usize::try_from(runtime.growth_guard.get()).unwrap_or(usize::MAX),
        hold: runtime.guard_hold.get(),
    }
}

/// The name servers that a configuration names.
fn name_servers(config: &Config) -> Vec<SocketAddr> {
    config.dns.servers.iter().map(|server| server.0).collect()
}

/// Refuses what would leave less than `shrink_guard` allows of the routes, of the servers, or of the servers of an
/// upstream that stays. What others take the place of is not gone: deployments replace all servers of an upstream.
fn guard_shrinking(old: &Config, new: &Config) -> Result<(), ReloadRefused> {
    let most = old.runtime.shrink_guard.fraction();
    let check = |what: String, from: usize, to: usize| {
        let gone = from.saturating_sub(to) as f64;
        if gone > most * from as f64 {
            Err(ReloadRefused::Shrinks { what, from, to })
        } else {
            Ok(())
        }
    };
    check("routes".to_owned(), old.route.len(), new.route.len())?;
    // Servers that are found elsewhere are not counted here, neither before nor after.
    let listed = |servers: &Servers| match servers {
        Servers::List(servers) => Some(servers.len()),
        Servers::Elsewhere(_) => None,
    };
    let (mut from, mut to) = (0, 0);
    for (name, before) in &old.upstream {
        let after = new.upstream.get(name.value.as_str());
        let Some(had) = listed(&before.servers) else { continue };
        let has = match after {
            Some(after) => listed(&after.servers).unwrap_or(had),
            None => 0,
        };
        if after.is_some() {
            check(format!("the servers of `{name}`"), had, has)?;
        }
        from += had;
        to += has;
    }
    let added = new.upstream.iter().filter(|(name, _)| !old.upstream.contains_key(&name.value[..]));
    to += added.filter_map(|(_, upstream)| listed(&upstream.servers)).sum::<usize>();
    check("servers".to_owned(), from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(servers: usize) -> Config {
        let list: Vec<String> = (0..servers).map(|n| format!("\"127.0.0.1:{}\"", n + 1)).collect();
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [{}]\n[[route]]\nupstream = \"a\"\n",
            list.join(", ")
        );
        config::load_str("t.toml", &text).unwrap().config
    }

    #[test]
    fn half_of_the_servers_may_go_and_no_more() {
        assert!(guard_shrinking(&config(4), &config(2)).is_ok());
        let refused = guard_shrinking(&config(4), &config(1)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the servers of `a` would go from 4 to 1, which `runtime.shrink_guard` does not allow; force it if it is meant"
        );
        assert!(guard_shrinking(&config(1), &config(4)).is_ok());
    }

    #[test]
    fn what_is_replaced_is_not_gone_but_other_upstreams_take_no_place() {
        let text = |a: &str, b: &str| {
            let text = format!(
                "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [{a}]\n\
                 [upstream.b]\nservers = [{b}]\n[[route]]\nupstream = {{ a = 1, b = 1 }}\n"
            );
            config::load_str("t.toml", &text).unwrap().config
        };
        let list = |from: u16, to: u16| {
            (from..to).map(|n| format!("\"127.0.0.1:{n}\"")).collect::<Vec<_>>().join(", ")
        };
        let old = text(&list(1, 11), &list(1, 2));
        assert!(guard_shrinking(&old, &text(&list(21, 31), &list(1, 2))).is_ok());
        let refused =
            guard_shrinking(&old, &text(&list(1, 2), &list(1, 11))).unwrap_err().to_string();
        assert!(refused.starts_with("the servers of `a` would go from 10 to 1"), "{refused}");
    }

    #[test]
    fn ten_configurations_can_be_gone_back_to() {
        let first = config(1);
        let mut reloader = Reloader::new(None, &first, &Sources::default(), 16).unwrap();
        let snapshot = compile::compile_config(&first, None, 16).unwrap();
        for n in 2..=14 {
            let (config, weights) = (Arc::new(config(n)), Weights::default());
            reloader.note_accepted(Accepted { config, origin: ReloadOrigin::Files, weights });
        }
        let mut back = 0;
        while let Ok(prepared) = reloader.go_back(&snapshot) {
            reloader.note_accepted(prepared.into_parts().3);
            back += 1;
        }
        assert_eq!(back, 10);
        assert_eq!(reloader.running().upstream.values().next().unwrap().servers.listed().len(), 4);
    }
}
