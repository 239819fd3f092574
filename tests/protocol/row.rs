//! A conformance row: literal bytes, and what must follow on both sides of the proxy.
//!
//! Rows of one table share a proxy and an origin and run one after the other, each on its own
//! connection. What reached the origin is asked after a *fence*, an ordinary request sent later on
//! another connection: with one worker, whatever was forwarded before it has arrived by then.

use std::fmt::Write as _;
use std::time::Duration;

use support::{
    Configuration, End, Mark, Origin, RawClient, Request, Response, SOON, Seen, Step, Tidegate,
    check_problem, escape, holds_within, ok, wait_until,
};

/// The answers where the tables leave a choice, in one place so that they are easy to find.
pub const BAD: &[u16] = &[400];
pub const BAD_OR_UNIMPLEMENTED: &[u16] = &[400, 501];
pub const UNIMPLEMENTED: &[u16] = &[501];
pub const ODD_METHOD: &[u16] = &[405, 501];
pub const NOT_ALLOWED: &[u16] = &[405];
pub const VERSION: &[u16] = &[505];
pub const TOO_LONG: &[u16] = &[414];
pub const TOO_LARGE_HEAD: &[u16] = &[431];
pub const EXPECTATION: &[u16] = &[417];
pub const UPGRADE: &[u16] = &[400, 426];

pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(3);

pub struct Row {
    pub id: &'static str,
    pub name: &'static str,
    pub input: Vec<u8>,
    /// The client ends its side after the input.
    pub half_close: bool,
    pub expect: Expect,
}

#[derive(Clone)]
pub enum Expect {
    /// A problem document, then the end of the connection; nothing reached the origin.
    Refused(&'static [u16]),
    /// A problem document; the connection may live on; nothing reached the origin.
    Answered(&'static [u16]),
    /// As `Refused`, but the head may have gone out: the origin then sees an abort, never an end.
    BrokenBody,
    /// The end of the connection, with an answer of that status or none; nothing at the origin.
    Closed(&'static [u16]),
    /// This status and body without the origin being asked.
    Here(u16, &'static str),
    /// One whole request at the origin, and its answer at the client.
    Passes(Passed),
    /// The table leaves a choice.
    OneOf(Vec<Expect>),
}

#[derive(Clone, Default)]
pub struct Passed {
    target: Option<&'static str>,
    fields: Vec<(&'static str, String)>,
    without: Vec<&'static str>,
    unlike: Vec<(&'static str, &'static str)>,
    without_trailers: Vec<&'static str>,
    body: Option<&'static str>,
}

impl Passed {
    pub fn target(mut self, target: &'static str) -> Self {
        self.target = Some(target);
        self
    }

    /// The origin sees the field exactly once, with this value.
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub fn without(mut self, names: &[&'static str]) -> Self {
        self.without.extend(names);
        self
    }

    /// The origin may see the field, but not with this text in it.
    pub fn unlike(mut self, name: &'static str, text: &'static str) -> Self {
        self.unlike.push((name, text));
        self
    }

    pub fn without_trailers(mut self, names: &[&'static str]) -> Self {
        self.without_trailers.extend(names);
        self
    }

    pub fn body(mut self, body: &'static str) -> Self {
        self.body = Some(body);
        self
    }

    fn check(&self, request: &Request) -> Result<(), String> {
        if let Some(target) = self.target
            && request.target != target
        {
            return Err(format!("the target is {:?}, not {target:?}", request.target));
        }
        for (name, value) in &self.fields {
            if request.all(name) != [value] {
                return Err(format!("{name} is {:?}, not {value:?}", request.all(name)));
            }
        }
        if let Some(name) = self.without.iter().find(|name| request.header(name).is_some()) {
            return Err(format!("{name} was forwarded"));
        }
        for (name, text) in &self.unlike {
            if request.all(name).iter().any(|value| value.contains(text)) {
                return Err(format!("{name} still says {text:?}"));
            }
        }
        for name in &self.without_trailers {
            if request.trailers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                return Err(format!("trailer {name} was forwarded"));
            }
        }
        match self.body {
            Some(body) if request.text() != body => {
                Err(format!("the body is {:?}, not {body:?}", request.text()))
            }
            _ => Ok(()),
        }
    }
}

/// A row whose text is Latin-1: `\u{e9}` is the byte E9.
pub fn row(id: &'static str, name: &'static str, input: &str, expect: Expect) -> Row {
    let input = input
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("rows are written in Latin-1"))
        .collect();
    Row { id, name, input, half_close: false, expect }
}

impl Row {
    pub fn then_half_close(mut self) -> Self {
        self.half_close = true;
        self
    }
}

pub fn passes() -> Passed {
    Passed::default()
}

impl From<Passed> for Expect {
    fn from(passed: Passed) -> Self {
        Self::Passes(passed)
    }
}

/// `GET /row` with one more field line.
pub fn get_with(line: &str) -> String {
    format!("GET /row HTTP/1.1\r\nHost: a.test\r\n{line}\r\n\r\n")
}

/// `POST /row` with these field lines, followed by these bytes.
pub fn post_with(lines: &str, rest: &str) -> String {
    format!("POST /row HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n{rest}")
}

/// Runs every row and reports all that fail at once.
pub fn run(rows: &[Row]) {
    let world = World::start();
    let mut report = String::new();
    let mut failed = 0;
    for row in rows {
        if let Err(why) = world.check(row) {
            failed += 1;
            let sent = escape(&row.input);
            writeln!(report, "{} {}\n    {why}\n    sent: {sent}", row.id, row.name).unwrap();
        }
    }
    assert_eq!(failed, 0, "{failed} of {} rows failed:\n{report}", rows.len());
}

pub struct World {
    pub origin: Origin,
    pub proxy: Tidegate,
}

impl World {
    pub fn start() -> Self {
        Self::with(Origin::start(|_| vec![Step::Send(ok("from the origin"))]))
    }

    pub fn with(origin: Origin) -> Self {
        let proxy = Configuration::of(&origin)
            .runtime("workers = 1")
            .listen("timeout = { headers = '1s', body_gap = '5s' }")
            .app("eject = false\nretry = { attempts = 0 }")
            .route("")
            .route("path = '/here'\nrespond = { status = 200, body = 'here' }")
            .route(
                "host = 'canon.test'\npath = '/canon'\nrespond = { status = 200, body = 'canon' }",
            )
            .start();
        Self { origin, proxy }
    }

    pub fn client(&self) -> RawClient {
        self.proxy.client().patience(PATIENCE)
    }

    /// Waits until the origin has seen all that the row before has caused: a request that was
    /// broken off may have been answered before the origin has even accepted its connection.
    fn settle(&self) {
        wait_until(SOON, "the row before is over", || {
            let body = RawClient::connect(self.proxy.admin()).ask("/upstreams/app").body;
            let upstream: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let server = &upstream["servers"][0];
            let count = |key: &str| usize::try_from(server[key].as_u64().unwrap()).unwrap();
            self.origin.accepts() >= count("connects")
                && self.origin.open_connections() <= count("connections")
        });
    }

    fn check(&self, row: &Row) -> Result<(), String> {
        self.check_as(row, &row.expect)
    }

    fn check_as(&self, row: &Row, expect: &Expect) -> Result<(), String> {
        if let Expect::OneOf(choices) = expect {
            let mut reasons = Vec::new();
            for choice in choices {
                match self.check_as(row, choice) {
                    Ok(()) => return Ok(()),
                    Err(why) => reasons.push(why),
                }
            }
            return Err(reasons.join("; nor: "));
        }
        self.settle();
        let mark = self.origin.mark();
        let mut client = self.client();
        client.offer(&row.input);
        if row.half_close {
            client.close_write();
        }
        match expect {
            Expect::Refused(statuses) => {
                self.refusal(&mut client, statuses)?;
                self.nothing_arrived(&mark)
            }
            Expect::Answered(statuses) => {
                check_problem(&response(&mut client, row)?, statuses, code_of(statuses))?;
                drop(client);
                self.nothing_arrived(&mark)
            }
            Expect::BrokenBody => {
                self.refusal(&mut client, BAD)?;
                self.aborted(&mark)
            }
            Expect::Closed(statuses) => {
                let (bytes, end) = client.end(PATIENCE);
                let status =
                    bytes.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
                if end == End::StillOpen {
                    return Err(format!("still open after {}", escape(&bytes)));
                }
                if !bytes.is_empty() && !status.is_some_and(|s| statuses.contains(&s)) {
                    return Err(format!("answered {}", escape(&bytes)));
                }
                self.nothing_arrived(&mark)
            }
            Expect::Here(status, body) => {
                let response = response(&mut client, row)?;
                if response.status != *status || response.text() != *body {
                    return Err(shown(&response));
                }
                drop(client);
                self.nothing_arrived(&mark)
            }
            Expect::Passes(passed) => self.passes(&mut client, row, passed, &mark),
            Expect::OneOf(_) => Err("a choice within a choice".into()),
        }
    }

    fn refusal(&self, client: &mut RawClient, statuses: &'static [u16]) -> Result<(), String> {
        let response = client.try_response("GET")?;
        check_problem(&response, statuses, code_of(statuses))?;
        if !response.says_close() {
            return Err(format!("no connection: close in {}", shown(&response)));
        }
        match client.end(PATIENCE) {
            (rest, End::Closed | End::Reset) if rest.is_empty() => Ok(()),
            (rest, end) => Err(format!("after the refusal: {end:?}, {}", escape(&rest))),
        }
    }

    fn passes(
        &self,
        client: &mut RawClient,
        row: &Row,
        passed: &Passed,
        mark: &Mark,
    ) -> Result<(), String> {
        let response = response(client, row)?;
        if response.status != 200 {
            return Err(format!("not forwarded: {}", shown(&response)));
        }
        let requests = self.origin.requests_since(mark);
        let [request] = &requests[..] else {
            return Err(format!("{} requests reached the origin", requests.len()));
        };
        if !request.complete {
            return Err(format!("an incomplete request: {}", escape(&request.head)));
        }
        passed
            .check(request)
            .map_err(|why| format!("{why}; the origin saw {}", escape(&request.head)))?;
        if response.says_close() {
            return Ok(());
        }
        client.offer("GET /again HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let again = client.try_response("GET").map_err(|e| format!("the next request: {e}"))?;
        let last = self.origin.requests_since(mark).pop();
        match last {
            Some(last) if again.status == 200 && last.target == "/again" => Ok(()),
            _ => Err(format!("the next request was answered {}", shown(&again))),
        }
    }

    /// The bytes, per connection, that reached the origin since `mark` and are not the fence's.
    pub fn arrived(&self, mark: &Mark) -> Result<Vec<Seen>, String> {
        let fence = b"GET /fence ";
        let mut client = self.client();
        client.offer("GET /fence HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let answer = client.try_response("GET").map_err(|e| format!("the fence: {e}"))?;
        if answer.status != 200 {
            return Err(format!("the fence was answered {}", shown(&answer)));
        }
        let mut seen = self.origin.bytes_since(mark);
        seen.retain(|c| !c.raw.starts_with(fence) || c.malformed.is_some());
        Ok(seen)
    }

    fn nothing_arrived(&self, mark: &Mark) -> Result<(), String> {
        match &self.arrived(mark)?[..] {
            [] => Ok(()),
            [first, ..] => Err(format!("this reached the origin: {}", escape(&first.raw))),
        }
    }

    /// Nothing arrived, or something whose connection was ended before the body was.
    pub fn aborted(&self, mark: &Mark) -> Result<(), String> {
        let ended = &mut || {
            let seen = self.origin.bytes_since(mark);
            seen.iter().all(|c| c.done || c.raw.starts_with(b"GET /fence "))
        };
        if !holds_within(PATIENCE, ended) {
            return Err("the connection to the origin was not ended".into());
        }
        for seen in self.arrived(mark)? {
            if seen.raw.ends_with(b"\r\n0\r\n\r\n") || seen.malformed.is_some() {
                return Err(format!("the origin was given {}", escape(&seen.raw)));
            }
        }
        let whole = |r: &Request| r.complete && r.target != "/fence";
        match self.origin.requests_since(mark).iter().find(|r| whole(r)) {
            Some(request) => Err(format!("a whole request arrived: {}", escape(&request.head))),
            None => Ok(()),
        }
    }
}

fn response(client: &mut RawClient, row: &Row) -> Result<Response, String> {
    client.try_response(if row.input.starts_with(b"HEAD ") { "HEAD" } else { "GET" })
}

fn shown(response: &Response) -> String {
    format!("{}{}", escape(&response.head), escape(&response.body))
}

/// 400 has one fixed code; what the others are called is not this table's business.
fn code_of(statuses: &[u16]) -> &'static str {
    if statuses == BAD { "bad_request" } else { "" }
}
