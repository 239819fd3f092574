//! The first step of a lookup: from the host to the paths of that host.

use std::collections::{BTreeMap, HashMap};

use super::paths::PathIndex;
use super::spec::{HostPattern, RouteSpec};

/// Path tables by host.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    exact: HashMap<Box<str>, PathIndex>,
    below: HashMap<Box<str>, PathIndex>,
    any: PathIndex,
}

impl HostTable {
    pub(super) fn new(specs: &[&RouteSpec]) -> Self {
        let mut groups: BTreeMap<Option<&HostPattern>, Vec<u32>> = BTreeMap::new();
        for (id, spec) in specs.iter().enumerate() {
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            if spec.hosts.is_empty() {
                groups.entry(None).or_default().push(id);
            }
            for host in &spec.hosts {
                groups.entry(Some(host)).or_default().push(id);
            }
        }
        let mut hosts = Self::default();
        for (host, ids) in groups {
            let paths = PathIndex::new(specs, &ids);
            match host {
                None => hosts.any = paths,
                Some(HostPattern::Exact(name)) => {
                    hosts.exact.insert(name.clone(), paths);
                }
                Some(HostPattern::Below(name)) => {
                    hosts.below.insert(name.clone(), paths);
                }
            }
        }
        hosts
    }

    /// Offers routes to `accept`, most specific first, until it takes one.
    pub(super) fn search_hosts(
        &self,
        host: &str,
        path: &[u8],
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        if !self.exact.is_empty()
            && let Some(paths) = self.exact.get(host)
            && let Some(id) = paths.search_paths(path, accept)
        {
            return Some(id);
        }
        if !self.below.is_empty() {
            // From the longest wildcard to the shortest: cut labels off the front.
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(paths) = self.below.get(parent)
                    && let Some(id) = paths.search_paths(path, accept)
                {
                    return Some(id);
                }
                rest = parent;
            }
        }
        self.any.search_paths(path, accept)
    }
}
