use super::*;

#[test]
fn every_outcome_has_its_word_and_all_but_one_a_code() {
    let all = [
        (Outcome::Whole, "whole", None, None),
        (Outcome::ClientGone, "client_gone", Some("client_closed"), None),
        (
            Outcome::ServerCut(Cut::Closed),
            "server_cut",
            Some("response_truncated"),
            Some("upstream.eject"),
        ),
        (
            Outcome::Timeout(Deadline::Gap),
            "timeout",
            Some("gap_timeout"),
            Some("upstream.timeout.gap"),
        ),
        (Outcome::Timeout(Deadline::Client), "timeout", Some("client_deadline"), None),
        (Outcome::Refused(Refusal::NoRoute), "refused", Some("no_route"), Some("route")),
        (Outcome::ProxyCut(Halt::Drain), "proxy_cut", Some("proxy_stopped"), Some("runtime.drain")),
        (
            Outcome::ProxyCut(Halt::Stalled),
            "proxy_cut",
            Some("client_stalled"),
            Some("runtime.request_memory"),
        ),
    ];
    for (outcome, word, code, key) in all {
        assert_eq!(outcome.outcome_row(), OutcomeRow { outcome: word, code, key });
    }
}

#[test]
fn only_what_servers_did_counts_as_their_cuts() {
    let reason = |outcome: Outcome| outcome.cut_index().and_then(|at| CUTS.get(at)).copied();
    assert_eq!(reason(Outcome::ServerCut(Cut::Reset)), Some("reset"));
    assert_eq!(reason(Outcome::Timeout(Deadline::Gap)), Some("timeout"));
    assert_eq!(reason(Outcome::Timeout(Deadline::ClientWrite)), None);
    assert_eq!(reason(Outcome::ClientGone), None);
}

#[test]
fn the_last_cause_is_the_one_that_counts() {
    let note = Note::default();
    note.set_cause("first", None);
    note.set_cause("second", Some("upstream.tls"));
    let cause = note.take_cause().unwrap();
    assert_eq!((&*cause.text, cause.key), ("second", Some("upstream.tls")));
    assert_eq!(note.take_cause(), None);
}
