//! How a server is chosen: `balance`, a word or a table.
//!
//! The table is one flat set of keys in the file; which of them are present decides what it is.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;

use super::defaults;
use super::units::{LoadBound, Timeout};
use super::words::{HashKey, Secret};
use crate::finding::Finding;
use crate::read::{Reader, Shape, any_of, table, words};
use crate::source::{Place, Spanned};
use crate::tree::{TreeNode, Value};

/// How a server is chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum BalanceConfig {
    /// By weight and by how busy servers are, whatever the request is.
    Weighted(BalanceWord),
    /// By a consistent hash of a part of the request.
    Hash {
        /// What is hashed.
        hash: Spanned<HashKey>,
        /// The structure it is looked up in.
        table: HashTable,
        /// The most load a server may have relative to the average.
        bounded: Option<LoadBound>,
    },
    /// By a signed cookie that the proxy sets.
    Sticky {
        /// Name of the cookie.
        sticky: Spanned<String>,
        /// How long it is valid.
        ttl: Timeout,
        /// What it is signed with; instances with the same secret honour each other's.
        secret: Option<Secret>,
        /// Its `Path`.
        path: Spanned<String>,
        /// Its `Domain`; without, it is the host's alone.
        domain: Option<Spanned<String>>,
        /// It is sent over https only.
        secure: bool,
        /// Whether it goes along with requests that come from other sites.
        same_site: SameSite,
    },
    /// By a field that servers answer with and clients send back.
    Learned {
        /// Name of the field, after `header:`.
        sticky: Spanned<String>,
        /// How long a session is known after its last use.
        ttl: Timeout,
    },
    /// By ranges or prefixes of a part of the request.
    Shard {
        /// What is looked up.
        shard: Spanned<HashKey>,
        /// How servers divide it.
        by: ShardBy,
    },
}

/// How servers divide the space of a shard key.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardBy {
    /// Each range starts at a number and goes to the next one.
    Ranges(Vec<ShardRange>),
    /// The number divided by this, modulo servers.
    RangeSize(NonZeroU64),
    /// The longest prefix wins.
    Prefixes(BTreeMap<Spanned<String>, Spanned<String>>),
}

words! {
    /// The words `balance` can be; each is a file of `src/balance`.
    pub enum BalanceWord ("a way to balance") {
        /// In turn, smoothly by weight.
        RoundRobin = "round_robin",
        /// The one with the fewest requests relative to its weight, by looking at all.
        LeastConn = "least_conn",
        /// The less busy one of two chosen at random.
        LeastRequest = "least_request",
        /// The one with the least latency times load of two chosen at random.
        PeakEwma = "peak_ewma",
        /// At random by weight.
        Random = "random",
    }
}

words! {
    /// When a cookie goes along with requests that come from other sites.
    pub enum SameSite ("a rule for other sites") {
        /// Never.
        Strict = "strict",
        /// Where the user follows a link.
        Lax = "lax",
        /// Always.
        None = "none",
    }
}

words! {
    /// Structures of a consistent hash.
    pub enum HashTable ("a hash table") {
        /// Ketama points on a ring.
        Ring = "ring",
        /// Maglev's permutation table.
        Maglev = "maglev",
    }
}

table! {
    /// The long forms of `balance`. One of `hash`, `sticky` and `shard`, and what belongs to it.
    pub struct BalanceTable {
        [#[serde(skip)] place: Place]
        /// Consistent hash of "uri", "path", "client_ip", "header:NAME", "cookie:NAME",
        /// "query:NAME" or "capture:NAME".
        hash: Option<Spanned<HashKey>> = None,
        /// The structure of the hash.
        table: Option<Spanned<HashTable>> = None,
        /// The most load a server may have relative to the average, with `hash`.
        bounded: Option<Spanned<LoadBound>> = None,
        /// Name of an affinity cookie, signed, set by the proxy; or "header:NAME", a field such as
        /// `mcp-session-id` with which servers name a session and clients come back.
        sticky: Option<Spanned<String>> = None,
        /// How long the cookie is valid; with "header:NAME", how long a session is known after its
        /// last use.
        ttl: Option<Spanned<Timeout>> = None,
        /// What the cookie is signed with. Default: a key that ends with the process; instances
        /// that share a secret honour each other's cookies.
        secret: Option<Spanned<Secret>> = None,
        /// The cookie's Path. Default: "/".
        path: Option<Spanned<String>> = None,
        /// The cookie's Domain. Default: the host that was asked for, alone.
        domain: Option<Spanned<String>> = None,
        /// The cookie is sent over https only. Default: false.
        secure: Option<Spanned<bool>> = None,
        /// Whether the cookie goes along with requests from other sites; "none" needs `secure`.
        /// Default: "lax".
        same_site: Option<Spanned<SameSite>> = None,
        /// What is divided between servers; keys as for `hash`.
        shard: Option<Spanned<HashKey>> = None,
        /// Ranges of numbers and their servers.
        ranges: Option<Spanned<Vec<ShardRange>>> = None,
        /// Width of one range; range number modulo servers.
        range_size: Option<Spanned<NonZeroU64>> = None,
        /// Prefixes and their servers.
        prefixes: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>> = None,
    }
}

table! {
    /// From a number up to the next range.
    pub struct ShardRange {
        /// First number.
        from: Spanned<u64>,
        /// Name of the server.
        server: Spanned<String>,
    }
}

impl Shape for BalanceConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::String(text) if text == "hash" || text == "sticky" || text == "shard" => {
                let help = match text.as_str() {
                    "hash" => "write balance = { hash = \"client_ip\" }",
                    "sticky" => "write balance = { sticky = \"COOKIE\" }",
                    _ => "write balance = { shard = \"capture:NAME\", range_size = 1000 }",
                };
                reader.bad(node, format!("\"{text}\" needs a key"), Some(help.into()))
            }
            Value::String(_) => BalanceWord::read_node(node, reader).map(Self::Weighted),
            Value::Table(_) => BalanceTable::read_node(node, reader)?.resolve(reader),
            _ => reader.mismatch(node, "a way to balance such as \"least_request\", or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([BalanceWord::json_schema(generator), BalanceTable::json_schema(generator)])
    }
}

impl BalanceTable {
    fn resolve(self, reader: &mut Reader) -> Option<BalanceConfig> {
        let mut places = vec![
            ("hash", "table", self.table.as_ref().map(|it| it.place)),
            ("hash", "bounded", self.bounded.as_ref().map(|it| it.place)),
            ("sticky", "ttl", self.ttl.as_ref().map(|it| it.place)),
            ("sticky", "secret", self.secret.as_ref().map(|it| it.place)),
            ("sticky", "path", self.path.as_ref().map(|it| it.place)),
            ("sticky", "domain", self.domain.as_ref().map(|it| it.place)),
            ("sticky", "secure", self.secure.as_ref().map(|it| it.place)),
            ("sticky", "same_site", self.same_site.as_ref().map(|it| it.place)),
            ("shard", "ranges", self.ranges.as_ref().map(|it| it.place)),
            ("shard", "range_size", self.range_size.as_ref().map(|it| it.place)),
            ("shard", "prefixes", self.prefixes.as_ref().map(|it| it.place)),
        ];
        let (owner, balance) = match (self.hash, self.sticky, self.shard) {
            (Some(hash), None, None) => {
                let table = self.table.map_or(HashTable::Ring, |table| table.value);
                let bounded = self.bounded.map(|bound| bound.value);
                ("hash", BalanceConfig::Hash { hash, table, bounded })
            }
            (None, Some(sticky), None) if sticky.value.starts_with("header:") => {
                refuse_attributes(&mut places, reader);
                check_header(&sticky, reader);
                let ttl = self.ttl.map_or(defaults::STICKY_TTL, |ttl| ttl.value);
                ("sticky", BalanceConfig::Learned { sticky, ttl })
            }
            (None, Some(sticky), None) => {
                let ttl = self.ttl.map_or(defaults::STICKY_TTL, |ttl| ttl.value);
                let secret = self.secret.map(|secret| secret.value);
                let path = self.path.unwrap_or_else(|| "/".into());
                let domain = self.domain;
                let secure = self.secure.is_some_and(|secure| secure.value);
                let site = self.same_site.as_ref();
                let same_site = site.map_or(SameSite::Lax, |site| site.value);
                check_cookie(&sticky, &path, domain.as_ref(), (secure, site), reader);
                (
                    "sticky",
                    BalanceConfig::Sticky { sticky, ttl, secret, path, domain, secure, same_site },
                )
            }
            (None, None, Some(shard)) => {
                let ranges = self.ranges.map(|ranges| ShardBy::Ranges(ranges.value));
                let size = self.range_size.map(|size| ShardBy::RangeSize(size.value));
                let prefixes = self.prefixes.map(|prefixes| ShardBy::Prefixes(prefixes.value));
                let mut ways = [ranges, size, prefixes].into_iter().flatten();
                let (Some(by), None) = (ways.next(), ways.next()) else {
                    reader.report(
                        Finding::error(
                            "bad_value",
                            self.place,
                            "a shard is divided in exactly one way",
                        )
                        .help("keep one of ranges, range_size, prefixes"),
                    );
                    return None;
                };
                ("shard", BalanceConfig::Shard { shard, by })
            }
            _ => {
                reader.report(
                    Finding::error(
                        "bad_value",
                        self.place,
                        "`balance` is exactly one of its forms",
                    )
                    .help("keep one of hash, sticky, shard"),
                );
                return None;
            }
        };
        places.retain(|(belongs_to, _, _)| *belongs_to != owner);
        for (belongs_to, key, place) in places {
            if let Some(place) = place {
                let message = format!("`{key}` belongs to `{belongs_to}`, not to `{owner}`");
                reader.report(Finding::error("bad_value", place, message));
            }
        }
        Some(balance)
    }
}

/// Reports what is said about a cookie where there is none, and takes it off these keys, each with
/// what it belongs to.
fn refuse_attributes(places: &mut Vec<(&str, &str, Option<Place>)>, reader: &mut Reader) {
    let attributes = ["secret", "path", "domain", "secure", "same_site"];
    for (_, key, place) in places.extract_if(.., |(_, key, _)| attributes.contains(key)) {
        if let Some(place) = place {
            let message = format!("`{key}` is about a cookie, and `sticky` names a header");
            reader.report(Finding::error("bad_value", place, message));
        }
    }
}

/// The name of the field that a `sticky` of the form "header:NAME" names.
#[must_use]
pub fn learned_header(sticky: &Spanned<String>) -> &str {
    sticky.value.strip_prefix("header:").unwrap_or_default()
}

/// Reports the name of a header that is none, or that means something else.
fn check_header(sticky: &Spanned<String>, reader: &mut Reader) {
    let name = learned_header(sticky);
    if name.is_empty() || !name.bytes().all(http_codec::request::is_token) {
        let message = format!("`{name}` is not the name of a header");
        let finding = Finding::error("bad_value", sticky.place, message);
        reader.report(finding.help("write sticky = \"header:NAME\""));
    } else if ["cookie", "set-cookie"].iter().any(|no| name.eq_ignore_ascii_case(no)) {
        let message = format!("`{name}` does not come back as it was sent");
        let finding = Finding::error("bad_value", sticky.place, message);
        reader.report(finding.help("write sticky = \"COOKIE\" for a cookie of the proxy's own"));
    }
}

/// Reports a cookie whose name promises what its attributes do not hold: browsers refuse it (RFC
/// 6265bis §4.1.3, in any case of letters).
fn check_prefix(
    name: &Spanned<String>,
    (path, domain): (&Spanned<String>, Option<&Spanned<String>>),
    secure: bool,
    reader: &mut Reader,
) {
    let begins = |prefix: &str| {
        name.value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let help = match () {
        () if begins("__Host-") && !(secure && domain.is_none() && path.value == "/") => {
            "write secure = true, leave `domain` out, and leave `path` out or write \"/\""
        }
        () if begins("__Secure-") && !secure => "add secure = true",
        () => return,
    };
    let message = format!("browsers do not take a cookie `{name}` with these attributes");
    reader.report(Finding::error("bad_value", name.place, message).help(help));
}

/// Reports what browsers would not take as a cookie's name or attributes.
fn check_cookie(
    name: &Spanned<String>,
    path: &Spanned<String>,
    domain: Option<&Spanned<String>>,
    (secure, site): (bool, Option<&Spanned<SameSite>>),
    reader: &mut Reader,
) {
    let legal = |text: &str| text.chars().all(|c| c.is_ascii_graphic() && c != ';');
    if name.value.is_empty() || !name.value.bytes().all(http_codec::request::is_token) {
        let message = format!("`{name}` is not the name of a cookie");
        reader.report(Finding::error("bad_value", name.place, message));
    }
    if let Some(site) = site.filter(|site| site.value == SameSite::None && !secure) {
        let message = "browsers take a cookie with same_site = \"none\" only if it is secure";
        let finding = Finding::error("bad_value", site.place, message);
        reader.report(finding.help("add secure = true"));
    }
    check_prefix(name, (path, domain), secure, reader);
    if !path.value.starts_with('/') || !legal(&path.value) {
        let message = format!("`{path}` is not the path of a cookie");
        reader.report(Finding::error("bad_value", path.place, message));
    }
    if let Some(domain) = domain.filter(|d| d.value.is_empty() || !legal(&d.value)) {
        let message = format!("`{domain}` is not the domain of a cookie");
        reader.report(Finding::error("bad_value", domain.place, message));
    }
}
