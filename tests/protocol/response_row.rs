//! A row of table J: literal bytes from the origin, and what the client may see of them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::row::World;
use support::{End, Origin, RawClient, Response, Step, check_problem, escape, holds_within, ok};

const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct Row {
    pub id: &'static str,
    pub name: &'static str,
    steps: Vec<Step>,
    sent: Vec<u8>,
    head: bool,
    after_interim: bool,
    origin_connection: After,
    expect: Vec<Expect>,
}

/// What becomes of the connection to the origin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Ends,
    Stays,
    Either,
}

#[derive(Clone)]
pub enum Expect {
    BadGateway,
    /// A head and a part of the body, then RST.
    Resets,
    Passes(Answer),
}

#[derive(Clone)]
pub struct Answer {
    status: u16,
    body: Option<&'static str>,
    fields: Vec<(&'static str, &'static str)>,
    without: Vec<&'static str>,
    without_trailers: Vec<&'static str>,
    interim: Option<usize>,
    interim_without: Vec<&'static str>,
}

pub fn answer(status: u16) -> Answer {
    Answer {
        status,
        body: None,
        fields: Vec::new(),
        without: Vec::new(),
        without_trailers: Vec::new(),
        interim: None,
        interim_without: Vec::new(),
    }
}

pub fn bad_gateway() -> Expect {
    Expect::BadGateway
}

pub fn resets() -> Expect {
    Expect::Resets
}

impl From<Answer> for Expect {
    fn from(answer: Answer) -> Self {
        Self::Passes(answer)
    }
}

impl Answer {
    pub fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    pub fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.without.extend(names);
        self
    }

    pub fn without_trailers(mut self, names: &[&'static str]) -> Self {
        self.without_trailers.extend(names);
        self
    }

    pub fn interim(mut self, count: usize) -> Self {
        self.interim = Some(count);
        self
    }

    pub fn interim_without(mut self, names: &[&'static str]) -> Self {
        self.interim_without.extend(names);
        self
    }

    fn check(&self, response: &Response) -> Result<(), String> {
        if response.status != self.status {
            return Err(format!("status {}, not {}", response.status, self.status));
        }
        if self.body.is_some_and(|body| response.text() != body) {
            return Err(format!("the body is {}", escape(&response.body)));
        }
        for (name, value) in &self.fields {
            if response.all(name) != [*value] {
                return Err(format!("{name} is {:?}", response.all(name)));
            }
        }
        if let Some(name) = self.without.iter().find(|name| response.header(name).is_some()) {
            return Err(format!("{name} was passed on"));
        }
        for name in &self.without_trailers {
            if response.trailers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                return Err(format!("trailer {name} was passed on"));
            }
        }
        if self.interim.is_some_and(|count| response.interim.len() != count) {
            return Err(format!("{} interim answers", response.interim.len()));
        }
        let unwanted = |name: &&&str| response.interim.iter().any(|i| i.header(name).is_some());
        match self.interim_without.iter().find(unwanted) {
            Some(name) => Err(format!("{name} was passed on in an interim answer")),
            None => Ok(()),
        }
    }
}

/// A row whose origin sends `bytes` (Latin-1) and whose connection must not be used again.
pub fn row(id: &'static str, name: &'static str, bytes: &str, expect: Expect) -> Row {
    let sent: Vec<u8> =
        bytes.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
    let steps = if sent.is_empty() { Vec::new() } else { vec![Step::Send(sent.clone())] };
    Row {
        id,
        name,
        steps,
        sent,
        head: false,
        after_interim: false,
        origin_connection: After::Ends,
        expect: vec![expect],
    }
}

impl Row {
    pub fn then(mut self, steps: &[Step]) -> Self {
        self.steps.extend_from_slice(steps);
        self
    }

    /// As [`Self::then`], but only after the client can have seen what came before.
    pub fn later(mut self, steps: &[Step]) -> Self {
        self.steps.push(Step::Pause(Duration::from_millis(100)));
        self.then(steps)
    }

    pub fn or(mut self, expect: Expect) -> Self {
        self.expect.push(expect);
        self
    }

    /// The request is HEAD.
    pub fn head(mut self) -> Self {
        self.head = true;
        self
    }

    /// The connection to the origin is sound and stays open.
    pub fn keeps(mut self) -> Self {
        self.origin_connection = After::Stays;
        self
    }

    pub fn either_way(mut self) -> Self {
        self.origin_connection = After::Either;
        self
    }

    /// The refusal may come after interim answers that were passed on.
    pub fn after_interim(mut self) -> Self {
        self.after_interim = true;
        self
    }
}

/// Runs every row and reports all that fail at once.
pub fn run(rows: &[Row]) {
    let scripts: Arc<Vec<Vec<Step>>> = Arc::new(rows.iter().map(|r| r.steps.clone()).collect());
    let world = World::with(Origin::start(move |request| {
        let at = request.target.strip_prefix("/row/").and_then(|n| n.parse::<usize>().ok());
        at.map_or_else(|| vec![Step::Send(ok("sound"))], |at| scripts[at].clone())
    }));
    let mut report = String::new();
    let mut failed = 0;
    for (at, row) in rows.iter().enumerate() {
        if let Err(why) = check(&world, at, row) {
            failed += 1;
            let sent = escape(&row.sent);
            writeln!(report, "{} {}\n    {why}\n    origin: {sent}", row.id, row.name).unwrap();
        }
    }
    assert_eq!(failed, 0, "{failed} of {} rows failed:\n{report}", rows.len());
}

fn check(world: &World, at: usize, row: &Row) -> Result<(), String> {
    let mut reasons = Vec::new();
    for expect in &row.expect {
        match check_as(world, at, row, expect) {
            Ok(()) => return Ok(()),
            Err(why) => reasons.push(why),
        }
    }
    Err(reasons.join("; nor: "))
}

fn check_as(world: &World, at: usize, row: &Row, expect: &Expect) -> Result<(), String> {
    let method = if row.head { "HEAD" } else { "GET" };
    let mark = world.origin.mark();
    let mut client = world.client();
    client.offer(format!("{method} /row/{at} HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n\r\n"));
    match expect {
        Expect::BadGateway => {
            let response = client.try_response(method)?;
            check_problem(&response, &[502], "")?;
            if !row.after_interim && !response.interim.is_empty() {
                return Err("interim answers of a refused answer were passed on".into());
            }
            goes_on(&mut client, &response)?;
        }
        Expect::Passes(answer) => {
            let response = client.try_response(method)?;
            let seen = || escape(&[&response.head[..], &response.body].concat());
            answer.check(&response).map_err(|why| format!("{why}; the client saw {}", seen()))?;
            goes_on(&mut client, &response)?;
        }
        Expect::Resets => {
            let (bytes, end) = client.end(PATIENCE);
            if !bytes.starts_with(b"HTTP/1.1 200 ") || bytes.ends_with(b"\r\n0\r\n\r\n") {
                return Err(format!("the client saw {}", escape(&bytes)));
            }
            if end != End::Reset {
                return Err(format!("{end:?} after {}", escape(&bytes)));
            }
        }
    }
    origin_side(world, &mark, row)
}

/// The client's connection was closed as announced, or answers the next request properly.
fn goes_on(client: &mut RawClient, response: &Response) -> Result<(), String> {
    if response.says_close() || !framed(response) {
        return match client.end(PATIENCE) {
            (rest, End::Closed) if rest.is_empty() => Ok(()),
            (rest, end) => Err(format!("{end:?} instead of a close, after {}", escape(&rest))),
        };
    }
    client.offer("GET /sound HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let next = client.try_response("GET").map_err(|e| format!("the next answer: {e}"))?;
    match next.text().as_str() {
        "sound" => Ok(()),
        _ => Err(format!("the next answer is {}{}", escape(&next.head), escape(&next.body))),
    }
}

fn framed(response: &Response) -> bool {
    response.chunked
        || response.header("content-length").is_some()
        || matches!(response.status, 204 | 304)
}

fn origin_side(world: &World, mark: &support::Mark, row: &Row) -> Result<(), String> {
    let used = world.origin.requests_since(mark);
    let first = used.first().ok_or("the origin was not asked")?.connection;
    let ended = || world.origin.connections()[first].done;
    match row.origin_connection {
        After::Either => Ok(()),
        After::Ends if holds_within(PATIENCE, &mut || ended()) => {
            let reused = used.iter().filter(|r| r.connection == first).count() > 1;
            if reused { Err("the connection to the origin was used again".into()) } else { Ok(()) }
        }
        After::Ends => Err("the connection to the origin was kept".into()),
        After::Stays if ended() => Err("the connection to the origin was ended".into()),
        After::Stays => Ok(()),
    }
}
