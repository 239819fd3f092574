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
