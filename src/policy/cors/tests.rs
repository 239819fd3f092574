use super::*;

fn said(cors: &Cors, origin: &str) -> Vec<String> {
    let mut out = Added::new();
    cors.answer_fields(Some(origin.as_bytes()), &mut out);
    cors.preflight_fields(origin.as_bytes(), &mut out);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    out.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
}

#[test]
fn only_listed_origins_may_and_the_answer_varies() {
    let cors = Cors {
        origins: [b"https://shop.example"[..].into()].into(),
        credentials: true,
        methods: b"GET, POST"[..].into(),
        headers: b"content-type"[..].into(),
        max_age: Some(b"600"[..].into()),
        ..Cors::default()
    };
    assert_eq!(
        said(&cors, "https://shop.example"),
        [
            "vary: origin",
            "access-control-allow-origin: https://shop.example",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: GET, POST",
            "access-control-allow-headers: content-type",
            "access-control-max-age: 600",
        ]
    );
    for other in ["https://shop.example.evil", "http://shop.example", "null", ""] {
        assert_eq!(said(&cors, other), ["vary: origin"], "{other}");
    }
}

#[test]
fn a_star_is_for_everybody() {
    let cors = Cors { any: true, methods: b"GET"[..].into(), ..Cors::default() };
    let expected = ["access-control-allow-origin: *", "access-control-allow-methods: GET"];
    assert_eq!(said(&cors, "https://any.example"), expected);
}
