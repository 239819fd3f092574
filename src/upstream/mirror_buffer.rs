//! A request's body, kept while it goes by, for a copy of the request.

use super::requester::Requester;
use crate::exchange::Client;
use crate::wire::Fields;

/// Requests with longer bodies are not copied.
const BODY: usize = 64 * 1024;

/// A request body as it goes by.
#[derive(Debug, Default)]
pub struct MirrorBuffer {
    bytes: Vec<u8>,
    lost: bool,
}

/// A request body that was kept to its end.
#[derive(Debug)]
pub struct MirroredBody {
    /// The body.
    pub bytes: Vec<u8>,
    /// The fields behind it that may be sent on.
    pub trailers: Option<Fields>,
}

impl MirrorBuffer {
    /// Keeps what a server has been sent.
    pub fn keep_bytes(&mut self, data: &[u8]) {
        if self.bytes.len() + data.len() > BODY {
            self.lost = true;
            self.bytes = Vec::new();
        }
        if !self.lost {
            self.bytes.extend_from_slice(data);
        }
    }

    /// The body and what came behind it and may be sent on, if it was kept to its end.
    pub fn into_whole<C: Client>(
        self,
        client: &mut C,
        requester: &dyn Requester,
    ) -> Option<MirroredBody> {
        let all = !self.lost
            && client.request_done()
            && client.received_bytes() == self.bytes.len() as u64;
        let mut trailers = if all { client.read_trailers().ok()? } else { None };
        trailers
            .iter_mut()
            .for_each(|fields| fields.retain(|field| requester.allows_trailer(field.name)));
        all.then_some(MirroredBody { bytes: self.bytes, trailers })
    }
}
