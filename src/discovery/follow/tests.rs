use std::sync::mpsc::sync_channel;

use super::super::known::{Part, Target};
use super::*;

#[test]
fn names_are_looked_up_when_their_time_is_over_within_bounds_and_never_together() {
    let mut random = Random::seeded(1);
    let bounds = (Duration::from_secs(1), Duration::from_secs(60));
    for (ttl, from, to) in [(30, 30_000, 33_000), (0, 1000, 1100), (3600, 60_000, 66_000)] {
        let ttl = Duration::from_secs(ttl);
        let pauses: Vec<u128> =
            (0..1000).map(|_| draw_pause(ttl, bounds, &mut random).as_millis()).collect();
        assert!(pauses.iter().all(|p| (from..=to).contains(p)));
        assert!(pauses.iter().any(|p| *p < from + (to - from) / 4));
        assert!(pauses.iter().any(|p| *p > to - (to - from) / 4));
    }
}

fn questions(names: &[&str]) -> Questions {
    names.iter().map(|name| Question::for_host(name).with_usual_pauses()).collect()
}

fn keys(names: &[&str]) -> BTreeSet<Question> {
    questions(names).into_keys().collect()
}

fn hears(host: &str) -> Answered {
    match host {
        "good" => {
            let v4 = Part::Found(vec![[10, 0, 0, 1].into()]);
            let target = Target {
                host: host.into(),
                port: 0,
                priority: 0,
                weight: 0,
                v4,
                v6: Part::NotAsked,
            };
            let ttl = Some(Duration::from_secs(30));
            Ok(Heard { targets: vec![target], left_out: 0, ttl })
        }
        "none" => Ok(Heard { ttl: Some(Duration::from_secs(20)), ..Heard::default() }),
        "silent" => Ok(Heard::default()),
        _ => Err("no such host".to_owned()),
    }
}

/// `good` is at 10.0.0.1; there is nothing at `none`, for 20 seconds; the others fail.
struct Scripted;

impl Ask for Scripted {
    fn ask_question(
        &mut self,
        question: Question,
        _: Instant,
    ) -> impl Future<Output = Answered> + Send + 'static {
        std::future::ready(hears(&question.name))
    }

    fn ask_at(&mut self, _: Vec<SocketAddr>) {}
}

fn follower(shared: Arc<Shared>) -> Follower<Scripted> {
    Follower::new(shared, Scripted)
}

#[tokio::test]
async fn who_learns_is_told_when_all_were_looked_up() {
    let shared: Arc<Shared> = Arc::default();
    let (orders, received) = mpsc::channel(16);
    let running = tokio::spawn(follower(shared.clone()).run_follower(received));
    let (tell, told) = sync_channel(1);
    let names = questions(&["bad", "good"]);
    orders.send(Order::Learn(names.clone(), tell)).await.unwrap();
    while told.try_recv().is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let known = shared.known.load_full();
    let of = |name: &str| known.answer_to(&Question::for_host(name)).unwrap().clone();
    assert_eq!(of("good").with_port(1).count(), 1);
    assert_eq!(of("bad").fault.as_deref().unwrap(), "no such host");
    assert!(shared.changed.swap(false, Ordering::AcqRel));
    // What was looked up is not waited for again.
    let (tell, told) = sync_channel(1);
    orders.send(Order::Learn(names, tell)).await.unwrap();
    while told.try_recv().is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!shared.changed.load(Ordering::Acquire));
    drop(orders);
    running.await.unwrap();
}

#[tokio::test]
async fn a_name_in_a_hurry_is_looked_up_sooner_but_not_at_once_again() {
    let now = clock::now();
    let mut follower = follower(Arc::default());
    let (tell, _told) = sync_channel(1);
    follower.obey_order(Order::Learn(questions(&["good"]), tell), now);
    let good = Question::for_host("good");
    follower.learn_answer(&good, hears("good"), now);
    let next = |follower: &Follower<Scripted>| follower.followed[&good].next.unwrap() - now;
    assert!(next(&follower) >= Duration::from_secs(30));
    let apart = Duration::from_secs(5);
    follower.obey_order(Order::Hurry(keys(&["good", "other"]), apart), now);
    assert_eq!(next(&follower), apart);
    follower.obey_order(Order::Hurry(keys(&["good"]), apart * 2), now);
    assert_eq!(next(&follower), apart);
    follower.obey_order(Order::Only(questions(&["other"])), now);
    assert_eq!(follower.followed.len(), 1);
}

#[tokio::test]
async fn failures_are_tried_again_soon_and_nothing_is_believed_for_its_time() {
    let now = clock::now();
    let mut follower = follower(Arc::default());
    let names = ["bad", "none", "silent"];
    let (tell, _told) = sync_channel(1);
    follower.obey_order(Order::Learn(questions(&names), tell), now);
    let mut pauses = Vec::new();
    for name in names {
        let question = Question::for_host(name);
        follower.learn_answer(&question, hears(name), now);
        pauses.push((follower.followed[&question].next.unwrap() - now).as_millis());
    }
    assert!((5000..=5500).contains(&pauses[0]), "{pauses:?}");
    assert!((20_000..=22_000).contains(&pauses[1]), "{pauses:?}");
    assert!((5000..=5500).contains(&pauses[2]), "no time was told: {pauses:?}");
}
