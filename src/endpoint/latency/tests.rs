use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn estimate(latency: &Latency) -> f64 {
    (latency.expected_micros(clock::now()).unwrap() / 1000.0).round()
}

#[tokio::test(start_paused = true)]
async fn peaks_count_at_once_and_fade_slowly() {
    let _epoch = clock::millis(clock::now());
    let latency = Latency::default();
    assert_eq!(latency.expected_micros(clock::now()), None);
    (0..FIRST).for_each(|_| latency.observe_response(clock::now(), ms(20)));
    assert_eq!(estimate(&latency), 20.0);
    latency.observe_response(clock::now(), ms(500));
    assert_eq!(estimate(&latency), 500.0);
    tokio::time::advance(DECAY).await;
    latency.observe_response(clock::now(), ms(20));
    assert_eq!(estimate(&latency), 197.0);
}

#[tokio::test(start_paused = true)]
async fn the_first_responses_count_as_much_as_each_other() {
    let _epoch = clock::millis(clock::now());
    let latency = Latency::default();
    latency.observe_response(clock::now(), ms(100));
    (0..9).for_each(|_| latency.observe_response(clock::now(), ms(0)));
    assert_eq!(estimate(&latency), 10.0);
}

#[tokio::test(start_paused = true)]
async fn an_estimate_fades_to_nothing() {
    let _epoch = clock::millis(clock::now());
    let latency = Latency::default();
    latency.observe_response(clock::now(), ms(1000));
    tokio::time::advance(DECAY).await;
    assert_eq!(estimate(&latency), 368.0);
    tokio::time::advance(DECAY * 9).await;
    assert_eq!(estimate(&latency), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_as_slow() {
    let _epoch = clock::millis(clock::now());
    let latency = Latency::default();
    latency.observe_response(clock::now(), ms(1));
    latency.penalize_server(clock::now(), None);
    assert_eq!(estimate(&latency), 5000.0);
    latency.penalize_server(clock::now(), Some(Duration::from_secs(60)));
    assert_eq!(estimate(&latency), 60_000.0);
    latency.penalize_server(clock::now(), Some(Duration::from_hours(1)));
    assert_eq!(estimate(&latency), 300_000.0);
    tokio::time::advance(DECAY * 12).await;
    assert!(estimate(&latency) < 20.0);
}
