use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn update(ids: &[&str], dismissed: &[&str]) -> Update {
    let entry = |id: &&str| Entry {
        id: (*id).into(),
        ..Entry::new(
            "10.0.0.1:80".parse().map(crate::config::schema::words::ServerAddress::Ip).unwrap(),
        )
    };
    Update {
        entries: Some(ids.iter().map(entry).collect()),
        dismissed: dismissed.iter().map(|id| Arc::from(*id)).collect(),
        ..Update::default()
    }
}

#[test]
fn the_newest_list_counts_and_no_goodbye_is_lost() {
    let (updates, woken) = (Updates::default(), Arc::new(AtomicU32::new(0)));
    let count = woken.clone();
    updates.bell().answer_by(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    assert!(!updates.has_any());
    let (app, registry) = (Arc::from("app"), Origin::of_registry());
    updates.send_update(&app, &registry, &update(&["a", "b", "c"], &["x", "y"]));
    updates.send_update(&Arc::from("other"), &registry, &update(&["z"], &[]));
    updates.send_update(&app, &registry, &update(&["a", "x"], &["b"]));
    assert_eq!(woken.load(Ordering::Relaxed), 3);
    assert!(updates.has_any());
    let taken = updates.take_chosen(|upstream, _| upstream == "app");
    // Who said goodbye and is back is not dismissed.
    assert_eq!(taken[&(app, registry)], update(&["a", "x"], &["b", "y"]));
    assert_eq!(updates.take_all().len(), 1);
    assert!(!updates.has_any() && updates.take_all().is_empty());
}

#[test]
fn goodbyes_to_another_source_do_not_count() {
    let (updates, app) = (Updates::default(), Arc::from("app"));
    updates.send_update(&app, &Origin::of_registry(), &update(&["a"], &["x"]));
    let other = Origin { word: "dns", name: "a.test:80".into() };
    updates.send_update(&app, &other, &update(&["x2"], &[]));
    assert_eq!(updates.take_all()[&(app, other)].dismissed, BTreeSet::new());
}

#[test]
fn a_source_that_cannot_tell_takes_back_nothing() {
    let (updates, app, registry) = (Updates::default(), Arc::from("app"), Origin::of_registry());
    updates.send_update(&app, &registry, &update(&["a"], &[]));
    let fault = Update { fault: Some("it is gone".into()), ..Update::default() };
    updates.send_update(&app, &registry, &fault);
    let expected = Update { fault: fault.fault, ..update(&["a"], &[]) };
    assert_eq!(updates.take_all()[&(app, registry)], expected);
}
