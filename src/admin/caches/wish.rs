//! What is to be purged: from words to the form of keys.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::cache::purge::Purge;
use crate::exchange::target::{self, PathMode, RequestTarget};
use crate::route::authority;
use crate::wire::{RequestHead, Version};

/// A wish to purge. All that is given must match; a `url` stands for its host, path and query.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeWish {
    /// Of this cache alone.
    pub(super) cache: Option<String>,
    /// Of this host.
    pub(super) host: Option<String>,
    /// Of this path, whatever the query; with `*` at its end, of all paths that begin so.
    pub(super) path: Option<String>,
    /// Of this URL and this query alone: `http://host/path?query`, whatever the scheme was.
    pub(super) url: Option<String>,
    /// With this tag, as `Cache-Tag`, `Surrogate-Key` or `xkey` of the response named it.
    pub(super) tag: Option<String>,
    /// Everything, or all of `cache`.
    pub(super) all: Option<bool>,
    /// If true, they stay as stale ones: used once a server has confirmed them, or while none
    /// answers.
    pub(super) soft: Option<bool>,
}

impl PurgeWish {
    pub(crate) const NAMES: [&'static str; 7] =
        ["cache", "host", "path", "url", "tag", "all", "soft"];

    /// Limits a purge that names something to one cache.
    ///
    /// # Errors
    /// What is wrong with it, another cache among that.
    pub(crate) fn limit_to_cache(mut self, name: &str) -> Result<Self, String> {
        parse_wish(&self)?;
        if let Some(other) = self.cache.as_ref().filter(|other| *other != name) {
            return Err(format!("the cache `{other}` is not `{name}`"));
        }
        self.cache = Some(name.to_owned());
        Ok(self)
    }
}

/// Turns a wish into keys.
pub(super) fn parse_wish(wish: &PurgeWish) -> Result<Purge, String> {
    let PurgeWish { cache, host, path, url, tag, all, soft } = wish;
    let narrowed = [("host", host), ("path", path), ("url", url), ("tag", tag)].into_iter();
    let given: Vec<_> =
        narrowed.filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect();
    let everything = *all == Some(true);
    match given.first() {
        Some(name) if everything => {
            return Err(format!("`all` beside `{name}`: which one is meant?"));
        }
        None if !everything && cache.is_none() => {
            return Err("nothing is named: `host`, `path`, `url`, `tag`, `cache` or `all`".into());
        }
        _ => {}
    }
    if url.is_some() && (host.is_some() || path.is_some()) {
        return Err("`url` stands for `host` and `path`; give one or the other".into());
    }
    let mut purge = Purge { soft: *soft == Some(true), ..Purge::default() };
    if let Some(tag) = tag {
        if tag.is_empty() || tag.bytes().any(|b| matches!(b, b',' | b' ' | b'\t')) {
            return Err(format!("`{tag}` is no tag: tags have neither blanks nor commas"));
        }
        purge.tag = Some(tag.as_bytes().into());
    }
    if let Some(host) = host {
        let canonical = authority::canonical_host(host.as_bytes()).filter(|host| !host.is_empty());
        let canonical = canonical.ok_or_else(|| format!("`{host}` is no host"))?;
        purge.host = Some(canonical.as_bytes().into());
    }
    if let Some(path) = path {
        purge.path = Some(match path.strip_suffix('*') {
            // Half a segment has no normal form.
            Some(prefix) if prefix.is_empty() || prefix.starts_with('/') => path.as_bytes().into(),
            Some(_) => return Err(format!("`{path}` does not begin with `/`")),
            None if path.contains('?') => {
                return Err(format!("`{path}` has a query: `url` names one"));
            }
            None => {
                normal_target("purge.invalid", path).map_err(|_| format!("`{path}` is no path"))?.1
            }
        });
    }
    if let Some(url) = url {
        let (_, host, target) =
            split_url(url).ok_or_else(|| format!("`{url}` is no URL of a host"))?;
        let (host, path, query) = normal_target(&host, &target)
            .map_err(|_| format!("`{url}` is no URL that is served"))?;
        purge.host = Some(host);
        purge.path = Some(path);
        purge.query = Some(query);
    }
    Ok(purge)
}

type Normal = (Box<[u8]>, Box<[u8]>, Option<Box<[u8]>>);

/// Host, path and query as they are in keys.
fn normal_target(host: &str, target: &str) -> Result<Normal, target::TargetFault> {
    let mut head = RequestHead::default();
    head.set(b"GET", target.as_bytes(), Version::Http11);
    head.fields.push(b"host", host.as_bytes());
    let target = RequestTarget::from_head(&head, PathMode::Normalize, target::Keep::Normal)?;
    Ok((target.host().as_bytes().into(), target.path().into(), target.query().map(Into::into)))
}

/// Scheme, authority and target of a URL; `None` when it is none with a host.
pub(crate) fn split_url(url: &str) -> Option<(&'static str, String, String)> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => "http",
        "https" => "https",
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.host().is_empty())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Some((scheme, authority.as_str().to_owned(), target))
}

#[cfg(test)]
mod tests;
