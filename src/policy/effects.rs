//! What the policies of a route add to an exchange: fields for the client and for the server, and
//! what they learned.

use std::rc::Rc;

use smallvec::SmallVec;

use super::MadeValue;
use super::cors::Added;
use super::in_flight::InFlightPlace;
use super::jwt::Verified;
use super::limit::LimitReport;
use crate::exchange::Emit;
use crate::exchange::outcome::Note;
use crate::exchange::stage::ResponseStage;

/// The effects of a route's policies on one exchange.
#[derive(Debug, Default)]
pub struct PolicyEffects<'a> {
    /// Fields of the response, whoever answers.
    pub fields: Added<'a>,
    /// Fields of the response that were made for this request.
    pub made: SmallVec<[(&'a [u8], MadeValue); 1]>,
    /// Fields of the request that do not reach the server, in lower case.
    pub hidden: SmallVec<[&'a [u8]; 4]>,
    /// The content of the client's token, or what an authentication server said of the client.
    pub verified: Option<Rc<Verified>>,
    /// Whose request it is, where a policy counts by a claim and the client came in without a
    /// token: the way and the name that it is known by there, or its network.
    pub member: Option<Rc<[u8]>>,
    /// The reason why the client was not let in, for the log.
    pub cause: Note,
    /// The rest of the limits that the request was counted on.
    pub report: LimitReport,
    /// The request's place among those under way.
    pub place: Option<InFlightPlace<'a>>,
}

impl PolicyEffects<'_> {
    /// All fields of the response.
    pub fn response_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let made = self.made.iter().map(|(name, value)| (*name, &**value));
        self.fields.iter().map(|(name, value)| (*name, *value)).chain(made)
    }
}

impl ResponseStage for PolicyEffects<'_> {
    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        inner(out);
        self.response_fields().for_each(|(name, value)| out.emit_field(name, value));
    }
}
