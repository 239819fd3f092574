//! Frames that are no part of a message: what the other side wants, and how much it takes.

use super::receive::Verdict;
use super::slot::Over;
use super::{GOODBYE, Leaving, Role, State};
use crate::wire::frames::{self, Code, Head, flag, kind, setting};

impl State {
    pub(super) fn priority(&mut self, head: Head) -> Verdict {
        if head.stream == 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        if head.length != 5 {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        self.spend()
    }

    pub(super) fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Verdict {
        let code = frames::number(payload).filter(|_| head.length == 4);
        let code = Code(code.ok_or(Code::FRAME_SIZE_ERROR)?);
        if !self.has_begun(head.stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let Some(index) = self.find(head.stream) else {
            // It has ended already: some clients answer a stream that was refused in kind.
            return self.spend();
        };
        self.spend_reset()?;
        if let Some(slot) = self.slot(index) {
            slot.end(match code {
                Code::REFUSED_STREAM => Over::Unprocessed,
                code => Over::Reset(code),
            });
            self.stirred = true;
        }
        Ok(())
    }

    pub(super) fn settings(&mut self, head: Head, payload: &[u8]) -> Verdict {
        self.spend()?;
        if head.stream != 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        if head.has(flag::ACK) {
            return if head.length == 0 { Ok(()) } else { Err(Code::FRAME_SIZE_ERROR) };
        }
        if !head.length.is_multiple_of(6) {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        let mut streams = None;
        for (id, value) in frames::settings(payload) {
            match id {
                setting::HEADER_TABLE_SIZE => self.encoder.limit(value as usize),
                setting::ENABLE_PUSH if value > u32::from(self.role == Role::Server) => {
                    return Err(Code::PROTOCOL_ERROR);
                }
                setting::MAX_CONCURRENT_STREAMS => streams = Some(value),
                setting::INITIAL_WINDOW_SIZE => self.resize_windows(value)?,
                setting::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(Code::PROTOCOL_ERROR);
                }
                setting::ENABLE_CONNECT_PROTOCOL => {
                    if value > 1 {
                        return Err(Code::PROTOCOL_ERROR);
                    }
                    self.tunnels = value == 1;
                }
                _ => {}
            }
        }
        if let Some(streams) = streams {
            self.allowed = streams;
        } else if !self.settled {
            // Without a word about it, there is no limit.
            self.allowed = u32::MAX;
        }
        frames::put(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        self.settle();
        Ok(())
    }

    /// RFC 9113 §6.9.2: windows of streams that are open change by the difference.
    fn resize_windows(&mut self, value: u32) -> Verdict {
        if value > frames::LARGEST {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        let more = i64::from(value) - self.stream_credit;
        self.stream_credit = i64::from(value);
        for slot in self.slots.iter_mut().filter(|slot| slot.id != 0) {
            slot.credit += more;
            if slot.credit > i64::from(frames::LARGEST) {
                return Err(Code::FLOW_CONTROL_ERROR);
            }
            if slot.credit > 0 {
                slot.wake_writer();
            }
        }
        Ok(())
    }

    pub(super) fn ping(&mut self, head: Head, payload: &[u8]) -> Verdict {
        self.spend()?;
        if head.stream != 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        if head.length != 8 {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        if !head.has(flag::ACK) {
            frames::put(&mut self.out, kind::PING, flag::ACK, 0, payload);
        } else if payload == GOODBYE && self.leaving == Leaving::Announced {
            self.end_with_last();
        }
        Ok(())
    }

    pub(super) fn gone_away(&mut self, head: Head, payload: &[u8]) -> Verdict {
        self.spend()?;
        if head.stream != 0 {
            return Err(Code::PROTOCOL_ERROR);
        }
        if head.length < 8 {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        let last = frames::number(payload).unwrap_or_default() & frames::LARGEST;
        if self.role == Role::Server {
            // It only says that nothing may be pushed.
            return Ok(());
        }
        self.leaving = Leaving::Last;
        let Self { ids, slots, .. } = self;
        for (_, slot) in ids.iter().filter(|(id, _)| *id > last) {
            if let Some(slot) = slots.get_mut(*slot as usize) {
                slot.end(Over::Unprocessed);
            }
        }
        self.stirred = true;
        self.settlers.drain(..).for_each(std::task::Waker::wake);
        Ok(())
    }

    pub(super) fn window_update(&mut self, head: Head, payload: &[u8]) -> Verdict {
        self.spend()?;
        let more = frames::number(payload).filter(|_| head.length == 4);
        let more = i64::from(more.ok_or(Code::FRAME_SIZE_ERROR)? & frames::LARGEST);
        let most = i64::from(frames::LARGEST);
        if head.stream == 0 {
            self.credit += more;
            if more == 0 {
                return Err(Code::PROTOCOL_ERROR);
            }
            if self.credit > most {
                return Err(Code::FLOW_CONTROL_ERROR);
            }
            self.next_turn();
            return Ok(());
        }
        if !self.has_begun(head.stream) {
            return Err(Code::PROTOCOL_ERROR);
        }
        let Some(index) = self.find(head.stream) else { return Ok(()) };
        let Some(slot) = self.slot(index) else { return Ok(()) };
        slot.credit += more;
        if more == 0 {
            return self.refuse(index, Code::PROTOCOL_ERROR);
        }
        if slot.credit > most {
            return self.refuse(index, Code::FLOW_CONTROL_ERROR);
        }
        if slot.credit > 0 {
            slot.wake_writer();
        }
        Ok(())
    }
}
