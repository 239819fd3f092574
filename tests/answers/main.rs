//! Answers of the proxy's own, and what it changes in those of servers: pages, maintenance, rewriting, files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a panic"
)]

mod bounds;
mod files;
mod pages;
mod rewriting;

use support::{Origin, Tidegate};

/// What a browser says of itself.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A proxy with these routes in front of `origin`, in a directory with these files.
fn proxy(origin: &Origin, files: &[(&str, &str)], routes: &str) -> Tidegate {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let text = format!(
        "
        [admin]
        address = '127.0.0.1:0'
        [log]
        access = '{{dir}}/access.log'
        [[listen]]
        address = '127.0.0.1:0'
        trusted_proxies = ['127.0.0.0/8']
        [upstream.app]
        servers = ['{}']
        {routes}
        ",
        origin.server()
    );
    Tidegate::in_directory(directory, &text, &[])
}
