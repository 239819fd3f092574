//! Which request goes where.
//!
//! The most specific route wins, whatever the order of the file: first by host (exact, then the
//! longest wildcard, then none), then by path (exact, longest prefix, pattern with captures by
//! literal length and then by number of segments, regular expression, none), then one that names
//! methods before one that does not, then by the number of conditions. Where the most specific
//! route's conditions fail, the search goes on to the next one, also to less specific paths and
//! hosts.
//!
//! A lookup hashes a few parts of the request and looks at the routes that share them, so its cost
//! does not grow with the number of routes. It does not allocate. The exception is a host with
//! regular expressions, which cost something each and one small allocation together.

pub mod authority;
pub mod captures;
pub mod condition;
pub mod conflicts;
mod hosts;
mod near;
pub mod normal;
pub mod path;
mod paths;
pub mod spec;
pub mod template;

use std::cmp::Reverse;
use std::net::IpAddr;

use self::hosts::HostTable;
pub use captures::Captures;
pub use path::{PathError, PathPattern};
pub use spec::{HostPattern, RouteSpec};

use http_codec::head::Fields;

/// The request as the table sees it, whatever protocol it came in by.
pub trait RouteQuery {
    /// The place of the listener it came in by.
    fn listener(&self) -> u16;
    /// The host in its canonical form.
    fn host(&self) -> &str;
    /// The path in its normal form.
    fn path(&self) -> &[u8];
    /// The query without `?`.
    fn query(&self) -> Option<&[u8]>;
    /// The method.
    fn method(&self) -> &[u8];
    /// The header fields.
    fn fields(&self) -> &Fields;
    /// The client's address; `None` where nobody knows one.
    fn client(&self) -> Option<IpAddr>;
    /// Returns whether it came over TLS.
    fn tls(&self) -> bool {
        false
    }
    /// The subject of the client's certificate.
    fn certificate_subject(&self) -> Option<&[u8]> {
        None
    }
    /// Returns the alternative names of the client's certificate.
    fn certificate_names(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
}

/// A route that matched.
#[derive(Debug)]
pub struct FoundRoute<'t, T> {
    /// The value that was stored with the route.
    pub route: &'t T,
    /// The captures of the path.
    pub captures: Captures,
    /// The path was matched as the client sent it.
    pub raw: bool,
    entry: usize,
}

/// A reason why no route matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMiss {
    /// No route matches.
    NoRoute,
    /// One would, but for the method.
    Method,
}

/// A request's path in the two forms in which routes may look at it.
#[derive(Debug, Clone, Copy)]
pub enum Spelling<'p> {
    /// The client sent it in normal form, so the two are the same.
    Same(&'p [u8]),
    /// The values differ.
    Differs {
        /// In normal form; `None` where it has none.
        normal: Option<&'p [u8]>,
        /// As the client sent it.
        raw: &'p [u8],
        /// As a server reads it that takes encoded slashes for slashes, where that is why it has no
        /// normal form.
        slashed: Option<&'p [u8]>,
    },
}

/// One route in the table.
#[derive(Debug)]
struct RouteEntry<T> {
    spec: RouteSpec,
    payload: T,
}

/// All routes, ready to be looked up.
#[derive(Debug)]
pub struct RouteTable<T> {
    hosts: HostTable,
    entries: Box<[RouteEntry<T>]>,
    /// Some route looks at paths as they are sent.
    raw: bool,
}

impl<T> RouteTable<T> {
    /// Builds the table.
    #[must_use]
    pub fn new(mut routes: Vec<(RouteSpec, T)>) -> Self {
        // From here on a route's place says how it ranks among those with an equally specific host
        // and path. What stands in the routes decides the rest, never the order they came in.
        routes.sort_by_cached_key(|(spec, _)| {
            (Reverse(spec.route_rank()), spec.name.clone(), format!("{spec:?}"))
        });
        let entries: Box<[_]> =
            routes.into_iter().map(|(spec, payload)| RouteEntry { spec, payload }).collect();
        let specs: Vec<&RouteSpec> = entries.iter().map(|entry| &entry.spec).collect();
        let raw = specs.iter().any(|spec| spec.raw);
        Self { hosts: HostTable::new(&specs), entries, raw }
    }

    /// Returns whether some route looks at paths as clients send them.
    #[must_use]
    pub fn has_raw(&self) -> bool {
        self.raw
    }

    /// Finds the most specific route that matches a path in the form that the route looks at. `ask`
    /// asks with one form of the path.
    ///
    /// # Errors
    /// [`RouteMiss`] when there is none.
    pub fn find_spelled<'p, A: RouteQuery>(
        &self,
        path: Spelling<'p>,
        ask: impl Fn(&'p [u8]) -> A,
    ) -> Result<FoundRoute<'_, T>, RouteMiss> {
        let (normal, raw, slashed) = match path {
            Spelling::Same(path) => return self.find(&ask(path)),
            Spelling::Differs { normal, raw, slashed } => (normal, raw, slashed),
        };
        let strict = match normal {
            Some(normal) => self.find_among(&ask(normal), |spec| !spec.raw),
            None => Err(RouteMiss::NoRoute),
        };
        if !self.raw {
            return strict;
        }
        let among_raw = self.find_among(&ask(raw), |spec| spec.raw);
        let outranks = |one: &FoundRoute<'_, T>, other: &FoundRoute<'_, T>| {
            let ask = ask(raw);
            let rank = |found: &FoundRoute<'_, T>| {
                self.entries.get(found.entry).map(|entry| entry.spec.specificity(ask.host()))
            };
            rank(one) > rank(other)
        };
        match (strict, among_raw) {
            (Ok(strict), Ok(raw_one)) => {
                Ok(if outranks(&strict, &raw_one) { strict } else { raw_one })
            }
            // For a server that decodes slashes it is a path of another route, which would be
            // evaded.
            (Err(_), Ok(found))
                if slashed.is_some_and(|path| {
                    let meant = self.find_among(&ask(path), |spec| !spec.raw);
                    meant.is_ok_and(|meant| outranks(&meant, &found))
                }) =>
            {
                Err(RouteMiss::NoRoute)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(RouteMiss::Method), Err(_)) | (Err(_), Err(RouteMiss::Method)) => {
                Err(RouteMiss::Method)
            }
            (Err(RouteMiss::NoRoute), Err(RouteMiss::NoRoute)) => Err(RouteMiss::NoRoute),
        }
    }

    /// Finds the most specific route that matches.
    ///
    /// # Errors
    /// [`RouteMiss`] when there is none.
    pub fn find(&self, ask: &impl RouteQuery) -> Result<FoundRoute<'_, T>, RouteMiss> {
        self.find_among(ask, |_| true)
    }

    fn find_among(
        &self,
        ask: &impl RouteQuery,
        counts: impl Fn(&RouteSpec) -> bool,
    ) -> Result<FoundRoute<'_, T>, RouteMiss> {
        let mut wrong_method = false;
        let mut accept = |id: u32| {
            let entry = self.entries.get(id as usize)?;
            if !counts(&entry.spec) || !entry.spec.conditions_hold(ask) {
                return None;
            }
            if !entry.spec.admits_method(ask.method()) {
                wrong_method = true;
                return None;
            }
            Some(entry)
        };
        let found = self.hosts.search_hosts(ask.host(), ask.path(), &mut |id| accept(id).is_some());
        let place = found.map(|id| id as usize);
        match place.and_then(|at| self.entries.get(at).map(|entry| (at, entry))) {
            Some((at, entry)) => Ok(FoundRoute {
                route: &entry.payload,
                captures: entry.spec.capture_path(ask.path()),
                raw: entry.spec.raw,
                entry: at,
            }),
            None if wrong_method => Err(RouteMiss::Method),
            None => Err(RouteMiss::NoRoute),
        }
    }
}

#[cfg(test)]
mod tests;
