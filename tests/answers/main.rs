//! Answers of the proxy's own, and what it changes in those of servers: pages, maintenance,
//! rewriting, files.
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

use support::{Configuration, Origin, Tidegate};

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
    Configuration::of(origin)
        .log("access = '{dir}/access.log'")
        .listen("trusted_proxies = ['127.0.0.0/8']")
        .toml(routes)
        .start_in(directory)
}
