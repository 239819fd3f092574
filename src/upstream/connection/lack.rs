//! What the proxy or the machine ran out of where no connection came about.

use rustix::io::Errno;

/// The thing that was missing for a connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionLack {
    /// A local port: fewer connections would come and go if more were kept.
    Ports,
    /// A descriptor of the process or of the system.
    Descriptors,
    /// Trust in the server.
    Trust,
    /// A server that takes connections.
    Server,
}

impl ConnectionLack {
    pub(super) fn from_io(error: &std::io::Error) -> Self {
        match (error.raw_os_error().map(Errno::from_raw_os_error), error.kind()) {
            (Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE), _) => Self::Ports,
            (Some(Errno::MFILE | Errno::NFILE), _) => Self::Descriptors,
            (_, std::io::ErrorKind::InvalidData) => Self::Trust,
            _ => Self::Server,
        }
    }

    /// The configuration key that would have let a server be connected to.
    pub(super) fn config_key(self) -> &'static str {
        match self {
            Self::Ports => "upstream.limits.idle",
            Self::Descriptors => "listen.limits.connections",
            Self::Trust => "upstream.tls",
            Self::Server => "upstream.servers",
        }
    }
}
