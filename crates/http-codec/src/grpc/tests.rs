use super::*;

fn with(name: &str, value: &str) -> Fields {
    let mut fields = Fields::default();
    fields.push(name.as_bytes(), value.as_bytes());
    fields
}

#[test]
fn its_messages_are_known_by_their_type() {
    for (kind, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x=y", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(is_grpc(&with("content-type", kind)), expected, "{kind}");
    }
}

#[test]
fn timeouts_have_units_and_at_most_eight_digits() {
    let read = |value: &str| parse_timeout(&with("grpc-timeout", value));
    assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
    assert_eq!(read("2M"), Some(Duration::from_secs(120)));
    assert_eq!(read("250m"), Some(Duration::from_millis(250)));
    assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
    for bad in ["", "m", "1", "-1S", "123456789S", "1 S", "1x", "1.5S"] {
        assert_eq!(read(bad), None, "{bad}");
    }
    for (left, value) in [(0, "0u"), (1_500, "1500u"), (99_999_999, "99999999u")] {
        assert_eq!(timeout_value(Duration::from_micros(left)), value);
    }
    assert_eq!(timeout_value(Duration::from_secs(100)), "100000m");
    assert_eq!(timeout_value(Duration::from_secs(100_000)), "100000S");
    assert_eq!(timeout_value(Duration::MAX), "99999999S");
}

#[test]
fn a_status_is_a_number_and_a_message_is_printable() {
    assert_eq!(parse_status(&with("grpc-status", "14")), Some(UNAVAILABLE));
    assert_eq!(parse_status(&with("grpc-status", "x")), Some(2));
    assert_eq!(parse_status(&Fields::default()), None);
    assert_eq!(encode_message("50 % ü\n"), "50 %25 %C3%BC%0A");
    assert_eq!((of_http(503), of_http(404), of_http(504)), (14, 12, 4));
}
