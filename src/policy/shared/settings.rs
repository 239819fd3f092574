//! `[redis]` as it is written, and what follows from it.

use std::path::PathBuf;
use std::time::Duration;

use redis::RedisConnectionInfo;

use super::OnError;
use super::connector::{NodeAddress, RedisUrl, Sentinels};

/// Where a Redis is.
#[derive(Clone, PartialEq, Eq)]
pub enum RedisTopology {
    /// At a URL.
    Url(String),
    /// Where Sentinels say that the primary of this name is.
    Sentinel {
        /// The name by which they know it.
        master: String,
        /// Their URLs, or `HOST:PORT`.
        nodes: Vec<String>,
        /// What the primary is told.
        user: Option<String>,
        /// What the primary is told.
        password: Option<String>,
        /// The number of its database.
        database: u16,
    },
    /// A Cluster, of which these are some servers.
    Cluster(Vec<String>),
}

/// `[redis]`, as it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is.
    pub topology: RedisTopology,
    /// Whom to trust; `None` is the authorities of the system.
    pub ca: Option<PathBuf>,
    /// The proxy's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long a request waits for it.
    pub timeout: Duration,
    /// The rule while it does not answer.
    pub on_error: OnError,
}

/// Settings that do not lead to a Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// Which of the URLs, or of the Sentinels, is wrong.
    pub at: Option<usize>,
    /// What is wrong, without a password.
    pub message: String,
}

impl SettingsError {
    pub(super) fn from_message(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into() }
    }
}

/// What follows from settings.
pub(super) struct Resolved {
    /// The servers that are named, or the Sentinels.
    pub urls: Vec<RedisUrl>,
    /// What a server is told first.
    pub login: RedisConnectionInfo,
    pub sentinels: Option<Sentinels>,
}

impl RedisSettings {
    pub(super) fn resolve_urls(&self) -> Result<Resolved, SettingsError> {
        let written: &[String] = match &self.topology {
            RedisTopology::Url(url) => std::slice::from_ref(url),
            RedisTopology::Sentinel { nodes, .. } => nodes,
            RedisTopology::Cluster(urls) => urls,
        };
        let mut urls: Vec<RedisUrl> = Vec::with_capacity(written.len());
        for (at, text) in written.iter().enumerate() {
            let wrong = |message| SettingsError { at: Some(at), message };
            let url = RedisUrl::parse_url(text).map_err(wrong)?;
            if let Some(message) = self.objection_to(&url, urls.first()) {
                return Err(wrong(message.to_owned()));
            }
            urls.push(url);
        }
        let login = urls.first().map(|url| url.login.clone()).unwrap_or_default();
        let RedisTopology::Sentinel { master, nodes: _, user, password, database } = &self.topology
        else {
            return Ok(Resolved { urls, login, sentinels: None });
        };
        let mut login = RedisConnectionInfo::default().set_db((*database).into());
        if let Some(user) = user {
            login = login.set_username(user);
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        let sentinels = Sentinels { master: master.clone(), nodes: urls.clone() };
        Ok(Resolved { urls, login, sentinels: Some(sentinels) })
    }

    /// What is wrong with one of several URLs beside the first one.
    fn objection_to(&self, url: &RedisUrl, first: Option<&RedisUrl>) -> Option<&'static str> {
        if first.is_some_and(|first| first.tls != url.tls) {
            return Some("either all URLs begin with rediss:// or none");
        }
        if url.tls && !matches!(url.address, NodeAddress::Tcp(..)) {
            return Some("TLS is for names and addresses");
        }
        match self.topology {
            RedisTopology::Url(_) => None,
            RedisTopology::Sentinel { .. } => {
                (url.login.db() != 0).then_some("a Sentinel has no databases")
            }
            RedisTopology::Cluster(_) => {
                let login = |url: &RedisUrl| {
                    let login = &url.login;
                    (login.username().map(str::to_owned), login.password().map(str::to_owned))
                };
                if first.is_some_and(|first| login(first) != login(url)) {
                    Some("all servers of a Cluster have the same user and password")
                } else if url.login.db() != 0 {
                    Some("a Cluster has no database but 0")
                } else if !matches!(url.address, NodeAddress::Tcp(..)) {
                    Some("a Cluster is reached by names or addresses")
                } else {
                    None
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
