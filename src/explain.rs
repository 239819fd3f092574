//! What would happen to a request, without sending it: which listener, route and servers.
//!
//! It asks the same code that requests go through, so it cannot be of another opinion.

mod describe;
#[cfg(test)]
mod tests;
mod told;

use std::borrow::Cow;
use std::net::IpAddr;

use http::Uri;

use self::describe::{describe_cache, describe_shares, lossy_text, note_policies};
pub use self::told::{
    CandidateServer, CountedLimit, ExplainQuestion, ExplainedCache, ExplainedRefusal, Explanation,
    NearRoute, ServerShare,
};
use crate::exchange::identity::Identity;
use crate::exchange::target::RequestTarget;
use crate::exchange::{ClientPeer, Refusal};
use crate::proxy::{admit, door, keyed, lookup, rewrite};
use crate::route::template::TemplateValues;
use crate::route::{FoundRoute, RouteMiss, RouteQuery, authority};
use crate::snapshot::route::Action;
use crate::snapshot::{Listener, Route, Snapshot};
use crate::tls::facts::{self, Certificate};
use crate::wire::head::Fields;
use crate::wire::{RequestHead, Version};

/// Says what would happen.
///
/// # Errors
/// A message for who asks, when the question makes no sense.
pub fn explain_exchange(
    snapshot: &Snapshot,
    question: &ExplainQuestion,
) -> Result<Explanation, String> {
    let listener = find_listener(snapshot, question.listener.as_deref())?;
    let mut head = parse_head(question)?;
    let trusted = listener.trusts(question.client);
    door::remove_claims(&mut head, trusted, &listener.client_field);
    let text = question.client.to_canonical().to_string();
    let peer = ClientPeer {
        ip: Some(question.client.to_canonical()),
        text: text.into(),
        trusted,
        listener: listener.id,
        tls: None,
        ends: None,
    };
    let identity = door::identify_client(&peer, listener, &head);
    let mut said = Explanation { listener: listener.name.to_string(), ..Explanation::default() };
    if let Err(refusal) = follow_walk(snapshot, listener, &head, (&identity, question), &mut said) {
        let row = refusal.row();
        said.refused = Some(ExplainedRefusal {
            status: row.status,
            code: row.code.to_owned(),
            reason: refusal.to_string(),
            key: row.key.map(str::to_owned),
        });
    }
    Ok(said)
}

fn find_listener<'s>(snapshot: &'s Snapshot, name: Option<&str>) -> Result<&'s Listener, String> {
    let mut all = snapshot.listeners.iter();
    let found = match name {
        Some(name) => all.find(|listener| *listener.name == *name),
        None => all.next(),
    };
    found.map(|listener| &**listener).ok_or_else(|| "there is no such listener".to_owned())
}

fn parse_head(question: &ExplainQuestion) -> Result<RequestHead, String> {
    let ExplainQuestion { method, url, headers, .. } = question;
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no URL: {error}"))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = RequestHead::default();
    head.set(method.as_bytes(), target.as_bytes(), Version::Http11);
    let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if let (false, Some(authority)) = (named, uri.authority()) {
        head.fields.push(b"host", authority.as_str().as_bytes());
    } else if !named {
        head.fields.push(b"host", b"");
    }
    for (name, value) in headers {
        head.fields.push(name.to_ascii_lowercase().as_bytes(), value.as_bytes());
    }
    Ok(head)
}

fn follow_walk(
    snapshot: &Snapshot,
    listener: &Listener,
    head: &RequestHead,
    (identity, question): (&Identity<'_>, &ExplainQuestion),
    said: &mut Explanation,
) -> Result<(), Refusal> {
    let admitted = admit::admit_request(head, listener.methods)?;
    let target = RequestTarget::from_head(head, listener.path, lookup::kept_spellings(snapshot));
    let mut target = target.map_err(Refusal::Target)?;
    said.host = target.host().to_owned();
    said.path = lossy_text(target.path());
    check_sni(listener, target.host(), question.sni.as_deref(), said)?;
    let public = identity.host.and_then(authority::canonical_host);
    let public = public.unwrap_or_else(|| Cow::Owned(target.host().to_owned()));
    if listener.redirect_https && !identity.is_secure() {
        said.action = Some("redirect".to_owned());
        said.status = Some(308);
        said.location = Some(format!("https://{public}{}", said.path));
        return Ok(());
    }
    let tls = listener.tls.is_some();
    let (client, listener_id) = (identity.client, listener.id);
    let certificate = question.certificate.as_ref().filter(|_| tls);
    let ask = |path| ExplainedQuery {
        listener: listener_id,
        target: &target,
        path,
        head,
        client,
        tls,
        certificate,
    };
    let found = snapshot.table.find_spelled(target.path_spelling(), ask);
    let FoundRoute { route, captures, raw, .. } = match found {
        Ok(found) => found,
        Err(RouteMiss::NoRoute | RouteMiss::Method) => {
            said.near = find_near_misses(snapshot, &ask(target.path()));
            return Err(lookup::missed_route(&target));
        }
    };
    if raw {
        target.keep_raw().map_err(Refusal::Target)?;
        said.path = lossy_text(target.path());
    }
    said.route = Some(route.name.to_string());
    note_policies(route, client, said);
    let values = TemplateValues {
        host: target.host().as_bytes(),
        path: target.path(),
        query: target.query(),
        rest: b"",
    };
    let capture = |n| captures.captured_text(n, target.path());
    let most = rewrite::most_bytes(listener.head.bytes);
    match &route.action {
        Action::Respond(respond) => {
            said.action = Some("respond".to_owned());
            said.status = Some(respond.status);
        }
        Action::Files(files) => {
            let path = sent_path(route, &values, (raw, most), capture)?;
            said.action = Some("files".to_owned());
            said.location = Some(format!("{}{}", files.root.display(), lossy_text(&path)));
        }
        Action::Redirect(redirect) => {
            let mut location = Vec::new();
            let values = TemplateValues { host: public.as_bytes(), ..values };
            redirect.write_location(&mut location, &values, capture);
            rewrite::bound_length(&location, most)?;
            said.action = Some("redirect".to_owned());
            said.status = Some(redirect.status);
            said.location = Some(lossy_text(&location));
        }
        Action::Forward(split) => {
            let path = sent_path(route, &values, (raw, most), capture)?;
            said.action = Some("upstream".to_owned());
            said.sent_path = Some(lossy_text(&path));
            said.sent_host = Some(sent_host(route, &target));
            said.upstreams = describe_shares(split);
            let scheme = if tls { "https" } else { identity.scheme };
            let (route_name, public_host, target) = (&*route.name, &*public, &target);
            let url = keyed::Url { route: route_name, scheme, public_host, target, identity };
            said.cache = route.cache.as_deref().map(|of| describe_cache(of, &url, head, admitted));
        }
    }
    Ok(())
}

/// The routes that a request just misses.
fn find_near_misses(snapshot: &Snapshot, ask: &ExplainedQuery<'_>) -> Vec<NearRoute> {
    let misses = snapshot.table.near_misses(ask).into_iter();
    misses.map(|(route, why)| NearRoute { route: route.name.to_string(), why }).collect()
}

/// Whether the connection may carry requests for the host (421), and what is to be known about
/// that.
fn check_sni(
    listener: &Listener,
    host: &str,
    sni: Option<&str>,
    said: &mut Explanation,
) -> Result<(), Refusal> {
    let Some(server) = listener.tls.as_ref() else { return Ok(()) };
    let name = sni.map_or_else(|| host.to_owned(), str::to_ascii_lowercase);
    let profile = |name: Option<&str>| server.for_name(name).map(|(profile, _)| profile);
    let Some(shown) = profile(Some(&name)) else { return Ok(()) };
    let belongs = |shown| facts::host_belongs(server, shown, host, listener.sni);
    if !belongs((Some(&name), shown)) {
        return Err(Refusal::Misdirected);
    }
    // Somebody who asks for no name gets the first certificate.
    if profile(None).is_some_and(|first| !belongs((None, first))) {
        let rule =
            "connections that were made for another name get 421 for this host (listen.strict.sni)";
        said.notes.push(rule.to_owned());
    }
    Ok(())
}

/// The path that a server, or a folder, is asked for.
fn sent_path<'p>(
    route: &Route,
    values: &TemplateValues<'p>,
    (raw, most): (bool, usize),
    capture: impl Fn(usize) -> &'p [u8],
) -> Result<Vec<u8>, Refusal> {
    let mut path = Vec::new();
    if route.rewrite.changes_path() {
        rewrite::rewrite_path(&mut path, &route.rewrite, values, raw, most, capture)?;
    } else {
        path.extend_from_slice(values.path);
    }
    Ok(path)
}

fn sent_host(route: &Route, target: &RequestTarget<'_>) -> String {
    lossy_text(route.rewrite.host.as_deref().unwrap_or(target.sent_host()))
}

/// The request as the routing table sees it.
struct ExplainedQuery<'a> {
    listener: u16,
    target: &'a RequestTarget<'a>,
    path: &'a [u8],
    head: &'a RequestHead,
    client: Option<IpAddr>,
    tls: bool,
    certificate: Option<&'a Certificate>,
}

impl RouteQuery for ExplainedQuery<'_> {
    fn listener(&self) -> u16 {
        self.listener
    }

    fn host(&self) -> &str {
        self.target.host()
    }

    fn path(&self) -> &[u8] {
        self.path
    }

    fn query(&self) -> Option<&[u8]> {
        self.target.query()
    }

    fn method(&self) -> &[u8] {
        self.head.method()
    }

    fn fields(&self) -> &Fields {
        &self.head.fields
    }

    fn client(&self) -> Option<IpAddr> {
        self.client
    }

    fn tls(&self) -> bool {
        self.tls
    }

    fn certificate_subject(&self) -> Option<&[u8]> {
        self.certificate.map(|certificate| certificate.subject.as_bytes())
    }

    fn certificate_names(&self) -> impl Iterator<Item = &[u8]> {
        let names = self.certificate.map_or(&[][..], |certificate| &certificate.names);
        names.iter().map(|name| name.as_bytes())
    }
}
