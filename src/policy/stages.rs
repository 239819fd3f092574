//! The stages that a response passes on its way to the client. The one place where they are
//! registered, and where their order stands.
//!
//! Innermost first: the route's own edits of what the server said, `response_headers`, what
//! policies add, the walk's own (paths in the client's terms, pages in the stead of errors, fields
//! that name the server), the cookie of an upstream's affinity, notes for calls of gRPC, and
//! compression, which sees what all others wrote. A new stage is a field of [`ResponseStages`], and
//! a line in each of its functions that it takes part in.

use super::Policies;
use super::compress::CompressStage;
use super::grpc_notes::GrpcNotes;
use crate::exchange::forward::response_fields;
use crate::exchange::stage::{BodyStage, ResponseStage, SentShare, Substitute};
use crate::exchange::{Emit, HeaderEdits, Length, Outcome, Source};
use crate::wire::ResponseHead;
use crate::wire::head::Fields;

/// The stages of one response. Without any, it is passed on as it came.
#[derive(Default)]
pub struct ResponseStages<'a> {
    /// `response_headers` of the route, if it edits any.
    pub edits: Option<&'a HeaderEdits>,
    /// The fields that the route's policies added.
    pub effects: Option<&'a dyn ResponseStage>,
    /// The part that only the walk knows how to do, where the route asks for any of it.
    pub walk: Option<&'a dyn ResponseStage>,
    /// The cookie that binds the client to its server.
    pub cookie: Option<SetCookie>,
    /// The notes that a call of gRPC ends with when it is broken off.
    pub grpc: Option<GrpcNotes<'a>>,
    /// Compression, where the route has it.
    pub compress: Option<CompressStage<'a>>,
}

impl<'a> ResponseStages<'a> {
    /// Registers what a route's policies do to the response of a request with these fields.
    #[must_use]
    pub fn of_policies(policies: Option<&'a Policies>, request: &'a Fields) -> Self {
        let compress = policies.and_then(|policies| policies.compress.as_ref());
        Self { compress: compress.map(|it| it.stage_for(request)), ..Self::default() }
    }

    /// Writes the fields of a server's answer as the client must see them.
    pub fn write_head(&self, head: &ResponseHead, out: &mut dyn Emit) {
        let edited = self.edit_head(head);
        let head = edited.as_ref().unwrap_or(head);
        self.write_through(out, |out| response_fields(head, out));
    }

    /// Tells which trailers are passed on: a field that the route removes or sets comes in no other
    /// place either.
    pub fn trailer_filter(&self) -> impl Fn(&[u8]) -> bool + use<'a> {
        let edits = self.edits;
        move |name| edits.is_none_or(|edits| !edits.hides_field(name))
    }

    /// Writes what `inner` writes, through all stages.
    fn write_through(&self, out: &mut dyn Emit, inner: impl Fn(&mut dyn Emit)) {
        pass_through(self.compress.as_ref(), out, |out| {
            pass_through(self.cookie.as_ref(), out, |out| {
                pass_through(self.walk, out, |out| {
                    pass_through(self.effects, out, |out| {
                        pass_through(self.edits.as_ref(), out, &inner);
                    });
                });
            });
        });
    }
}

/// Passes the fields on through a stage, if there is one.
#[inline]
fn pass_through<S: ResponseStage + ?Sized>(
    stage: Option<&S>,
    out: &mut dyn Emit,
    inner: impl Fn(&mut dyn Emit),
) {
    match stage {
        Some(stage) => stage.write_fields(out, &inner),
        None => inner(out),
    }
}

impl ResponseStage for ResponseStages<'_> {
    fn find_substitute(&self, head: &ResponseHead) -> Option<Substitute> {
        self.walk.and_then(|walk| walk.find_substitute(head))
    }

    fn edit_head(&self, head: &ResponseHead) -> Option<ResponseHead> {
        self.walk.and_then(|walk| walk.edit_head(head))
    }

    fn announce_length(&mut self, head: &ResponseHead, mut length: Length) -> Length {
        if let Some(grpc) = &mut self.grpc {
            length = grpc.announce_length(head, length);
        }
        if let Some(compress) = &mut self.compress {
            length = compress.announce_length(head, length);
        }
        length
    }

    fn announce_share(&mut self, head: &ResponseHead, whole: Length, share: SentShare) {
        if let Some(compress) = &mut self.compress {
            compress.announce_share(head, whole, share);
        }
    }

    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        self.write_through(out, inner);
    }

    fn see_end(&mut self, outcome: Outcome) -> Option<Fields> {
        self.grpc.as_mut().and_then(|grpc| grpc.see_end(outcome))
    }
}

impl<'a> BodyStage for ResponseStages<'a> {
    type Body<'s, S: Source + 's>
        = <CompressStage<'a> as BodyStage>::Body<'s, S>
    where
        Self: 's;

    fn wrap_body<'s, S: Source>(&'s mut self, source: &'s mut S) -> Option<Self::Body<'s, S>> {
        self.compress.as_mut().and_then(|compress| compress.wrap_body(source))
    }
}

/// A cookie that the proxy sets.
#[derive(Debug)]
pub struct SetCookie(pub Vec<u8>);

impl ResponseStage for SetCookie {
    fn write_fields(&self, out: &mut dyn Emit, inner: &dyn Fn(&mut dyn Emit)) {
        inner(out);
        out.emit_field(b"set-cookie", &self.0);
    }
}

#[cfg(test)]
mod tests;
