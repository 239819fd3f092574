//! One timer per connection, moved only when a deadline comes earlier than the one it is set to.
//!
//! Deadlines change several times per request and almost never fire. A timer that fires too early
//! and is set again costs one wake-up in many seconds; setting it exactly would cost several
//! operations on the runtime's wheel per request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use crate::clock::{self, Instant};

/// A lazily set timer. It belongs to one task: the first poll registers that task, later ones only
/// look.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    registered: bool,
}

impl Timer {
    /// The same for another task. Making one is an entry in the runtime's wheel, and so is ending
    /// it.
    #[must_use]
    pub fn handed_on(self) -> Self {
        Self { registered: false, ..self }
    }

    /// Ready once `at` has passed; never for `None`.
    pub fn poll_at(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
            self.registered = false;
        }
        if self.registered && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if clock::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        self.registered = true;
        Poll::Pending
    }
}

/// The earlier of two deadlines.
#[must_use]
pub fn earlier_of(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn wait(timer: &mut Timer, after: u64) -> u64 {
        let start = clock::now();
        let at = clock::deadline(start, Some(Duration::from_millis(after)));
        poll_fn(|cx| timer.poll_at(cx, at)).await;
        u64::try_from(start.elapsed().as_millis()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_may_move_in_both_directions() {
        let mut timer = Timer::default();
        assert_eq!(wait(&mut timer, 100).await, 100);
        assert_eq!(wait(&mut timer, 5000).await, 5000);
        let later = clock::deadline(clock::now(), Some(Duration::from_secs(75)));
        poll_fn(|cx| Poll::Ready(timer.poll_at(cx, later))).await.is_pending();
        assert_eq!(wait(&mut timer, 10).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_wakes_the_task_that_it_was_handed_on_to() {
        let mut timer = Timer::default();
        let later = clock::deadline(clock::now(), Some(Duration::from_secs(75)));
        poll_fn(|cx| Poll::Ready(timer.poll_at(cx, later))).await.is_pending();
        let mut timer = timer.handed_on();
        let waited = tokio::spawn(async move { wait(&mut timer, 90_000).await });
        assert_eq!(waited.await.unwrap(), 90_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_set_too_early_does_not_fire_early() {
        let mut timer = Timer::default();
        let soon = clock::deadline(clock::now(), Some(Duration::from_millis(50)));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll_at(cx, soon))).await.is_pending());
        assert_eq!(wait(&mut timer, 400).await, 400);
    }
}
