use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver as Commands, sync_channel};
use std::task::{Context, Poll};
use std::time::Duration;

use super::*;
use crate::cache::body::BodyPart;
use crate::cache::flight::Flight;
use crate::cache::housekeeping::HousekeepingCommand;
use crate::cache::purge::Purge;
use crate::exchange::Outgoing;
use crate::upstream::detached::Receiver as _;

fn new_store() -> (Arc<CacheStore>, Commands<HousekeepingCommand>) {
    let (sender, commands) = sync_channel(16);
    (Arc::new(CacheStore::new("c".into(), (1 << 30, 1000), sender)), commands)
}

/// Begins a fetch of `/a`.
///
/// # Errors
/// The one that is under way.
fn begin(store: &Arc<CacheStore>) -> Result<(Filling, oneshot::Receiver<Answer>), Arc<Flight>> {
    begin_about(store, None)
}

/// The same, or asks about what is stored.
fn begin_about(
    store: &Arc<CacheStore>,
    stale: Option<Arc<Object>>,
) -> Result<(Filling, oneshot::Receiver<Answer>), Arc<Flight>> {
    let key = Arc::new(StoreKey::new("c", b"http", b"a", b"/a", None, &[]));
    let now = clock::unix_millis();
    let order = FillOrder {
        store: store.clone(),
        lead: FlightLead::begin_fetch(store, &key, 0, now)?,
        exact: key,
        request: Fields::default(),
        asked: CacheQuery::default(),
        settings: Arc::default(),
        stale,
        on_error: false,
        asked_at: now,
        tier: None,
        interims: mpsc::channel(INTERIMS).0,
    };
    let (sender, answer) = oneshot::channel();
    Ok((Filling::new(order, sender), answer))
}

/// The head of a response of ten bytes, and the first five of them.
fn receive_half(filling: &mut Filling, cache_control: &[u8]) {
    filling.begin_response(&Outgoing {
        status: 200,
        reason: b"",
        fields: &|out| out.emit_field(b"cache-control", cache_control),
        length: Length::Known(10),
    });
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(filling.poll_take(&mut cx, b"first"), Poll::Ready(Ok(5))));
    filling.flush_body();
}

/// Has the task of a fetch end by a panic.
fn end_by_panic(filling: Filling) {
    let ended = catch_unwind(AssertUnwindSafe(move || {
        let _filling = filling;
        panic!("a defect");
    }));
    assert!(ended.is_err());
}

#[tokio::test]
async fn a_fetch_that_panics_before_the_head_gives_its_place_back_and_tells_those_who_wait() {
    let (store, _commands) = new_store();
    let (filling, answer) = begin(&store).unwrap();
    let other = begin(&store).err().unwrap();
    let waiting = tokio::spawn(async move { other.wait_landed().await });
    tokio::task::yield_now().await;
    end_by_panic(filling);
    assert_eq!(store.flights(), 0);
    let landing = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    assert!(matches!(landing, Ok(Landing::NotShared)), "they ask for themselves");
    assert!(answer.await.is_err(), "it costs its own request");
    assert!(begin(&store).is_ok());
}

#[tokio::test]
async fn a_fetch_that_panics_in_the_body_cuts_it_and_keeps_nothing() {
    let (store, _commands) = new_store();
    let (mut filling, answer) = begin(&store).unwrap();
    receive_half(&mut filling, b"max-age=600");
    let Ok(Answer::Stored(object)) = answer.await else { panic!("it is being stored") };
    let mut reader = object.body.new_reader();
    drop(object);
    assert_eq!(store.flights(), 1, "others join it");
    end_by_panic(filling);
    assert_eq!((store.flights(), store.used(), store.entries()), (0, 0, 0));
    assert_eq!(reader.take_part(), BodyPart::Data("first".into()));
    assert_eq!(reader.take_part(), BodyPart::Cut);
}

#[tokio::test]
async fn a_fetch_that_panics_marks_nothing() {
    let (store, _commands) = new_store();
    let (mut filling, answer) = begin(&store).unwrap();
    receive_half(&mut filling, b"private");
    assert!(matches!(answer.await, Ok(Answer::Own(..))));
    assert_eq!(store.flights(), 1, "it is marked");
    end_by_panic(filling);
    assert_eq!(store.flights(), 0);
}

#[tokio::test]
async fn what_was_purged_before_a_server_confirms_it_is_not_kept() {
    let (store, _commands) = new_store();
    let (mut filling, answer) = begin(&store).unwrap();
    receive_half(&mut filling, b"max-age=600");
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(filling.poll_take(&mut cx, b"-last").is_ready());
    filling.finish_response(None);
    drop((filling, answer));
    let key = StoreKey::new("c", b"http", b"a", b"/a", None, &[]);
    let found = || store.find_stored(key.borrowed(), &Fields::default()).object.unwrap();
    let purge = |soft| Purge { path: Some(b"/a".as_slice().into()), soft, ..Purge::default() };
    let confirm = |stale: &Arc<Object>| {
        let (mut filling, _answer) = begin_about(&store, Some(stale.clone())).unwrap();
        filling.begin_response(&Outgoing {
            status: 304,
            reason: b"",
            fields: &|out| out.emit_field(b"cache-control", b"max-age=600"),
            length: Length::Bodiless(None),
        });
    };
    let stale = found();
    store.record_purge(purge(true), clock::unix_millis());
    confirm(&stale);
    let kept = found();
    assert!(kept.number != stale.number && kept.timing().fresh_for(clock::unix_millis()) > 0);
    store.record_purge(purge(false), clock::unix_millis());
    confirm(&kept);
    assert!(store.purge_one(&purge(false), &kept), "nothing has taken its place");
    assert_eq!(store.entries(), 0);
}
