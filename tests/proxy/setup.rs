//! The configuration most tests share: one listener, one upstream, one route, one worker.

use support::{Origin, Tidegate};

/// Lines to add to each of the three tables; empty where the defaults are under test.
#[derive(Clone, Copy, Default)]
pub struct Lines<'a> {
    pub listen: &'a str,
    pub upstream: &'a str,
    pub route: &'a str,
}

pub fn plain(origin: &Origin) -> Tidegate {
    with(origin, Lines::default())
}

pub fn with(origin: &Origin, lines: Lines<'_>) -> Tidegate {
    with_servers(&format!("\"{}\"", origin.server()), lines)
}

/// `servers` is the inside of the TOML array.
pub fn with_servers(servers: &str, lines: Lines<'_>) -> Tidegate {
    let toml = r#"
        [runtime]
        workers = 1
        drain = "3s"
        [log]
        access = "off"
        [[listen]]
        address = "127.0.0.1:0"
        {listen}
        [upstream.app]
        servers = [{servers}]
        {upstream}
        [[route]]
        upstream = "app"
        {route}
    "#;
    Tidegate::with(
        toml,
        &[
            ("listen", &lines.listen),
            ("servers", &servers),
            ("upstream", &lines.upstream),
            ("route", &lines.route),
        ],
    )
}
