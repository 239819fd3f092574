//! From a changed file to a new snapshot, or to a clear refusal with the old one going on.
//!
//! This prepares and remembers; `server::control` opens and closes what has to be opened and closed.

pub mod diff;
pub mod pace;
pub mod watch;
mod weights;

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::diff::{Change, Stays};
use self::watch::Watch;
use self::weights::Weights;
use crate::config::{self, Colour, Config, Loaded, Report, Sources};
use crate::snapshot::{Snapshot, compile, tls};

/// Configurations that can be gone back to.
const HISTORY: usize = 10;

/// Prepares reloads.
#[derive(Debug)]
pub struct Reloader {
    /// `None` when the configuration came from no file: there is nothing to read again.
    file: Option<PathBuf>,
    running: Arc<Config>,
    /// Those that ran before, the latest last.
    before: VecDeque<Arc<Config>>,
    watch: Option<Watch>,
    weights: Weights,
    /// What a listener may have open that sets no limit.
    connections: u32,
}

/// A configuration that may run.
#[derive(Debug)]
pub struct Prepared {
    /// As written.
    pub config: Arc<Config>,
    /// Compiled.
    pub snapshot: Snapshot,
    /// What is different.
    pub changes: Vec<Change>,
    /// What goes on as it was.
    pub stays: Stays,
}

/// Why a configuration may not run.
#[derive(Debug, Error)]
pub enum Refused {
    /// It does not load.
    #[error("{}", .0.text(Colour::Plain))]
    Report(Report),
    /// It would remove too much.
    #[error(
        "{what} would go from {from} to {to}, which `runtime.shrink_guard` does not allow; \
         force it if it is meant"
    )]
    Shrinks {
        /// Routes or servers.
        what: &'static str,
        /// How many there are.
        from: usize,
        /// How many there would be.
        to: usize,
    },
    /// A listener cannot be opened.
    #[error("{0}")]
    Bind(String),
    /// There is no such server.
    #[error("no server `{0}`")]
    NoServer(String),
    /// There is no file, or nothing to go back to.
    #[error("{0}")]
    Nothing(&'static str),
}

/// How a reload ended, as it is told to whoever asked for it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Whether it runs.
    pub ok: bool,
    /// The generation that runs now.
    pub generation: u64,
    /// What is different.
    pub changes: Vec<Change>,
    /// What goes on as it was.
    pub stays: Stays,
    /// What gets nothing new any more and finishes what it has.
    pub drains: Vec<String>,
    /// Why it was refused; empty otherwise.
    pub error: String,
}

impl Reloader {
    /// Remembers what runs and where it came from.
    #[must_use]
    pub fn new(file: Option<&Path>, config: &Config, sources: &Sources, connections: u32) -> Self {
        let watch = file.map(|_| watch(sources, config));
        Self {
            file: file.map(Path::to_owned),
            running: Arc::new(config.clone()),
            before: VecDeque::new(),
            watch,
            weights: Weights::default(),
            connections,
        }
    }

    /// Whether the files have changed; true once after each change.
    pub fn changed(&mut self) -> bool {
        self.watch.as_mut().is_some_and(Watch::changed)
    }

    /// The configuration that runs.
    #[must_use]
    pub fn running(&self) -> &Arc<Config> {
        &self.running
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn read(&mut self, current: &Snapshot, force: bool) -> Result<Prepared, Refused> {
        let file = self.file.as_ref().ok_or(Refused::Nothing("there is no file to read"))?;
        let Loaded { mut config, findings: _, sources } =
            config::load(file).map_err(Refused::Report)?;
        // Whether it is accepted or not: the next change is one of these files'.
        self.watch = Some(watch(&sources, &config));
        if !force {
            guard(&self.running, &config)?;
        }
        self.weights.apply(&mut config);
        self.prepare(Arc::new(config), &sources, current)
    }

    /// Goes back to the configuration before.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn back(&mut self, current: &Snapshot) -> Result<Prepared, Refused> {
        let nothing = Refused::Nothing("there is no configuration to go back to");
        let config = self.before.back().cloned().ok_or(nothing)?;
        self.prepare(config, &Sources::default(), current)
    }

    /// Gives a server another weight, until the file gives it another one.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn weigh(
        &mut self,
        current: &Snapshot,
        (upstream, server): (&str, &str),
        weight: NonZeroU16,
    ) -> Result<Prepared, Refused> {
        let mut config = Config::clone(&self.running);
        if !self.weights.set(&mut config, upstream, server, weight) {
            return Err(Refused::NoServer(format!("{upstream}/{server}")));
        }
        self.prepare(Arc::new(config), &Sources::default(), current)
    }

    fn prepare(
        &self,
        config: Arc<Config>,
        sources: &Sources,
        current: &Snapshot,
    ) -> Result<Prepared, Refused> {
        let snapshot = compile::compile(&config, Some(current), self.connections);
        let snapshot = snapshot
            .map_err(|findings| Refused::Report(Report { findings, sources: sources.clone() }))?;
        let (changes, stays) = diff::diff(&current.shown, &snapshot.shown);
        Ok(Prepared { config, snapshot, changes, stays })
    }

    /// Notes that a configuration runs now.
    pub fn accepted(&mut self, config: Arc<Config>) {
        if self.before.back().is_some_and(|before| Arc::ptr_eq(before, &config)) {
            self.before.pop_back();
        } else {
            self.before.push_back(self.running.clone());
            if self.before.len() > HISTORY {
                self.before.pop_front();
            }
        }
        self.running = config;
    }
}

fn watch(sources: &Sources, config: &Config) -> Watch {
    let sources = sources.files().iter().map(|source| Path::new(&source.name));
    Watch::new(sources.chain(tls::files(config)))
}

/// Refuses what would remove more than `shrink_guard` of the routes or servers.
fn guard(old: &Config, new: &Config) -> Result<(), Refused> {
    let servers =
        |config: &Config| config.upstream.values().map(|u| u.servers.listed().len()).sum();
    let counts: [(&'static str, usize, usize); 2] =
        [("routes", old.route.len(), new.route.len()), ("servers", servers(old), servers(new))];
    for (what, from, to) in counts {
        let most = old.runtime.shrink_guard.fraction() * from as f64;
        if from.saturating_sub(to) as f64 > most {
            return Err(Refused::Shrinks { what, from, to });
        }
    }
    Ok(())
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
        assert!(guard(&config(4), &config(2)).is_ok());
        let refused = guard(&config(4), &config(1)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "servers would go from 4 to 1, which `runtime.shrink_guard` does not allow; force it if it is meant"
        );
        assert!(guard(&config(1), &config(4)).is_ok());
    }

    #[test]
    fn ten_configurations_can_be_gone_back_to() {
        let first = config(1);
        let mut reloader = Reloader::new(None, &first, &Sources::default(), 16);
        let snapshot = compile::compile(&first, None, 16).unwrap();
        for n in 2..=14 {
            reloader.accepted(Arc::new(config(n)));
        }
        let mut back = 0;
        while let Ok(prepared) = reloader.back(&snapshot) {
            reloader.accepted(prepared.config);
            back += 1;
        }
        assert_eq!(back, 10);
        assert_eq!(reloader.running().upstream.values().next().unwrap().servers.listed().len(), 4);
    }
}
