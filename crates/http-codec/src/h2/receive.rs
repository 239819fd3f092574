//! Frames that come in.

use super::heads::{self, ResponseKind};
use super::stream::Misplaced;
use super::{Accept, GoAwayState, Role, State, StreamEnd, StreamState, control};
use crate::frames::{self, ErrorCode, FrameHead, flag, kind};
use crate::{Fault, RequestHead, ResponseFault, framing};

/// Frames that one head may be spread over beside the first.
const CONTINUATIONS: u32 = 64;
/// Frames of DATA that carry less than this on a stream that was broken off are charged: they cost
/// more to read than to send.
const SMALL: usize = 64;
/// Informational responses that wait to be taken.
const INTERIM: usize = 16;

/// The part that the next bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextPart {
    /// The first bytes of a client.
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

/// The lengths of a frame of DATA, in bytes.
struct DataLength {
    /// Of all behind the head of the frame.
    frame: usize,
    /// Of what belongs to the message.
    message: usize,
    /// Of padding, and of what says how long that is.
    overhead: usize,
}

impl NextPart {
    pub(super) fn first_part(role: Role) -> Self {
        match role {
            Role::Server => NextPart::Preface,
            Role::Client => NextPart::First,
        }
    }
}

/// The place that a part of a message belongs to.
#[derive(Debug, Clone, Copy)]
enum StreamLookup {
    /// To the stream in this slot.
    Stream(u32),
    /// To one that this side has broken off, or reads no more of.
    Nowhere,
    /// To one that the other side itself has ended or broken off; it may still have a slot.
    Closed(Option<u32>),
}

/// A rule was broken: the connection has to end.
pub(super) type FrameVerdict = Result<(), ErrorCode>;

impl State {
    /// Reads what was received, and says how much of it has been dealt with. The rest comes again
    /// with more behind it.
    pub fn receive(&mut self, bytes: &[u8], accept: &mut dyn Accept) -> usize {
        let mut at = 0;
        while self.ended.is_none() {
            if self.paused {
                return at;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            match self.step_part(rest, accept) {
                Ok(Some(n)) => at += n,
                Ok(None) => return at,
                Err(code) => self.fail_connection(code),
            }
        }
        bytes.len()
    }

    /// Deals with the first thing in `bytes`; `None` if it is not all there.
    fn step_part(
        &mut self,
        bytes: &[u8],
        accept: &mut dyn Accept,
    ) -> Result<Option<usize>, ErrorCode> {
        match self.part {
            NextPart::Preface => {
                let n = bytes.len().min(frames::PREFACE.len());
                if bytes.get(..n) != frames::PREFACE.get(..n) {
                    return Err(ErrorCode::PROTOCOL_ERROR);
                }
                if n < frames::PREFACE.len() {
                    return Ok(None);
                }
                self.part = NextPart::First;
                let hello = std::mem::take(&mut self.block);
                self.out.extend_from_slice(&hello);
                Ok(Some(n))
            }
            NextPart::Data { stream, left, padding, ends } => {
                if left + padding > 0 && bytes.is_empty() {
                    return Ok(None);
                }
                let data = left.min(bytes.len());
                let pad = padding.min(bytes.len() - data);
                self.receive_data(stream, bytes.get(..data).unwrap_or_default());
                let (left, padding) = (left - data, padding - pad);
                self.part = NextPart::Data { stream, left, padding, ends };
                if left + padding == 0 {
                    self.part = NextPart::Frame;
                    if ends {
                        self.finish_stream(stream)?;
                    }
                }
                Ok(Some(data + pad))
            }
            NextPart::First | NextPart::Frame | NextPart::Block { .. } => {
                let Some(head) = FrameHead::read(bytes) else { return Ok(None) };
                if head.length > frames::MOST {
                    return Err(ErrorCode::FRAME_SIZE_ERROR);
                }
                let end = frames::HEAD + head.length;
                if head.kind == kind::DATA && self.part == NextPart::Frame {
                    return self.begin_data(head, bytes.get(frames::HEAD..).unwrap_or_default());
                }
                let Some(payload) = bytes.get(frames::HEAD..end) else { return Ok(None) };
                self.receive_frame(head, payload, accept)?;
                Ok(Some(end))
            }
        }
    }

    fn receive_frame(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        accept: &mut dyn Accept,
    ) -> FrameVerdict {
        if let NextPart::Block { stream, ends, frames } = self.part {
            if head.kind != kind::CONTINUATION || head.stream != stream {
                return Err(ErrorCode::PROTOCOL_ERROR);
            }
            return self.receive_continuation(head, payload, (ends, frames), accept);
        }
        if self.part == NextPart::First {
            if head.kind != kind::SETTINGS || head.has(flag::ACK) {
                return Err(ErrorCode::PROTOCOL_ERROR);
            }
            self.part = NextPart::Frame;
        }
        match head.kind {
            kind::HEADERS => self.receive_headers(head, payload, accept),
            kind::PRIORITY => self.receive_priority(head, payload),
            kind::RST_STREAM => self.rst_stream(head, payload),
            kind::SETTINGS => self.receive_settings(head, payload),
            kind::PING => self.receive_ping(head, payload),
            kind::GOAWAY => self.gone_away(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            // Nobody was allowed to push, and a head that goes on has begun before.
            kind::PUSH_PROMISE | kind::CONTINUATION | kind::DATA => Err(ErrorCode::PROTOCOL_ERROR),
            _ => self.spend_frame(),
        }
    }

    /// A frame that asks for nothing.
    pub(super) fn spend_frame(&mut self) -> FrameVerdict {
        if self.budget.spend_frame(self.now) { Ok(()) } else { Err(ErrorCode::ENHANCE_YOUR_CALM) }
    }

    /// A stream that came to nothing by the other side's doing.
    pub(super) fn charge_stream(&mut self) -> FrameVerdict {
        // What a server refuses says nothing against it.
        let fine = self.role == Role::Client || self.budget.count_failure(self.now);
        if fine { Ok(()) } else { Err(ErrorCode::ENHANCE_YOUR_CALM) }
    }

    /// Returns whether a stream has ever begun.
    pub(super) fn has_begun(&self, id: u32) -> bool {
        let by_client = id % 2 == 1;
        match self.role {
            Role::Server => by_client && id <= self.last,
            Role::Client => by_client && id < self.next,
        }
    }

    /// Finds where a part of a message belongs.
    fn locate_stream(&self, id: u32) -> Result<StreamLookup, ErrorCode> {
        if !self.has_begun(id) {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        let index = self.find_slot(id);
        let slot = index.and_then(|index| self.slots.get(index as usize));
        let misplaced = match slot {
            Some(slot) => slot.state.check_receives().err(),
            None => Some(self.closed.misplaced_part(id)),
        };
        match (misplaced, index) {
            (Some(Misplaced::Connection(code)), _) => Err(code),
            (Some(Misplaced::Stream), index) => Ok(StreamLookup::Closed(index)),
            (Some(Misplaced::Late), _) | (None, None) => Ok(StreamLookup::Nowhere),
            // What is known to be no request is not read on.
            (None, Some(_)) if slot.is_some_and(|slot| slot.fault.is_some()) => {
                Ok(StreamLookup::Nowhere)
            }
            (None, Some(index)) => Ok(StreamLookup::Stream(index)),
        }
    }

    /// A part of a message on a stream that the other side itself has ended or broken off (RFC 9113
    /// §5.1, §6.1).
    fn answer_misplaced(&mut self, id: u32, index: Option<u32>) -> FrameVerdict {
        self.charge_stream()?;
        match (index, self.role) {
            (Some(index), Role::Client) => {
                return self.fail_response(index, ResponseFault::StatusLine);
            }
            (Some(index), Role::Server) if self.has_half_closed(index) => {
                self.reset(index, ErrorCode::STREAM_CLOSED);
            }
            (Some(_) | None, _) => self.put_reset(id, ErrorCode::STREAM_CLOSED),
        }
        Ok(())
    }

    fn has_half_closed(&self, index: u32) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_some_and(|slot| slot.state == StreamState::HalfClosedRemote)
    }

    /// DATA: its bytes are taken as they come.
    fn begin_data(&mut self, head: FrameHead, bytes: &[u8]) -> Result<Option<usize>, ErrorCode> {
        let padded = head.has(flag::PADDED);
        let (skip, padding) = match bytes.first() {
            _ if !padded => (0, 0),
            _ if head.length == 0 => return Err(ErrorCode::FRAME_SIZE_ERROR),
            Some(padding) => (1, usize::from(*padding)),
            None => return Ok(None),
        };
        let left = head.length.checked_sub(skip + padding).ok_or(ErrorCode::PROTOCOL_ERROR)?;
        let place = self.locate_stream(head.stream)?;
        let ends = head.has(flag::END_STREAM);
        let crumb = match place {
            StreamLookup::Stream(_) => left == 0 && !ends,
            StreamLookup::Nowhere | StreamLookup::Closed(_) => left < SMALL,
        };
        if crumb {
            self.spend_frame()?;
        }
        self.window -= head.length as i64;
        if self.window < 0 {
            return Err(ErrorCode::FLOW_CONTROL_ERROR);
        }
        let overhead = skip + padding;
        match place {
            StreamLookup::Stream(index) => {
                self.expect_data(index, DataLength { frame: head.length, message: left, overhead })?
            }
            StreamLookup::Closed(index) => self.answer_misplaced(head.stream, index)?,
            StreamLookup::Nowhere => {}
        }
        self.give_back(overhead);
        self.part = NextPart::Data { stream: head.stream, left, padding, ends };
        Ok(Some(frames::HEAD + skip))
    }

    /// A frame of DATA has begun.
    fn expect_data(&mut self, index: u32, length: DataLength) -> FrameVerdict {
        let DataLength { frame, message, overhead } = length;
        let role = self.role;
        let Some(slot) = self.slot_mut(index) else { return Ok(()) };
        slot.window -= frame as i64;
        if slot.window < 0 {
            return self.refuse_stream(index, ErrorCode::FLOW_CONTROL_ERROR);
        }
        slot.unsaid += u32::try_from(overhead).unwrap_or_default();
        slot.arrived = slot.arrived.saturating_add(message as u64);
        if role == Role::Client && !slot.answered {
            return self.fail_response(index, ResponseFault::StatusLine);
        }
        if slot.announced.is_some_and(|announced| slot.arrived > announced) {
            return self.fail_request(index, Fault::ContentLength);
        }
        Ok(())
    }

    fn receive_data(&mut self, stream: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let slot = self.find_slot(stream).and_then(|index| self.slot_mut(index));
        let Some(slot) = slot.filter(|slot| slot.is_reading()) else {
            // It was refused or broken off, before this frame or in the middle of it.
            self.give_back(bytes.len());
            return;
        };
        slot.data.extend_from_slice(bytes);
        self.stirred |= slot.wake_reader();
        self.received.add_bytes(bytes.len());
    }

    /// The other side has said all on a stream.
    fn finish_stream(&mut self, stream: u32) -> FrameVerdict {
        let Some(index) = self.find_slot(stream) else { return Ok(()) };
        let role = self.role;
        let slot = self.slots.get_mut(index as usize);
        let Some(slot) = slot.filter(|slot| slot.state.check_receives().is_ok()) else {
            // It was broken off here: whatever its end says, it has come to none.
            return Ok(());
        };
        if role == Role::Client && !slot.answered {
            return self.fail_response(index, ResponseFault::StatusLine);
        }
        let short = slot.announced.is_some_and(|announced| slot.arrived < announced);
        slot.state.receive_end();
        let fails = short && slot.fault.is_none();
        self.stirred |= slot.wake_reader();
        if fails {
            return self.fail_request(index, Fault::ContentLength);
        }
        Ok(())
    }

    fn receive_headers(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        accept: &mut dyn Accept,
    ) -> FrameVerdict {
        if head.stream.is_multiple_of(2) {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        let mut block = frames::unpadded(head, payload).ok_or(ErrorCode::PROTOCOL_ERROR)?;
        if head.has(flag::PRIORITY) {
            control::check_dependency(head.stream, block)?;
            block = block.get(5..).ok_or(ErrorCode::FRAME_SIZE_ERROR)?;
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.receive_head(head.stream, ends, block, accept);
        }
        self.block.clear();
        self.block.extend_from_slice(block);
        self.part = NextPart::Block { stream: head.stream, ends, frames: 0 };
        Ok(())
    }

    fn receive_continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        (ends, frames): (bool, u32),
        accept: &mut dyn Accept,
    ) -> FrameVerdict {
        self.spend_frame()?;
        // Compressed, a head is not larger than it may be.
        let too_long = self.block.len() + payload.len() > self.terms.head.bytes + frames::MOST;
        if too_long || frames >= CONTINUATIONS {
            return Err(ErrorCode::ENHANCE_YOUR_CALM);
        }
        self.block.extend_from_slice(payload);
        self.part = NextPart::Block { stream: head.stream, ends, frames: frames + 1 };
        if head.has(flag::END_HEADERS) {
            self.part = NextPart::Frame;
            let block = std::mem::take(&mut self.block);
            return self.receive_head(head.stream, ends, &block, accept);
        }
        Ok(())
    }

    /// A whole head. Whatever becomes of it, it is decoded: what it put into the table stays there.
    fn receive_head(
        &mut self,
        id: u32,
        ends: bool,
        block: &[u8],
        accept: &mut dyn Accept,
    ) -> FrameVerdict {
        if self.role == Role::Server && id > self.last {
            return self.receive_request(id, ends, block, accept);
        }
        let place = self.locate_stream(id)?;
        if let StreamLookup::Stream(index) = place {
            return match self.role {
                Role::Client => self.receive_response((id, index), ends, block),
                Role::Server => self.receive_trailers((id, index), ends, block),
            };
        }
        self.decoder.decode(block, &mut |_| {}).map_err(|_| ErrorCode::COMPRESSION_ERROR)?;
        self.spend_frame()?;
        match place {
            StreamLookup::Closed(index) => self.answer_misplaced(id, index),
            StreamLookup::Stream(_) => Ok(()),
            StreamLookup::Nowhere => {
                self.finished_by_head(id, ends);
                Ok(())
            }
        }
    }

    /// The end of a request that is malformed already: its stream is half closed, and can be
    /// answered all the same.
    fn finished_by_head(&mut self, id: u32, ends: bool) {
        if let Some(slot) =
            self.find_slot(id).and_then(|index| self.slot_mut(index)).filter(|_| ends)
        {
            slot.state.receive_end();
        }
    }

    fn receive_request(
        &mut self,
        id: u32,
        ends: bool,
        block: &[u8],
        accept: &mut dyn Accept,
    ) -> FrameVerdict {
        self.budget.count_stream();
        let most = self.terms.streams as usize;
        let open = self.ids.len();
        // Those that were cancelled but still have to be told so count twice as long.
        let over = || self.slots.iter().filter(|slot| slot.state.break_reason().is_some()).count();
        let refused = open >= most && (open >= 2 * most || open - over() >= most);
        if refused || self.leaving == GoAwayState::Last {
            self.decoder.decode(block, &mut |_| {}).map_err(|_| ErrorCode::COMPRESSION_ERROR)?;
            self.last = id;
            // RFC 9113 §6.8: after the end was said, nobody waits for an answer to it.
            if self.leaving == GoAwayState::Last {
                return self.spend_frame();
            }
            self.put_reset(id, ErrorCode::REFUSED_STREAM);
            return Ok(());
        }
        self.last = id;
        let mut head = accept.head();
        let fault = self.read_request(block, ends, &mut head, accept)?;
        if fault.is_some() {
            self.charge_stream()?;
        }
        let index = self.occupy_slot(id);
        if let Some(slot) = self.slot_mut(index) {
            slot.state.open_stream();
            if ends {
                slot.state.receive_end();
            }
            // What is too large is a request all the same.
            slot.fault = fault.filter(|fault| fault.status() == 400);
            slot.announced = framing::length(&head);
        }
        self.stirred = true;
        if fault.is_some() {
            self.paused = true;
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
    ) -> Result<Option<Fault>, ErrorCode> {
        let Self { decoder, text, cookie, terms, .. } = self;
        let mut reading = heads::Request::new(head, &terms.head, (text, cookie), accept);
        decoder
            .decode(block, &mut |field| reading.add_field(field))
            .map_err(|_| ErrorCode::COMPRESSION_ERROR)?;
        Ok(reading.end_fields(ends))
    }

    fn receive_trailers(
        &mut self,
        (id, index): (u32, u32),
        ends: bool,
        block: &[u8],
    ) -> FrameVerdict {
        let mut trailers = heads::Trailers::default();
        self.decoder
            .decode(block, &mut |field| trailers.add_field(field))
            .map_err(|_| ErrorCode::COMPRESSION_ERROR)?;
        let role = self.role;
        // RFC 9113 §8.1: nothing but the end comes after a body.
        let Some(fields) = trailers.end_fields().filter(|_| ends) else {
            return match role {
                Role::Server => {
                    self.finished_by_head(id, ends);
                    self.fail_request(index, Fault::Trailer)
                }
                Role::Client => self.fail_response(index, ResponseFault::Field),
            };
        };
        if let Some(slot) = self.slot_mut(index) {
            slot.trailers = fields;
        }
        self.finish_stream(id)
    }

    fn receive_response(
        &mut self,
        (id, index): (u32, u32),
        ends: bool,
        block: &[u8],
    ) -> FrameVerdict {
        let Some(slot) = self.slots.get_mut(index as usize) else { return Ok(()) };
        if slot.answered {
            return self.receive_trailers((id, index), ends, block);
        }
        let mut reading = heads::Response::new(&mut slot.head, self.terms.head);
        self.decoder
            .decode(block, &mut |field| reading.add_field(field))
            .map_err(|_| ErrorCode::COMPRESSION_ERROR)?;
        let heard = reading.end_fields(ends);
        match heard {
            Ok(ResponseKind::Interim) if slot.interim.len() >= INTERIM => {
                return self.fail_response(index, ResponseFault::Status);
            }
            Ok(ResponseKind::Interim) => slot.interim.push_back(std::mem::take(&mut slot.head)),
            Ok(ResponseKind::Final) => {
                slot.answered = true;
                if ends {
                    slot.state.receive_end();
                }
                self.heard += 1;
            }
            Err(fault) => {
                self.heard += 1;
                return self.fail_response(index, fault);
            }
        }
        self.stirred |= slot.wake_reader();
        Ok(())
    }

    /// A client's stream breaks a rule of its own.
    pub(super) fn refuse_stream(&mut self, index: u32, code: ErrorCode) -> FrameVerdict {
        self.charge_stream()?;
        self.reset(index, code);
        Ok(())
    }

    /// Fails a request that is none (RFC 9113 §8.1.1): its reader is told, and may still answer.
    fn fail_request(&mut self, index: u32, fault: Fault) -> FrameVerdict {
        self.charge_stream()?;
        let Some(slot) = self.slot_mut(index) else { return Ok(()) };
        slot.fault = Some(fault);
        slot.trailers = None;
        let unread = std::mem::take(&mut slot.data).len();
        self.stirred |= slot.wake_reader();
        self.received.subtract_bytes(unread);
        self.give_back(unread);
        Ok(())
    }

    /// Fails a response that is none.
    fn fail_response(&mut self, index: u32, fault: ResponseFault) -> FrameVerdict {
        let Some(id) = self.slot_mut(index).map(|slot| slot.id) else { return Ok(()) };
        self.end_stream(index, StreamEnd::Invalid(fault));
        self.put_reset(id, ErrorCode::PROTOCOL_ERROR);
        self.stirred = true;
        Ok(())
    }
}
