use super::*;

fn tried(name: &str, search: &[&str], ndots: usize) -> Vec<String> {
    let name = Name::from_utf8(name).unwrap();
    let search: Vec<Name> = search.iter().map(|name| Name::from_utf8(name).unwrap()).collect();
    list_candidates(&name, &search, ndots).iter().map(Name::to_ascii).collect()
}

#[test]
fn search_domains_come_before_a_short_name_and_after_a_long_one() {
    let search = ["shop.svc.cluster.local", "cluster.local"];
    assert_eq!(
        tried("app", &search, 1),
        ["app.shop.svc.cluster.local.", "app.cluster.local.", "app."]
    );
    assert_eq!(
        tried("app.shop", &search, 1),
        ["app.shop.", "app.shop.shop.svc.cluster.local.", "app.shop.cluster.local."]
    );
    assert_eq!(
        tried("app.shop", &search, 5),
        ["app.shop.shop.svc.cluster.local.", "app.shop.cluster.local.", "app.shop."]
    );
    assert_eq!(tried("app.shop.", &search, 5), ["app.shop."]);
    assert_eq!(tried("app", &[], 5), ["app."]);
    assert_eq!(tried("localhost", &search, 1), ["localhost."]);
}

#[test]
fn what_failed_is_told_with_the_servers_that_were_asked_and_not_in_words_of_the_library() {
    let at = |text: &str| name_server(text.parse().unwrap());
    assert_eq!(list_servers(&[]), "any name server");
    assert_eq!(list_servers(&[at("10.0.0.1:53")]), "10.0.0.1:53");
    let many = ["10.0.0.1:53", "[fd00::1]:5353", "10.0.0.3:53", "10.0.0.4:53", "10.0.0.5:53"];
    let asked = list_servers(&many.map(at));
    assert_eq!(asked, "10.0.0.1:53, [fd00::1]:5353, 10.0.0.3:53 and 2 more");
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    for (error, said) in [
        (NetError::Timeout, "no answer in time from 10.0.0.1:53"),
        (NetError::NoConnections, "no connection to 10.0.0.1:53"),
        (refused.into(), "no connection to 10.0.0.1:53: connection refused"),
        (
            NetError::from("receiver was canceled"),
            "no answer from 10.0.0.1:53: the connection ended before there was one",
        ),
        (NetError::Busy, "no answer from 10.0.0.1:53: too many queries are under way there"),
        (
            NetError::QueryCaseMismatch,
            "the answer of the name server cannot be used: case of query name in response did not match",
        ),
    ] {
        assert_eq!(describe_error(&error, "10.0.0.1:53"), said);
    }
}

#[test]
fn a_hosts_file_has_names_with_several_addresses_and_comments() {
    let text = "\u{feff}# first\n127.0.0.1 localhost Local.Test.\n::1 localhost # and so on\n\
                    fe80::1%eth0 x\ngarbage\n10.0.0.1\n10.0.0.1 app\n10.0.0.2\tapp\n10.0.0.1 app\n";
    let all = parse_hosts(text);
    assert_eq!(all.len(), 3);
    assert_eq!(all["localhost"].len(), 2);
    assert_eq!(all["local.test"], ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    let app: Vec<String> = all["app"].iter().map(ToString::to_string).collect();
    assert_eq!(app, ["10.0.0.1", "10.0.0.2"]);
}
