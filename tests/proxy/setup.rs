//! The configuration most tests share: one listener, one upstream, one route, one worker.

use std::fmt::Display;

use support::{Configuration, Origin, Tidegate};

pub fn plain(origin: &Origin) -> Tidegate {
    one(origin).start()
}

pub fn one(server: impl Display) -> Configuration {
    among([server])
}

pub fn among(servers: impl IntoIterator<Item = impl Display>) -> Configuration {
    Configuration::default().runtime("workers = 1").upstream("app", servers, "")
}
