use super::*;

fn wants(accept: &[&str]) -> ErrorForm {
    let mut fields = Fields::default();
    accept.iter().for_each(|value| fields.push(b"Accept", value.as_bytes()));
    ErrorForm::from_request(&fields)
}

#[test]
fn browsers_want_pages_and_programs_do_not() {
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
    for html in
        [browser, "text/html", "TEXT/HTML;q=0.1", "text/*", "application/json;q=0.5, text/html"]
    {
        assert_eq!(wants(&[html]), ErrorForm::Html, "{html}");
    }
    assert_eq!(wants(&["*/*", "text/html"]), ErrorForm::Html);
    let json = ["application/json", "application/problem+json", "application/vnd.api+json"];
    for json in json {
        assert_eq!(wants(&[json]), ErrorForm::Json, "{json}");
    }
    for json in ["application/json, text/plain, */*", "application/json, text/html;q=0.9"] {
        assert_eq!(wants(&[json]), ErrorForm::Json, "{json}");
    }
    for anything in ["*/*", "", "image/png,*/*", "text/html;q=0", "application/*", "q"] {
        assert_eq!(wants(&[anything]), ErrorForm::Anything, "{anything}");
    }
    assert_eq!(wants(&[]), ErrorForm::Anything);
}

#[test]
fn the_narrowest_range_has_the_page() {
    let page = |name: &str| ErrorPage::from(name.as_bytes());
    let all = vec![(400, 599, page("all")), (503, 503, page("one")), (502, 504, page("some"))];
    let pages = Pages::new(all, false, None);
    for (status, expected) in [(503, "one"), (502, "some"), (404, "all"), (599, "all")] {
        assert_eq!(pages.page_for(status).map(|page| &**page), Some(expected.as_bytes()));
    }
    assert_eq!(pages.page_for(200), None);
    let mut head = ResponseHead::default();
    head.status = 503;
    assert_eq!(pages.instead_of(&head), None, "it does not intercept");
}
