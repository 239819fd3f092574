//! A bell: what one thread rings so that another one need not look again and again.

use std::fmt;
use std::sync::OnceLock;

/// Something to call when there is news. It must not block.
type Ring = Box<dyn Fn() + Send + Sync>;

/// Calls whoever wants to know of news; nobody does at first.
#[derive(Default)]
pub struct Bell(OnceLock<Ring>);

impl Bell {
    /// Calls `ring` at each news from now on. Only the first one counts. It must not block.
    pub fn answer_by(&self, ring: impl Fn() + Send + Sync + 'static) {
        let _first = self.0.set(Box::new(ring));
    }

    /// Tells that there is news.
    pub fn ring(&self) {
        if let Some(ring) = self.0.get() {
            ring();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}
