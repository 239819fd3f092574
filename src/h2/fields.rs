//! Fields between the form that HTTP/1 and the walk have and the one that h2 has.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::exchange::Emit;
use crate::wire::head::Fields;
use crate::wire::{Fault, trailers as wire_trailers};

/// Fields on their way out; what HTTP/2 cannot carry is left out.
pub(super) struct Map(pub(super) HeaderMap);

impl Map {
    /// All of `fields`.
    pub(super) fn of(fields: &Fields) -> HeaderMap {
        let mut map = Self(HeaderMap::with_capacity(fields.len()));
        fields.iter().for_each(|field| map.field(field.name, field.value));
        map.0
    }
}

impl Emit for Map {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            self.0.append(name, value);
        }
    }
}

/// Trailers that were received, without those that may not be passed on.
pub(super) fn trailers(map: &HeaderMap) -> Result<Option<Fields>, Fault> {
    let mut lines = Vec::new();
    map.iter().for_each(|(name, value)| lines.field(name.as_ref(), value.as_bytes()));
    let fields = wire_trailers::parse(&lines).ok_or(Fault::Trailer)?;
    Ok((!fields.is_empty()).then_some(fields))
}
