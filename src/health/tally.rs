//! How many answers in a row it takes to believe a change.

use std::num::NonZeroU32;

/// A server's state as far as checks can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthChange {
    /// The server became healthy.
    Up,
    /// The server became unhealthy.
    Down,
}

/// Counts one server's answers.
#[derive(Debug)]
pub struct Tally {
    fall: u32,
    rise: u32,
    up: Option<bool>,
    /// Answers in a row that contradict the state.
    against: u32,
}

impl Tally {
    /// A server that was never asked. `fall` failures in a row make it unhealthy, `rise` successes
    /// in a row healthy again.
    #[must_use]
    pub fn new(fall: NonZeroU32, rise: NonZeroU32) -> Self {
        Self { fall: fall.get(), rise: rise.get(), up: None, against: 0 }
    }

    /// Counts an answer. The first one decides alone: there is nothing yet that it could
    /// contradict.
    pub fn record_answer(&mut self, ok: bool) -> Option<HealthChange> {
        let believed = match self.up {
            None => true,
            Some(up) if up == ok => {
                self.against = 0;
                return None;
            }
            Some(up) => {
                self.against += 1;
                self.against >= if up { self.fall } else { self.rise }
            }
        };
        if !believed {
            return None;
        }
        self.up = Some(ok);
        self.against = 0;
        Some(if ok { HealthChange::Up } else { HealthChange::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(answers: &str) -> Vec<(usize, HealthChange)> {
        let mut tally = Tally::new(NonZeroU32::new(3).unwrap(), NonZeroU32::new(2).unwrap());
        let answers = answers.bytes().map(|b| b == b'+').enumerate();
        answers.filter_map(|(i, ok)| Some((i, tally.record_answer(ok)?))).collect()
    }

    #[test]
    fn the_first_answer_decides() {
        assert_eq!(changes("+++"), [(0, HealthChange::Up)]);
        assert_eq!(changes("-"), [(0, HealthChange::Down)]);
    }

    #[test]
    fn three_failures_in_a_row_take_it_down_and_two_successes_bring_it_back() {
        assert_eq!(changes("+--+--+"), [(0, HealthChange::Up)]);
        assert_eq!(
            changes("+---+-++"),
            [(0, HealthChange::Up), (3, HealthChange::Down), (7, HealthChange::Up)]
        );
    }
}
