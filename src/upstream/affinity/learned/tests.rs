use super::*;
use crate::endpoint::Endpoint;

fn member(name: &str) -> Member {
    Member::new(Arc::new(Endpoint::new("u".into(), name.into(), Box::default())), 1)
}

fn learned(room: usize) -> LearnedAffinity {
    LearnedAffinity::with_room(b"mcp-session-id", Duration::from_secs(60), room)
}

#[test]
fn a_session_leads_to_its_server_until_nobody_uses_it() {
    let members = ["a", "b"].map(member);
    let [a, b] = [members[0].endpoint.id, members[1].endpoint.id];
    let affinity = learned(100).for_members(&members, None);
    affinity.bind_session(b"one", a, 100);
    affinity.bind_session(b"two", b, 100);
    assert_eq!(
        [b"one", b"two", b"six"].map(|id| affinity.find_server(id, 160)),
        [Some(a), Some(b), None]
    );
    // Used at 160: sixty seconds more.
    assert_eq!(affinity.find_server(b"one", 220), Some(a));
    assert_eq!(affinity.find_server(b"two", 221), None);
    affinity.bind_session(b"one", b, 221);
    assert_eq!(affinity.find_server(b"one", 221), Some(b));
    assert_eq!(affinity.find_server(b"one", 0), None, "half a year later");
}

#[test]
fn other_servers_leave_sessions_where_they_are() {
    let members = ["a", "b"].map(member);
    let [a, b] = [members[0].endpoint.id, members[1].endpoint.id];
    let before = learned(100).for_members(&members, None);
    before.bind_session(b"one", a, 100);
    before.bind_session(b"two", b, 100);
    let fewer = [member("c"), members[1].clone()];
    let now = learned(100).for_members(&fewer, Some(&before));
    assert_eq!([b"one", b"two"].map(|id| now.find_server(id, 101)), [None, Some(b)]);
    now.bind_session(b"new", a, 101);
    assert_eq!(now.find_server(b"new", 101), None, "no server of these");
    // A server of that name is back.
    let again = [member("a"), fewer[0].clone()];
    let back = learned(100).for_members(&again, Some(&now));
    assert_eq!(back.find_server(b"one", 101), Some(again[0].endpoint.id));
    let other = LearnedAffinity::new(b"x-session", Duration::from_secs(60));
    assert_eq!(other.for_members(&members, Some(&before)).find_server(b"one", 101), None);
}

#[test]
fn sessions_are_bounded_and_those_that_were_not_used_for_longest_go_first() {
    let members = [member("a")];
    let id = members[0].endpoint.id;
    let affinity = learned(8).for_members(&members, None);
    for n in 0..8_u64 {
        affinity.bind_session(&[n as u8 + 1], id, 10 + n);
    }
    assert_eq!(affinity.find_server(&[1], 20), Some(id));
    affinity.bind_session(b"ninth", id, 21);
    assert_eq!(affinity.table().evicted.load(Relaxed), 1);
    assert_eq!(
        [&[1], &[2], &[3]].map(|of| affinity.find_server(of, 21)),
        [Some(id), None, Some(id)]
    );
    assert_eq!(affinity.table().len(), 8);
}

/// Known, learned, expired, evicted, unknown.
fn counted(of: &LearnedAffinity) -> [u64; 5] {
    let counts = of.counts();
    let [learned, expired, unknown] =
        [&counts.learned, &counts.expired, &counts.unknown].map(|count| count.load(Relaxed));
    let known = of.table().len() as u64;
    [known, learned, expired, of.table().evicted.load(Relaxed), unknown]
}

#[test]
fn what_was_learned_is_known_or_expired_or_evicted() {
    let members = ["a", "b"].map(member);
    let [a, b] = [members[0].endpoint.id, members[1].endpoint.id];
    let affinity = learned(8).for_members(&members, None);
    affinity.bind_session(b"one", a, 100);
    affinity.bind_session(b"one", a, 101);
    affinity.bind_session(b"one", b, 102);
    assert_eq!(counted(&affinity), [1, 1, 0, 0, 0], "one session, wherever it is");
    affinity.bind_session(b"one", a, 163);
    assert_eq!(counted(&affinity), [1, 2, 1, 0, 0], "another one of that name");
    affinity.sweep_at(224);
    assert_eq!(counted(&affinity), [0, 2, 2, 0, 0]);
    for n in 0..9_u8 {
        affinity.bind_session(&[n], a, 300 + u64::from(n));
    }
    assert_eq!(counted(&affinity), [8, 11, 2, 1, 0]);
    // All of it outlives a reload.
    let later = learned(8).for_members(&members, Some(&affinity));
    assert_eq!(counted(&later), [8, 11, 2, 1, 0]);
}
