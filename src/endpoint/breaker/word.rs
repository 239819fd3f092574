//! A breaker's state in one word, so that it changes as a whole.

use super::BreakerState;

/// The word, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct BreakerWord {
    pub(super) state: BreakerState,
    /// Closed: failures in a row. Half-open: successes.
    pub(super) count: u16,
    /// Requests under way that are trials.
    pub(super) trials: u16,
    /// Changes with the state, so that late results are told from current ones.
    pub(super) epoch: u32,
}

impl BreakerWord {
    pub(super) fn from_bits(bits: u64) -> Self {
        let state = match bits & 3 {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        };
        Self {
            state,
            count: (bits >> 2 & 0x7fff) as u16,
            trials: (bits >> 17 & 0x7fff) as u16,
            epoch: (bits >> 32) as u32,
        }
    }

    pub(super) fn to_bits(self) -> u64 {
        let state = match self.state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        state
            | u64::from(self.count & 0x7fff) << 2
            | u64::from(self.trials & 0x7fff) << 17
            | u64::from(self.epoch) << 32
    }

    pub(super) fn next(self, state: BreakerState) -> Self {
        Self { state, count: 0, trials: 0, epoch: self.epoch.wrapping_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_holds_all_of_it() {
        let word = BreakerWord { state: BreakerState::HalfOpen, count: 5, trials: 3, epoch: 9 };
        assert_eq!(word.to_bits(), 2 + 5 * 4 + 3 * 131_072 + 9 * 4_294_967_296);
        let full = BreakerWord {
            state: BreakerState::Open,
            count: 0x7fff,
            trials: 0x7fff,
            epoch: u32::MAX,
        };
        assert_eq!(full.to_bits(), 0xffff_ffff_ffff_fffd);
        for word in [word, full, full.next(BreakerState::Closed)] {
            let again = BreakerWord::from_bits(word.to_bits());
            assert_eq!(
                (again.state, again.count, again.trials, again.epoch),
                (word.state, word.count, word.trials, word.epoch)
            );
        }
        let next = full.next(BreakerState::Closed);
        assert_eq!((next.count, next.trials, next.epoch), (0, 0, 0));
    }
}
