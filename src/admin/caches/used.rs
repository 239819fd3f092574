//! What is used most.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{MOST_TOP, TOP, bad_request};
use crate::admin::calls::{AdminAnswer, json_answer, problem_answer};
use crate::clock;
use crate::route::condition::parameters;
use crate::server::status::Status;
use crate::snapshot::Snapshot;
use crate::wire::pairs::mask_target;

/// The responses that were used most.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Used {
    /// The cache.
    cache: String,
    /// The URL.
    url: String,
    /// The number of uses since it was stored.
    hits: u64,
    /// The length of its body.
    bytes: u64,
    /// For how many seconds it is fresh; negative once it is stale.
    ttl: i64,
}

/// `GET /cache/top?n=`.
pub(crate) async fn top_entries(status: &Status, query: Option<&str>) -> AdminAnswer {
    let mut n = TOP;
    for (name, value) in parameters(query.unwrap_or_default().as_bytes()) {
        let number = std::str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
        match (name, number) {
            (b"n", Some(number)) if (1..=MOST_TOP).contains(&number) => n = number,
            (b"n", _) => return bad_request("bad_question", "`n` is a number from 1 to 1000"),
            _ => return bad_request("bad_question", "there is `n` and nothing else"),
        }
    }
    let snapshot = status.store.load_full();
    // Looks at all that is stored, and must not hold up other calls meanwhile.
    let named = tokio::task::spawn_blocking(move || most_used(&snapshot, n));
    match named.await {
        Ok(named) => json_answer(StatusCode::OK, &named),
        Err(_) => problem_answer(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
    }
}

fn most_used(snapshot: &Snapshot, n: usize) -> Vec<Used> {
    let now = clock::unix_millis();
    let mut all: Vec<Used> = Vec::new();
    for cache in snapshot.caches() {
        all.extend(cache.store.most_used(n).iter().map(|object| {
            Used {
                cache: cache.store.name.to_string(),
                url: String::from_utf8_lossy(&mask_target(
                    object.key.url().as_bytes(),
                    &snapshot.masked_query,
                ))
                .into_owned(),
                hits: object.hits(),
                bytes: object.body.written(),
                ttl: object.timing().fresh_for(now).div_euclid(1000),
            }
        }));
    }
    all.sort_by_key(|used| std::cmp::Reverse(used.hits));
    all.truncate(n);
    all
}
