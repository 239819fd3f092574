//! What would happen to a request, without sending it: which listener, route and servers.
//!
//! It asks the same code that requests go through, so it cannot be of another opinion.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cache::route::{KeyInput, RouteCache};
use crate::clock;
use crate::config::schema::units::Rate;
use crate::endpoint::standing;
use crate::exchange::identity::Identity;
use crate::exchange::target::RequestTarget;
use crate::exchange::{ClientPeer, Refusal};
use crate::policy::limit::{Limit, Pace};
use crate::proxy::admit::Admitted;
use crate::proxy::{admit, door, keyed, lookup, rewrite};
use crate::route::authority;
use crate::route::template::TemplateValues;
use crate::route::{FoundRoute, RouteMiss, RouteQuery};
use crate::snapshot::route::{Action, Split};
use crate::snapshot::{Listener, Route, Snapshot};
use crate::tls::facts::{self, Certificate};
use crate::upstream::Pool;
use crate::wire::head::Fields;
use crate::wire::{RequestHead, Version};

/// A request that somebody wonders about.
#[derive(Debug, Clone)]
pub struct ExplainQuestion {
    /// The method of the request.
    pub method: String,
    /// Host, path and query: `http://host/path?query`.
    pub url: String,
    /// The header fields of the request.
    pub headers: Vec<(String, String)>,
    /// The address of the client.
    pub client: IpAddr,
    /// The name of the listener where it comes in; the first one when there is no name.
    pub listener: Option<String>,
    /// The name that the TLS connection was made for; the host of the URL when there is no name.
    pub sni: Option<String>,
    /// What the client's certificate says; none when it has none.
    pub certificate: Option<Certificate>,
}

/// The answer to a question: the steps that the request would go through.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The listener that it comes in by.
    pub listener: String,
    /// The host of the request in the form that is matched.
    pub host: String,
    /// The path of the request in the form that is matched and sent.
    pub path: String,
    /// The reason for a refusal; null when it is not refused.
    pub refused: Option<ExplainedRefusal>,
    /// The route that matches.
    pub route: Option<String>,
    /// What it has to pass on the route, in this order.
    pub policies: Vec<String>,
    /// Routes that would match, but for one thing; told when none does.
    pub near: Vec<NearRoute>,
    /// What else decides: that connections made for another name are answered with 421.
    pub notes: Vec<String>,
    /// `upstream`, `respond`, `redirect`; null when no route matches.
    pub action: Option<String>,
    /// The status that the route answers by itself.
    pub status: Option<u16>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The path that a server sees.
    pub sent_path: Option<String>,
    /// The host that a server sees.
    pub sent_host: Option<String>,
    /// The names of those of whom one has to let the client in, in the order in which they are asked.
    pub auth: Vec<String>,
    /// The rate limits that it is counted on, in the order in which they are asked.
    pub limits: Vec<CountedLimit>,
    /// What a cache makes of it; null on a route without one.
    pub cache: Option<ExplainedCache>,
    /// The upstreams that it may go to.
    pub upstreams: Vec<ServerShare>,
}

/// A rate limit that a request is counted on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CountedLimit {
    /// Its name.
    pub limit: String,
    /// The steady rate, such as `20/10s`.
    pub rate: String,
    /// How many beyond that may pass at once.
    pub burst: u32,
    /// It comes before authentication.
    pub before_auth: bool,
    /// The client is in a network that is not counted.
    pub exempt: bool,
}

/// What a cache makes of a request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedCache {
    /// The cache's name.
    pub cache: String,
    /// The reason to go past the cache, in the words of `Cache-Status`; null when it does not.
    pub bypass: Option<String>,
    /// The parts that requests must share to get the same response: the URL, and what the route adds to it.
    pub key: String,
    /// True if a response is stored that could be selected. What a token claims is not known here.
    pub stored: bool,
    /// For how many seconds that response is fresh; negative once it is stale.
    pub ttl: Option<i64>,
}

/// A route that a request just misses.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NearRoute {
    /// Its name.
    pub route: String,
    /// Why it does not match.
    pub why: String,
}

/// A refusal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedRefusal {
    /// The status that the client gets.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// The configuration key that would change it.
    pub key: Option<String>,
}

/// An upstream and how much of the route's requests it gets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ServerShare {
    /// The name of the upstream.
    pub upstream: String,
    /// From 0 to 1.
    pub share: f64,
    /// The servers that the route may use.
    pub servers: Vec<CandidateServer>,
    /// The upstream that answers when this one cannot.
    pub fallback: Option<String>,
}

/// A server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CandidateServer {
    /// The name of the server.
    pub server: String,
    /// The weight of the server.
    pub weight: u32,
    /// `up`, or why it gets no requests.
    pub state: String,
}

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
    match &route.action {
        Action::Respond(respond) => {
            said.action = Some("respond".to_owned());
            said.status = Some(respond.status);
        }
        Action::Files(files) => {
            let path = sent_path(route, &values, (raw, listener.head.bytes), capture)?;
            said.action = Some("files".to_owned());
            said.location = Some(format!("{}{}", files.root.display(), lossy_text(&path)));
        }
        Action::Redirect(redirect) => {
            let mut location = Vec::new();
            let values = TemplateValues { host: public.as_bytes(), ..values };
            redirect.write_location(&mut location, &values, capture);
            rewrite::bound_length(&location, listener.head.bytes)?;
            said.action = Some("redirect".to_owned());
            said.status = Some(redirect.status);
            said.location = Some(lossy_text(&location));
        }
        Action::Forward(split) => {
            let path = sent_path(route, &values, (raw, listener.head.bytes), capture)?;
            said.action = Some("upstream".to_owned());
            said.sent_path = Some(lossy_text(&path));
            said.sent_host = Some(sent_host(route, &target));
            said.upstreams = describe_shares(split);
            let scheme = if tls { "https" } else { identity.scheme };
            let (name, host) = (&*route.name, &*public);
            let url =
                keyed::Url { route: name, scheme, public_host: host, target: &target, identity };
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

/// What a route asks of a request before it acts.
fn note_policies(route: &Route, client: Option<IpAddr>, said: &mut Explanation) {
    if let Some(policies) = &route.policies {
        said.auth = policies.ways.iter().map(|way| way.name.to_string()).collect();
        said.limits = policies.limits.iter().map(|limit| describe_limit(limit, client)).collect();
    }
    said.policies = describe_policies(route);
}

fn describe_limit(limit: &Limit, client: Option<IpAddr>) -> CountedLimit {
    let Pace { count, period, burst } = limit.state.pace;
    CountedLimit {
        limit: limit.name.to_string(),
        rate: Rate::new(count, period).to_string(),
        burst,
        before_auth: limit.before_auth,
        exempt: limit.exempts_client(client),
    }
}

/// Whether the connection may carry requests for the host (421), and what is to be known about that.
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

/// What a request has to pass on a route, in the order in which it is asked.
fn describe_policies(route: &Route) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(policies) = &route.policies {
        policies.describe_steps(&mut said);
    }
    said.extend(route.cache.as_ref().map(|cache| format!("cache {}", cache.store.name)));
    said.extend(route.mirror.as_ref().map(|_| "mirror".to_owned()));
    said.extend(route.body_limit.map(|bytes| format!("body_limit {bytes} bytes")));
    said
}

fn describe_cache(
    cache: &RouteCache,
    url: &keyed::Url<'_>,
    head: &RequestHead,
    admitted: Admitted<'_>,
) -> ExplainedCache {
    let input = |input: &KeyInput| match input {
        KeyInput::Header(name) => head.fields.named(name).next(),
        KeyInput::Cookie(name) => keyed::cookie_value(&head.fields, name),
        KeyInput::Claim(_) => None,
    };
    let key = keyed::write_key(&mut Vec::new(), cache, url, input).to_key();
    let mut shown = key.url();
    for added in &cache.vary_on {
        let value = input(added).map_or("(none)".into(), String::from_utf8_lossy);
        // Writing to a string cannot fail.
        let _ok = match added {
            KeyInput::Header(name) => write!(shown, " header:{}={value}", lossy_text(name)),
            KeyInput::Cookie(name) => write!(shown, " cookie:{}={value}", lossy_text(name)),
            KeyInput::Claim(name) => write!(shown, " jwt:{name}"),
        };
    }
    let mut buffer = Vec::new();
    let exact = cache.store.find_stored(key.borrowed(), &head.fields).object;
    let found = exact.or_else(|| {
        let other = cache.store.find_equivalent(key.borrowed(), &head.fields, &mut buffer);
        other.and_then(|(_, found)| found.object)
    });
    let now = clock::unix_millis();
    ExplainedCache {
        cache: cache.store.name.to_string(),
        bypass: keyed::bypass_reason(head, admitted).map(|why| why.told().to_owned()),
        key: shown,
        stored: found.is_some(),
        ttl: found.map(|object| object.timing().fresh_for(now).div_euclid(1000)),
    }
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

fn describe_shares(split: &Split) -> Vec<ServerShare> {
    let total = split.targets.last().map_or(1, |(upto, _)| *upto);
    let mut before = 0;
    let mut all = Vec::new();
    for (upto, target) in split.targets.iter() {
        let members = target.upstream.members();
        let servers = members.pool(target.view).into_iter().flat_map(Pool::members);
        let servers = servers.map(|member| CandidateServer {
            server: member.endpoint.name.to_string(),
            weight: member.weight,
            state: standing::standing_word(member.endpoint.standing.reason_bits()).to_owned(),
        });
        all.push(ServerShare {
            upstream: target.upstream.name.to_string(),
            share: (upto - before) as f64 / total as f64,
            servers: servers.collect(),
            fallback: target.fallback.as_ref().map(|f| f.upstream.name.to_string()),
        });
        before = *upto;
    }
    all
}

fn lossy_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Explanation {
    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ok = writeln!(out, "{key:<10}{value}");
        };
        line("listener", &self.listener);
        line("host", &self.host);
        line("path", &self.path);
        if let Some(ExplainedRefusal { status, code, reason, key }) = &self.refused {
            line("refused", &format!("{status} {code}: {reason}"));
            if let Some(key) = key {
                line("key", key);
            }
        }
        for NearRoute { route, why } in &self.near {
            line("  near", &format!("{route}: {why}"));
        }
        if let Some(route) = &self.route {
            line("route", route);
        }
        if !self.auth.is_empty() {
            line("auth", &self.auth.join(", or "));
        }
        for CountedLimit { limit, rate, burst, before_auth, exempt } in &self.limits {
            let early = if *before_auth { ", before auth" } else { "" };
            let exempt = if *exempt { ", not this client" } else { "" };
            line("limit", &format!("{limit}: {rate}, burst {burst}{early}{exempt}"));
        }
        if !self.policies.is_empty() {
            line("policies", &self.policies.join(", "));
        }
        for note in &self.notes {
            line("note", note);
        }
        if let (Some(action), Some(status)) = (&self.action, self.status) {
            let location = self.location.as_deref().unwrap_or_default();
            line(action, format!("{status} {location}").trim_end());
        }
        if let (Some(action), Some(file), None) = (&self.action, &self.location, self.status) {
            line(action, file);
        }
        if let (Some(path), Some(host)) = (&self.sent_path, &self.sent_host) {
            line("sends", &format!("{path} with Host: {host}"));
        }
        if let Some(ExplainedCache { cache, bypass, key, stored, ttl }) = &self.cache {
            let state = match (bypass, ttl) {
                (Some(why), _) => format!("passed by: {why}"),
                (None, Some(ttl)) => format!("stored, fresh for {ttl}s"),
                (None, None) if *stored => "stored".to_owned(),
                (None, None) => "nothing is stored".to_owned(),
            };
            line("cache", &format!("{cache}: {state}"));
            line("  key", key);
        }
        for ServerShare { upstream, share, servers, fallback } in &self.upstreams {
            let fallback = fallback.as_ref().map(|f| format!(", or else {f}")).unwrap_or_default();
            line("upstream", &format!("{upstream} ({:.0} %){fallback}", share * 100.0));
            for CandidateServer { server, weight, state } in servers {
                line("  server", &format!("{server} weight {weight}, {state}"));
            }
        }
        out
    }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config;
    use crate::snapshot::compile;

    fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Explanation {
        let text = r#"
            [[listen]]
            address = "127.0.0.1:0"
            [upstream.a]
            servers = [{ address = "127.0.0.1:1", weight = 3 }, "127.0.0.1:2"]
            [upstream.b]
            servers = ["127.0.0.1:3"]
            fallback = "a"
            [[route]]
            name = "orders"
            path = "/api/orders/{id}"
            upstream = { a = 3, b = 1 }
            rewrite = { path = "/orders/{id}", host = "orders.internal" }
            [[route]]
            name = "kept"
            path = "/kept/*"
            upstream = "a"
            cache = { vary_on = ["cookie:plan"] }
            [[route]]
            name = "beta"
            headers = { x-beta = true }
            respond = { status = 204 }
            [[route]]
            name = "staff"
            path = "/staff/*"
            auth = ["people", "robots"]
            limit = [{ rate = "20/10s", burst = 5, before = "auth" }, { rate = "3/2d", except = "127.0.0.0/8" }]
            upstream = "a"
            [auth.people]
            api_key = { header = "x-key", keys = { a = "b" } }
            [auth.robots]
            api_key = { header = "x-robot", keys = { a = "b" } }
            [[route]]
            name = "old"
            path = "/old/*"
            redirect = { to = "https://{host}/new", status = 301 }
        "#;
        let config = config::load_str("t.toml", text).unwrap().config;
        let snapshot = compile::compile_config(&config, None, 16).unwrap();
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let client = Ipv4Addr::LOCALHOST.into();
        let (method, url) = (method.to_owned(), url.to_owned());
        let (listener, sni, certificate) = (None, None, None);
        let question = ExplainQuestion { method, url, headers, client, listener, sni, certificate };
        explain_exchange(&snapshot, &question).unwrap()
    }

    #[test]
    fn a_request_for_upstreams() {
        assert_eq!(
            ask("GET", "http://Shop.test/api/../api/orders/7?x=1", &[]).to_text(),
            "listener  127.0.0.1:0\n\
             host      shop.test\n\
             path      /api/orders/7\n\
             route     orders\n\
             sends     /orders/7 with Host: orders.internal\n\
             upstream  a (75 %)\n  \
             \x20server  127.0.0.1:1 weight 3, up\n  \
             \x20server  127.0.0.1:2 weight 1, up\n\
             upstream  b (25 %), or else a\n  \
             \x20server  127.0.0.1:3 weight 1, up\n"
                .replace("   server", "  server")
        );
    }

    #[test]
    fn a_cache_tells_its_key_or_why_it_is_passed_by() {
        let cached = ask("GET", "http://Shop.test/kept/a?x=1", &[("Cookie", "plan=gold")]);
        let cache = cached.cache.unwrap();
        assert_eq!((cache.cache.as_str(), cache.bypass, cache.stored), ("kept", None, false));
        assert_eq!(cache.key, "http://shop.test/kept/a?x=1 cookie:plan=gold");
        let posted = ask("POST", "http://shop.test/kept/a", &[]);
        assert!(
            posted.to_text().contains("cache     kept: passed by: method\n"),
            "{}",
            posted.to_text()
        );
        let ranged = ask("GET", "http://shop.test/kept/a", &[("Range", "pages=1")]);
        assert_eq!(ranged.cache.unwrap().bypass.as_deref(), Some("range"));
    }

    #[test]
    fn ways_in_and_limits_are_told() {
        let text = ask("GET", "http://x.test/staff/a", &[]).to_text();
        for line in [
            "auth      people, or robots\n",
            "limit     staff#1: 20/10s, burst 5, before auth\n",
            "limit     staff#2: 3/48h, burst 0, not this client\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn answers_of_the_route() {
        let beta = ask("GET", "http://x/", &[("X-Beta", "1")]);
        assert_eq!((beta.route.as_deref(), beta.status), (Some("beta"), Some(204)));
        let old = ask("GET", "http://x.test/old/1", &[]);
        assert_eq!((old.status, old.location.as_deref()), (Some(301), Some("https://x.test/new")));
    }

    #[test]
    fn refusals_name_the_code() {
        let missed = ask("GET", "http://x/nowhere", &[]);
        assert_eq!(missed.refused.unwrap().code, "no_route");
        let above = ask("GET", "http://x/../etc", &[]);
        assert_eq!(above.refused.unwrap().status, 400);
    }
}
