//! A route's payload: what happens to a request once it matched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::rewrite::PathStart;
use super::rewrite::RouteRewrite;
use crate::cache::route::RouteCache;
use crate::clock::Random;
use crate::exchange::{FieldPair, HeaderEdits};
use crate::policy::Policies;
use crate::policy::pages::Pages;
use crate::route::template::{Template, TemplateValues};
use crate::upstream::UpstreamTarget;
use crate::upstream::mirror::Mirror;

/// One `[[route]]`.
#[derive(Debug)]
pub struct Route {
    /// As configured, or derived from the match.
    pub name: Arc<str>,
    /// The action of the route.
    pub action: Action,
    /// The changes of the request line and `Host` on the way to a server.
    pub rewrite: RouteRewrite,
    /// Changes of the request's fields.
    pub request_edits: HeaderEdits,
    /// Changes of the response's fields, the proxy's own answers included.
    pub response_edits: HeaderEdits,
    /// The mark that tells its requests when they come back, which `request_edits` write; `None`
    /// where the field is taken away.
    pub mark: Option<Box<str>>,
    /// The policies between a match and the action; `None` costs nothing.
    pub policies: Option<Box<Policies>>,
    /// The route's own pages for errors and maintenance.
    pub pages: Option<Arc<Pages>>,
    /// The cache of its responses.
    pub cache: Option<Box<RouteCache>>,
    /// The mirror that gets copies of its requests.
    pub mirror: Option<Arc<Mirror>>,
    /// The most bytes of a request body; `None` leaves it to the listener.
    pub body_limit: Option<u64>,
    /// True if its requests are in the access log.
    pub access_log: bool,
    /// The counters of the route.
    pub counts: Arc<RouteCounts>,
}

/// The one thing a route does.
#[derive(Debug)]
pub enum Action {
    /// Forwards to one of these.
    Forward(Split),
    /// Answers by itself.
    Respond(Respond),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Serves the files of a folder.
    Files(Files),
}

/// `files`.
#[derive(Debug)]
pub struct Files {
    /// The folder, which is looked up for each request: it may be a link that is changed.
    pub root: Arc<Path>,
    /// Names of files that stand for a folder.
    pub index: Arc<[Box<str>]>,
    /// The path of the file in the stead of none.
    pub fallback: Option<Box<str>>,
    /// The beginnings of the route's paths that end with `/*`: one of them alone is a folder
    /// without its slash.
    pub starts: Box<[PathStart]>,
    /// Codings and the suffixes of files that have them, the best first.
    pub precompressed: Box<[(&'static str, &'static str)]>,
}

/// Upstreams by weight.
#[derive(Debug)]
pub struct Split {
    /// Each with the sum of the weights up to and including its own.
    pub targets: Arc<[(u64, UpstreamTarget)]>,
}

impl Split {
    /// Chooses by weight.
    #[must_use]
    pub fn choose_target(&self, random: &mut Random) -> Option<&UpstreamTarget> {
        self.targets.get(self.choose_index(random)?).map(|(_, target)| target)
    }

    /// Chooses by weight; the index of the target.
    #[must_use]
    pub fn choose_index(&self, random: &mut Random) -> Option<usize> {
        match &*self.targets {
            [_] => Some(0),
            several => {
                let total = several.last()?.0;
                let at = random.below(total);
                several.iter().position(|(upto, _)| at < *upto)
            }
        }
    }
}

/// A fixed answer.
#[derive(Debug)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The fields of the answer.
    pub fields: Box<[FieldPair]>,
    /// The body of the answer.
    pub body: Box<[u8]>,
}

/// A redirect.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// The new location.
    pub to: Template,
    /// The beginnings of the route's paths, longest first, where `to` ends with the rest of the
    /// path.
    pub rests: Box<[PathStart]>,
}

impl Redirect {
    /// Appends the location to which a request with these values is sent, without its query.
    pub fn write_location<'a>(
        &self,
        out: &mut Vec<u8>,
        values: &TemplateValues<'a>,
        capture: impl Fn(usize) -> &'a [u8],
    ) {
        let divided = self.rests.iter().find_map(|start| start.divide_path(values.path));
        let (_, rest) = divided.unwrap_or_default();
        self.to.write_filled(out, &TemplateValues { rest, ..*values }, capture);
    }
}

/// The counters that all workers share, because they must be known at once. They survive reloads.
#[derive(Debug)]
pub struct RouteCounts {
    /// Unique in the process; what else is counted is kept under it (`telemetry::ledger`).
    pub id: u32,
    /// Requests that matched.
    pub requests: AtomicU64,
    /// Requests under way.
    pub in_flight: AtomicU64,
}

impl Default for RouteCounts {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, requests: AtomicU64::new(0), in_flight: AtomicU64::new(0) }
    }
}
