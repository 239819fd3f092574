use super::*;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn heard(v4: Part, v6: Part) -> Result<Heard, String> {
    let host = "a".into();
    let target = Target { host, port: 0, priority: 0, weight: 0, v4, v6 };
    Ok(Heard { targets: vec![target], ..Heard::default() })
}

fn found(texts: &[&str]) -> Result<Heard, String> {
    let (v4, v6) = ips(texts).into_iter().partition(|ip| ip.is_ipv4());
    heard(Part::Found(v4), Part::Found(v6))
}

fn told(known: &KnownName) -> Vec<String> {
    known.answer_to(&a()).unwrap().with_port(80).map(|address| address.to_string()).collect()
}

fn a() -> Question {
    Question::for_host("a")
}

#[test]
fn only_a_good_answer_changes_addresses() {
    let mut known = KnownName::default();
    assert!(known.learn_result(&a(), Err("no such host".to_owned())));
    assert_eq!(told(&known), Vec::<String>::new());
    assert!(!known.learn_result(&a(), Err("no answer".to_owned())));
    assert!(known.learn_result(&a(), found(&["10.0.0.1", "::1", "10.0.0.1"])));
    assert_eq!(told(&known), ["10.0.0.1:80", "[::1]:80"]);
    assert_eq!(known.answer_to(&a()).unwrap().fault, None);
    assert!(!known.learn_result(&a(), found(&["::1", "10.0.0.1"])), "the order alone");
    assert_eq!(told(&known), ["10.0.0.1:80", "[::1]:80"]);
    for nothing in [
        &[][..],
        &["0.0.0.0"],
        &["::", "224.0.0.1", "255.255.255.255"],
        &["::ffff:0.0.0.0", "::ffff:224.0.0.1", "::ffff:255.255.255.255"],
        &["fe80::1"],
    ] {
        assert!(known.learn_result(&a(), found(nothing)));
        let answer = known.answer_to(&a()).unwrap();
        // Those of IPv4 come first.
        let first = nothing.iter().find(|ip| !ip.contains(':')).or(nothing.first());
        let why = match first {
            Some(first) => format!("it leads to {first}, where no server can be"),
            None => "it has no address".to_owned(),
        };
        assert_eq!(answer.fault.as_deref(), Some(&why));
        assert!(answer.nothing);
        assert_eq!(told(&known), ["10.0.0.1:80", "[::1]:80"]);
        assert!(known.learn_result(&a(), found(&["10.0.0.1", "::1"])), "the fault is gone");
    }
    assert!(known.learn_result(&a(), found(&["10.0.0.2", "0.0.0.0"])));
    assert_eq!(told(&known), ["10.0.0.2:80"]);
}

#[test]
fn what_was_known_of_a_family_stays_while_nobody_can_tell() {
    let mut known = KnownName::default();
    let fails = || Part::Failed("SERVFAIL".to_owned());
    let v4 = |texts: &[&str]| Part::Found(ips(texts));
    // Name servers that fail for AAAA are common; where there never was one, nothing is wrong.
    assert!(known.learn_result(&a(), heard(v4(&["10.0.0.1"]), fails())));
    assert_eq!(known.answer_to(&a()).unwrap().fault, None);
    assert!(known.learn_result(&a(), found(&["10.0.0.1", "fd00::1"])));
    assert!(known.learn_result(&a(), heard(v4(&["10.0.0.2"]), fails())));
    assert_eq!(told(&known), ["10.0.0.2:80", "[fd00::1]:80"]);
    assert_eq!(known.answer_to(&a()).unwrap().fault.as_deref().unwrap(), "SERVFAIL");
    assert!(!known.learn_result(&a(), heard(fails(), fails())));
    assert_eq!(told(&known), ["10.0.0.2:80", "[fd00::1]:80"]);
    assert!(!known.answer_to(&a()).unwrap().nothing);
    assert!(known.learn_result(&a(), heard(v4(&[]), Part::Found(ips(&["fd00::1"])))));
    assert_eq!(told(&known), ["[fd00::1]:80"]);
}

#[test]
fn a_long_answer_gives_the_same_addresses_in_any_order() {
    let mut known = KnownName::default();
    let mut many: Vec<String> =
        (0..2000).map(|n| format!("10.0.{}.{}", n / 250, n % 250 + 1)).collect();
    let all = |many: &[String]| found(&many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(known.learn_result(&a(), all(&many)));
    assert_eq!(told(&known).len(), 1024);
    let left_out = known.answer_to(&a()).unwrap().left_out.clone();
    assert_eq!(left_out.as_deref(), Some("only 1024 of its addresses are used"));
    many.reverse();
    assert!(!known.learn_result(&a(), all(&many)));
}

#[test]
fn names_that_nobody_follows_are_forgotten_when_they_are_many() {
    let mut known = KnownName::default();
    let seven = Question::for_host("7");
    for n in 0..1024 {
        known.learn_result(&Question::for_host(&n.to_string()), found(&[]));
    }
    known.forget_unfollowed(|question| *question == seven);
    assert_eq!(known.0.len(), 1024);
    known.learn_result(&a(), found(&[]));
    known.forget_unfollowed(|question| *question == seven);
    assert_eq!(known.0.len(), 1);
}
