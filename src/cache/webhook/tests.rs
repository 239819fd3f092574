use super::*;
use crate::clock;
use crate::config::schema::cache::secret_bytes;

const NOW: u64 = 1_800_000_000;

fn webhook() -> WebhookSecrets {
    let secrets = ["a secret that is long enough", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    WebhookSecrets::new(secrets.iter().filter_map(|written| secret_bytes(written)).collect())
}

fn signature(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret_bytes(secret).unwrap()).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn verify(id: &str, timestamp: &str, signatures: &str, body: &str) -> Result<(), UntrustedEvent> {
    let [id, timestamp, signatures, body] = [id, timestamp, signatures, body].map(str::as_bytes);
    webhook().verify_event(&SignedEvent { id, timestamp, signatures, body }, NOW)
}

/// The example of the specification of Standard Webhooks.
#[test]
fn the_published_example_is_genuine() {
    let signed = SignedEvent {
        id: b"msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp: b"1614265330",
        signatures: b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        body: b"{\"test\": 2432232314}",
    };
    assert_eq!(webhook().verify_event(&signed, 1_614_265_330), Ok(()));
    assert_eq!(webhook().verify_event(&signed, 1_614_265_631), Err(UntrustedEvent::Untimely));
}

#[test]
fn only_what_was_signed_is_taken() {
    let now = NOW.to_string();
    let secret = "a secret that is long enough";
    let good = signature(secret, "1", &now, "{}");
    assert_eq!(verify("1", &now, &good, "{}"), Ok(()));
    assert_eq!(verify("1", &now, &format!("v1a,xx v1,zz {good}"), "{}"), Ok(()));
    assert_eq!(verify("2", &now, &good, "{}"), Err(UntrustedEvent::Forged));
    assert_eq!(verify("1", &now, &good, "{ }"), Err(UntrustedEvent::Forged));
    assert_eq!(verify("1", &(NOW + 1).to_string(), &good, "{}"), Err(UntrustedEvent::Forged));
    let other = signature("another secret, long enough", "1", &now, "{}");
    assert_eq!(verify("1", &now, "", "{}"), Err(UntrustedEvent::Unsigned));
    for wrong in ["v1,", " ", &good[3..], &good[..20], &other, &good.replace("v1,", "v2,")] {
        assert_eq!(verify("1", &now, wrong, "{}"), Err(UntrustedEvent::Forged), "{wrong}");
    }
    let many = format!("{}{good}", "v1,AAAA ".repeat(16));
    assert_eq!(verify("1", &now, &many, "{}"), Err(UntrustedEvent::Forged));
    for (id, timestamp) in [("", &*now), ("a.b", &now), ("1", ""), ("1", "+1"), ("1", "x")] {
        let signed = signature(secret, id, timestamp, "{}");
        assert_eq!(verify(id, timestamp, &signed, "{}"), Err(UntrustedEvent::Unsigned));
    }
}

#[test]
fn an_event_counts_around_the_time_it_was_sent() {
    for (sent, taken) in
        [(NOW - 300, true), (NOW - 301, false), (NOW + 300, true), (NOW + 301, false)]
    {
        let sent = sent.to_string();
        let signed = signature("a secret that is long enough", "1", &sent, "{}");
        assert_eq!(verify("1", &sent, &signed, "{}").is_ok(), taken, "{sent}");
    }
}

fn is_new(events: &WebhookEvents, id: &[u8], now: u64) -> bool {
    match events.claim_event(id, now) {
        EventClaim::New(event) => {
            event.finish_event(now);
            true
        }
        EventClaim::UnderWay | EventClaim::Done | EventClaim::Full => false,
    }
}

#[test]
fn an_event_is_carried_out_by_one_and_once() {
    let events = WebhookEvents::default();
    let EventClaim::New(first) = events.claim_event(b"1", NOW) else { panic!("it is new") };
    assert!(matches!(events.claim_event(b"1", NOW), EventClaim::UnderWay));
    assert!(is_new(&events, b"2", NOW));
    drop(first);
    let EventClaim::New(second) = events.claim_event(b"1", NOW) else { panic!("it failed") };
    second.finish_event(NOW);
    assert!(matches!(events.claim_event(b"1", NOW + 600), EventClaim::Done));
    assert!(is_new(&events, b"1", NOW + 601), "it was signed anew");
}

#[test]
fn events_are_known_until_they_are_too_old_to_come_again() {
    let events = WebhookEvents::default();
    assert!(is_new(&events, b"first", NOW));
    for n in 1..MOST_EVENTS as u64 {
        assert!(is_new(&events, &n.to_be_bytes(), NOW + 1));
    }
    assert!(matches!(events.claim_event(b"more", NOW + 600), EventClaim::Full));
    assert!(matches!(events.claim_event(b"first", NOW + 600), EventClaim::Done));
    assert!(is_new(&events, b"more", NOW + 601));
    assert!(matches!(events.claim_event(b"other", NOW + 601), EventClaim::Full));
    assert!(is_new(&events, b"first", NOW + 602), "its time is over");
}

#[test]
fn refusals_are_told_now_and_then() {
    let (lines, begin) =
        (WebhookEvents::default().refusal_lines, clock::now() + Duration::from_secs(1));
    let told = |after| lines.take(begin + Duration::from_secs(after)).is_some();
    let told: Vec<u64> = (0..25).filter(|after| told(*after)).collect();
    assert_eq!(told, [0, 10, 20]);
}
