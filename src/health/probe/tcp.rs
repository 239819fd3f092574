//! A server that accepts a connection is well.

use super::{ProbeConnection, ProbeError};

#[expect(clippy::unnecessary_wraps, reason = "one of several probes; this one has no way to fail")]
pub(super) fn probe_tcp(connected: ProbeConnection) -> Result<(), ProbeError> {
    drop(connected);
    Ok(())
}
