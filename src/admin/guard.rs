//! Who may ask what of the admin endpoint.
//!
//! On loopback everybody on the machine may, but not everything that reaches loopback comes from
//! there: a browser can be led to it by a page of somebody else. So a request to a loopback address
//! must name a local host (DNS rebinding needs a name that its owner can point here), a request
//! from a page must come from a page of this endpoint, and a call that changes something needs the
//! token where there is one. Calls that only show are open on loopback and Unix sockets unless
//! there is a `read_token`; elsewhere they need one of the two, whoever asks from where. Bearer
//! tokens are meant (RFC 6750); as a password (RFC 7617) a token opens the pages in browsers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, header};

use crate::net::Address;

/// The rules of one endpoint.
#[derive(Debug)]
pub struct AdminGuard {
    token: Option<Box<str>>,
    /// For calls that only show.
    read_token: Option<Box<str>>,
    /// Only local names may be asked for.
    local: bool,
    /// Calls that only show need a token too.
    closed: bool,
}

/// The caller, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownTokens {
    /// Anybody who can reach the address.
    Nobody,
    /// Somebody who may see everything.
    Reader,
    /// Somebody who may change everything.
    Operator,
}

/// A reason for refusing a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminDenial {
    /// `Host` is missing, or names another machine.
    Host,
    /// The request comes from somebody else's page.
    Origin,
    /// The token is missing or wrong.
    Token,
}

impl AdminDenial {
    /// The status and the stable code.
    #[must_use]
    pub fn status_and_code(self) -> (StatusCode, &'static str) {
        match self {
            AdminDenial::Host => (StatusCode::FORBIDDEN, "foreign_host"),
            AdminDenial::Origin => (StatusCode::FORBIDDEN, "foreign_origin"),
            AdminDenial::Token => (StatusCode::UNAUTHORIZED, "token_required"),
        }
    }
}

impl AdminGuard {
    /// The rules for an endpoint at `address`.
    #[must_use]
    pub fn new(address: &Address, token: Option<&str>, read_token: Option<&str>) -> Self {
        let ip = address.ip();
        let local = ip.is_some_and(|ip| ip.to_canonical().is_loopback());
        Self {
            token: token.map(Into::into),
            read_token: read_token.map(Into::into),
            local,
            closed: read_token.is_some() || ip.is_some() && !local,
        }
    }

    /// Returns whether a request may be answered.
    ///
    /// # Errors
    /// [`AdminDenial`].
    pub fn admit_request(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<KnownTokens, AdminDenial> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST);
        if self.local && !host.is_some_and(is_local) {
            return Err(AdminDenial::Host);
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = text(header::ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
            if origin.is_none() || origin != host {
                return Err(AdminDenial::Origin);
            }
        }
        let known = self.known_tokens(text(header::AUTHORIZATION));
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        let needed = match changes {
            true if self.token.is_some() => KnownTokens::Operator,
            false if self.closed => KnownTokens::Reader,
            _ => return Ok(known),
        };
        let enough = known == KnownTokens::Operator || known == needed;
        if enough { Ok(known) } else { Err(AdminDenial::Token) }
    }

    fn known_tokens(&self, credentials: Option<&str>) -> KnownTokens {
        let given = credentials.and_then(|value| {
            // Schemes are compared without case, and any number of blanks follows (RFC 9110 §11.4).
            let (scheme, secret) = value.split_once(' ')?;
            let secret = secret.trim_start_matches(' ');
            if scheme.eq_ignore_ascii_case("bearer") {
                return Some(secret.as_bytes().to_vec());
            }
            let pair =
                scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(secret))?.ok()?;
            let colon = pair.iter().position(|byte| *byte == b':')?;
            pair.get(colon + 1..).map(<[u8]>::to_vec)
        });
        let Some(given) = given else { return KnownTokens::Nobody };
        let is = |token: &Option<Box<str>>| {
            token.as_ref().is_some_and(|t| same_bytes(&given, t.as_bytes()))
        };
        match () {
            () if is(&self.token) => KnownTokens::Operator,
            () if is(&self.read_token) => KnownTokens::Reader,
            () => KnownTokens::Nobody,
        }
    }
}

/// Returns whether a `Host` cannot be a name that somebody else has control of. Names without a dot
/// and addresses are nobody's to point elsewhere.
fn is_local(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = bare.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    ip.is_ok() || !bare.is_empty() && !bare.contains('.') || bare.ends_with(".localhost")
}

/// Compares in a time that does not depend on where two texts differ.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
