//! One try of one request at one server: sends it, watches the client, waits for the response head.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use super::request_body::Upload;
use super::retry::Failure;
use super::{Origin, Timeouts};
use crate::clock::{self, Instant};
use crate::endpoint::reuse::PROBATION;
use crate::exchange::answer_wait::AnswerWait;
use crate::exchange::outcome::Note;
use crate::exchange::pump::Waiting;
use crate::exchange::write_wait::WriteWait;
use crate::exchange::{Client, Deadline, HeadError, Pump, PumpError, Refusal, Sink, yield_turn};
use crate::net::timer::earlier_of;
use crate::net::{BodyError, Timer};
use crate::wire::{Fault, ResponseFault};

/// Informational responses passed on per request; a server that sends more is broken (bare hyper
/// loops over them without limit).
const MAX_INTERIM: u32 = 16;

/// The state of sending a request.
#[derive(Debug, Default)]
pub struct RequestSending {
    /// Moves the body.
    pub pump: Pump,
    /// The server takes no more of it.
    pub refused: bool,
    /// The client broke it off: what the server makes of that is not held against it.
    pub broken_off: bool,
}

impl RequestSending {
    /// Returns whether there is more to send.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.refused && !self.pump.is_done()
    }
}

/// A reason for having no response head to go on with.
#[derive(Debug)]
pub enum AttemptError {
    /// The server failed; another attempt may be possible.
    Failed(Failure),
    /// The client's own doing; it is answered.
    Refused(Refusal),
    /// The client has gone; nobody is left to answer.
    Gone,
}

/// The facts that an attempt goes by.
#[derive(Debug, Clone, Copy)]
pub struct AttemptPlan<'a> {
    /// The end of the exchange, and the deadline that sets it.
    pub end: (Option<Instant>, Deadline),
    /// The beginning of this attempt.
    pub begun: Instant,
    /// Deadlines towards the server.
    pub timeouts: Timeouts,
    /// The time for this attempt, from now on.
    pub per_try: Option<Duration>,
    /// Between two parts of the request body.
    pub body_gap: Option<Duration>,
    /// The key that limits the body, for the log.
    pub body_key: &'static str,
    /// The note of the cause of a failure.
    pub cause: &'a Note,
    /// The request is `HEAD`.
    pub head_request: bool,
    /// The client asked for another protocol.
    pub upgrade: bool,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The connection has carried requests before.
    pub reused: bool,
    /// The body waits until the server has asked for it.
    pub probation: bool,
}

/// Sends the request whose head is already queued at `origin`, and waits for the final response
/// head, passing on informational ones.
///
/// Cancel safety: dropping the future leaves both connections in an unknown state; they must be
/// closed.
///
/// # Errors
/// [`AttemptError`].
pub async fn run_attempt<C: Client>(
    upload: &mut Upload<'_, C>,
    origin: &mut Origin,
    sending: &mut RequestSending,
    timer: &mut Timer,
    plan: &AttemptPlan<'_>,
) -> Result<(), AttemptError> {
    let begun = plan.begun;
    let mut state = AttemptState {
        plan,
        interim: 0,
        hold: plan.probation.then(|| begun + PROBATION),
        since: begun,
        moved: 0,
        waiting: None,
        writing: WriteWait::default(),
        answering: AnswerWait::default(),
        switched: false,
        overall: earlier_of(plan.end.0, clock::deadline(begun, plan.per_try)),
    };
    if origin.is_own() {
        // Streams of one connection leave together in any case.
        yield_turn().await;
    }
    poll_fn(|cx| state.poll(cx, upload, origin, sending, timer)).await
}

/// The thing that the attempt waits for; each has its own deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttemptStage {
    Body,
    Send,
    Head,
}

struct AttemptState<'a> {
    plan: &'a AttemptPlan<'a>,
    interim: u32,
    hold: Option<Instant>,
    /// The moment at which something last moved.
    since: Instant,
    moved: u64,
    waiting: Option<AttemptStage>,
    /// The waits for the server to take the body, and then to answer it.
    writing: WriteWait,
    answering: AnswerWait,
    /// The server has switched protocols.
    switched: bool,
    overall: Option<Instant>,
}

impl AttemptState<'_> {
    fn poll<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<'_, C>,
        origin: &mut Origin,
        sending: &mut RequestSending,
        timer: &mut Timer,
    ) -> Poll<Result<(), AttemptError>> {
        if sending.is_active() {
            self.poll_send(cx, upload, origin, sending)?;
        }
        if let Poll::Ready(result) = self.poll_head(cx, upload, origin, sending) {
            return Poll::Ready(result);
        }
        if self.interim > 0 && matches!(upload.client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(AttemptError::Gone));
        }
        if upload.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(AttemptError::Gone));
        }
        self.poll_deadlines(cx, (&*origin, &*sending), timer, upload.client.look_again())
    }

    fn poll_send<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<'_, C>,
        origin: &mut Origin,
        sending: &mut RequestSending,
    ) -> Result<(), AttemptError> {
        if self.hold.is_some() {
            // Only the head may leave for now; its failure shows when the answer is read.
            let flushed = Sink::poll_flush(origin, cx);
            sending.refused = matches!(flushed, Poll::Ready(Err(_)));
            return Ok(());
        }
        match sending.pump.poll(cx, upload, origin) {
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            Poll::Ready(Err(PumpError::Sink(_))) => {
                // The server may have answered before it closed: reading tells.
                sending.refused = true;
                Ok(())
            }
            Poll::Ready(Err(PumpError::Source(error))) => {
                // What the server got so far must not look like a whole request.
                origin.cut_request();
                Err(client_fault(&error, self.plan.body_key))
            }
            Poll::Ready(Err(PumpError::Announced(_))) => {
                origin.cut_request();
                Err(AttemptError::Refused(Refusal::Malformed(Fault::ContentLength)))
            }
        }
    }

    fn poll_head<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<'_, C>,
        origin: &mut Origin,
        sending: &mut RequestSending,
    ) -> Poll<Result<(), AttemptError>> {
        if self.switched {
            return self.poll_switch(sending);
        }
        loop {
            let failure = match origin.poll_head(cx, self.plan.head_request) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => match origin.response_head().status {
                    101 if self.plan.upgrade => {
                        // The new protocol begins behind the request (RFC 9110 §7.8).
                        self.switched = true;
                        return self.poll_switch(sending);
                    }
                    101 => self.note_invalid(&ResponseFault::Switch),
                    100 if self.hold.is_some() => {
                        self.hold = None;
                        self.poll_send(cx, upload, origin, sending)?;
                        if self.plan.expects_continue {
                            // Both have asked for it.
                            self.interim += 1;
                            upload.client.send_interim(origin.response_head());
                        }
                        continue;
                    }
                    417 if self.hold.is_some() => Failure::Unasked,
                    100..=199 if self.interim >= MAX_INTERIM => {
                        self.note_invalid(&ResponseFault::Interim)
                    }
                    100..=199 => {
                        self.interim += 1;
                        // An interim answer shows that the server is alive and has the head.
                        self.since = clock::now();
                        upload.client.send_interim(origin.response_head());
                        continue;
                    }
                    _ => return Poll::Ready(Ok(())),
                },
                Poll::Ready(Err(HeadError::Invalid(fault)))
                    if self.plan.reused && self.interim == 0 && origin.is_astray() =>
                {
                    // What the server had left to say to an earlier request.
                    self.note_invalid(&fault);
                    Failure::Stale { unprocessed: false }
                }
                Poll::Ready(Err(HeadError::Invalid(fault))) => self.note_invalid(&fault),
                Poll::Ready(Err(HeadError::Rejected)) => {
                    self.plan.cause.set_cause("the server calls the request malformed", None);
                    Failure::Rejected
                }
                Poll::Ready(Err(HeadError::Closed { any: true })) => {
                    self.note_invalid(&ResponseFault::Unfinished)
                }
                Poll::Ready(Err(HeadError::Closed { any: false })) if self.plan.reused => {
                    // A server that never saw the body cannot have processed the request.
                    Failure::Stale { unprocessed: self.hold.is_some() }
                }
                Poll::Ready(Err(HeadError::Closed { any: false } | HeadError::Reset)) => {
                    Failure::Closed
                }
                Poll::Ready(Err(HeadError::Unprocessed)) => Failure::Unprocessed,
            };
            return Poll::Ready(Err(AttemptError::Failed(failure)));
        }
    }

    /// Ready once the request that the server has answered with another protocol has left.
    fn poll_switch(&self, sending: &RequestSending) -> Poll<Result<(), AttemptError>> {
        if sending.pump.is_done() {
            Poll::Ready(Ok(()))
        } else if sending.refused {
            Poll::Ready(Err(AttemptError::Failed(Failure::Invalid)))
        } else {
            Poll::Pending
        }
    }

    /// Notes that something came which is no response, for this reason.
    fn note_invalid(&self, fault: &ResponseFault) -> Failure {
        self.plan.cause.set_cause(fault, fault.key());
        Failure::Invalid
    }

    /// Returns when the stage is over, or its server is to be looked at.
    fn stage_end(&self, stage: AttemptStage) -> Option<Instant> {
        let Timeouts { send, first_byte, .. } = self.plan.timeouts;
        match stage {
            AttemptStage::Body => clock::deadline(self.since, self.plan.body_gap),
            AttemptStage::Send => self.writing.next_look(self.since, send),
            AttemptStage::Head if self.moved > 0 => {
                self.answering.next_look(self.since, first_byte)
            }
            AttemptStage::Head => clock::deadline(self.since, first_byte),
        }
    }

    /// Looks at [`AttemptState::stage_end`] whether the server goes on taking what was written.
    fn is_stage_over(&mut self, stage: AttemptStage, origin: &Origin) -> bool {
        match stage {
            AttemptStage::Send => self.writing.is_over(self.since, origin.stall_mark()),
            AttemptStage::Head if self.moved > 0 => {
                self.answering.is_over(self.since, origin.acknowledged_bytes())
            }
            AttemptStage::Head | AttemptStage::Body => true,
        }
    }

    fn poll_deadlines(
        &mut self,
        cx: &mut Context<'_>,
        (origin, sending): (&Origin, &RequestSending),
        timer: &mut Timer,
        look_again: Option<Instant>,
    ) -> Poll<Result<(), AttemptError>> {
        let stage = if !sending.is_active() {
            AttemptStage::Head
        } else if sending.pump.waiting() == Waiting::Sink {
            AttemptStage::Send
        } else {
            AttemptStage::Body
        };
        if self.waiting != Some(stage) || self.moved != sending.pump.bytes_moved() {
            // A request without a body is sent at once: its first wait began with the attempt.
            if self.waiting.is_some() || sending.pump.bytes_moved() > 0 {
                self.since = clock::now();
            }
            self.moved = sending.pump.bytes_moved();
            self.waiting = Some(stage);
            if stage == AttemptStage::Head && self.moved > 0 {
                self.answering = AnswerWait::new(origin.queued_bytes());
            }
        }
        let next = earlier_of(earlier_of(self.stage_end(stage), self.overall), self.hold);
        if timer.poll_at(cx, earlier_of(next, look_again)).is_pending() {
            return Poll::Pending;
        }
        if self.hold.is_some_and(|until| clock::now() >= until) {
            // The server did not ask for the body, so it cannot have processed the request.
            return Poll::Ready(Err(AttemptError::Failed(Failure::Unasked)));
        }
        if next.is_none_or(|at| clock::now() < at) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.overall.is_some_and(|at| clock::now() >= at) {
            let over = self.plan.end.0.is_some_and(|at| clock::now() >= at);
            let deadline = if over { self.plan.end.1 } else { Deadline::PerTry };
            return Poll::Ready(Err(AttemptError::Failed(Failure::Timeout(deadline))));
        }
        if !self.is_stage_over(stage, origin) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(match stage {
            AttemptStage::Body => {
                AttemptError::Refused(Refusal::RequestTimeout(Deadline::RequestBody))
            }
            AttemptStage::Send => AttemptError::Failed(Failure::Timeout(Deadline::Send)),
            AttemptStage::Head => AttemptError::Failed(Failure::Timeout(Deadline::FirstByte)),
        }))
    }
}

/// Reads what a client is told about its own request body.
pub(super) fn client_fault(error: &BodyError, key: &'static str) -> AttemptError {
    match error {
        BodyError::Framing(fault) => AttemptError::Refused(Refusal::Malformed(*fault)),
        BodyError::Truncated => AttemptError::Refused(Refusal::BadRequest(
            "the connection ended inside the request body",
        )),
        BodyError::TooLarge => AttemptError::Refused(Refusal::BodyTooLarge(key)),
        BodyError::Io(_) => AttemptError::Gone,
    }
}
