//! Weights that an operator has changed while the proxy runs.
//!
//! They last until the file says something else about the server: a reload for another reason must not
//! undo them, and a file that was changed is the newer word.

use std::num::NonZeroU16;

use crate::config::Config;
use crate::config::schema::upstream::Server;

/// The weight that the operator set, and what the file said then.
#[derive(Debug, Clone)]
struct Weight {
    upstream: String,
    server: String,
    written: NonZeroU16,
    weight: NonZeroU16,
}

/// All such weights; at most one per server.
#[derive(Debug, Clone, Default)]
pub(super) struct Weights(Vec<Weight>);

impl Weights {
    /// Changes a weight in `config`, and remembers it. `false` when there is no such server.
    pub(super) fn set(
        &mut self,
        config: &mut Config,
        upstream: &str,
        server: &str,
        weight: NonZeroU16,
    ) -> bool {
        let Some(found) = find(config, upstream, server) else { return false };
        let known = self.0.iter_mut().find(|w| w.upstream == upstream && w.server == server);
        match known {
            Some(known) => known.weight = weight,
            None => self.0.push(Weight {
                upstream: upstream.to_owned(),
                server: server.to_owned(),
                written: found.weight,
                weight,
            }),
        }
        found.weigh(weight);
        true
    }

    /// Applies them to a configuration that was just read, and forgets those that it overrules.
    pub(super) fn apply(&mut self, config: &mut Config) {
        self.0.retain(|known| match find(config, &known.upstream, &known.server) {
            Some(server) if server.weight == known.written => {
                server.weigh(known.weight);
                true
            }
            _ => false,
        });
    }
}

fn find<'c>(config: &'c mut Config, upstream: &str, server: &str) -> Option<&'c mut Server> {
    let mut upstreams = config.upstream.iter_mut();
    let (_, found) = upstreams.find(|(name, _)| name.value == upstream)?;
    found.servers.listed_mut().iter_mut().find(|s| s.id() == server)
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

    fn first(config: &mut Config) -> u16 {
        find(config, "a", "127.0.0.1:1").unwrap().weight.get()
    }

    #[test]
    fn a_weight_lasts_until_the_file_says_something_else() {
        let mut weights = Weights::default();
        let nine = NonZeroU16::new(9).unwrap();
        let mut running = config(3);
        assert!(!weights.set(&mut running, "a", "127.0.0.1:9", nine));
        assert!(!weights.set(&mut running, "b", "127.0.0.1:1", nine));
        assert!(weights.set(&mut running, "a", "127.0.0.1:1", NonZeroU16::MIN));
        assert!(weights.set(&mut running, "a", "127.0.0.1:1", nine));
        assert_eq!(first(&mut running), 9);
        let mut again = config(3);
        weights.apply(&mut again);
        assert_eq!(first(&mut again), 9);
        let mut other = config(4);
        weights.apply(&mut other);
        assert_eq!(first(&mut other), 4);
        let mut back = config(3);
        weights.apply(&mut back);
        assert_eq!(first(&mut back), 3);
    }
}
