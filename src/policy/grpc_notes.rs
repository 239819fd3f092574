//! Notes for calls of gRPC: a call whose response is broken off ends with a status, which clients
//! of it look for behind the messages. A message that was cut in the middle stays cut: its length
//! says so.

use crate::exchange::stage::ResponseStage;
use crate::exchange::{Length, Outcome};
use crate::wire::head::Fields;
use crate::wire::{ResponseHead, grpc};

/// The notes of one call.
#[derive(Debug)]
pub struct GrpcNotes<'a> {
    request_id: &'a str,
    /// The response has no length that was announced, so trailers can follow at any point.
    open: bool,
}

impl<'a> GrpcNotes<'a> {
    /// The notes of the call with this id.
    #[must_use]
    pub fn new(request_id: &'a str) -> Self {
        Self { request_id, open: false }
    }
}

impl ResponseStage for GrpcNotes<'_> {
    fn announce_length(&mut self, _: &ResponseHead, length: Length) -> Length {
        self.open = length == Length::Unknown;
        length
    }

    fn see_end(&mut self, outcome: Outcome) -> Option<Fields> {
        let broken_off = !matches!(outcome, Outcome::Whole | Outcome::ClientGone);
        if !(broken_off && self.open) {
            return None;
        }
        let code = outcome.outcome_row().code.unwrap_or_default();
        let mut trailers = Fields::default();
        let status = grpc::of_http(outcome.http_status()).to_string();
        trailers.push(b"grpc-status", status.as_bytes());
        let message = format!("{code}: {} ({})", outcome.reason_sentence(), self.request_id);
        trailers.push(b"grpc-message", grpc::encode_message(&message).as_bytes());
        Some(trailers)
    }
}
