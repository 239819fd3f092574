//! From a changed file to a new snapshot, or to a clear refusal with the old one going on.
//!
//! This prepares and remembers; `server::control` opens and closes what has to be opened and
//! closed.

pub mod diff;
mod plan;
mod shrink;
#[cfg(test)]
mod tests;
mod wanted;
pub mod watch;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::plan::ReloadOrigin;
pub use self::plan::{Accepted, Prepared, ReloadOutcome, ReloadPlan, ReloadRefused};
use self::shrink::guard_shrinking;
use self::wanted::{all_questions, belief_bounds, name_servers, watched_files};
use crate::clock;
use crate::config::schema::process::ReloadBy;
use crate::config::schema::words::ListenAddress;
use crate::config::{self, Config, FindingReport, Loaded, Sources};
use crate::discovery::guard::Bounds;
use crate::discovery::{
    self, Found, Lists, Names, Origin, Question, Questions, RunningSources, source,
};
use crate::machine::bell::Bell;
use crate::reload::watch::{Watched, WatchedContent, Watcher};
use crate::snapshot::Snapshot;
use crate::snapshot::compile::{self, Purpose};
use crate::snapshot::weights::Weights;

/// Configurations that can be gone back to.
const HISTORY: usize = 10;

/// The longest wait of a start or a reload for names that were not looked up before. Servers whose
/// names take longer have no address until the answer is there.
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

impl Reloader {
    /// Remembers what runs and where it came from, and begins to look at its files and to follow
    /// names.
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

    /// Returns whether the files have changed and are to be read for that; true once after each
    /// change.
    pub fn has_changed(&self) -> bool {
        let changed = self.watcher.as_ref().is_some_and(Watcher::has_changed);
        changed && self.running.runtime.reload == ReloadBy::Watch
    }

    /// The bells that ring when files or names have changed.
    pub fn outside_bells(&self) -> impl Iterator<Item = &Bell> {
        self.watcher.iter().map(Watcher::bell).chain([self.names.bell()])
    }

    /// The bell that rings when a source has sent something.
    #[must_use]
    pub fn source_bell(&self) -> &Bell {
        self.lists.updates().bell()
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

    /// Remembers what is in these files: what was found before they were read, or what is in them
    /// now.
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
