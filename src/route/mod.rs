//! Which request goes where.

/// Captures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Captures;
impl Captures {
    /// The n-th.
    pub fn get<'p>(&self, _n: usize, _path: &'p [u8]) -> &'p [u8] {
        b""
    }
}
/// Found.
#[derive(Debug)]
pub struct Found<'t, T> {
    /// Payload.
    pub route: &'t T,
    /// Captures.
    pub captures: Captures,
}
/// Not found.
#[derive(Debug)]
pub enum Miss {
    /// None.
    NoRoute,
    /// Method.
    Method,
}
/// Table.
#[derive(Debug)]
pub struct RouteTable<T>(pub Vec<T>);
impl<T> RouteTable<T> {
    /// Find.
    pub fn find<A>(&self, _ask: &A) -> Result<Found<'_, T>, Miss> {
        self.0.first().map(|route| Found { route, captures: Captures }).ok_or(Miss::NoRoute)
    }
}
