use super::*;

fn page(text: &str) -> String {
    let config = crate::load_str("t.toml", text).unwrap().config;
    serde_json::to_string(&masked(&shown(&config))).unwrap()
}

const BASE: &str =
    "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [\"127.0.0.1:2\"]\n";

#[test]
fn secrets_are_masked_by_what_they_are() {
    let text = format!(
        "{BASE}health = {{ path = \"/h\", headers = {{ host = \"shown.test\", x-any = \"hidden1\" }} }}\n\
             [[route]]\nupstream = \"a\"\nauth = \"f\"\n\
             headers = {{ x-api-key = \"hidden2\", x-env = \"shown2\" }}\n\
             request_headers = {{ set = {{ authorization = \"Basic hidden3\" }}, add = {{ x-y = \"hidden4\" }} }}\n\
             response_headers = {{ set = {{ x-frame-options = \"shown3\" }} }}\n\
             [headers.h]\nset = {{ x-token = \"hidden7\" }}\n\
             [auth.f]\nforward = {{ url = \"http://bob:hidden5@auth.test/shown4?token=hidden6&a=shown5\" }}\n"
    );
    let page = page(&text);
    assert!(!page.contains("hidden") && !page.contains("u001f"), "{page}");
    for shown in ["shown.test", "shown2", "shown3", "/shown4?token=********&a=shown5"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
}

#[test]
fn a_secret_that_changed_is_a_difference_and_the_same_is_none() {
    let of = |secret: &str| {
        let text = format!(
            "{BASE}[[route]]\nupstream = \"a\"\nrequest_headers = {{ set = {{ x = \"{secret}\" }} }}\n"
        );
        shown(&crate::load_str("t.toml", &text).unwrap().config)
    };
    let text = |shown: &Shown| serde_json::to_string(shown).unwrap();
    assert_eq!(text(&of("a")), text(&of("a")));
    assert_ne!(text(&of("a")), text(&of("b")));
    assert_eq!(text(&masked(&of("a"))), text(&masked(&of("b"))));
}
