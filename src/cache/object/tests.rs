use super::*;
use crate::cache::purge::Purge;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn head(lines: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.set(200, b"");
    for (name, value) in lines {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    head
}

fn new_object(
    asked: Arc<StoreKey>,
    head: ResponseHead,
    timing: Timing,
    body: CachedBody,
) -> Object {
    let length = Some(body.written());
    let parts = ObjectParts { asked, variant: 0, head, timing, body, length, asked_at: 0 };
    Object::new(parts, Reservation::default())
}

fn object(lines: &[(&str, &str)]) -> Object {
    let key = Arc::new(StoreKey::new("c", b"http", b"a.test", b"/x", Some(b"q"), &[]));
    let body = CachedBody::whole(bytes::Bytes::from_static(b"hello"));
    new_object(key, head(lines), Timing::default(), body)
}

#[test]
fn a_304_updates_what_does_not_describe_the_body() {
    let stored = object(&[
        ("X-A", "1"),
        ("Content-Length", "5"),
        ("X-B", "1"),
        ("ETag", "\"a\""),
        ("Age", "9"),
    ]);
    let update = fields(&[
        ("x-a", "2"),
        ("content-length", "0"),
        ("x-c", "3"),
        ("etag", "W/\"a\""),
        ("set-cookie", "id=1"),
    ]);
    let updated = stored.updated_fields(&update);
    let of = |name: &str| updated.named(name.as_bytes()).collect::<Vec<_>>();
    assert_eq!(of("x-a"), [b"2"]);
    assert_eq!(of("content-length"), [b"5"]);
    assert_eq!((of("x-b"), of("x-c")), (vec![&b"1"[..]], vec![&b"3"[..]]));
    assert_eq!(of("etag"), [b"\"a\""]);
    assert!(of("age").is_empty() && of("set-cookie").is_empty());
}

#[test]
fn tags_are_read_from_all_three_fields_and_bounded() {
    let read = object(&[("Cache-Tag", "a, b,a"), ("xkey", "c  d"), ("Surrogate-Key", "e")]);
    let tags: Vec<_> = read.tags.iter().map(|tag| String::from_utf8_lossy(tag)).collect();
    assert_eq!(tags, ["a", "b", "e", "c", "d"]);
    let many = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let many = object(&[("xkey", &many)]);
    assert_eq!(many.tags.len(), MOST_TAGS + 1);
    let purged = |object: &Object, tag: &str| {
        let tag = Some(tag.as_bytes().into());
        Purge { tag, ..Purge::default() }.matches_object(object)
    };
    assert!(purged(&read, "c") && !purged(&read, "f"));
    assert!(purged(&many, "99"), "it was left out");
    let long = "l".repeat(LONGEST_TAG + 1);
    assert!(purged(&object(&[("cache-tag", &format!("a, {long}"))]), &long));
}

#[test]
fn listed_fields_wait_for_a_server() {
    let read = object(&[("Cache-Control", "no-cache=\"x-a\", private=x-b"), ("x-a", "1")]);
    assert!(
        !read.sends_field(b"X-A")
            && !read.sends_field(b"x-b")
            && read.sends_field(b"x-c")
            && !read.sends_field(b"Age")
    );
}

#[test]
fn another_form_of_the_body_changes_nothing_else() {
    let lines = [("cache-tag", "a b"), ("cache-control", "max-age=9, no-cache=\"x-a\"")];
    let first = object(&lines);
    first.count_use();
    first.purge_softly();
    let body = CachedBody::whole(bytes::Bytes::from_static(b"hello"));
    let other = first.with_body(body, Reservation::default());
    assert_ne!(first.number, other.number);
    assert_eq!((&other.tags, &other.key, other.length), (&first.tags, &first.key, Some(5)));
    assert_eq!((other.uses(), other.hits(), other.sends_field(b"x-a")), (1, 1, false));
    assert_eq!(other.timing(), first.timing());
    assert!(other.size() <= first.size());
    let other = Arc::new(other);
    first.set_successor(&other);
    first.count_use();
    first.count_first_use();
    assert_eq!((other.uses(), other.hits(), first.hits()), (2, 3, 1));
}

#[test]
fn a_chain_for_its_readers_is_counted() {
    let key = Arc::new(StoreKey::new("c", b"http", b"a.test", b"/x", None, &[]));
    let (mut writer, body) = crate::cache::body::new_body();
    writer.push_part(bytes::Bytes::from_static(b"hello"));
    writer.finish_body(None);
    let first = new_object(key, head(&[]), Timing::default(), body);
    let one = first.body.put_together(true).unwrap();
    let other = first.with_body(one, Reservation::default());
    assert_eq!(first.size() - other.size(), 480);
}

#[test]
fn what_follows_a_chain_is_counted_for_each_response_that_has_it() {
    let key = Arc::new(StoreKey::new("c", b"http", b"a.test", b"/x", None, &[]));
    let (mut writer, body) = crate::cache::body::new_body();
    let first = new_object(key.clone(), head(&[]), Timing::default(), body);
    writer.push_part(bytes::Bytes::from_static(b"hello"));
    let before = first.head_size();
    let behind = fields(&[("x-sum", "1"), ("x-more", &"m".repeat(1000))]);
    writer.finish_body(Some(&behind));
    let size = trailers_size(first.body.trailers());
    assert!((1000..=1500).contains(&size), "{size}");
    // The same once more, as after a 304.
    let body = CachedBody::clone(&first.body);
    let other = new_object(key, head(&[]), Timing::default(), body);
    assert_eq!((other.uncounted_size(), first.head_size()), (before + size, before + size));
    let one = first.body.put_together(true).unwrap();
    assert_eq!(one.size(), 16 + size, "in one piece they are counted with it");
}

#[test]
fn uses_are_counted_up_to_three() {
    let read = object(&[]);
    (0..9).for_each(|_| read.count_use());
    assert_eq!((read.uses(), read.hits()), (3, 9));
    assert_eq!([(); 4].map(|()| read.spend_use()), [true, true, true, false]);
}

#[test]
fn a_soft_purge_makes_it_stale() {
    let timing = Timing { lifetime: 1000, ..Timing::default() };
    let key = Arc::new(StoreKey::new("c", b"http", b"a.test", b"/", None, &[]));
    let body = CachedBody::whole(bytes::Bytes::new());
    let read = new_object(key, head(&[]), timing, body);
    assert!(read.timing().fresh_for(0) > 0);
    read.purge_softly();
    assert!(read.timing().fresh_for(0) < 0);
}
