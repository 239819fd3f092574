use std::mem;
use std::rc::Rc;

use super::*;
use crate::config;
use crate::snapshot::compile::compile_config;
use crate::upstream::membership::MembershipViews;
use crate::upstream::{Membership, Upstream};

fn upstream(servers: u32) -> Upstream {
    let list: Vec<String> = (0..servers)
        .map(|n| format!("{{ address = \"10.0.0.{}:80\", name = \"s{n}\" }}", n + 1))
        .collect();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [{}]\n[[route]]\nupstream = \"app\"\n",
        list.join(", ")
    );
    let config = config::load_str("t.toml", &text).unwrap().config;
    let mut compiled = compile_config(&config, None, 16).unwrap();
    let upstreams = mem::take(&mut compiled.upstreams);
    drop(compiled);
    let first = upstreams.into_iter().next().unwrap();
    Arc::into_inner(first).expect("nobody else has it")
}

#[test]
fn a_request_keeps_what_it_began_with_and_the_next_one_sees_the_change() {
    let (upstream, mut views) = (upstream(2), MembershipViews::default());
    let first = views.members_of(&upstream);
    assert!(
        Rc::ptr_eq(&first, &views.members_of(&upstream)),
        "without a change it is the same one"
    );
    let old = upstream.members();
    let next = Membership::build_membership(
        &upstream.arrangement,
        vec![ServerSpec::numbered(7)],
        Some(&old),
    )
    .unwrap();
    let change = upstream.replace_members(next);
    assert_eq!((change.joined.len(), change.left.len()), (1, 2));
    assert_eq!(first.servers().len(), 2);
    let second = views.members_of(&upstream);
    assert_eq!(second.servers().len(), 1);
    assert!(change.left.iter().all(|server| server.endpoint.open.is_retired()));
    // A worker without requests keeps nothing.
    drop((first, second));
    views.drop_unused();
    views.drop_unused();
    drop((old, change.joined));
    assert_eq!(Arc::strong_count(&change.before), 1);
}

#[test]
fn another_upstream_in_the_same_place_is_not_taken_for_the_one_before() {
    let mut views = MembershipViews::default();
    for n in 1..=3 {
        let upstream = upstream(n);
        assert_eq!(views.members_of(&upstream).servers().len(), n as usize);
    }
}
