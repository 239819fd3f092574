//! Weights that an operator has changed while the proxy runs.
//!
//! They last until the file says something else about the server: a reload for another reason must
//! not undo them, and a file that was changed is the newer word.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::config::Config;

/// The operator's weight, and that of the file at that time.
#[derive(Debug, Clone, Copy)]
struct MemberWeight {
    written: NonZeroU16,
    weight: NonZeroU16,
}

/// All such weights, by upstream and server.
#[derive(Debug, Clone, Default)]
pub struct Weights(HashMap<String, HashMap<String, MemberWeight>>);

impl Weights {
    /// The weight of a server, if an operator changed it.
    #[must_use]
    pub fn weight_of(&self, upstream: &str, server: &str) -> Option<NonZeroU16> {
        self.0.get(upstream)?.get(server).map(|weight| weight.weight)
    }

    /// Gives a server that is listed another weight. `false` when there is no such server.
    pub fn set_weight(
        &mut self,
        config: &Config,
        upstream: &str,
        server: &str,
        weight: NonZeroU16,
    ) -> bool {
        let Some(written) = written_weight(config, upstream, server) else { return false };
        let servers = self.0.entry(upstream.to_owned()).or_default();
        servers.entry(server.to_owned()).or_insert(MemberWeight { written, weight }).weight =
            weight;
        true
    }

    /// Forgets those that a configuration overrules.
    pub fn retain_current(&mut self, config: &Config) {
        for (upstream, servers) in &mut self.0 {
            servers.retain(|server, known| {
                written_weight(config, upstream, server) == Some(known.written)
            });
        }
        self.0.retain(|_, servers| !servers.is_empty());
    }
}

fn written_weight(config: &Config, upstream: &str, server: &str) -> Option<NonZeroU16> {
    let servers = config.upstream.get(upstream)?.servers.listed();
    servers.iter().find(|s| s.id() == server).map(|server| server.weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(weight: u16) -> Config {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.a]\n\
             servers = [{{ address = \"127.0.0.1:1\", weight = {weight} }}, \"127.0.0.1:2\"]\n\
             [[route]]\nupstream = \"a\"\n"
        );
        config::load_str("t.toml", &text).unwrap().config
    }

    #[test]
    fn a_weight_lasts_until_the_file_says_something_else() {
        let mut weights = Weights::default();
        let nine = NonZeroU16::new(9).unwrap();
        let running = config(3);
        let first = |weights: &Weights| weights.weight_of("a", "127.0.0.1:1");
        assert!(!weights.set_weight(&running, "a", "127.0.0.1:9", nine));
        assert!(!weights.set_weight(&running, "b", "127.0.0.1:1", nine));
        assert!(weights.set_weight(&running, "a", "127.0.0.1:1", NonZeroU16::MIN));
        assert!(weights.set_weight(&running, "a", "127.0.0.1:1", nine));
        assert_eq!(first(&weights), Some(nine));
        weights.retain_current(&config(3));
        assert_eq!(first(&weights), Some(nine));
        weights.retain_current(&config(4));
        assert_eq!(first(&weights), None);
        weights.retain_current(&config(3));
        assert_eq!(first(&weights), None);
    }
}
