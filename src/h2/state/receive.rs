//! Frames that come in.

use super::heads::{self, Heard};
use super::slot::Over;
use super::{Accept, CANCELLED, Leaving, Role, State};
use crate::wire::frames::{self, Code, Head, flag, kind};
use crate::wire::{Fault, RequestHead, ResponseFault};

/// Frames that one head may be spread over beside the first.
const CONTINUATIONS: u32 = 64;
/// Informational responses that wait to be taken.
const INTERIM: usize = 16;

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What a client says first.
    Preface,
    /// The first frame, which has to be SETTINGS.
    First,
    /// A frame.
    Frame,
    /// So many bytes of DATA, and padding behind them.
    Data { stream: u32, left: usize, padding: usize, ends: bool },
    /// More of a head.
    Block { stream: u32, ends: bool, frames: u32 },
}

impl Part {
    pub(super) fn first(role: Role) -> Self {
        match role {
            Role::Server => Part::Preface,
            Role::Client => Part::First,
        }
    }
}

/// A rule was broken: the connection has to end.
pub(super) type Verdict = Result<(), Code>;

impl State {
    /// Reads what was received, and says how much of it has been dealt with. The rest comes again with more behind it.
    pub fn receive(&mut self, bytes: &[u8], accept: &mut dyn Accept) -> usize {
        let mut at = 0;
        while self.ended.is_none() {
            if self.paused {
                return at;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            match self.step(rest, accept) {
                Ok(Some(n)) => at += n,
                Ok(None) => return at,
                Err(code) => self.fail(code),
            }
        }
        bytes.len()
    }

    /// Deals with the first thing in `bytes`; `None` if it is not all there.
    fn step(&mut self, bytes: &[u8], accept: &mut dyn Accept) -> Result<Option<usize>, Code> {
        match self.part {
            Part::Preface => {
                let n = bytes.len().min(frames::PREFACE.len());
                if bytes.get(..n) != frames::PREFACE.get(..n) {
                    return Err(Code::PROTOCOL_ERROR);
                }
                if n < frames::PREFACE.len() {
                    return Ok(None);
                }
                self.part = Part::First;
                let hello = std::mem::take(&mut self.block);
                self.out.extend_from_slice(&hello);
                Ok(Some(n))
            }
            Part::Data { stream, left, padding, ends } => {
                if left + padding > 0 && bytes.is_empty() {
                    return Ok(None);
                }
                let data = left.min(bytes.len());
                let pad = padding.min(bytes.len() - data);
                self.data(stream, bytes.get(..data).unwrap_or_default());
                let (left, padding) = (left - data, padding - pad);
                self.part = Part::Data { stream, left, padding, ends };
                if left + padding == 0 {
                    self.part = Part::Frame;
                    if ends {
                        self.finished(stream)?;
                    }
                }
                Ok(Some(data + pad))
            }
            Part::First | Part::Frame | Part::Block { .. } => {
                let Some(head) = Head::read(bytes) else { return Ok(None) };
                if head.length > frames::MOST {
                    return Err(Code::FRAME_SIZE_ERROR);
                }
                let end = frames::HEAD + head.length;
                if head.kind == kind::DATA && self.part == Part::Frame {
                    return self.begin_data(head, bytes.get(frames::HEAD..).unwrap_or_default());
                }
                let Some(payload) = bytes.get(frames::HEAD..end) else { return Ok(None) };
                self.frame(head, payload, accept)?;
                Ok(Some(end))
            }
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8], accept: &mut dyn Accept) -> Verdict {
        if let Part::Block { stream, ends, frames } = self.part {
            if head.kind != kind::CONTINUATION || head.stream != stream {
                return Err(Code::PROTOCOL_ERROR);
            }
            return self.continuation(head, payload, (ends, frames), accept);
        }
        if self.part == Part::First {
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(Code::PROTOCOL_ERROR);
            }
            self.part = Part::Frame;
        }
        match head.kind {
            kind::HEADERS => self.headers(head, payload, accept),
            kind::PRIORITY => self.priority(head),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            kind::PING => self.ping(head, payload),
            kind::GOAWAY => self.gone_away(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            // Nobody was allowed to push, and a head that goes on has begun before.
            kind::PUSH_PROMISE | kind::CONTINUATION | kind::DATA => Err(Code::PROTOCOL_ERROR),
            _ => self.spend(),
        }
    }

    /// A frame that asks for nothing.
    pub(super) fn spend(&mut self) -> Verdict {
        if self.allowance.spend(self.now) { Ok(()) } else { Err(Code::ENHANCE_YOUR_CALM) }
    }

    /// A stream that came to nothing.
    pub(super) fn spend_reset(&mut self) -> Verdict {
        // What a server refuses says nothing against it.
        let fine = self.role == Role::Client || self.allowance.reset(self.now);
        if fine { Ok(()) } else { Err(Code::ENHANCE_YOUR_CALM) }
    }

    /// Whether a stream has ever begun.
    pub(super) fn has_begun(&self, id: u32) -> bool {
        let by_client = id % 2 == 1;
        match self.role {
            Role::Server => by_client && id <= self.last,
            Role::Client => by_client && id < self.next,
        }
    }

    /// DATA: its bytes are taken as they come.
    fn begin_data(&mut self, head: Head, bytes: &[u8]) -> Result<Option<usize>, Code> {
        let padded = head.has(flag::PADDED);
        let (skip, padding) = match bytes.first() {
            _ if !padded => (0, 0),
            _ if head.length == 0 => return Err(Code::FRAME_SIZE_ERROR),
            Some(padding) => (1, usize::from(*padding)),
            None => return Ok(None),
        };
        let left = head.length.checked_sub(skip + padding).ok_or(Code::PROTOCOL_ERROR)?;
        if !self.has_begun(head.stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let ends = head.has(flag::END_STREAM);
        if left == 0 && !ends {
            self.spend()?;
        }
        self.window -= head.length as i64;
        if self.window < 0 {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        let overhead = skip + padding;
        let role = self.role;
        if let Some(index) = self.find(head.stream)
            && let Some(slot) = self.slot(index)
        {
            if slot.received {
                return Err(Code::STREAM_CLOSED);
            }
            slot.window -= head.length as i64;
            if slot.window < 0 {
                self.refuse(index, Code::FLOW_CONTROL_ERROR)?;
            } else {
                slot.unsaid += u32::try_from(overhead).unwrap_or_default();
                if role == Role::Client && !slot.answered {
                    self.spoil(index, ResponseFault::StatusLine)?;
                }
            }
        }
        self.give_back(overhead);
        self.part = Part::Data { stream: head.stream, left, padding, ends };
        Ok(Some(frames::HEAD + skip))
    }

    fn data(&mut self, stream: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let slot = self.find(stream).and_then(|index| self.slot(index));
        let Some(slot) = slot.filter(|slot| slot.over.is_none()) else {
            // It was refused or broken off, before this frame or in the middle of it.
            self.give_back(bytes.len());
            return;
        };
        slot.data.extend_from_slice(bytes);
        self.stirred |= slot.wake_reader();
    }

    /// The other side has said all on a stream.
    fn finished(&mut self, stream: u32) -> Verdict {
        let Some(index) = self.find(stream) else { return Ok(()) };
        let role = self.role;
        let Some(slot) = self.slot(index) else { return Ok(()) };
        if slot.over.is_some() {
            // What came after it was broken off was dropped: the rest is not the whole.
            return Ok(());
        }
        if role == Role::Client && !slot.answered {
            return self.spoil(index, ResponseFault::StatusLine);
        }
        slot.received = true;
        self.stirred |= slot.wake_reader();
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &[u8], accept: &mut dyn Accept) -> Verdict {
        if head.stream.is_multiple_of(2) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let mut block = frames::unpadded(head, payload).ok_or(Code::PROTOCOL_ERROR)?;
        if head.has(flag::PRIORITY) {
            block = block.get(5..).ok_or(Code::FRAME_SIZE_ERROR)?;
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.head(head.stream, ends, block, accept);
        }
        self.block.clear();
        self.block.extend_from_slice(block);
        self.part = Part::Block { stream: head.stream, ends, frames: 0 };
        Ok(())
    }

    fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        (ends, frames): (bool, u32),
        accept: &mut dyn Accept,
    ) -> Verdict {
        self.spend()?;
        // Compressed, a head is not larger than it may be.
        let too_long = self.block.len() + payload.len() > self.terms.head.bytes + frames::MOST;
        if too_long || frames >= CONTINUATIONS {
            return Err(Code::ENHANCE_YOUR_CALM);
        }
        self.block.extend_from_slice(payload);
        self.part = Part::Block { stream: head.stream, ends, frames: frames + 1 };
        if head.has(flag::END_HEADERS) {
            self.part = Part::Frame;
            let block = std::mem::take(&mut self.block);
            return self.head(head.stream, ends, &block, accept);
        }
        Ok(())
    }

    /// A whole head. Whatever becomes of it, it is decoded: what it put into the table stays there.
    fn head(&mut self, id: u32, ends: bool, block: &[u8], accept: &mut dyn Accept) -> Verdict {
        match (self.find(id), self.role) {
            (Some(index), Role::Client) => self.response(index, ends, block),
            (Some(index), Role::Server) => self.trailers(index, ends, block),
            (None, Role::Server) if id > self.last => self.request(id, ends, block, accept),
            (None, _) => {
                if !self.has_begun(id) {
                    return Err(Code::PROTOCOL_ERROR);
                }
                self.decoder.decode(block, &mut |_| {}).map_err(|_| Code::COMPRESSION_ERROR)?;
                // Of one that was broken off, something may still be under way.
                let known = self.role == Role::Client || self.cancelled.contains(&id);
                if known { self.spend() } else { Err(Code::STREAM_CLOSED) }
            }
        }
    }

    fn request(&mut self, id: u32, ends: bool, block: &[u8], accept: &mut dyn Accept) -> Verdict {
        self.allowance.begin();
        let most = self.terms.streams as usize;
        let open = self.ids.len();
        // Those that were cancelled but still have to be told so count twice as long.
        let over = || self.slots.iter().filter(|slot| slot.id != 0 && slot.over.is_some()).count();
        let refused = open >= most && (open >= 2 * most || open - over() >= most);
        if refused || self.leaving == Leaving::Last {
            self.decoder.decode(block, &mut |_| {}).map_err(|_| Code::COMPRESSION_ERROR)?;
            self.last = id;
            // RFC 9113 §6.8: after the end was said, nobody waits for an answer to it.
            if self.leaving != Leaving::Last {
                self.put_reset(id, Code::REFUSED_STREAM);
            }
            return self.spend();
        }
        self.last = id;
        let mut head = accept.head();
        let fault = self.read_request(block, ends, &mut head, accept)?;
        let index = self.occupy(id);
        if let Some(slot) = self.slot(index) {
            slot.received = ends;
        }
        self.stirred = true;
        if fault.is_some() {
            self.paused = true;
            // What it has taken is not needed for the answer.
            *head = RequestHead::default();
        }
        accept.stream(index, head, fault);
        Ok(())
    }

    fn read_request(
        &mut self,
        block: &[u8],
        ends: bool,
        head: &mut RequestHead,
        accept: &mut dyn Accept,
    ) -> Result<Option<Fault>, Code> {
        let Self { decoder, text, cookie, terms, .. } = self;
        let mut reading = heads::Request::new(head, &terms.head, (text, cookie), accept);
        decoder
            .decode(block, &mut |field| reading.field(field))
            .map_err(|_| Code::COMPRESSION_ERROR)?;
        Ok(reading.end(ends))
    }

    fn trailers(&mut self, index: u32, ends: bool, block: &[u8]) -> Verdict {
        let mut trailers = heads::Trailers::default();
        self.decoder
            .decode(block, &mut |field| trailers.field(field))
            .map_err(|_| Code::COMPRESSION_ERROR)?;
        let role = self.role;
        let Some(slot) = self.slot(index) else { return Ok(()) };
        if slot.received {
            return Err(Code::STREAM_CLOSED);
        }
        if slot.over.is_some() {
            return Ok(());
        }
        // RFC 9113 §8.1: nothing but the end comes after a body.
        let Some(fields) = trailers.end().filter(|_| ends) else {
            return match role {
                Role::Server => self.refuse(index, Code::PROTOCOL_ERROR),
                Role::Client => self.spoil(index, ResponseFault::Field),
            };
        };
        slot.trailers = fields;
        slot.received = true;
        self.stirred |= slot.wake_reader();
        Ok(())
    }

    fn response(&mut self, index: u32, ends: bool, block: &[u8]) -> Verdict {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        if slot.answered {
            return self.trailers(index, ends, block);
        }
        let mut reading = heads::Response::new(&mut slot.head, self.terms.head);
        self.decoder
            .decode(block, &mut |field| reading.field(field))
            .map_err(|_| Code::COMPRESSION_ERROR)?;
        let heard = reading.end(ends);
        if slot.over.is_some() {
            return Ok(());
        }
        match heard {
            Ok(Heard::Interim) if slot.interim.len() >= INTERIM => {
                return self.spoil(index, ResponseFault::Status);
            }
            Ok(Heard::Interim) => slot.interim.push_back(std::mem::take(&mut slot.head)),
            Ok(Heard::Final) => {
                slot.answered = true;
                slot.received = ends;
                self.heard += 1;
            }
            Err(fault) => {
                self.heard += 1;
                return self.spoil(index, fault);
            }
        }
        self.stirred |= slot.wake_reader();
        Ok(())
    }

    /// A client's stream breaks a rule of its own.
    pub(super) fn refuse(&mut self, index: u32, code: Code) -> Verdict {
        self.spend_reset()?;
        self.reset(index, code);
        Ok(())
    }

    /// What a server said is no response.
    fn spoil(&mut self, index: u32, fault: ResponseFault) -> Verdict {
        if let Some(slot) = self.slot(index) {
            slot.end(Over::Invalid(fault));
            let id = slot.id;
            self.put_reset(id, Code::PROTOCOL_ERROR);
        }
        self.stirred = true;
        Ok(())
    }

    /// Remembers a stream that was broken off here.
    pub(super) fn remember(&mut self, id: u32) {
        if self.cancelled.len() == CANCELLED {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back(id);
    }
}
