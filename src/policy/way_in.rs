//! A way in: by what clients are known on a route with `auth`, and what tells those who are not how
//! to get in.

use std::sync::Arc;

use super::api_key::ApiKeys;
use super::basic::Basic;
use super::forward_auth::ForwardAuth;
use super::jwt::Jwt;

/// A way of knowing clients.
#[derive(Debug)]
pub enum Auth {
    /// By a key in a header.
    ApiKeys(Arc<ApiKeys>),
    /// By name and password.
    Basic(Arc<Basic>),
    /// By a signed token.
    Jwt(Arc<Jwt>),
    /// Another server is asked.
    Forward(Arc<ForwardAuth>),
}

impl Auth {
    /// Returns whether a field of this name says what the authentication knows, never what a client
    /// says.
    #[must_use]
    pub fn replaces_field(&self, name: &[u8]) -> bool {
        match self {
            Auth::Jwt(jwt) => {
                jwt.forwarded_claims().iter().any(|(_, own)| own.eq_ignore_ascii_case(name))
            }
            Auth::Forward(judge) => judge.copy.iter().any(|own| own.eq_ignore_ascii_case(name)),
            Auth::ApiKeys(_) | Auth::Basic(_) => false,
        }
    }
}

/// One way in.
#[derive(Debug)]
pub struct WayIn {
    /// The name of the `[auth.NAME]`.
    pub name: Arc<str>,
    /// The way in which clients are known.
    pub auth: Auth,
    challenges: Challenges,
}

/// The values of `WWW-Authenticate` (RFC 9110 §11.6.1), written once for all who are told.
#[derive(Debug)]
struct Challenges {
    /// The one for who sent no credentials.
    without_token: Box<[u8]>,
    /// The one for who sent a token that does not count (RFC 6750 §3.1).
    refused_token: Box<[u8]>,
}

/// A client that is told how to get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenged {
    /// A client without credentials, or with others than tokens.
    WithoutToken,
    /// A client whose token does not count.
    RefusedToken,
}

impl WayIn {
    /// The way in of an `[auth.NAME]`, whose realm is what it protects, for people to read.
    #[must_use]
    pub fn new(name: &str, auth: Auth, realm: &str) -> Self {
        let challenges = Challenges::write_for(&auth, &quote_text(realm));
        Self { name: name.into(), auth, challenges }
    }

    /// The value of `WWW-Authenticate` for a client. Empty where another server says how to get in.
    #[must_use]
    pub fn challenge_for(&self, client: Challenged) -> &[u8] {
        match client {
            Challenged::WithoutToken => &self.challenges.without_token,
            Challenged::RefusedToken => &self.challenges.refused_token,
        }
    }
}

impl Challenges {
    fn write_for(auth: &Auth, realm: &str) -> Self {
        let (without, refused) = match auth {
            Auth::ApiKeys(_) => (format!("ApiKey realm={realm}"), String::new()),
            // RFC 7617.
            Auth::Basic(_) => (format!("Basic realm={realm}, charset=\"UTF-8\""), String::new()),
            // RFC 6750 §3: the error only where there was a token.
            Auth::Jwt(_) => (
                format!("Bearer realm={realm}"),
                format!("Bearer realm={realm}, error=\"invalid_token\""),
            ),
            Auth::Forward(_) => (String::new(), String::new()),
        };
        let bytes = |text: String| text.into_bytes().into_boxed_slice();
        Self { without_token: bytes(without), refused_token: bytes(refused) }
    }
}

/// Text as a quoted string (RFC 9110 §5.6.4).
fn quote_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_the_realm_as_a_quoted_string() {
        let keys = ApiKeys::new("x-key", [("anna", "secret")].into_iter()).unwrap();
        let way = WayIn::new("keys", Auth::ApiKeys(Arc::new(keys)), "a \"b\" \\c");
        assert_eq!(
            way.challenge_for(Challenged::WithoutToken),
            br#"ApiKey realm="a \"b\" \\c""#,
            "quotes and backslashes are escaped"
        );
    }
}
