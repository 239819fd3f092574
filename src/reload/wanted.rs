//! What a configuration wants looked at: files, names, sources.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::schema::policy::BasicConfig;
use crate::config::{Config, Sources, certificates};
use crate::discovery::guard::Bounds;
use crate::discovery::{self, Questions, source};
use crate::reload::watch::Watched;
use crate::snapshot::pages;

/// All files that a configuration is made of.
pub(super) fn watched_files(sources: &Sources, config: &Config) -> Watched {
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
pub(super) fn all_questions(config: &Config) -> Questions {
    let mut all = discovery::record_questions(&source::list_sources(config));
    for (question, bounds) in source::list_questions(config) {
        discovery::add_question(&mut all, question, bounds);
    }
    all
}

/// The bounds within which a configuration believes sources at once.
pub(super) fn belief_bounds(config: &Config) -> Bounds {
    let runtime = &config.runtime;
    Bounds {
        shrink: runtime.shrink_guard.fraction(),
        growth: usize::try_from(runtime.growth_guard.get()).unwrap_or(usize::MAX),
        hold: runtime.guard_hold.get(),
    }
}

/// The name servers that a configuration names.
pub(super) fn name_servers(config: &Config) -> Vec<SocketAddr> {
    config.dns.servers.iter().map(|server| server.0).collect()
}
