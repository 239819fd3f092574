use proptest::prelude::*;

use super::*;
use crate::clock;

const BOUNDS: Bounds = Bounds { shrink: 0.5, growth: 10, hold: Duration::from_secs(300) };

fn entry(n: usize) -> Entry {
    let address = std::net::SocketAddr::from(([10, 0, 0, 0], 1 + u16::try_from(n).unwrap()));
    Entry { id: format!("s{n}").into(), ..Entry::new(ServerAddress::Ip(address)) }
}

fn update(ids: impl IntoIterator<Item = usize>, dismissed: &[usize]) -> Update {
    Update {
        entries: Some(ids.into_iter().map(entry).collect()),
        dismissed: dismissed.iter().map(|n| entry(*n).id).collect(),
        ..Update::default()
    }
}

fn used(guarded: &Guarded) -> Vec<String> {
    guarded.used().iter().map(|entry| entry.id.to_string()).collect()
}

fn names(ids: impl IntoIterator<Item = usize>) -> Vec<String> {
    ids.into_iter().map(|n| format!("s{n}")).collect()
}

/// A guard that has believed in so many servers for long.
fn settled(servers: usize, now: Instant) -> Guarded {
    let mut guarded = Guarded::default();
    assert_eq!(guarded.hear_update(update(0..servers, &[]), BOUNDS, now, |_| true), None);
    guarded
}

#[test]
fn half_of_them_may_go_and_no_more() {
    let now = clock::now();
    let mut guarded = settled(10, now);
    assert_eq!(guarded.hear_update(update(0..5, &[]), BOUNDS, now, |_| true), None);
    assert_eq!(used(&guarded), names(0..5));
    let mut guarded = settled(10, now);
    assert_eq!(guarded.hear_update(update(0..4, &[]), BOUNDS, now, |_| true), Some(Note::Holds(6)));
    assert_eq!(used(&guarded), names(0..10));
    assert_eq!(guarded.used().iter().filter(|entry| entry.held).count(), 6);
    // They are back: all is well.
    assert_eq!(
        guarded.hear_update(update(0..10, &[]), BOUNDS, now, |_| true),
        Some(Note::Believes)
    );
    assert!(guarded.used().iter().all(|entry| !entry.held));
}

#[test]
fn leaving_one_by_one_is_no_better_than_at_once() {
    let mut now = clock::now();
    let mut guarded = settled(10, now);
    for left in (0..10).rev() {
        now += Duration::from_secs(2);
        let _note = guarded.hear_update(update(0..left, &[]), BOUNDS, now, |_| true);
    }
    // Five went, the others are held.
    assert_eq!(used(&guarded), names(0..5));
    // Slowly enough they go.
    let mut guarded = settled(10, now);
    for left in (1..10).rev() {
        now += Duration::from_secs(61);
        assert_eq!(guarded.hear_update(update(0..left, &[]), BOUNDS, now, |_| true), None);
    }
    assert_eq!(used(&guarded), names(0..1));
}

#[test]
fn who_does_not_answer_goes_at_once() {
    let now = clock::now();
    let mut guarded = settled(4, now);
    let well = |id: &str| id == "s1";
    assert_eq!(guarded.hear_update(update([], &[]), BOUNDS, now, well), Some(Note::Holds(1)));
    assert_eq!(used(&guarded), ["s1"]);
    assert_eq!(guarded.decide_again(BOUNDS, now, |_| false), Some(Note::Believes));
    assert_eq!(used(&guarded), names([]));
}

#[test]
fn an_empty_list_is_never_believed_at_once() {
    let now = clock::now();
    let all = Bounds { shrink: 1.0, ..BOUNDS };
    let mut guarded = settled(1, now);
    assert_eq!(guarded.hear_update(update([], &[]), all, now, |_| true), Some(Note::Holds(1)));
    let almost = now + BOUNDS.hold.saturating_sub(Duration::from_millis(1));
    assert_eq!(guarded.decide_again(all, almost, |_| true), None);
    assert_eq!(used(&guarded), ["s0"]);
    assert_eq!(guarded.decide_again(all, now + BOUNDS.hold, |_| true), Some(Note::Believes));
    assert_eq!(used(&guarded), names([]));
}

#[test]
fn goodbyes_and_replacements_are_no_loss() {
    let now = clock::now();
    let mut guarded = settled(4, now);
    assert_eq!(guarded.hear_update(update([3], &[0, 1, 2]), BOUNDS, now, |_| true), None);
    assert_eq!(used(&guarded), ["s3"]);
    let mut guarded = settled(4, now);
    assert_eq!(guarded.hear_update(update(4..8, &[]), BOUNDS, now, |_| true), None);
    assert_eq!(used(&guarded), names(4..8), "a deployment replaces all");
    // At the address of one that is missed there is another one now.
    let mut guarded = settled(4, now);
    let moved = Entry { id: "moved".into(), ..entry(0) };
    let said = Update { entries: Some([moved].into()), ..update([], &[]) };
    assert_eq!(guarded.hear_update(said, BOUNDS, now, |_| true), Some(Note::Holds(3)));
    assert_eq!(used(&guarded), ["moved", "s1", "s2", "s3"]);
}

#[test]
fn an_operator_is_believed() {
    let now = clock::now();
    let mut guarded = settled(4, now);
    assert_eq!(guarded.believe_source(), None);
    assert_eq!(guarded.hear_update(update([], &[]), BOUNDS, now, |_| true), Some(Note::Holds(4)));
    assert_eq!(guarded.believe_source(), Some(Note::Believes));
    assert_eq!(used(&guarded), names([]));
    assert!(!guarded.is_waiting());
}

#[test]
fn ten_times_as_many_is_too_many_above_a_thousand() {
    let now = clock::now();
    // However many there are when there were none.
    assert_eq!(settled(5000, now).used().len(), 5000);
    let mut guarded = settled(50, now);
    assert_eq!(guarded.hear_update(update(0..1000, &[]), BOUNDS, now, |_| true), None);
    assert_eq!(guarded.used().len(), 1000);
    let mut guarded = settled(200, now);
    assert_eq!(
        guarded.hear_update(update(0..2001, &[]), BOUNDS, now, |_| true),
        Some(Note::Waits(1))
    );
    assert_eq!((guarded.used().len(), guarded.waiting()), (2000, 1));
    // What is used meanwhile makes no more of them acceptable.
    let later = now + Duration::from_secs(1);
    assert_eq!(guarded.decide_again(BOUNDS, later, |_| true), None);
    assert_eq!(
        guarded.hear_update(update(0..3000, &[]), BOUNDS, later, |_| true),
        Some(Note::Waits(1000))
    );
    assert_eq!(guarded.used().len(), 2000);
    let note = guarded.decide_again(BOUNDS, now + BOUNDS.hold, |_| true);
    assert_eq!((note, guarded.used().len()), (Some(Note::Believes), 3000));
}

proptest! {
    /// Whatever sources say, those that answer and are listed are used, and no server is used
    /// twice.
    #[test]
    fn who_is_listed_is_used(steps in prop::collection::vec(
        (prop::collection::btree_set(0_usize..12, 0..12), prop::collection::btree_set(0_usize..12, 0..3), 0_u64..400),
        1..40,
    )) {
        let mut now = clock::now();
        let mut guarded = Guarded::default();
        for (listed, dismissed, seconds) in steps {
            now += Duration::from_secs(seconds);
            let dismissed: Vec<usize> = dismissed.difference(&listed).copied().collect();
            let _note = guarded.hear_update(update(listed.iter().copied(), &dismissed), BOUNDS, now, |id| id != "s7");
            let all = used(&guarded);
            let once: BTreeSet<&String> = all.iter().collect();
            prop_assert_eq!(once.len(), all.len());
            prop_assert!(names(listed.iter().copied()).iter().all(|name| once.contains(name)));
            prop_assert!(names(dismissed).iter().all(|name| !once.contains(name)));
            let listed = names(listed.iter().copied());
            let is_listed = |entry: &Entry| listed.iter().any(|name| **name == *entry.id);
            prop_assert!(guarded.used().iter().all(|entry| entry.held != is_listed(entry)));
            prop_assert!(all.len() <= 12);
        }
        // Given time, the source is believed.
        let _note = guarded.decide_again(BOUNDS, now + BOUNDS.hold, |_| true);
        prop_assert!(!guarded.is_waiting());
    }
}
