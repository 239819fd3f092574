//! What header values may have filled in.

/// A thing that can stand in a place of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPlace {
    /// The client's address.
    ClientIp,
    /// The id of the request.
    RequestId,
    /// The host that the client asked for, in canonical form, without port.
    Host,
    /// The path as it was matched.
    Path,
    /// The query without `?`.
    Query,
    /// `http` or `https`, as the client sees it.
    Scheme,
    /// The port that the client asked for.
    Port,
    /// The name of the route.
    Route,
    /// The name of the upstream that is asked.
    Upstream,
    /// The name of the server that is asked.
    Server,
    /// The n-th capture of the route's path.
    Capture(usize),
    /// A claim of the verified token.
    Claim(Box<str>),
    /// The subject of the client's certificate.
    CertificateSubject,
    /// A field of the request, its name in lower case.
    Header(Box<[u8]>),
}

impl FieldPlace {
    /// Returns whether it is known only when a server has been chosen.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Upstream | Self::Server)
    }
}

/// The names that `{…}` may have in the value of a header, besides captures and the three below.
pub const PLACES: [(&str, FieldPlace); 10] = [
    ("client_ip", FieldPlace::ClientIp),
    ("request_id", FieldPlace::RequestId),
    ("host", FieldPlace::Host),
    ("path", FieldPlace::Path),
    ("query", FieldPlace::Query),
    ("scheme", FieldPlace::Scheme),
    ("port", FieldPlace::Port),
    ("route", FieldPlace::Route),
    ("upstream", FieldPlace::Upstream),
    ("server", FieldPlace::Server),
];

/// The place that a name stands for in the value of a header of a route with these captures; `None`
/// for an unknown name. Captures go first, as they are the route's own.
#[must_use]
pub fn field_place(name: &str, captures: &[&str]) -> Option<FieldPlace> {
    if let Some(n) = captures.iter().position(|capture| *capture == name) {
        return Some(FieldPlace::Capture(n));
    }
    if name == "client_cert.subject" {
        return Some(FieldPlace::CertificateSubject);
    }
    if let Some(claim) = name.strip_prefix("jwt.").filter(|claim| !claim.is_empty()) {
        return Some(FieldPlace::Claim(claim.into()));
    }
    if let Some(field) = name.strip_prefix("header.").filter(|field| !field.is_empty()) {
        return Some(FieldPlace::Header(field.to_ascii_lowercase().into_bytes().into()));
    }
    PLACES.iter().find(|(known, _)| *known == name).map(|(_, place)| place.clone())
}
