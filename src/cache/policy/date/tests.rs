use super::*;

#[test]
fn a_wrong_day_of_the_week_is_still_a_date() {
    let right = parse_date(b"Mon, 08 Aug 2050 02:01:18 GMT");
    assert_eq!(right, Some(2_543_536_878_000));
    for same in
        ["Thu, 08 Aug 2050 02:01:18 GMT", "Thu Aug  8 02:01:18 2050", "Mon Aug  8 02:01:18 2050"]
    {
        assert_eq!(parse_date(same.as_bytes()), right, "{same}");
    }
    for none in ["Xyz, 08 Aug 2050 02:01:18 GMT", "Thu, 32 Aug 2050 02:01:18 GMT", "Thu", "0"] {
        assert_eq!(parse_date(none.as_bytes()), None, "{none}");
    }
}

#[test]
fn only_dates_of_the_three_forms_are_dates() {
    let fine = [
        "Thu, 18 Aug 2050 02:01:18 GMT",
        "tHU, 18 aUG 2050 02:01:18 gMT",
        "Thursday, 18-Aug-50 02:01:18 GMT",
        "Thu Aug 18 02:01:18 2050",
        "Mon Aug  8 02:01:18 2050",
    ];
    for text in fine {
        assert!(parse_date(text.as_bytes()).is_some(), "{text}");
    }
    let bad = [
        "0",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "",
    ];
    for text in bad {
        assert_eq!(parse_date(text.as_bytes()), None, "{text}");
    }
}
