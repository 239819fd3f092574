use super::*;
use crate::clock::Random;

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

fn b3(field: &str) -> Option<B3> {
    B3::parse_single(field.as_bytes())
}

#[test]
fn the_single_field_of_b3_is_read() {
    let Some(B3::Goes(context, Some(true))) = b3(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"))
    else {
        panic!("not continued")
    };
    assert_eq!(&context.trace_text(), TRACE.as_bytes());
    assert!(context.sampled && !context.debug);
    let Some(B3::Goes(short, None)) = b3(&format!("64fe8b2a57d3eff7-{SPAN}")) else {
        panic!("not continued")
    };
    assert_eq!(&short.trace_text(), b"000000000000000064fe8b2a57d3eff7");
    let Some(B3::Goes(debug, Some(true))) = b3(&format!("{TRACE}-{SPAN}-d")) else {
        panic!("not continued")
    };
    assert!(debug.debug);
    assert_eq!(
        (b3("0"), b3("1"), b3("d")),
        (Some(B3::Decided(false)), Some(B3::Decided(true)), Some(B3::Decided(true)))
    );
    for bad in [
        String::new(),
        "-".into(),
        "2".into(),
        TRACE.into(),
        format!("{TRACE}-"),
        format!("{}-{SPAN}-1", TRACE.to_uppercase()),
        format!("{TRACE}-{SPAN}-2"),
        format!("{TRACE}-{SPAN}-"),
        format!("{TRACE}-{SPAN}-1-"),
        format!("{TRACE}-{SPAN}-1-{SPAN}-x"),
        format!("{TRACE}0-{SPAN}-1"),
        format!("{TRACE}-0000000000000000-1"),
        format!("00000000000000000000000000000000-{SPAN}-1"),
        format!(" {TRACE}-{SPAN}-1"),
    ] {
        assert_eq!(b3(&bad), None, "{bad}");
    }
}

#[test]
fn several_fields_of_b3_are_read() {
    let of = |parts: [&'static str; 5]| {
        B3::of_fields(parts.map(|part| (part != "-").then_some(part.as_bytes())))
    };
    let decided = |parts| match of(parts) {
        Some(B3::Goes(context, decided)) => Some((context.debug, decided)),
        Some(B3::Decided(_)) | None => None,
    };
    assert_eq!(decided([TRACE, SPAN, "-", "1", "-"]), Some((false, Some(true))));
    assert_eq!(decided([TRACE, SPAN, SPAN, "false", "0"]), Some((false, Some(false))));
    assert_eq!(decided([&TRACE[16..], SPAN, "-", "-", "-"]), Some((false, None)));
    assert_eq!(decided([TRACE, SPAN, "-", "0", "1"]), Some((true, Some(true))));
    assert_eq!(of(["-", "-", "-", "0", "-"]), Some(B3::Decided(false)));
    for bad in [
        ["-"; 5],
        [TRACE, "-", "-", "1", "-"],
        ["-", SPAN, "-", "1", "-"],
        [TRACE, SPAN, "x", "1", "-"],
        [TRACE, SPAN, "-", "yes", "-"],
        [TRACE, SPAN, "-", "1", "7"],
        ["", SPAN, "-", "1", "-"],
    ] {
        assert_eq!(of(bad), None, "{bad:?}");
    }
}

#[test]
fn what_is_sent_as_b3_can_be_read_again() {
    let Some(B3::Goes(context, _)) = b3(&format!("{TRACE}-{SPAN}-d")) else {
        panic!("not continued")
    };
    let own = context.child_span(&mut Random::seeded(3));
    let field = own.b3_field(2);
    let Some(B3::Goes(sent, Some(true))) = B3::parse_single(&field) else {
        panic!("not continued")
    };
    assert_eq!((sent.trace, sent.id, sent.debug), (own.trace, own.attempt_id(2), true));
}
