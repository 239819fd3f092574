use super::*;

fn text(reader: &mut CachedBodyReader) -> (String, BodyPart) {
    let mut out = Vec::new();
    loop {
        match reader.take_part() {
            BodyPart::Data(data) => out.extend_from_slice(&data),
            end => return (String::from_utf8(out).unwrap(), end),
        }
    }
}

#[test]
fn readers_get_everything_whenever_they_come() {
    let (mut writer, body) = new_body();
    let mut early = body.new_reader();
    assert_eq!(early.take_part(), BodyPart::Later);
    writer.push_part(Bytes::from_static(b"ab"));
    let mut middle = body.new_reader();
    writer.push_part(Bytes::from_static(b"cd"));
    assert_eq!(text(&mut early), ("abcd".to_owned(), BodyPart::Later));
    assert!(!body.is_whole());
    writer.finish_body(None);
    assert_eq!(text(&mut early), (String::new(), BodyPart::End));
    assert_eq!(text(&mut middle), ("abcd".to_owned(), BodyPart::End));
    assert_eq!(text(&mut body.new_reader()), ("abcd".to_owned(), BodyPart::End));
    assert!(body.is_whole() && body.written() == 4);
}

#[test]
fn a_writer_that_is_dropped_cuts_the_body() {
    let (mut writer, body) = new_body();
    writer.push_part(Bytes::from_static(b"ab"));
    drop(writer);
    assert_eq!(text(&mut body.new_reader()), ("ab".to_owned(), BodyPart::Cut));
    assert!(!body.is_whole());
}

#[test]
fn parts_are_freed_once_nobody_can_want_them() {
    let (mut writer, body) = new_body();
    let mut reader = body.new_reader();
    writer.push_part(Bytes::from_static(b"abc"));
    writer.push_part(Bytes::from_static(b"de"));
    assert_eq!(writer.held(), 5);
    drop(body);
    assert_eq!(writer.held(), 5, "the reader has not come to them");
    assert_eq!(reader.take_part(), BodyPart::Data(Bytes::from_static(b"abc")));
    assert_eq!(reader.take_part(), BodyPart::Data(Bytes::from_static(b"de")));
    assert_eq!(writer.held(), 2, "the last part is where reader and writer stand");
    drop(reader);
    assert!(!writer.has_readers());
}

#[tokio::test]
async fn who_has_a_body_and_does_not_read_it_yet_wants_it() {
    let (mut writer, body) = new_body();
    writer.push_part(Bytes::from_static(b"abc"));
    let other = body.clone();
    drop(body);
    assert!(writer.has_readers(), "somebody has it");
    let mut reader = other.new_reader();
    drop(other);
    assert!(writer.has_readers(), "somebody reads it");
    assert_eq!(text(&mut reader), ("abc".to_owned(), BodyPart::Later));
    drop(reader);
    assert!(!writer.has_readers());

    let (writer, body) = new_body();
    let freed = writer.freed();
    drop(body);
    tokio::time::timeout(std::time::Duration::from_secs(5), freed.notified()).await.unwrap();
    assert!(!writer.has_readers());
}

#[test]
fn a_whole_body_is_put_together_from_its_parts() {
    let (mut writer, first) = new_body();
    writer.push_part(Bytes::from_static(b"abc"));
    assert!(first.put_together(true).is_none(), "it is not whole");
    writer.push_part(Bytes::from_static(b"de"));
    assert!(first.put_together(true).is_none(), "it is not whole");
    let mut trailers = Fields::default();
    trailers.push(b"x-sum", b"1");
    writer.finish_body(Some(&trailers));
    let one = first.put_together(true).unwrap();
    let mut reader = one.new_reader();
    assert_eq!(reader.take_part(), BodyPart::Data(Bytes::from_static(b"abcde")));
    assert_eq!(reader.take_part(), BodyPart::End);
    assert_eq!(one.trailers().unwrap().named(b"x-sum").collect::<Vec<_>>(), [b"1"]);
    assert_eq!(reader.trailers().unwrap().named(b"x-sum").collect::<Vec<_>>(), [b"1"]);
    assert!(one.is_one_piece() && !first.is_one_piece() && one.is_whole());
    assert_eq!((one.written(), first.written()), (5, 5));
    let (mut writer, cut) = new_body();
    writer.push_part(Bytes::from_static(b"abc"));
    writer.push_part(Bytes::from_static(b"de"));
    drop(writer);
    assert!(cut.put_together(true).is_none(), "half of it is missing");
}

#[test]
fn a_body_that_came_in_one_part_is_copied_only_if_its_memory_is_too_large() {
    let data = Bytes::from(vec![b'x'; 100]);
    let (mut writer, body) = new_body();
    writer.push_part(data.clone());
    writer.finish_body(None);
    let at = |is_exact| match body.put_together(is_exact).unwrap().new_reader().take_part() {
        BodyPart::Data(part) => part.as_ptr(),
        other => panic!("{other:?}"),
    };
    assert_eq!(at(true), data.as_ptr());
    assert_ne!(at(false), data.as_ptr());
}

#[test]
fn an_empty_body_has_an_end_and_nothing_else() {
    let (writer, chain) = new_body();
    writer.finish_body(None);
    for body in [chain.put_together(true).unwrap(), CachedBody::whole(Bytes::new()), chain] {
        assert_eq!(body.new_reader().take_part(), BodyPart::End);
        assert!(body.is_whole() && body.written() == 0 && body.new_reader().has_more());
    }
}

#[test]
fn a_long_body_is_freed_without_a_deep_stack() {
    let (mut writer, body) = new_body();
    for _ in 0..300_000 {
        writer.push_part(Bytes::from_static(b"x"));
    }
    writer.finish_body(None);
    drop(body);
}

/// A body of three parts of 1000 bytes, with 400 000 bytes of memory for it.
fn counted_chain(memory: &Arc<StoreMemory>) -> (BodyWriter, OwnedBody) {
    let (mut writer, body) = new_body();
    let body = OwnedBody::new(body);
    for _ in 0..3 {
        assert!(writer.push_counted(Bytes::from(vec![b'x'; 1000]), memory, 400_000));
    }
    (writer, body)
}

#[test]
fn parts_of_a_body_that_left_are_held_until_the_slowest_reader_has_them() {
    let memory = Arc::new(StoreMemory::default());
    let told = || (memory.stored(), memory.held());
    let (writer, body) = counted_chain(&memory);
    let (part, further) = (1024, 1024 + 192);
    assert_eq!((told(), body.size()), ((part + 2 * further, 0), part + 2 * further));
    let (mut fast, mut slow) = (body.new_reader(), body.new_reader());
    writer.finish_body(None);
    let other = OwnedBody::new(CachedBody::clone(&body));
    drop(body);
    assert_eq!(told(), (part + 2 * further, 0), "another response has the same body");
    drop(other);
    assert_eq!(told(), (0, part + 2 * further));
    (0..2).for_each(|_| assert!(matches!(fast.take_part(), BodyPart::Data(_))));
    assert_eq!(told(), (0, part + 2 * further), "the slow one wants them");
    (0..2).for_each(|_| assert!(matches!(slow.take_part(), BodyPart::Data(_))));
    assert_eq!(told(), (0, 2 * further));
    drop(fast);
    assert!(matches!(slow.take_part(), BodyPart::Data(_)));
    assert_eq!(told(), (0, further));
    drop(slow);
    assert_eq!(told(), (0, 0));
}

#[test]
fn parts_that_find_no_room_are_counted_by_nobody() {
    let memory = Arc::new(StoreMemory::default());
    let (mut writer, body) = new_body();
    let body = OwnedBody::new(body);
    assert!(writer.push_counted(Bytes::from(vec![b'x'; 1000]), &memory, 2000));
    assert!(!writer.push_counted(Bytes::from(vec![b'x'; 1000]), &memory, 2000));
    let reader = body.new_reader();
    assert_eq!((memory.stored(), memory.held()), (1024, 0));
    drop(body);
    assert_eq!((memory.stored(), memory.held()), (0, 1024));
    drop((reader, writer));
    assert_eq!((memory.stored(), memory.held()), (0, 0));
}

#[test]
fn a_body_in_one_part_is_counted_once_however_many_share_it() {
    let memory = Arc::new(StoreMemory::default());
    let told = || (memory.stored(), memory.held());
    let (mut writer, chain) = new_body();
    let chain = OwnedBody::new(chain);
    assert!(writer.push_counted(Bytes::from(vec![b'x'; 1000]), &memory, 400_000));
    writer.finish_body(None);
    let reader = chain.new_reader();
    let one = OwnedBody::new(chain.put_together(true).unwrap());
    assert_eq!((one.uncounted_size(), one.size()), (0, 1024));
    drop((chain, reader));
    assert_eq!(told(), (1024, 0));
    // The same once more, as after a 304.
    let copy = OwnedBody::new(one.put_together(true).unwrap());
    drop(one);
    assert_eq!(told(), (1024, 0));
    let reader = copy.new_reader();
    drop(copy);
    assert_eq!(told(), (0, 1024));
    drop(reader);
    assert_eq!(told(), (0, 0));
}
