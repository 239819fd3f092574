use super::*;

#[test]
fn set_hides_what_was_received_and_add_does_not() {
    let set = [("X-Env", "prod"), ("host", "h")];
    let edits =
        HeaderEdits::new(set.into_iter(), [("x-b", "2")].into_iter(), ["Server"].into_iter());
    assert!(
        edits.hides_field(b"x-env") && edits.hides_field(b"SERVER") && !edits.hides_field(b"x-b")
    );
    assert!(edits.replaces_field(Known::Host) && edits.replaces_field(Known::Server));
    assert!(!edits.replaces_field(Known::Via));
    let written: Vec<_> = edits.written_fields().collect();
    assert_eq!(written, [(&b"X-Env"[..], &b"prod"[..]), (b"host", b"h"), (b"x-b", b"2")]);
}

#[test]
fn a_value_that_grew_too_long_is_not_written() {
    let path: &str = "x".repeat(LONGEST_VALUE / 4).leak();
    let parts = vec![FieldPart::Place(FieldPlace::Path); 4];
    let field = FilledField { name: b"x"[..].into(), parts: parts.into() };
    let mut out = Vec::new();
    assert!(field.fill_value(&Claims(path), &mut out));
    assert_eq!(out.len(), 65_536);
    let mut parts = field.parts.into_vec();
    parts.push(FieldPart::Text(b"y"[..].into()));
    let longer = FilledField { parts: parts.into(), ..field };
    assert!(!longer.fill_value(&Claims(path), &mut out));
}

#[derive(Debug)]
struct Claims(&'static str);

impl FieldFacts for Claims {
    fn append_place(&self, _: &FieldPlace, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

#[test]
fn c9_a_value_that_could_end_a_line_is_never_written() {
    let parts = [FieldPart::Text(b" a-"[..].into()), FieldPart::Place(FieldPlace::Path)];
    let field = FilledField { name: b"x"[..].into(), parts: parts.into() };
    let mut out = Vec::new();
    assert!(field.fill_value(&Claims("b c "), &mut out));
    assert_eq!(out, b"a-b c");
    for claim in ["b\r\nx-admin: 1", "b\nc", "b\0", "b\x7f"] {
        assert!(!field.fill_value(&Claims(claim), &mut out), "{claim:?}");
    }
    let empty = FilledField { parts: [FieldPart::Place(FieldPlace::Query)].into(), ..field };
    assert!(!empty.fill_value(&Claims(" "), &mut out));
}
