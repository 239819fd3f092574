//! Tells systemd how the process is (`Type=notify-reload`). Where nothing listens, nothing is told.

use sd_notify::NotifyState;

/// All sockets are open and the first checks have ended.
pub(super) fn tell_ready() {
    notify_state(&[NotifyState::Ready]);
}

/// A reload begins; [`tell_ready`] follows when it has ended, however it ended.
pub(super) fn tell_reloading() {
    // systemd matches this moment with that of its signal.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify_state(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager was not told of a reload"),
    }
}

/// A drain begins.
pub(super) fn tell_stopping() {
    notify_state(&[NotifyState::Stopping]);
}

fn notify_state(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
