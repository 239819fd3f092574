use proptest::prelude::*;

use super::*;

/// The rules, one after the other.
fn by_rules(authority: &str) -> Option<String> {
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let is_valid = host.len() <= 255
        && host.split('.').all(|label| !label.is_empty())
        && host.bytes().all(is_host)
        && port.bytes().all(|b| b.is_ascii_digit())
        && (port.is_empty() || port.parse::<u16>().is_ok());
    is_valid.then(|| host.to_ascii_lowercase())
}

proptest! {
    #[test]
    fn one_pass_finds_what_the_rules_say(authority in "[aZ09.:~_%\\[é-]{0,12}|(aB0\\.){83,87}[a.:]{0,6}") {
        prop_assume!(!authority.starts_with('['));
        let found = canonical_host(authority.as_bytes()).map(Cow::into_owned);
        prop_assert_eq!(found, by_rules(&authority));
    }
}

#[test]
fn ports_have_sixteen_bits() {
    for (port, good) in [("65535", true), ("65536", false), ("00080", true), ("99999999999", false)]
    {
        assert_eq!(canonical_host(format!("a:{port}").as_bytes()).is_some(), good, "{port}");
        assert_eq!(canonical_host(format!("[::1]:{port}").as_bytes()).is_some(), good, "{port}");
    }
}

#[test]
fn a_name_has_255_bytes_at_most() {
    let name = "a".repeat(255);
    assert_eq!(canonical_host(name.as_bytes()).as_deref(), Some(&*name));
    assert!(canonical_host(format!("{name}.").as_bytes()).is_some());
    assert_eq!(canonical_host(format!("{name}a").as_bytes()), None);
}
