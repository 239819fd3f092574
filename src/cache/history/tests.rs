use super::*;

fn key(path: &str) -> StoreKey {
    StoreKey::new("c", b"http", b"a.test", path.as_bytes(), None, &[])
}

fn some(text: &str) -> Option<Box<[u8]>> {
    Some(text.as_bytes().into())
}

fn entry(at: u64, invalid: Invalid) -> PurgeEntry {
    PurgeEntry { at: Epoch(at, 0), id: (1, at), cache: "c".into(), invalid }
}

fn matching(purge: Purge) -> Invalid {
    Invalid::Matching(purge)
}

#[test]
fn only_later_purges_count() {
    let mut history = PurgeHistory::default();
    history.add_purge(entry(5, matching(Purge { path: some("/a*"), ..Purge::default() })));
    history
        .add_purge(entry(7, matching(Purge { tag: some("red"), soft: true, ..Purge::default() })));
    history.add_purge(entry(9, Invalid::Key(key("/k"))));
    let red = [some("red").unwrap()];
    let judge = |epoch, path: &str, tags: &[Box<[u8]>]| {
        history.judge_response(Epoch(epoch, 0), ("c", &key(path)), tags, None)
    };
    assert_eq!(judge(4, "/ab", &[]), PurgeVerdict::Gone);
    assert_eq!(judge(5, "/ab", &[]), PurgeVerdict::Valid);
    assert_eq!(judge(4, "/b", &red), PurgeVerdict::Stale);
    assert_eq!(judge(4, "/ab", &red), PurgeVerdict::Gone);
    assert_eq!(judge(7, "/b", &red), PurgeVerdict::Valid);
    assert_eq!(judge(8, "/k", &[]), PurgeVerdict::Gone);
    assert_eq!(judge(9, "/k", &[]), PurgeVerdict::Valid);
    assert_eq!(
        history.judge_response(Epoch(0, 0), ("other", &key("/k")), &red, None),
        PurgeVerdict::Valid
    );
    assert_eq!(history.last_epoch(), Epoch(9, 0));
}

#[test]
fn what_knows_only_of_forgotten_ones_is_gone() {
    let mut history = PurgeHistory::default();
    let none = || matching(Purge { tag: some("none"), ..Purge::default() });
    for at in 1..=MOST as u64 + 2 {
        history.add_purge(entry(at, none()));
    }
    assert_eq!(history.len(), MOST);
    assert_eq!(
        history.judge_response(Epoch(1, 0), ("c", &key("/")), &[], None),
        PurgeVerdict::Gone
    );
    assert_eq!(
        history.judge_response(Epoch(2, 0), ("c", &key("/")), &[], None),
        PurgeVerdict::Valid
    );
    let mut later = PurgeHistory::default();
    later.add_purge(entry(50, none()));
    assert_eq!(
        later.judge_response(Epoch(49, 9), ("c", &key("/")), &[], None),
        PurgeVerdict::Valid
    );
    later.begin_at_oldest();
    assert_eq!(later.judge_response(Epoch(49, 9), ("c", &key("/")), &[], None), PurgeVerdict::Gone);
}

#[test]
fn fields_say_the_same_to_every_instance() {
    let whole = Purge {
        host: some("a.test"),
        path: some("/x"),
        query: Some(some("q=\r\n")),
        tag: some("t"),
        soft: true,
    };
    let no_query = Purge { query: Some(None), ..Purge::default() };
    for invalid in [
        matching(Purge::everything()),
        matching(whole),
        matching(no_query),
        Invalid::Key(key("/é?")),
    ] {
        let fields = PurgeEntry::fields("c", (3, 4), &invalid);
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), &**value));
        let read = PurgeEntry::read(Epoch(8, 1), fields);
        assert_eq!(
            read,
            Some(PurgeEntry { at: Epoch(8, 1), id: (3, 4), cache: "c".into(), invalid })
        );
    }
    let of = |fields: &[(&str, &str)]| {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        PurgeEntry::read(Epoch(1, 1), fields)
    };
    let later = of(&[("cache", "c"), ("path", "/a"), ("method", "x")]);
    assert_eq!(later.unwrap().invalid, matching(Purge::everything()));
    assert_eq!(of(&[("path", "/a")]), None);
}
