//! `fault`: delays and failures on purpose, to see what a system makes of them.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One `fault`.
#[derive(Debug, Clone, Copy)]
pub struct InjectedFault {
    /// The time for which a request is held back.
    pub delay: Option<Duration>,
    /// The status that is answered.
    pub abort: Option<u16>,
    /// The share of requests, from 0 to 1.
    pub share: f64,
    /// Makes the choice repeatable.
    pub seed: u64,
}

impl InjectedFault {
    /// Returns whether it happens to a request: the same for the same id and seed, on every
    /// instance.
    #[must_use]
    pub fn happens_to(&self, request_id: &str) -> bool {
        let drawn = xxh3_64_with_seed(request_id.as_bytes(), self.seed) >> 11;
        (drawn as f64) < self.share * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_depends_on_id_and_seed_alone_and_keeps_to_the_share() {
        let fault = InjectedFault { delay: None, abort: Some(503), share: 0.05, seed: 7 };
        let ids: Vec<String> = (0..20_000).map(|n| format!("id-{n}")).collect();
        let hit: Vec<bool> = ids.iter().map(|id| fault.happens_to(id)).collect();
        assert_eq!(hit, ids.iter().map(|id| fault.happens_to(id)).collect::<Vec<_>>());
        let count = hit.iter().filter(|hit| **hit).count();
        assert!((900..1100).contains(&count), "{count}");
        let other = InjectedFault { seed: 8, ..fault };
        assert!(ids.iter().zip(&hit).any(|(id, hit)| other.happens_to(id) != *hit));
        assert!(ids.iter().all(|id| InjectedFault { share: 1.0, ..fault }.happens_to(id)));
        assert!(!ids.iter().any(|id| InjectedFault { share: 0.0, ..fault }.happens_to(id)));
    }
}
