//! Frames that are no part of a message: what the other side wants, and how much it takes.

use super::receive::FrameVerdict;
use super::{GOODBYE, GoAwayState, Role, State, StreamEnd};
use crate::frames::{self, ErrorCode, FrameHead, flag, kind, setting};

/// Settings in one frame. There are seven; whoever sends hundreds wants to make work
/// (CVE-2020-11080).
const SETTINGS: usize = 32;

/// The settings of a frame that change something for all streams.
#[derive(Debug, Default)]
struct PeerSettings {
    streams: Option<u32>,
    window: Option<u32>,
}

impl State {
    pub(super) fn receive_priority(&mut self, head: FrameHead, payload: &[u8]) -> FrameVerdict {
        if head.stream == 0 {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        if head.length != 5 {
            return Err(ErrorCode::FRAME_SIZE_ERROR);
        }
        check_dependency(head.stream, payload)?;
        self.spend_frame()
    }

    pub(super) fn rst_stream(&mut self, head: FrameHead, payload: &[u8]) -> FrameVerdict {
        let code = frames::number(payload).filter(|_| head.length == 4);
        let code = ErrorCode(code.ok_or(ErrorCode::FRAME_SIZE_ERROR)?);
        if !self.has_begun(head.stream) {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        let Some(index) = self.find_slot(head.stream) else {
            // It has ended already: some clients answer a stream that was refused in kind.
            return self.spend_frame();
        };
        self.charge_stream()?;
        self.end_stream(
            index,
            match code {
                ErrorCode::REFUSED_STREAM => StreamEnd::Unprocessed,
                code => StreamEnd::Reset(code),
            },
        );
        self.stirred = true;
        Ok(())
    }

    pub(super) fn receive_settings(&mut self, head: FrameHead, payload: &[u8]) -> FrameVerdict {
        self.spend_frame()?;
        if head.stream != 0 {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        if head.has(flag::ACK) {
            return if head.length == 0 { Ok(()) } else { Err(ErrorCode::FRAME_SIZE_ERROR) };
        }
        if !head.length.is_multiple_of(6) {
            return Err(ErrorCode::FRAME_SIZE_ERROR);
        }
        if head.length > 6 * SETTINGS {
            return Err(ErrorCode::ENHANCE_YOUR_CALM);
        }
        // What is said twice in one frame counts once: applying a setting can cost something for
        // each stream.
        let mut said = PeerSettings::default();
        for (id, value) in frames::settings(payload) {
            match id {
                setting::HEADER_TABLE_SIZE => self.encoder.limit(value as usize),
                setting::ENABLE_PUSH if value > u32::from(self.role == Role::Server) => {
                    return Err(ErrorCode::PROTOCOL_ERROR);
                }
                setting::MAX_CONCURRENT_STREAMS => said.streams = Some(value),
                setting::INITIAL_WINDOW_SIZE if value > frames::LARGEST => {
                    return Err(ErrorCode::FLOW_CONTROL_ERROR);
                }
                setting::INITIAL_WINDOW_SIZE => said.window = Some(value),
                setting::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(ErrorCode::PROTOCOL_ERROR);
                }
                setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                    return Err(ErrorCode::PROTOCOL_ERROR);
                }
                setting::ENABLE_CONNECT_PROTOCOL => self.tunnels = value == 1,
                _ => {}
            }
        }
        if let Some(window) = said.window {
            self.resize_windows(window)?;
        }
        if let Some(streams) = said.streams {
            self.allowed = streams;
        } else if !self.settled {
            // Without a word about it, there is no limit.
            self.allowed = u32::MAX;
        }
        frames::put(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        self.mark_settled();
        Ok(())
    }

    /// RFC 9113 §6.9.2: windows of streams that are open change by the difference.
    fn resize_windows(&mut self, value: u32) -> FrameVerdict {
        let more = i64::from(value) - self.stream_credit;
        self.stream_credit = i64::from(value);
        for slot in self.slots.iter_mut().filter(|slot| slot.id != 0) {
            let had = slot.credit;
            slot.credit += more;
            if slot.credit > i64::from(frames::LARGEST) {
                return Err(ErrorCode::FLOW_CONTROL_ERROR);
            }
            // Who had a window waits for something else.
            if had <= 0 && slot.credit > 0 {
                slot.wake_writer();
            }
        }
        Ok(())
    }

    pub(super) fn receive_ping(&mut self, head: FrameHead, payload: &[u8]) -> FrameVerdict {
        self.spend_frame()?;
        if head.stream != 0 {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        if head.length != 8 {
            return Err(ErrorCode::FRAME_SIZE_ERROR);
        }
        if !head.has(flag::ACK) {
            frames::put(&mut self.out, kind::PING, flag::ACK, 0, payload);
        } else if payload == GOODBYE && self.leaving == GoAwayState::Announced {
            self.end_with_last();
        }
        Ok(())
    }

    pub(super) fn gone_away(&mut self, head: FrameHead, payload: &[u8]) -> FrameVerdict {
        self.spend_frame()?;
        if head.stream != 0 {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        if head.length < 8 {
            return Err(ErrorCode::FRAME_SIZE_ERROR);
        }
        let last = frames::number(payload).unwrap_or_default() & frames::LARGEST;
        if self.role == Role::Server {
            // It only says that nothing may be pushed.
            return Ok(());
        }
        self.leaving = GoAwayState::Last;
        for at in 0..self.ids.len() {
            if let Some((_, index)) = self.ids.get(at).copied().filter(|(id, _)| *id > last) {
                self.end_stream(index, StreamEnd::Unprocessed);
            }
        }
        self.stirred = true;
        self.settlers.drain(..).for_each(std::task::Waker::wake);
        Ok(())
    }

    pub(super) fn window_update(&mut self, head: FrameHead, payload: &[u8]) -> FrameVerdict {
        self.spend_frame()?;
        let more = frames::number(payload).filter(|_| head.length == 4);
        let more = i64::from(more.ok_or(ErrorCode::FRAME_SIZE_ERROR)? & frames::LARGEST);
        let most = i64::from(frames::LARGEST);
        if head.stream == 0 {
            self.credit += more;
            if more == 0 {
                return Err(ErrorCode::PROTOCOL_ERROR);
            }
            if self.credit > most {
                return Err(ErrorCode::FLOW_CONTROL_ERROR);
            }
            self.granted = self.granted.wrapping_add(more.unsigned_abs());
            self.next_turn();
            return Ok(());
        }
        if !self.has_begun(head.stream) {
            return Err(ErrorCode::PROTOCOL_ERROR);
        }
        let Some(index) = self.find_slot(head.stream) else { return Ok(()) };
        let Some(slot) = self.slot_mut(index) else { return Ok(()) };
        if !slot.state.may_send() {
            return Ok(());
        }
        let had = slot.credit;
        slot.credit += more;
        if more == 0 {
            return self.refuse_stream(index, ErrorCode::PROTOCOL_ERROR);
        }
        if slot.credit > most {
            return self.refuse_stream(index, ErrorCode::FLOW_CONTROL_ERROR);
        }
        if had <= 0 && slot.credit > 0 {
            slot.wake_writer();
        }
        Ok(())
    }
}

/// RFC 7540 §5.3.1: priorities mean nothing any more (RFC 9113 §5.3.2), but no stream ever depended
/// on itself.
pub(super) fn check_dependency(stream: u32, priority: &[u8]) -> FrameVerdict {
    let itself = frames::number(priority).is_some_and(|on| on & frames::LARGEST == stream);
    if itself { Err(ErrorCode::PROTOCOL_ERROR) } else { Ok(()) }
}
