use super::*;

#[test]
fn listen_addresses() {
    let ip = ListenAddress::Ip("[::]:443".parse().unwrap());
    assert_eq!(ListenAddress::parse_word("[::]:443").unwrap(), ip);
    let unix = ListenAddress::Unix("/run/a.sock".into());
    assert_eq!(ListenAddress::parse_word("unix:/run/a.sock").unwrap(), unix);
    for text in ["", "80", ":80", "localhost:80", "1.2.3.4", "1.2.3.4:65536", "unix:", "unix:a"] {
        assert!(ListenAddress::parse_word(text).is_err(), "{text}");
    }
}

#[test]
fn server_addresses() {
    let name = ServerAddress::Name { host: "app.internal".into(), port: 80 };
    assert_eq!(ServerAddress::parse_word("App.internal:80").unwrap(), name);
    assert!(ServerAddress::parse_word("[::1]:80").is_ok());
    for text in [
        "",
        "app",
        "app:0",
        "app:65536",
        "app:+80",
        "1.2.3:80",
        "::1:80",
        "[::1]",
        "[1.2.3.4]:80",
        "http://app:80",
        "a b:80",
        "-a:80",
        "a..b:80",
        ":80",
        "unix:x",
        "app:80/",
    ] {
        assert!(ServerAddress::parse_word(text).is_err(), "{text}");
    }
}

#[test]
fn a_network_has_no_bits_beyond_its_mask() {
    assert_eq!(
        Network::parse_word("10.0.0.1/8").unwrap_err().help.unwrap(),
        "write \"10.0.0.0/8\""
    );
    assert_eq!(Network::parse_word("::1").unwrap().to_string(), "::1/128");
    // I6: an IPv4 network is one however it is written.
    assert_eq!(Network::parse_word("::ffff:10.0.0.0/104").unwrap().to_string(), "10.0.0.0/8");
    assert_eq!(Network::parse_word("::ffff:10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
    assert_eq!(Network::parse_word("::/0").unwrap().to_string(), "::/0");
    assert_eq!(TrustedProxy::parse_word("unix:").unwrap(), TrustedProxy::Unix);
    assert!(TrustedProxy::parse_word("unix").is_err());
}
