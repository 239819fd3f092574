use super::*;

/// The values that `CLUSTER KEYSLOT` of Redis 7 answers.
#[test]
fn slots_are_those_of_redis() {
    for (key, expected) in [
        ("123456789", 12739),
        ("foo", 12182),
        ("bar", 5061),
        ("{foo}:1", 12182),
        ("a{foo}{bar}", 12182),
        ("{}foo", 9500),
        ("", 0),
    ] {
        assert_eq!(key_slot(key.as_bytes()), expected, "{key}");
    }
}

#[test]
fn the_key_of_a_command_is_found() {
    let of = |words: &[&str]| {
        let mut command = Cmd::new();
        for word in words {
            command.arg(word);
        }
        slot_of(&command)
    };
    let foo = Some(12182);
    assert_eq!(of(&["GET", "foo"]), foo);
    assert_eq!(of(&["EVALSHA", "123", "1", "foo", "bar"]), foo);
    assert_eq!(of(&["XREAD", "COUNT", "1", "BLOCK", "5", "streams", "foo", "0"]), foo);
    assert_eq!(of(&["PING"]), None);
}

#[test]
fn a_table_knows_its_ranges_and_nothing_between() {
    let cluster = ClusterNodes::new(Vec::new());
    let address = |port| NodeAddress::Tcp("a".to_owned(), port);
    let table =
        cluster.table_of(vec![(100, 200, address(2)), (0, 50, address(1)), (201, 300, address(1))]);
    let port = |slot| match table.find_node(slot).map(|node| &node.address) {
        Some(NodeAddress::Tcp(_, port)) => Some(*port),
        _ => None,
    };
    let found = [0, 50, 51, 99, 100, 200, 201, 300, 301].map(port);
    let expected = [Some(1), Some(1), None, None, Some(2), Some(2), Some(1), Some(1), None];
    assert_eq!(found, expected);
    assert!(Arc::ptr_eq(table.find_node(0).unwrap(), table.find_node(300).unwrap()));
}

#[test]
fn a_slot_that_has_moved_is_at_its_new_server_at_once() {
    let cluster = ClusterNodes::new(Vec::new());
    let address = |port| NodeAddress::Tcp("a".to_owned(), port);
    cluster.table.store(Arc::new(cluster.table_of(vec![
        (0, 9, address(1)),
        (10, 10, address(2)),
        (11, 20, address(3)),
    ])));
    let at = |slot| match cluster.table.load().find_node(slot).map(|node| node.address.clone()) {
        Some(NodeAddress::Tcp(_, port)) => Some(port),
        _ => None,
    };
    for (slot, to) in [(0, 2), (5, 3), (9, 1), (10, 3), (20, 1), (21, 4), (5, 2)] {
        let node = cluster.move_slot(slot, address(to));
        assert_eq!((node.address.clone(), at(slot)), (address(to), Some(to)), "{slot}");
    }
    let now: Vec<_> = (0..23).map(at).collect();
    let first = [2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 3].map(Some);
    let then = [3, 3, 3, 3, 3, 3, 3, 3, 3, 1, 4].map(Some);
    assert_eq!(now, [&first[..], &then, &[None]].concat());
}

#[test]
fn a_server_that_does_not_know_its_name_is_the_one_that_was_asked() {
    let asked = NodeAddress::Tcp("redis.test".to_owned(), 7000);
    let primary = |host: Value| Value::Array(vec![host, Value::Int(7001), Value::Nil]);
    let range = |host: Value| Value::Array(vec![Value::Int(0), Value::Int(5), primary(host)]);
    let address =
        |host: Value| read_range(&range(host), &asked).map(|(_, _, address)| address.to_string());
    let text = |text: &str| Value::BulkString(text.into());
    assert_eq!(address(Value::Nil).as_deref(), Some("redis.test:7001"));
    assert_eq!(address(text("")).as_deref(), Some("redis.test:7001"));
    assert_eq!(address(text("10.0.0.1")).as_deref(), Some("10.0.0.1:7001"));
    assert_eq!(address(text("?")), None);
}
