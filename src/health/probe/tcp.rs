//! A server that accepts a connection is well.

use super::ProbeError;
use crate::net::fetch::AnyConnection;

#[expect(clippy::unnecessary_wraps, reason = "one of several probes; this one has no way to fail")]
pub(super) fn probe_tcp(connected: AnyConnection) -> Result<(), ProbeError> {
    drop(connected);
    Ok(())
}
