use super::*;

fn settings(topology: RedisTopology) -> RedisSettings {
    let (timeout, on_error) = (Duration::from_secs(1), OnError::Local);
    RedisSettings { topology, ca: None, identity: None, timeout, on_error }
}

fn wrong(topology: RedisTopology) -> (Option<usize>, String) {
    let Err(SettingsError { at, message }) = settings(topology).resolve_urls() else {
        return (None, "nothing".to_owned());
    };
    (at, message)
}

fn owned(urls: &[&str]) -> Vec<String> {
    urls.iter().map(|url| (*url).to_owned()).collect()
}

#[test]
fn what_does_not_belong_together_is_named_with_its_place() {
    for (urls, at, part) in [
        (["redis://a", "rediss://b"], 1, "all URLs begin with rediss"),
        (["redis://:one@a", "redis://:two@b"], 1, "the same user and password"),
        (["redis://a/1", "redis://b"], 0, "no database but 0"),
        (["redis://a", "unix:/run/redis.sock"], 1, "names or addresses"),
        (["redis://a", "http://b"], 1, ""),
    ] {
        let (found, message) = wrong(RedisTopology::Cluster(owned(&urls)));
        assert_eq!(found, Some(at), "{urls:?}: {message}");
        assert!(message.contains(part), "{urls:?}: {message}");
    }
    let sentinel = RedisTopology::Sentinel {
        master: "m".to_owned(),
        nodes: owned(&["a:1", "redis://b:2/1"]),
        user: None,
        password: None,
        database: 0,
    };
    assert_eq!(wrong(sentinel), (Some(1), "a Sentinel has no databases".to_owned()));
    let cluster = RedisTopology::Cluster(owned(&["rediss://:x@a", "rediss://:x@b:7000"]));
    assert_eq!(wrong(cluster), (None, "nothing".to_owned()));
}
