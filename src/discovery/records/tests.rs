use super::super::question::Place;
use super::*;

fn source(text: &str) -> Elsewhere {
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = {text}\n\
             [[route]]\nupstream = 'app'\n"
    );
    let config = crate::config::load_str("t.toml", &text).unwrap().config;
    config.upstream["app"].servers.elsewhere().unwrap().clone()
}

fn told(source: &Elsewhere, addresses: &[&str]) -> (Option<usize>, Option<String>) {
    let place = |address: &&str| Place {
        address: address.parse().unwrap(),
        priority: 0,
        weight: 1,
        host: "a.test".into(),
    };
    let places = addresses.iter().map(place).collect();
    let said = answer_statement(source, &NameAnswer { places, ..NameAnswer::default() });
    (said.entries.map(|entries| entries.len()), said.fault)
}

#[test]
fn what_is_outside_of_the_allowed_networks_is_not_used() {
    let allow = source("{ dns = 'a.test:80', allow = ['10.0.0.0/8', 'fd00::/8'] }");
    let some = ["169.254.169.254:0", "10.0.0.1:0", "[::ffff:10.0.0.2]:0"];
    let fault = "a.test:80: 169.254.169.254 is outside `allow`";
    assert_eq!(told(&allow, &some), (Some(2), Some(fault.to_owned())));
    for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "169.254.169.254:0"] {
        let ip = address.parse::<std::net::SocketAddr>().unwrap().ip();
        let fault = format!("a.test:80: {} is outside `allow`", ip.to_canonical());
        assert_eq!(told(&allow, &[address]), (None, Some(fault)));
    }
    let many: Vec<String> = (1..7).map(|n| format!("127.0.0.{n}:0")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let expected =
        "a.test:80: 127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4 and 2 more are outside `allow`";
    assert_eq!(told(&allow, &many), (None, Some(expected.to_owned())));
}

#[test]
fn where_no_server_can_be_is_not_used_and_told() {
    let dns = source("{ dns = 'a.test:80' }");
    let answer = NameAnswer {
        places: [Place {
            address: "10.0.0.1:0".parse().unwrap(),
            priority: 0,
            weight: 1,
            host: "a.test".into(),
        }]
        .into(),
        left_out: Some("it also leads to 0.0.0.0, where no server can be".to_owned()),
        ..NameAnswer::default()
    };
    let said = answer_statement(&dns, &answer);
    assert_eq!(said.entries.map(|entries| entries.len()), Some(1));
    let fault = "a.test:80: it also leads to 0.0.0.0, where no server can be";
    assert_eq!(said.fault.as_deref(), Some(fault));
}

#[test]
fn the_shorter_pauses_count_where_two_ask_the_same() {
    let seconds = Duration::from_secs;
    let mut all = Questions::new();
    add_question(&mut all, Question::for_host("a"), (seconds(1), seconds(60)));
    add_question(&mut all, Question::for_host("a"), (seconds(5), seconds(10)));
    assert_eq!(all[&Question::for_host("a")], (seconds(1), seconds(10)));
}
