//! What is wrong with a request target.

use thiserror::Error;

use crate::route::normal::PathFault;

/// A reason why a target or `Host` is refused. All of them are 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetFault {
    /// RFC 9112 §3.2: none of the four forms, or one that does not fit the method.
    #[error("the request target has no valid form")]
    Form,
    /// RFC 3986 §2: a byte that a URI cannot contain.
    #[error("the request target contains an invalid character")]
    Character,
    /// RFC 3986 §2.1: `%` without two hex digits, or `%00`.
    #[error("the request target contains an invalid percent-encoding")]
    Escape,
    /// An encoded slash or backslash, a backslash, or parameters on a dot segment: servers
    /// disagree about what they mean.
    #[error("the request path is ambiguous")]
    Ambiguous,
    /// A dot segment that leads above the root.
    #[error("the request path leads above the root")]
    AboveRoot,
    /// A dot segment, encoded or not, in a path that a route wants as it was sent.
    #[error("the request path contains a dot segment")]
    DotSegment,
    /// The path is not in normal form and `strict.path = "refuse"`.
    #[error("the request path is not in normal form")]
    NotNormal,
    /// RFC 9112 §3.2: an HTTP/1.1 request without `Host`, or with several.
    #[error("exactly one host is required")]
    HostCount,
    /// RFC 9110 §7.2, RFC 3986 §3.2: not a host with an optional port.
    #[error("invalid host")]
    Host,
    /// RFC 9112 §3.2.2: the target names another host than `Host` does.
    #[error("the request target and host disagree")]
    HostMismatch,
}

impl From<PathFault> for TargetFault {
    fn from(fault: PathFault) -> Self {
        match fault {
            PathFault::Character => Self::Character,
            PathFault::Escape => Self::Escape,
            PathFault::Ambiguous => Self::Ambiguous,
            PathFault::AboveRoot => Self::AboveRoot,
        }
    }
}
