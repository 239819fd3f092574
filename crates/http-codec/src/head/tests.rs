use super::*;

#[test]
fn order_case_and_repetition_are_kept() {
    let mut fields = Fields::default();
    fields.push(b"X-A", b"1");
    fields.push(b"Cookie", b"a=1");
    fields.push(b"x-a", b"2");
    let got: Vec<_> = fields.iter().map(|f| (f.name, f.value)).collect();
    assert_eq!(got, [(&b"X-A"[..], &b"1"[..]), (b"Cookie", b"a=1"), (b"x-a", b"2")]);
    assert_eq!(fields.named(b"X-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert!(fields.has(Known::Cookie) && !fields.has(Known::Host));
}

#[test]
fn a_removed_field_is_gone_from_everywhere() {
    let mut fields = Fields::default();
    fields.push(b"content-length", b"0");
    fields.push(b"x-a", b"1");
    fields.retain(|field| field.known != Known::ContentLength);
    assert!(!fields.has(Known::ContentLength));
    assert_eq!(fields.iter().map(|f| f.name).collect::<Vec<_>>(), [b"x-a"]);
}

#[test]
fn kept_lines_are_written_in_one_form() {
    let bytes = b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nDrop: x\r\nC:3\r\nD: 4 \r\nE: 5\r\n\r\n";
    let mut head = RequestHead::default();
    let limits = crate::request::Limits::default();
    let mut parser = crate::request::RequestParser::default();
    parser.parse(bytes, &limits, &mut head).unwrap().unwrap();
    let mut out = Vec::new();
    head.fields.write_lines(&mut out, &mut |field| field.name != b"Drop");
    assert_eq!(out, b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n");
}

#[test]
fn what_is_not_retained_is_not_there() {
    let mut fields = Fields::default();
    for (name, value) in [("Host", "a"), ("X-A", "1"), ("Via", "v"), ("X-A", "2")] {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields.retain(|field| field.known != Known::Via && field.value != b"1");
    let left: Vec<_> = fields.iter().map(|f| (f.name, f.value)).collect();
    assert_eq!(left, [(&b"Host"[..], &b"a"[..]), (b"X-A", b"2")]);
    assert!(!fields.has(Known::Via) && fields.has(Known::Host));
    assert_eq!(fields.first(Known::Via), None);
}

#[test]
fn list_items_skip_empty_ones_and_ignore_case() {
    let mut fields = Fields::default();
    fields.push(b"Connection", b" , Keep-Alive ,,upgrade");
    assert!(fields.lists(Known::Connection, b"keep-alive"));
    assert!(fields.lists(Known::Connection, b"Upgrade"));
    assert!(!fields.lists(Known::Connection, b"close"));
}
