//! Which request goes where.
//!
//! The most specific route wins, whatever the order of the file: first by host (exact, then the longest
//! wildcard, then none), then by path (exact, longest prefix, pattern with captures by literal
//! length and then by number of segments, regular expression, none), then one that names methods
//! before one that does not, then by the number of conditions. Where the most specific route's conditions fail, the search goes on to
//! the next one, also to less specific paths and hosts.
//!
//! A lookup hashes a few parts of the request and looks at the routes that share them, so its cost
//! does not grow with the number of routes. It does not allocate. The exception is a host with regular
//! expressions, which cost something each and one small allocation together.

pub mod captures;
pub mod condition;
pub mod conflicts;
mod hosts;
pub mod normal;
pub mod path;
mod paths;
pub mod spec;

use std::cmp::Reverse;
use std::net::IpAddr;

use self::hosts::Hosts;
pub use captures::Captures;
pub use path::{PathError, PathPattern};
pub use spec::{HostPattern, RouteSpec};

use crate::wire::head::Fields;

/// What the table asks of a request, whatever protocol it came in by.
pub trait Ask {
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
    /// Whether it came over TLS.
    fn tls(&self) -> bool {
        false
    }
    /// The subject of the client's certificate.
    fn certificate_subject(&self) -> Option<&[u8]> {
        None
    }
    /// Its alternative names.
    fn certificate_names(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::empty()
    }
}

/// A route that matched.
#[derive(Debug)]
pub struct Found<'t, T> {
    /// What was stored with it.
    pub route: &'t T,
    /// What its path captured.
    pub captures: Captures,
}

/// Why none did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No route matches.
    NoRoute,
    /// One would, but for the method.
    Method,
}

/// One route in the table.
#[derive(Debug)]
struct Entry<T> {
    spec: RouteSpec,
    payload: T,
}

/// All routes, ready to be looked up.
#[derive(Debug)]
pub struct RouteTable<T> {
    hosts: Hosts,
    entries: Box<[Entry<T>]>,
}

impl<T> RouteTable<T> {
    /// Builds the table.
    #[must_use]
    pub fn new(mut routes: Vec<(RouteSpec, T)>) -> Self {
        // From here on a route's place says how it ranks among those with an equally specific host
        // and path. What stands in the routes decides the rest, never the order they came in.
        routes.sort_by_cached_key(|(spec, _)| {
            (Reverse(spec.rank()), spec.name.clone(), format!("{spec:?}"))
        });
        let entries: Box<[_]> =
            routes.into_iter().map(|(spec, payload)| Entry { spec, payload }).collect();
        let specs: Vec<&RouteSpec> = entries.iter().map(|entry| &entry.spec).collect();
        Self { hosts: Hosts::new(&specs), entries }
    }

    /// Finds the most specific route that matches.
    ///
    /// # Errors
    /// [`Miss`] when there is none.
    pub fn find(&self, ask: &impl Ask) -> Result<Found<'_, T>, Miss> {
        let mut wrong_method = false;
        let mut accept = |id: u32| {
            let entry = self.entries.get(id as usize)?;
            if !entry.spec.conditions_hold(ask) {
                return None;
            }
            if !entry.spec.admits_method(ask.method()) {
                wrong_method = true;
                return None;
            }
            Some(entry)
        };
        let found = self.hosts.search(ask.host(), ask.path(), &mut |id| accept(id).is_some());
        let entry = found.and_then(|id| self.entries.get(id as usize));
        match entry {
            Some(entry) => {
                Ok(Found { route: &entry.payload, captures: entry.spec.path.captures(ask.path()) })
            }
            None if wrong_method => Err(Miss::Method),
            None => Err(Miss::NoRoute),
        }
    }
}

#[cfg(test)]
mod tests;
