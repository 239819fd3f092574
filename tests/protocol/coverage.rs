//! Every row id of the tables is either tried here or deferred with a reason. The ids are those of
//! the project's table of bad inputs: A framing, B chunks, C request line, D host, E hop-by-hop,
//! G identity and logs, J hostile origins.

use std::collections::BTreeSet;

/// Rows that need something this binary does not have.
const DEFERRED: &[(&str, &str)] = &[
    ("D13", "needs TLS: a Host that differs from the name of the handshake"),
    ("D14", "metric labels are tried with the metrics endpoint"),
    ("G4", "PROXY protocol is tried with its own listener option"),
    ("G6", "metric labels are tried with the metrics endpoint"),
    ("G7", "rate-limit keys are tried with the limiter"),
    ("G8", "seeds of hash maps are not visible from outside"),
    ("G9", "trace context is tried with tracing"),
    ("J20", "recompression is tried with it; a slow reader of a large body is in tests/proxy"),
    ("J22", "is tried in tests/http2/upstreams.rs"),
];

/// Rows that are a test of their own.
const STORIES: &[(&str, &str)] = &[
    ("A20", "a_body_without_length_on_http_1_0_is_empty"),
    ("A23", "a_body_nobody_reads_is_never_taken_for_a_request"),
    ("A23", "a_large_body_nobody_reads_is_drained_within_bounds_or_closed"),
    ("B15", "a_broken_chunk_after_a_forwarded_head_ends_both_sides_without_a_last_chunk"),
    ("B16", "a_body_that_stalls_ends_with_408_and_an_abort"),
    ("C23", "a_request_line_that_never_ends_gets_408"),
    ("E5", "bytes_after_an_upgrade_request_wait_for_the_answer"),
    ("E8", "an_upgrade_to_something_else_than_asked_is_a_bad_gateway"),
    ("E9", "a_refused_upgrade_is_an_ordinary_answer_and_frames_reach_nobody"),
    ("E12", "an_expected_body_that_never_comes_does_not_hold_back_the_final_status"),
    ("E13", "an_origin_that_refuses_and_closes_during_an_upload_is_heard"),
    ("E14", "pipelined_requests_are_answered_in_order"),
    ("G3", "the_client_is_the_first_untrusted_address_from_the_right"),
    ("G5", "hostile_bytes_stay_escaped_in_a_json_log_line"),
    ("G5", "hostile_bytes_stay_escaped_in_a_text_log_line"),
    ("J18", "an_answer_before_the_end_of_the_request_leaves_both_sides_in_step"),
    ("J19", "a_head_that_trickles_in_is_cut_by_first_byte"),
    ("J21", "bytes_that_arrive_on_an_idle_connection_are_never_an_answer"),
];

const TABLES: &[(&str, usize)] =
    &[("A", 23), ("B", 16), ("C", 28), ("D", 14), ("E", 14), ("G", 9), ("J", 23)];

fn tried_as_rows() -> BTreeSet<&'static str> {
    use crate::{chunked, hop_by_hop, host, identity, request_framing, request_line, responses};
    let requests = [
        request_framing::rows(),
        chunked::rows(),
        request_line::syntax_rows(),
        request_line::target_rows(),
        request_line::size_rows(),
        request_line::method_rows(),
        host::rows(),
        hop_by_hop::rows(),
        identity::rows(),
    ];
    let responses = [
        responses::framing_rows(),
        responses::interim_rows(),
        responses::syntax_rows(),
        responses::truncation_rows(),
        responses::field_rows(),
    ];
    let requests = requests.iter().flatten().map(|row| row.id);
    requests.chain(responses.iter().flatten().map(|row| row.id)).collect()
}

#[test]
fn every_row_is_tried_or_deferred_with_a_reason() {
    let expected: BTreeSet<String> = TABLES
        .iter()
        .flat_map(|(table, rows)| (1..=*rows).map(move |n| format!("{table}{n}")))
        .collect();
    let mut found = tried_as_rows();
    found.remove("-");
    found.extend(STORIES.iter().map(|(id, _)| *id));
    let deferred: BTreeSet<&str> = DEFERRED.iter().map(|(id, _)| *id).collect();
    let both: Vec<_> = found.intersection(&deferred).collect();
    assert!(both.is_empty(), "tried and deferred: {both:?}");
    found.extend(deferred);
    let missing: Vec<_> = expected.iter().filter(|id| !found.contains(id.as_str())).collect();
    let unknown: Vec<_> = found.iter().filter(|id| !expected.contains(**id)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn every_story_named_here_exists() {
    let sources = concat!(
        include_str!("bodies_in_flight.rs"),
        include_str!("exchanges.rs"),
        include_str!("identity.rs")
    );
    for (id, name) in STORIES {
        assert!(sources.contains(&format!("#[test]\nfn {name}()")), "{id}: no test {name}");
    }
}
