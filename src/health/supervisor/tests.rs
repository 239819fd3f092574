use super::*;
use crate::tls::client::AlpnOffer;

/// A subject whose server is a listener that counts connections.
fn subject(address: std::net::SocketAddr, every: &str) -> CheckSubject {
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [\"{address}\"]\n\
             health = {{ kind = \"tcp\", every = \"{every}\" }}\n[[route]]\nupstream = \"a\"\n"
    );
    let config = crate::config::load_str("test.toml", &text).unwrap().config;
    let upstream = config.upstream.values().next().unwrap();
    let addresses = [crate::net::Address::Tcp(address)];
    let check = Check::new(upstream.health.as_ref().unwrap(), AlpnOffer::Http1, None);
    let endpoint = Endpoint::new("a".into(), "a".into(), addresses.into());
    endpoint.standing.take_out(standing::UNCHECKED);
    CheckSubject {
        endpoint: Arc::new(endpoint),
        state: Arc::default(),
        check: Arc::new(check.for_host("a.test", None)),
    }
}

async fn checked(listener: &tokio::net::TcpListener) -> bool {
    let accepted = tokio::time::timeout(Duration::from_millis(200), listener.accept());
    accepted.await.is_ok()
}

#[tokio::test]
async fn a_server_for_which_nothing_changed_does_not_notice() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = subject(listener.local_addr().unwrap(), "60s");
    let standing = &one.endpoint.standing;
    let mut checkers = Checkers::new(Arc::default());
    assert!(standing.reason_bits().has_any(standing::UNCHECKED));
    checkers.follow_subjects(vec![one.clone()]);
    assert!(checked(&listener).await);
    while standing.reason_bits().has_any(standing::UNCHECKED) {
        tokio::task::yield_now().await;
    }
    checkers.follow_subjects(vec![one.clone()]);
    assert!(!checked(&listener).await);
    let mut other = one.clone();
    other.check = Arc::new(Check { every: Duration::from_secs(30), ..Check::clone(&one.check) });
    checkers.follow_subjects(vec![other]);
    assert!(checked(&listener).await);
    standing.take_out(standing::UNHEALTHY);
    checkers.follow_subjects(Vec::new());
    assert!(standing.reason_bits().is_clear(), "what nobody checks is not unhealthy");
}
