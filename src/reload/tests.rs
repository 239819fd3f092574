//! Configurations that shrink, and those that can be gone back to.

use super::*;

fn config(servers: usize) -> Config {
    let list: Vec<String> = (0..servers).map(|n| format!("\"127.0.0.1:{}\"", n + 1)).collect();
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [{}]\n[[route]]\nupstream = \"a\"\n",
        list.join(", ")
    );
    config::load_str("t.toml", &text).unwrap().config
}

#[test]
fn half_of_the_servers_may_go_and_no_more() {
    assert!(guard_shrinking(&config(4), &config(2)).is_ok());
    let refused = guard_shrinking(&config(4), &config(1)).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the servers of `a` would go from 4 to 1, which `runtime.shrink_guard` does not allow; force it if it is meant"
    );
    assert!(guard_shrinking(&config(1), &config(4)).is_ok());
}

#[test]
fn what_is_replaced_is_not_gone_but_other_upstreams_take_no_place() {
    let text = |a: &str, b: &str| {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\nservers = [{a}]\n\
             [upstream.b]\nservers = [{b}]\n[[route]]\nupstream = {{ a = 1, b = 1 }}\n"
        );
        config::load_str("t.toml", &text).unwrap().config
    };
    let list = |from: u16, to: u16| {
        (from..to).map(|n| format!("\"127.0.0.1:{n}\"")).collect::<Vec<_>>().join(", ")
    };
    let old = text(&list(1, 11), &list(1, 2));
    assert!(guard_shrinking(&old, &text(&list(21, 31), &list(1, 2))).is_ok());
    let refused = guard_shrinking(&old, &text(&list(1, 2), &list(1, 11))).unwrap_err().to_string();
    assert!(refused.starts_with("the servers of `a` would go from 10 to 1"), "{refused}");
}

#[test]
fn ten_configurations_can_be_gone_back_to() {
    let first = config(1);
    let mut reloader = Reloader::new(None, &first, &Sources::default(), 16).unwrap();
    let snapshot = compile::compile_config(&first, None, 16).unwrap();
    for n in 2..=14 {
        let (config, weights) = (Arc::new(config(n)), Weights::default());
        reloader.note_accepted(Accepted { config, origin: ReloadOrigin::Files, weights });
    }
    let mut back = 0;
    while let Ok(prepared) = reloader.go_back(&snapshot) {
        reloader.note_accepted(prepared.into_parts().3);
        back += 1;
    }
    assert_eq!(back, 10);
    assert_eq!(reloader.running().upstream.values().next().unwrap().servers.listed().len(), 4);
}
