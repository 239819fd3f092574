use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::endpoint::Endpoint;

const TTL: Duration = Duration::from_secs(3600);

fn members() -> Vec<Member> {
    ["a", "b"]
        .map(|name| {
            let endpoint = Endpoint::new("u".into(), name.into(), Box::default());
            Member::new(Arc::new(endpoint), 1)
        })
        .to_vec()
}

fn value(set_cookie: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(set_cookie).unwrap();
    let (pair, attributes) = text.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    pair.strip_prefix("tg=").unwrap().as_bytes().to_vec()
}

#[test]
fn a_cookie_leads_back_until_it_ends() {
    let members = members();
    let sticky = Sticky::new(("u", "tg"), TTL, None, &members);
    let id = members[1].endpoint.id;
    let cookie = value(&sticky.write_cookie(id, 1000).unwrap());
    assert_eq!(sticky.read(&cookie, 1000), Some(Bond { id, fresh: true }));
    assert_eq!(sticky.read(&cookie, 1000 + 1800), Some(Bond { id, fresh: false }));
    assert_eq!(sticky.read(&cookie, 1000 + 3599), Some(Bond { id, fresh: false }));
    assert_eq!(sticky.read(&cookie, 1000 + 3600), None);
}

#[test]
fn cookies_survive_a_new_list_of_servers_and_mean_nothing_elsewhere() {
    let members = members();
    let sticky = Sticky::new(("u", "tg"), TTL, None, &members);
    let id = members[0].endpoint.id;
    let cookie = value(&sticky.write_cookie(id, 0).unwrap());
    let again = Sticky::new(("u", "tg"), TTL, None, &members[..1]);
    assert_eq!(again.read(&cookie, 0).map(|bond| bond.id), Some(id));
    let gone = Sticky::new(("u", "tg"), TTL, None, &members[1..]);
    assert_eq!(gone.read(&cookie, 0), None);
    let elsewhere = Sticky::new(("v", "tg"), TTL, None, &members);
    assert_eq!(elsewhere.read(&cookie, 0), None);
    let other_key = Sticky::new(("u", "tg"), TTL, Some("secret"), &members);
    assert_eq!(other_key.read(&cookie, 0), None);
}

#[test]
fn instances_with_the_same_secret_honour_each_others_cookies() {
    let members = members();
    let one = Sticky::new(("u", "tg"), TTL, Some("secret"), &members);
    let two = Sticky::new(("u", "tg"), TTL, Some("secret"), &members);
    let id = members[0].endpoint.id;
    let cookie = value(&one.write_cookie(id, 0).unwrap());
    assert_eq!(two.read(&cookie, 0).map(|bond| bond.id), Some(id));
}

#[test]
fn a_part_of_a_cookie_is_not_a_cookie() {
    let members = members();
    let sticky = Sticky::new(("u", "tg"), TTL, None, &members);
    let cookie = value(&sticky.write_cookie(members[0].endpoint.id, 0).unwrap());
    for n in 0..cookie.len() {
        assert_eq!(sticky.read(&cookie[..n], 0), None, "the first {n}");
        assert_eq!(sticky.read(&cookie[cookie.len() - n..], 0), None, "the last {n}");
    }
    let longer = [cookie.as_slice(), b"A"].concat();
    assert_eq!(sticky.read(&longer, 0), None);
}

#[test]
fn another_secret_makes_another_key_and_other_tags() {
    let members = members();
    let one = Sticky::new(("u", "tg"), TTL, Some("secret"), &members);
    let two = Sticky::new(("u", "tg"), TTL, Some("Secret"), &members);
    let cookie = value(&one.write_cookie(members[0].endpoint.id, 0).unwrap());
    assert_eq!(two.read(&cookie, 0), None);
    assert!(one.servers.iter().all(|(tag, _)| two.servers.iter().all(|(t, _)| t != tag)));
}

proptest! {
    #[test]
    fn nothing_else_is_accepted(noise in prop::collection::vec(any::<u8>(), 0..80), at in 0_usize..43, bit in 0_u8..6) {
        let members = members();
        let sticky = Sticky::new(("u", "tg"), TTL, None, &members);
        prop_assert_eq!(sticky.read(&noise, 0), None);
        let mut cookie = value(&sticky.write_cookie(members[0].endpoint.id, 0).unwrap());
        prop_assert_eq!(cookie.len(), 43);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = alphabet.iter().position(|b| *b == cookie[at]).unwrap();
        cookie[at] = alphabet[place ^ (1 << bit)];
        prop_assert_eq!(sticky.read(&cookie, 0), None);
    }
}
