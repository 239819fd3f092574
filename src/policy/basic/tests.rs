use super::*;

#[test]
fn a_file_of_users_is_read_or_explained() {
    let good = bcrypt::hash("secret", 4).unwrap();
    let basic = Basic::new(&format!("# staff\n\nanna:{good}\n")).unwrap();
    assert!(!format!("{basic:?}").contains(&good));
    for (text, why) in [
        ("", "there is no user in it"),
        ("anna", "line 1: write user:hash"),
        ("\nanna:secret", "line 2: neither"),
        ("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "line 1: neither"),
        (&format!("a:{good}\na:{good}"), "line 2: `a` is there twice"),
    ] {
        let error = Basic::new(text).unwrap_err();
        assert!(error.starts_with(why), "{error}");
        assert!(!error.contains("secret"));
    }
}

fn basic() -> Basic {
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
    Basic::new(&format!("anna:{}\nbert:{}\n", hash("right"), hash("too"))).unwrap()
}

fn of(user: &str, password: &str) -> Credentials {
    Credentials { user: user.into(), password: password.as_bytes().to_vec() }
}

#[tokio::test]
async fn i15_who_is_known_waits_for_nobody() {
    let basic = basic();
    assert_eq!(basic.verify_credentials(of("anna", "right"), b"1").await, Ok(true));
    assert_eq!(basic.verify_credentials(of("bert", "wrong"), b"1").await, Ok(false));
    // Everything is full.
    basic.places.close();
    basic.waiting.store(WAITING, Relaxed);
    assert_eq!(basic.verify_credentials(of("anna", "right"), b"1").await, Ok(true));
    assert_eq!(basic.verify_credentials(of("anna", "wrong"), b"1").await, Err(Busy::Full));
    assert_eq!(basic.verify_credentials(of("bert", "wrong"), b"1").await, Err(Busy::Full));
    assert_eq!(basic.verify_credentials(of("bert", "too"), b"1").await, Err(Busy::Full));
    assert_eq!(basic.waiting.load(Relaxed), WAITING);
}

#[tokio::test]
async fn i15_guesses_keep_nobody_else_out() {
    let basic = Arc::new(basic());
    let mut guesses = tokio::task::JoinSet::new();
    for n in 0..70 {
        let basic = basic.clone();
        let guess = of("anna", &format!("guess {n}"));
        guesses.spawn(async move { basic.verify_credentials(guess, b"1").await });
    }
    let (guesses, other) =
        tokio::join!(guesses.join_all(), basic.verify_credentials(of("bert", "too"), b"1"));
    assert_eq!((other, guesses.len()), (Ok(true), 70));
    let count = |of: Result<bool, Busy>| guesses.iter().filter(|guess| **guess == of).count();
    assert_eq!((count(Err(Busy::Full)), count(Ok(true))), (0, 0));
    let verified = count(Ok(false));
    assert!((1..70).contains(&verified), "{verified}");
    assert_eq!(verified + count(Err(Busy::Guessing)), 70);
    assert_eq!(basic.names.iter().map(|n| n.load(Relaxed)).sum::<u32>(), 0);
    assert_eq!(basic.waiting.load(Relaxed), 0);
}

#[tokio::test]
async fn i15_the_same_credentials_are_verified_once() {
    let basic = Arc::new(basic());
    // A page of a browser, which asks for a hundred things at once: none of them is a guess.
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let basic = basic.clone();
        all.spawn(async move { basic.verify_credentials(of("anna", "right"), b"1").await });
    }
    assert_eq!(all.join_all().await, [Ok(true); 100]);
}

#[test]
fn what_is_known_is_forgotten_in_time_and_by_fingerprint() {
    let known = KnownPasswords::new();
    let mut fingerprint = [7; 32];
    known.put_fingerprint(&fingerprint, 100);
    assert!(known.has_fingerprint(&fingerprint, 99) && !known.has_fingerprint(&fingerprint, 100));
    for at in [0, 8, 9, 10, 16] {
        fingerprint[at] ^= 1;
        assert!(!known.has_fingerprint(&fingerprint, 0), "{at}");
        fingerprint[at] ^= 1;
    }
    // The one that ends first makes room.
    for n in 1..=4_u8 {
        fingerprint[0] = 7 + n;
        known.put_fingerprint(&fingerprint, 100 + u64::from(n));
    }
    assert!(known.has_fingerprint(&fingerprint, 0));
    fingerprint[0] = 7;
    assert!(!known.has_fingerprint(&fingerprint, 0));
    fingerprint[0] = 8;
    assert!(known.has_fingerprint(&fingerprint, 0));
}
