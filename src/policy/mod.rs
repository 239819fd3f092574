//! What a route does to the exchanges it lets through. One file per policy; `proxy::policies` asks them in order.

pub mod api_key;
pub mod basic;
pub mod compress;
pub mod concurrency;
pub mod cors;
pub mod encoded;
pub mod fault;
pub mod forward_auth;
pub mod jwks;
pub mod jwt;
pub mod limit;
pub mod maintenance;
pub mod pages;
pub mod shared;
pub mod table;

use std::sync::Arc;

use smallvec::SmallVec;

/// A field's value that was made for one request; most need no memory of their own.
pub type Made = SmallVec<[u8; 64]>;

/// A way of knowing clients.
#[derive(Debug)]
pub enum Auth {
    /// By a key in a header.
    ApiKeys(Arc<api_key::ApiKeys>),
    /// By name and password.
    Basic(Arc<basic::Basic>),
    /// By a signed token.
    Jwt(Arc<jwt::Jwt>),
    /// Another server is asked.
    Forward(Arc<forward_auth::ForwardAuth>),
}

impl Auth {
    /// Returns whether a field of this name says what the authentication knows, never what a client says.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        match self {
            Auth::Jwt(jwt) => jwt.forward().iter().any(|(_, own)| own.eq_ignore_ascii_case(name)),
            Auth::Forward(judge) => judge.copy.iter().any(|own| own.eq_ignore_ascii_case(name)),
            Auth::ApiKeys(_) | Auth::Basic(_) => false,
        }
    }
}

/// One way in.
#[derive(Debug)]
pub struct Way {
    /// The name of the `[auth.NAME]`.
    pub name: Arc<str>,
    /// The way in which clients are known.
    pub auth: Auth,
}

impl Policies {
    /// Returns whether a field of this name says what one of the route's authentications knows.
    #[must_use]
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.ways.iter().any(|way| way.auth.replaces(name))
    }
}

/// The policies of a route that has any.
#[derive(Debug, Default)]
pub struct Policies {
    /// The other origins whose pages may use it.
    pub cors: Option<cors::Cors>,
    /// The clients that may use it while nobody else may.
    pub maintenance: Option<maintenance::Maintenance>,
    /// The ways in: whom one of these lets in may use it, asked in this order. Empty lets everybody in.
    pub ways: Box<[Way]>,
    /// The rates of requests.
    pub limits: Box<[limit::Limit]>,
    /// The value of `RateLimit-Policy`.
    pub limit_policies: Box<[u8]>,
    /// The number of requests at a time.
    pub concurrency: Option<concurrency::Concurrency>,
    /// The faults that are made on purpose.
    pub fault: Option<fault::Fault>,
    /// The compression of servers' responses, if there is any.
    pub compress: Option<compress::Compress>,
}
