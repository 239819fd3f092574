//! The guard against configurations that would leave too little.

use super::plan::ReloadRefused;
use crate::config::Config;
use crate::config::schema::upstream::Servers;

/// Refuses what would leave less than `shrink_guard` allows of the routes, of the servers, or of
/// the servers of an upstream that stays. What others take the place of is not gone: deployments
/// replace all servers of an upstream.
pub(super) fn guard_shrinking(old: &Config, new: &Config) -> Result<(), ReloadRefused> {
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
