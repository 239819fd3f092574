//! A server as a list of servers has it, wherever the list comes from.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::config::schema::upstream::ServerConfig;
use crate::config::schema::words::ServerAddress;

/// One entry of a list of servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it is called in its upstream.
    pub id: Arc<str>,
    /// Where it answers.
    pub address: ServerAddress,
    /// The host and port that led to the address, when that was looked up.
    pub host: Option<(Arc<str>, u16)>,
    /// The share of the requests relative to the others.
    pub weight: NonZeroU16,
    /// What routes choose it by.
    pub labels: BTreeMap<String, String>,
    /// Where it is.
    pub zone: Option<String>,
    /// Lower ones are used first.
    pub priority: u16,
    /// The source has it no longer, and is not believed yet.
    pub held: bool,
}

impl Entry {
    /// An entry with nothing said but where it is; that is what it is called, too.
    #[must_use]
    pub fn new(address: ServerAddress) -> Self {
        Self {
            id: address.to_string().into(),
            address,
            host: None,
            weight: NonZeroU16::MIN,
            labels: BTreeMap::new(),
            zone: None,
            priority: 0,
            held: false,
        }
    }
}

impl From<&ServerConfig> for Entry {
    fn from(written: &ServerConfig) -> Self {
        let labels =
            written.labels.iter().map(|(label, value)| (label.value.clone(), value.clone()));
        Self {
            id: written.id().into(),
            weight: written.weight,
            labels: labels.collect(),
            zone: written.zone.clone(),
            priority: written.priority,
            ..Self::new(written.address.value.clone())
        }
    }
}
