//! Which request goes where: `[[route]]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::cache::Cache;
use super::defaults;
use super::forms::{OneOrMany, PolicyUse};
use super::pages::Errors;
use super::policy::RoutePolicies;
use super::units::{Bytes, Percent};
use super::upstream::{RouteRetry, RouteTimeout};
use super::words::{HeaderName, HeaderText, HostPatternConfig, Method, Network, PatternConfig};
use crate::finding::Finding;
use crate::read::{
    KeyGroup, Reader, Shape, TableReader, any_of, schema_of, settings, table, words,
};
use crate::source::{Place, Spanned};
use crate::tree::{TreeNode, Value};

table! {
    /// A route: what it matches, its one action, and what happens on the way.
    pub struct RouteConfig {
        [#[serde(skip)] place: Place]
        [#[serde(flatten)] action: ActionConfig]
        [#[serde(flatten)] policies: RoutePolicies]
        /// Used in logs, metrics and the admin API. Default: derived from the match.
        name: Option<Spanned<String>> = None,
        /// Names of the listeners it belongs to. Default: all.
        listen: OneOrMany<Spanned<String>> = OneOrMany::default(),
        /// Hosts: "shop.example.com" or "*.example.com". Default: all.
        host: OneOrMany<Spanned<HostPatternConfig>> = OneOrMany::default(),
        /// "/exact", "/prefix/*", with captures "/a/{name}"; one, or an array. Default: all.
        path: OneOrMany<Spanned<String>> = OneOrMany::default(),
        /// How the bytes of a path are matched and sent.
        path_encoding: PathEncoding = PathEncoding::Strict,
        /// A regular expression on the path, in place of `path`.
        path_regex: Option<Spanned<PatternConfig>> = None,
        /// Methods. Default: all.
        method: OneOrMany<Spanned<Method>> = OneOrMany::default(),
        /// Conditions on request headers; all must hold.
        headers: BTreeMap<Spanned<HeaderName>, ConditionConfig> = BTreeMap::new(),
        /// Conditions on query parameters; all must hold.
        query: BTreeMap<Spanned<String>, ConditionConfig> = BTreeMap::new(),
        /// Conditions on cookies; all must hold.
        cookies: BTreeMap<Spanned<String>, ConditionConfig> = BTreeMap::new(),
        /// Networks of clients. Default: all.
        client: OneOrMany<Spanned<Network>> = OneOrMany::default(),
        /// Whether the request came over TLS. Default: either way.
        tls: Option<bool> = None,
        /// Conditions on the client's certificate; all must hold.
        client_cert: Option<ClientCert> = None,
        /// Only servers with these labels.
        subset: BTreeMap<Spanned<String>, String> = BTreeMap::new(),
        /// Sends a copy of some requests elsewhere; its answer is ignored.
        mirror: Option<MirrorConfig> = None,
        /// What of the request line and Host is forwarded differently.
        rewrite: Option<Rewrite> = None,
        /// Changes of the request's headers on the way to the server: a table, the name of a
        /// `[headers.NAME]`, or an array of both, one after the other.
        request_headers: OneOrMany<PolicyUse<HeaderRules>> = OneOrMany::default(),
        /// Changes of the response's headers on the way to the client, in the same forms.
        response_headers: OneOrMany<PolicyUse<HeaderRules>> = OneOrMany::default(),
        /// Pages for errors, by status: HTML files that browsers are shown. Everybody else gets
        /// problem+json.
        errors: Option<Errors> = None,
        /// A table, the name of a `[cache.NAME]`, or false.
        cache: Option<PolicyUse<Cache>> = None,
        /// Overrides of the upstream's timeouts.
        timeout: Option<RouteTimeout> = None,
        /// Overrides of the upstream's retries.
        retry: Option<RouteRetry> = None,
        /// Bytes of a request body. Default: that of the listener.
        body_limit: Option<Bytes> = None,
        /// Whether requests are written to the access log.
        access_log: bool = true,
    }
}

words! {
    /// How the bytes of a request's path are matched and sent; the two are always the same bytes.
    pub enum PathEncoding ("a treatment of paths") {
        /// In normal form: escapes that change nothing are decoded, repeated slashes are merged and
        /// dot segments resolved; encoded slashes and backslashes are refused with 400.
        Strict = "strict",
        /// As the client sent them; dot segments, encoded or not, are refused with 400.
        Raw = "raw",
    }
}

/// The one thing a route does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionConfig {
    /// Forwards to upstreams by weight, sorted by name.
    Upstream(SplitConfig),
    /// Answers by itself.
    Respond(RespondConfig),
    /// Sends the client elsewhere.
    Redirect(RedirectConfig),
    /// Serves the files of a folder.
    Files(FilesConfig),
}

impl KeyGroup for ActionConfig {
    const KEYS: &'static [&'static str] = &["upstream", "respond", "redirect", "files"];

    fn read(table: &TableReader<'_>, reader: &mut Reader) -> Option<Self> {
        let mut written = Self::KEYS.iter().filter_map(|key| table.get(key));
        let Some(entry) = written.next() else {
            reader.report(
                Finding::error("missing_key", table.place, "this route does nothing")
                    .label("an action is missing")
                    .help("add exactly one of upstream, respond, redirect, files"),
            );
            return None;
        };
        for second in written {
            let message = format!("a route has one action, and `{}` is a second one", second.key);
            reader.report(
                Finding::error("several_actions", second.key_place, message)
                    .related(entry.key_place, "the first action")
                    .help("keep exactly one of upstream, respond, redirect, files"),
            );
        }
        match entry.key.as_str() {
            "upstream" => SplitConfig::read_node(&entry.value, reader).map(Self::Upstream),
            "respond" => RespondConfig::read_node(&entry.value, reader).map(Self::Respond),
            "files" => FilesConfig::read_node(&entry.value, reader).map(Self::Files),
            _ => RedirectConfig::read_node(&entry.value, reader).map(Self::Redirect),
        }
    }

    fn same(&self, other: &Self) -> bool {
        self == other
    }

    fn describe(generator: &mut SchemaGenerator, schema: &mut Map<String, Json>) {
        let described = |mut schema: Schema, about: &str| {
            schema.insert("description".into(), about.into());
            schema
        };
        let upstream = described(
            SplitConfig::json_schema(generator),
            "The upstream that answers, or several with their shares. Every route has exactly one action.",
        );
        let respond = described(
            RespondConfig::json_schema(generator),
            "An answer of the proxy's own, in place of an upstream's.",
        );
        let redirect =
            described(RedirectConfig::json_schema(generator), "Sends the client elsewhere.");
        let files = described(FilesConfig::json_schema(generator), "Serves the files of a folder.");
        schema.insert(
            "properties".into(),
            json!({ "upstream": upstream, "respond": respond, "redirect": redirect, "files": files }),
        );
        let one = Self::KEYS.iter().map(|key| json!({ "required": [key] })).collect();
        schema.insert("oneOf".into(), Json::Array(one));
    }
}

/// Upstreams and the share of requests each gets. A name alone gets all.
#[derive(Debug, Clone)]
pub struct SplitConfig {
    /// The upstreams, sorted by name; never empty.
    pub targets: Vec<Target>,
    /// Where it is written.
    pub place: Place,
}

/// One upstream of a [`SplitConfig`].
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the upstream.
    pub upstream: Spanned<String>,
    /// Its share relative to the others; 0 gets nothing.
    pub weight: u16,
}

impl PartialEq for SplitConfig {
    fn eq(&self, other: &Self) -> bool {
        self.targets == other.targets
    }
}

impl Shape for SplitConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        let targets = match &node.value {
            Value::String(_) => {
                vec![Target { upstream: Shape::read_node(node, reader)?, weight: 1 }]
            }
            Value::Table(written) => {
                let weights = BTreeMap::<Spanned<String>, u16>::read_node(node, reader)?;
                if weights.len() < written.len() {
                    // What could not be read has been reported.
                    return None;
                }
                let target = |(upstream, weight)| Target { upstream, weight };
                weights.into_iter().map(target).collect()
            }
            _ => return reader.mismatch(node, "the name of an upstream or a table of weights"),
        };
        Some(Self { targets, place: node.place })
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let weight = u16::json_schema(generator);
        any_of([
            String::json_schema(generator),
            schema_of(json!({
                "type": "object", "additionalProperties": weight, "minProperties": 1
            })),
        ])
    }
}

impl Serialize for SplitConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.targets.iter().map(|target| (&target.upstream, target.weight)))
    }
}

settings! {
    /// An answer of the proxy itself.
    pub struct RespondConfig {
        /// Status code, 200 to 599.
        status: Spanned<u16> = defaults::RESPOND_STATUS.into(),
        /// The body.
        body: Spanned<String> = "".into(),
        /// Headers of the answer.
        headers: BTreeMap<Spanned<HeaderName>, HeaderText> = BTreeMap::new(),
    }
}

table! {
    /// A redirect.
    pub struct RedirectConfig {
        /// The new location; {host}, {path}, {query} and captures of the path are filled in, and
        /// "/*" at its end is the rest of a route's path that ends so. Groups of a `path_regex` are
        /// $1 or {1}, named ones $name or {name}; $$ is a dollar sign there. A location that comes
        /// out longer than `listen.limits.header_bytes` is refused with 414.
        to: Spanned<String>,
        /// Status code, 301, 302, 303, 307 or 308.
        status: Spanned<u16> = defaults::REDIRECT_STATUS.into(),
    }
}

/// A folder whose files are served. The short form is the folder alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct FilesConfig(FilesTable);

impl std::ops::Deref for FilesConfig {
    type Target = FilesTable;

    fn deref(&self) -> &FilesTable {
        &self.0
    }
}

table! {
    /// Files in their long form.
    pub struct FilesTable {
        /// The folder. Nothing outside of it is served, and nothing whose name begins with a dot,
        /// but `.well-known`.
        root: Spanned<PathBuf>,
        /// Names of files that stand for a folder, the first that is there.
        index: OneOrMany<Spanned<String>> = OneOrMany(vec!["index.html".into()]),
        /// The path of the file that is served where there is none, as applications of one page
        /// need it.
        fallback: Option<Spanned<String>> = None,
        /// Forms of files that lie beside them, with .br, .gz or .zst added to their names; of
        /// those that a client likes equally, the first.
        precompressed: OneOrMany<Spanned<Precompressed>> = OneOrMany::default(),
    }
}

words! {
    /// Codings in which files lie beside themselves.
    pub enum Precompressed ("a coding") {
        /// Brotli, with the suffix .br.
        Br = "br",
        /// gzip, with the suffix .gz.
        Gzip = "gzip",
        /// Zstandard, with the suffix .zst.
        Zstd = "zstd",
    }
}

impl Shape for FilesConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::String(_) => {
                let root = Shape::read_node(node, reader)?;
                let index = OneOrMany(vec!["index.html".into()]);
                let precompressed = OneOrMany::default();
                Some(Self(FilesTable { root, index, fallback: None, precompressed }))
            }
            Value::Table(_) => FilesTable::read_node(node, reader).map(Self),
            _ => reader.mismatch(node, "a folder or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([PathBuf::json_schema(generator), FilesTable::json_schema(generator)])
    }
}

/// A condition on a header, query parameter or cookie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum ConditionConfig {
    /// It is there and has exactly this value.
    #[serde(rename = "equals")]
    Equals(String),
    /// It is there.
    #[serde(rename = "present")]
    Present,
    /// It is not there.
    #[serde(rename = "absent")]
    Absent,
    /// It is there and its value matches.
    #[serde(rename = "regex")]
    Regex(Spanned<PatternConfig>),
}

settings! {
    /// Conditions on the client's certificate, which the listener has verified.
    pub struct ClientCert {
        /// One of its alternative names.
        san: Option<ConditionConfig> = None,
        /// Its subject, like "CN=anna,O=Example".
        subject: Option<ConditionConfig> = None,
    }
}

table! {
    /// A condition that is a regular expression.
    pub struct ConditionTable {
        /// The expression, which may match anywhere in the value.
        regex: Spanned<PatternConfig>,
    }
}

impl Shape for ConditionConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::String(text) => Some(Self::Equals(text.clone())),
            Value::Boolean(true) => Some(Self::Present),
            Value::Boolean(false) => Some(Self::Absent),
            Value::Table(_) => {
                ConditionTable::read_node(node, reader).map(|table| Self::Regex(table.regex))
            }
            Value::Integer(number) => {
                let help = format!("write \"{number}\"");
                reader.bad(node, "a condition compares text".into(), Some(help))
            }
            _ => reader.mismatch(node, "a string, true, false or { regex = \"…\" }"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([
            String::json_schema(generator),
            bool::json_schema(generator),
            ConditionTable::json_schema(generator),
        ])
    }
}

table! {
    /// A copy of some requests.
    pub struct MirrorConfig {
        /// Name of the upstream that gets the copy.
        upstream: Spanned<String>,
        /// The share of requests that are copied.
        share: Percent = Percent::new(100),
    }
}

table! {
    /// What is forwarded differently from what came in.
    pub struct Rewrite {
        [#[serde(skip)] place: Place]
        /// Taken off the start of the path, by segment; may have captures, which stand for any
        /// segment.
        strip_prefix: Option<Spanned<String>> = None,
        /// Put at the start of the path, after `strip_prefix`; may have captures.
        prefix: Option<Spanned<String>> = None,
        /// The whole path, with captures; "/*" at its end is the rest of a route's path that ends
        /// so. Not together with the others.
        path: Option<Spanned<String>> = None,
        /// What an expression finds in the path is replaced, after `strip_prefix` and before
        /// `prefix`.
        path_regex: Option<PathRegex> = None,
        /// The Host header.
        host: Option<Spanned<HeaderText>> = None,
        /// Turns back what servers answer: Location, Content-Location, and Path and Domain of
        /// cookies, as far as `strip_prefix`, `prefix`, a `path` that ends with `/*` and `host`
        /// changed what they know of. Servers are told what was taken off by X-Forwarded-Prefix.
        answers: bool = false,
    }
}

table! {
    /// An expression and what it is replaced by.
    pub struct PathRegex {
        /// The expression; every match is replaced.
        r#match: Spanned<PatternConfig>,
        /// What takes its place: $1 and $name are its groups, or $${1} before a letter or digit; $$
        /// is a dollar sign.
        to: Spanned<String>,
    }
}

settings! {
    /// Changes of headers: first `remove`, then `set`, then `add`. A value that comes out empty, or
    /// longer than 64 KiB, is not written.
    pub struct HeaderRules {
        /// Replaces all fields of the name.
        set: BTreeMap<Spanned<HeaderName>, HeaderText> = BTreeMap::new(),
        /// Adds a field next to those of the same name.
        add: BTreeMap<Spanned<HeaderName>, HeaderText> = BTreeMap::new(),
        /// Takes all fields of the name away.
        remove: Vec<Spanned<HeaderName>> = Vec::new(),
    }
}
