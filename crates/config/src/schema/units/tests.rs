use std::fmt;
use std::time::Duration;

use proptest::prelude::*;

use super::rate::WINDOWS;
use super::*;
use crate::read::WordReader;

fn help<T: WordReader + fmt::Debug>(text: &str) -> String {
    T::parse_word(text).unwrap_err().help.unwrap_or_default()
}

#[test]
fn a_missing_unit_is_shown() {
    assert_eq!(help::<Period>("10"), "write \"10s\"");
    assert_eq!(help::<Bytes>("65536"), "write \"64KiB\"");
    assert_eq!(help::<Rate>("10"), "write \"10/s\"");
    assert_eq!(help::<Percent>("10"), "write \"10%\"");
}

#[test]
fn a_familiar_wrong_unit_is_corrected() {
    assert_eq!(help::<Period>("5min"), "write \"5m\"");
    assert_eq!(help::<Bytes>("5MB"), "write \"5MiB\" (1024² bytes each)");
    assert_eq!(help::<Rate>("5/m"), "write \"5/min\"");
}

#[test]
fn a_rate_is_for_a_window_of_any_length() {
    for (text, count, period, shown) in [
        ("20/10s", 20, Duration::from_secs(10), "20/10s"),
        ("5/500ms", 5, Duration::from_millis(500), "5/500ms"),
        ("3/2d", 3, Duration::from_secs(172_800), "3/48h"),
        ("7/1m", 7, Duration::from_secs(60), "7/min"),
        ("7/1000ms", 7, Duration::from_secs(1), "7/s"),
        ("1/d", 1, Duration::from_secs(86_400), "1/d"),
        ("1000000/1ms", 1_000_000, Duration::from_millis(1), "1000000/1ms"),
    ] {
        let rate = Rate::parse_word(text).unwrap();
        assert_eq!((rate.count(), rate.period(), &*rate.to_string()), (count, period, shown));
    }
    for text in [
        "5/0s",
        "5/",
        "5/ms",
        "5/1",
        "5/-1s",
        "5/1.5s",
        "5/ 1s",
        "5 /1s",
        "5/1s ",
        "0/10s",
        "-1/s",
        "5/1min",
        "5/s1",
        "5/1s1s",
        "5//s",
        "5/٣s",
        "5/367d",
        "1000001/1ms",
        "4294967296/s",
        "5/99999999999999999999s",
    ] {
        assert!(Rate::parse_word(text).is_err(), "{text}");
    }
    assert_eq!(help::<Rate>("5/1min"), "write \"1m\"");
}

proptest! {
    #[test]
    fn units_survive_printing_and_parsing(
        number in 0u32.., parts in 0u32..=1_000_000, window in 1u64..=31_622_400_000,
    ) {
        let window = Duration::from_millis(window);
        let period = Period::milliseconds(u64::from(number));
        prop_assert_eq!(Period::parse_word(&period.to_string()).unwrap(), period);
        let bytes = Bytes::new(u64::from(number));
        prop_assert_eq!(Bytes::parse_word(&bytes.to_string()).unwrap(), bytes);
        let percent = Percent { parts_per_million: parts };
        prop_assert_eq!(Percent::parse_word(&percent.to_string()).unwrap(), percent);
        for (_, period) in WINDOWS.into_iter().chain([("", window)]) {
            let count = number.clamp(1, u32::try_from(period.as_nanos()).unwrap_or(u32::MAX));
            let rate = Rate::new(count, period);
            prop_assert_eq!(Rate::parse_word(&rate.to_string()).unwrap(), rate);
        }
    }

    #[test]
    fn no_text_is_too_strange_for_a_unit(text in "\\PC{0,12}") {
        let _ = Period::parse_word(&text);
        let _ = Bytes::parse_word(&text);
        let _ = Rate::parse_word(&text);
        let _ = Percent::parse_word(&text);
        let _ = LoadBound::parse_word(&text);
    }
}
