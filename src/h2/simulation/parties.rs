//! Who talks through the simulated proxy: a client, the proxy between its two connections, a
//! server. All three drive their sockets with the production code.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use super::LONGEST;
use super::schedule::Schedule;
use super::wire::End;
use crate::clock::Random;
use crate::exchange::{Client, Length, Outgoing, Pump, PumpError, Sink, Source};
use crate::h2::client::H2Client;
use crate::h2::drive::Socket;
use crate::h2::handle::{Handle, SharedConnection};
use crate::h2::state::Accept;
use crate::net::{BodyError, BodyFraming, Fill, Timer};
use crate::wire::frames::ErrorCode;
use crate::wire::head::Fields;
use crate::wire::hpack::Pseudo;
use crate::wire::{Fault, Known, RequestHead, ResponseHead};

/// Who breaks a stream off, if anybody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaks {
    Nobody,
    Client,
    Server,
    /// The proxy's connection to the client, which finds a fault with the stream while its bodies
    /// are on their way.
    Proxy,
}

/// What is to happen on a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) up: usize,
    pub(super) down: usize,
    pub(super) trailers: bool,
    /// The server answers before it has read anything.
    pub(super) early: bool,
    pub(super) breaks: Breaks,
    /// After so many bytes of the body that the one who breaks it off sends.
    pub(super) after: usize,
}

/// How a body came.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) bytes: usize,
    /// It was not what was sent.
    pub(super) wrong: bool,
    pub(super) whole: bool,
    pub(super) trailers: bool,
}

/// What has become of a stream.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The request as the server saw it, and the response as the client did.
    pub(super) up: Got,
    pub(super) down: Got,
    /// Whether all of a body was sent.
    pub(super) said_up: bool,
    pub(super) said_down: bool,
    pub(super) over: bool,
}

pub(super) type Outcomes = Rc<RefCell<Vec<Outcome>>>;

/// These bytes of a body. Bodies differ, and no part of one is like the next.
fn part(body: usize, at: usize, length: usize) -> &'static [u8] {
    static ALL: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut random = Random::seeded(1);
        (0..LONGEST + 100).map(|_| random.below(256) as u8).collect()
    });
    &ALL[body + at..body + at + length]
}

/// Drives a connection to its end. What it was left in is seen by who holds its state.
pub(super) fn drive(
    schedule: &Schedule,
    name: &str,
    end: End,
    shared: SharedConnection,
    mut accept: impl Accept + 'static,
) {
    let mut socket = Socket::new(end, &[]);
    schedule.spawn(name.to_owned(), async move {
        poll_fn(|cx| socket.poll(cx, &shared, &mut accept)).await;
        let ended = shared.borrow().ended();
        shared.borrow_mut().lose();
        socket.close_socket(ended, &mut Timer::default()).await;
    });
}

/// Takes the streams that begin, and gives them work.
pub(super) struct Taker<F>(pub(super) F);

impl<F: FnMut(u32, RequestHead)> Accept for Taker<F> {
    fn head(&mut self) -> Box<RequestHead> {
        Box::default()
    }

    fn key(&mut self) -> String {
        String::new()
    }

    fn stream(&mut self, slot: u32, head: Box<RequestHead>, fault: Option<Fault>) {
        assert_eq!(fault, None, "the proxy or its client sent a malformed head");
        (self.0)(slot, *head);
    }
}

/// The number of a stream, which is what it asks for.
pub(super) fn number(head: &RequestHead) -> usize {
    std::str::from_utf8(&head.target()[1..]).unwrap().parse().unwrap()
}

/// Sends a body in pieces, with or without rests, up to where it breaks off. Whether all of it was
/// said.
async fn send(
    schedule: &Schedule,
    stream: &RefCell<Handle>,
    (body, length, trailers): (usize, usize, bool),
    breaks: Option<usize>,
) -> bool {
    let hurry = schedule.below(2) == 0;
    let mut at = 0;
    while at < length {
        if breaks.is_some_and(|after| at >= after) {
            break;
        }
        let piece = 1 + schedule.below([40, 3_000, 100_000][schedule.below(3) as usize]) as usize;
        let piece = part(body, at, piece.min(length - at));
        let Ok(n) = poll_fn(|cx| stream.borrow_mut().poll_write(cx, piece)).await else {
            return false;
        };
        at += n;
        if !hurry && schedule.below(4) == 0 {
            schedule.rest().await;
        }
    }
    if breaks.is_some() {
        stream.borrow().reset_stream(ErrorCode::CANCEL);
        return false;
    }
    let mut fields = Fields::default();
    fields.push(b"x-sum", b"1");
    stream.borrow_mut().finish_message(trailers.then_some(&fields)).is_ok()
}

/// Writes down how a body comes.
type Note<'a> = dyn Fn(&mut dyn FnMut(&mut Got)) + 'a;

/// Reads a body, at once or bit by bit.
async fn receive(schedule: &Schedule, stream: &RefCell<Handle>, body: usize, note: &Note<'_>) {
    let hurry = schedule.below(2) == 0;
    let mut at = 0;
    loop {
        let filled = poll_fn(|cx| stream.borrow_mut().poll_fill(cx)).await;
        match filled {
            Ok(Fill::Data) => {
                let mut stream = stream.borrow_mut();
                let n = stream.body_data().len();
                let n = if hurry { n } else { 1 + schedule.below(n as u64) as usize };
                let n = n.min(LONGEST - at);
                let wrong = n == 0 || stream.body_data()[..n] != *part(body, at, n);
                stream.consume_body(n);
                at += n;
                note(&mut |got| {
                    got.bytes = at;
                    got.wrong |= wrong;
                });
            }
            Ok(Fill::End) => {
                let trailers = stream.borrow_mut().body_trailers().is_some();
                note(&mut |got| {
                    got.whole = true;
                    got.trailers = trailers;
                });
                return;
            }
            Err(_) => return,
        }
        if !hurry && schedule.below(4) == 0 {
            schedule.rest().await;
        }
    }
}

/// Polls both until both have ended: a stream has one task.
async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (false, false);
    poll_fn(|cx| {
        first = first || one.as_mut().poll(cx).is_ready();
        second = second || other.as_mut().poll(cx).is_ready();
        if first && second { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The client's side of a stream.
pub(super) async fn ask(
    schedule: Schedule,
    shared: SharedConnection,
    plan: (usize, Plan),
    out: Outcomes,
) {
    let (n, plan) = plan;
    if schedule.below(2) == 0 {
        schedule.rest().await;
    }
    let slot = shared.borrow_mut().open();
    let Some(slot) = slot else { return };
    let stream = RefCell::new(Handle::new(shared, slot));
    begin(&mut stream.borrow_mut(), n);
    let up = async {
        let breaks = (plan.breaks == Breaks::Client).then_some(plan.after);
        let said = send(&schedule, &stream, (n, plan.up, plan.trailers), breaks).await;
        out.borrow_mut()[n].said_up = said;
    };
    let down = async {
        let mut head = ResponseHead::default();
        if poll_fn(|cx| stream.borrow_mut().poll_head(cx, &mut head)).await.is_ok() {
            let note = |with: &mut dyn FnMut(&mut Got)| with(&mut out.borrow_mut()[n].down);
            receive(&schedule, &stream, n + 1, &note).await;
        }
    };
    both(up, down).await;
    out.borrow_mut()[n].over = true;
}

/// Sends the head of the request with this number.
fn begin(stream: &mut Handle, n: usize) {
    stream.send_head(BodyFraming::UntilClose, false, &mut |block| {
        block.encoder.put_pseudo(block.out, Pseudo::Method, b"POST");
        block.encoder.put_pseudo(block.out, Pseudo::Scheme, b"http");
        block.encoder.put_pseudo(block.out, Pseudo::Authority, b"a.test");
        block.encoder.put_pseudo(block.out, Pseudo::Path, format!("/{n}").as_bytes());
        block.put_field(b"user-agent", b"simulation", Known::Other);
    });
}

/// The server's side of a stream.
pub(super) async fn answer(
    schedule: Schedule,
    stream: Handle,
    (n, plan): (usize, Plan),
    out: Outcomes,
) {
    let stream = RefCell::new(stream);
    let answered = Cell::new(plan.early);
    let up = async {
        let note = |with: &mut dyn FnMut(&mut Got)| with(&mut out.borrow_mut()[n].up);
        receive(&schedule, &stream, n, &note).await;
        answered.set(true);
    };
    let down = async {
        poll_fn(|_| if answered.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        stream.borrow_mut().send_head(BodyFraming::UntilClose, false, &mut |block| {
            block.encoder.status(block.out, 200);
        });
        let breaks = (plan.breaks == Breaks::Server).then_some(plan.after);
        let said = send(&schedule, &stream, (n + 1, plan.down, plan.trailers), breaks).await;
        out.borrow_mut()[n].said_down = said;
    };
    both(up, down).await;
}

/// The proxy's side of a stream to a server, with nothing of a request around it.
struct Upstream(Handle);

impl Source for Upstream {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Fill, BodyError>> {
        self.0.poll_fill(cx)
    }

    fn body_data(&self) -> &[u8] {
        self.0.body_data()
    }

    fn consume_body(&mut self, n: usize) {
        self.0.consume_body(n);
    }

    fn read_trailers(&mut self) -> Result<Option<Fields>, Fault> {
        Ok(self.0.body_trailers().cloned())
    }
}

impl Sink for Upstream {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, data)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(
        &mut self,
        _: &mut Context<'_>,
        trailers: Option<&Fields>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.finish_message(trailers))
    }
}

/// The proxy's work on a stream: both bodies, each by the production code, until both have ended or
/// one has broken.
pub(super) async fn relay(
    (front, stream, head): (SharedConnection, u32, RequestHead),
    back: SharedConnection,
    (schedule, plan): (Schedule, Plan),
) {
    let n = number(&head);
    let mut client = H2Client::new(front.clone(), stream, Some(&head));
    let slot = back.borrow_mut().open();
    let Some(slot) = slot else { return client.cut_response() };
    let mut until_refused = (plan.breaks == Breaks::Proxy).then(|| schedule.below(12));
    let mut server = Upstream(Handle::new(back, slot));
    begin(&mut server.0, n);
    let (mut up, mut down) = (Pump::default(), Pump::default());
    let mut answer = ResponseHead::default();
    poll_fn(|cx| {
        until_refused = match until_refused {
            Some(0) => {
                front.borrow_mut().reset(stream, ErrorCode::PROTOCOL_ERROR);
                None
            }
            polls => polls.map(|polls| polls - 1),
        };
        if !up.is_done()
            && let Poll::Ready(Err(error)) = up.poll(cx, &mut client, &mut server)
        {
            match error {
                PumpError::Source(_) => server.0.reset_stream(ErrorCode::CANCEL),
                PumpError::Sink(_) | PumpError::Announced(_) => client.cut_response(),
            }
            return Poll::Ready(());
        }
        if !client.has_begun() {
            match server.0.poll_head(cx, &mut answer) {
                Poll::Pending if client.poll_gone(cx).is_ready() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => client.begin_response(&Outgoing {
                    status: answer.status,
                    reason: b"",
                    fields: &|out| out.emit_field(b"x-by", b"proxy"),
                    length: Length::Unknown,
                }),
                Poll::Ready(Err(_)) => {
                    client.cut_response();
                    return Poll::Ready(());
                }
            }
        }
        if !down.is_done() {
            match down.poll(cx, &mut server, &mut client) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    client.cut_response();
                    return Poll::Ready(());
                }
                Poll::Pending if client.poll_gone(cx).is_ready() => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if up.is_done() && down.is_done() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
