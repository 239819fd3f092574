use super::*;

fn retry() -> Retry {
    Retry {
        attempts: 1,
        on_connect: true,
        on_timeout: true,
        on_reset: true,
        on_invalid: true,
        on_status: [502, 503, 504].into(),
        on_grpc: [14].into(),
        per_try: None,
        body_buffer: 0,
        budget: Arc::new(Budget::new(20.0)),
        backoff: None,
    }
}

const GET: RetryFacts =
    RetryFacts { repeatable: true, replayable: true, retries: 0, repaired: false, keyed: false };
const POST: RetryFacts = RetryFacts { repeatable: false, ..GET };

#[test]
fn a_request_that_was_not_sent_goes_on_whatever_its_method_and_however_often() {
    for failure in [Failure::Connect, Failure::ConnectTimeout, Failure::NoSocket] {
        for facts in [GET, POST, RetryFacts { retries: 1, repaired: true, ..POST }] {
            assert_eq!(retry().decide_next(failure, facts), RetryDecision::Onward, "{failure:?}");
        }
        let lost = RetryFacts { replayable: false, ..GET };
        assert_eq!(retry().decide_next(failure, lost), RetryDecision::GiveUp, "{failure:?}");
    }
}

#[test]
fn either_word_is_enough_for_a_connect_timeout_and_connect_alone_for_a_refusal() {
    let on = |on_connect, on_timeout| Retry { on_connect, on_timeout, ..retry() };
    let decide = |on: Retry, failure| on.decide_next(failure, POST);
    assert_eq!(decide(on(true, false), Failure::ConnectTimeout), RetryDecision::Onward);
    assert_eq!(decide(on(false, true), Failure::ConnectTimeout), RetryDecision::Onward);
    assert_eq!(decide(on(false, false), Failure::ConnectTimeout), RetryDecision::GiveUp);
    assert_eq!(decide(on(true, false), Failure::Connect), RetryDecision::Onward);
    assert_eq!(decide(on(false, true), Failure::Connect), RetryDecision::GiveUp);
    assert_eq!(decide(on(false, true), Failure::NoSocket), RetryDecision::GiveUp);
}

#[test]
fn what_a_server_did_not_process_goes_on_unless_it_belongs_to_that_server() {
    let decide = |facts| retry().decide_next(Failure::Unprocessed, facts);
    assert_eq!(decide(POST), RetryDecision::Onward);
    assert_eq!(decide(RetryFacts { keyed: true, ..POST }), RetryDecision::Fresh);
    assert_eq!(decide(RetryFacts { keyed: true, repaired: true, ..POST }), RetryDecision::Onward);
    assert_eq!(decide(RetryFacts { replayable: false, ..POST }), RetryDecision::GiveUp);
}

#[test]
fn a_request_that_may_have_been_processed_is_repeated_only_when_harmless() {
    for failure in [
        Failure::Closed,
        Failure::Invalid,
        Failure::Timeout(Deadline::FirstByte),
        Failure::Status(503),
    ] {
        assert_eq!(retry().decide_next(failure, GET), RetryDecision::Elsewhere);
        assert_eq!(retry().decide_next(failure, POST), RetryDecision::GiveUp);
        let spent = RetryFacts { retries: 1, ..GET };
        assert_eq!(retry().decide_next(failure, spent), RetryDecision::GiveUp);
    }
    assert_eq!(retry().decide_next(Failure::Status(500), GET), RetryDecision::GiveUp);
}

#[test]
fn nothing_is_repeated_when_the_time_for_the_exchange_is_over() {
    for deadline in [Deadline::Total, Deadline::Client] {
        assert_eq!(retry().decide_next(Failure::Timeout(deadline), GET), RetryDecision::GiveUp);
    }
}

#[test]
fn a_stale_connection_is_repaired_once_and_only_safely() {
    let stale = Failure::Stale { unprocessed: false };
    let unprocessed = Failure::Stale { unprocessed: true };
    let repaired = |facts| RetryFacts { repaired: true, ..facts };
    assert_eq!(retry().decide_next(stale, GET), RetryDecision::Fresh);
    assert_eq!(retry().decide_next(stale, POST), RetryDecision::GiveUp);
    assert_eq!(retry().decide_next(unprocessed, POST), RetryDecision::Fresh);
    assert_eq!(retry().decide_next(Failure::Unasked, POST), RetryDecision::Fresh);
    // Beyond that it is a server that closes connections.
    assert_eq!(retry().decide_next(stale, repaired(GET)), RetryDecision::Elsewhere);
    assert_eq!(retry().decide_next(stale, repaired(POST)), RetryDecision::GiveUp);
    assert_eq!(retry().decide_next(unprocessed, repaired(POST)), RetryDecision::Onward);
    assert_eq!(
        retry().decide_next(stale, RetryFacts { replayable: false, ..GET }),
        RetryDecision::GiveUp
    );
}

#[test]
fn a_request_may_be_repeated_by_its_method_or_by_the_key_that_its_client_gave_it() {
    let head = |method: &[u8], fields: &[&[u8]]| {
        let mut head = RequestHead::default();
        head.set(method, b"/", crate::wire::Version::Http11);
        fields.iter().for_each(|name| head.fields.push(name, b"1"));
        head
    };
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        let head = head(method.as_bytes(), &[]);
        assert!(is_repeatable(&head) && is_safe(&head), "{method}");
    }
    for method in ["PUT", "DELETE"] {
        let head = head(method.as_bytes(), &[]);
        assert!(is_repeatable(&head) && !is_safe(&head), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "PROPFIND", "get", ""] {
        let plain = head(method.as_bytes(), &[b"X-Key"]);
        assert!(!is_repeatable(&plain) && !is_safe(&plain), "{method}");
        let keyed = head(method.as_bytes(), &[b"Idempotency-Key"]);
        assert!(is_repeatable(&keyed) && !is_safe(&keyed), "{method}");
    }
}
