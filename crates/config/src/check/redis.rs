//! `[redis]`: one server, the Sentinels of one, or a Cluster.

use crate::finding::Finding;
use crate::schema::process::RedisConfig;
use crate::schema::words::Secret;
use crate::source::Spanned;

/// Sentinels, or servers of a Cluster, that may be named.
const MOST: usize = 32;

/// Looks for what does not belong together.
pub(super) fn check(redis: &RedisConfig, findings: &mut Vec<Finding>) {
    let RedisConfig { place, url, sentinel, cluster, ca, cert, key, timeout: _, on_error: _ } =
        redis;
    let mut bad = |place, message: &str, help: &str| {
        findings.push(Finding::error("bad_value", place, message).help(help));
    };
    let first = url.first().map(|url| url.place);
    match (first, sentinel) {
        (None, None) => {
            let message = "neither `url` nor `sentinel` says where Redis is";
            findings.push(
                Finding::error("missing_key", *place, message)
                    .help("add url = \"redis://127.0.0.1:6379/0\""),
            );
            return;
        }
        (Some(at), Some(_)) => {
            let help = "the password of the primary is `sentinel.password`";
            bad(at, "Redis is at a `url` or where `sentinel` says, not both", help);
        }
        (Some(at), None) if url.len() > 1 && !cluster.value => {
            bad(at, "several URLs are those of a Cluster", "add cluster = true, or keep one URL");
        }
        (None, Some(_)) if cluster.value => {
            bad(cluster.place, "a Cluster has no Sentinels", "name its servers in `url`");
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(sentinel) = sentinel.as_ref().filter(|sentinel| sentinel.nodes.is_empty()) {
        bad(sentinel.place, "no Sentinel is named", "nodes = [\"10.0.0.1:26379\", …]");
    }
    if let Some(sentinel) = sentinel.as_ref().filter(|sentinel| sentinel.master.is_empty()) {
        let help = "as it stands after `sentinel monitor` in theirs";
        bad(sentinel.place, "the primary has no name", help);
    }
    let nodes = sentinel.iter().flat_map(|sentinel| &sentinel.nodes);
    let all: Vec<&Spanned<Secret>> = url.iter().chain(nodes).collect();
    if let Some(beyond) = all.get(MOST) {
        bad(beyond.place, "at most 32 servers are named", "the others are found by themselves");
    }
    let secure = |url: &Secret| {
        let url = url.expose();
        url.starts_with("rediss://") || url.starts_with("valkeys://")
    };
    let tls = all.iter().any(|url| secure(&url.value));
    if let Some(plain) = all.iter().find(|url| tls && !secure(&url.value)) {
        let message = "either all URLs begin with rediss:// or none";
        bad(plain.place, message, "TLS counts for all servers of a Redis");
    }
    for file in [ca, cert, key].into_iter().flatten().filter(|_| !tls) {
        bad(file.place, "this is for TLS", "TLS is spoken where URLs begin with rediss://");
    }
    match (cert, key) {
        (Some(alone), None) | (None, Some(alone)) => {
            bad(alone.place, "`cert` and `key` go together", "name both files, or none");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}
