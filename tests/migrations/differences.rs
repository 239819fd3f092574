//! What is not the same, and the table in which it has to stand.

use std::cell::Cell;
use std::io::Read as _;
use std::path::Path;

use crate::echo;
use support::Response;

/// Something that was not there.
pub(crate) const ABSENT: &str = "—";
/// In a cell: anything that is there.
const ANYTHING: char = '…';

/// A row of `differences.md`: `| request | what | original | tidegate | why |`.
struct Row {
    requests: Vec<String>,
    what: String,
    original: String,
    tidegate: String,
    seen: Vec<Cell<bool>>,
}

/// The table of a migration, and what it has been found not to cover.
pub(crate) struct Differences {
    rows: Vec<Row>,
    wrong: Vec<String>,
}

impl Differences {
    pub(crate) fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let mut rows = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let cells: Vec<&str> =
                line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
            let [requests, what, original, tidegate, why] = cells[..] else {
                panic!("{}: five cells, not {}: {line}", file.display(), cells.len());
            };
            assert!(why.len() > 8, "{}: a reason: {line}", file.display());
            let requests: Vec<String> =
                requests.trim_matches('`').split("`, `").map(str::to_owned).collect();
            let seen = requests.iter().map(|_| Cell::new(false)).collect();
            let cell = |text: &str| text.trim_matches('`').to_owned();
            rows.push(Row {
                requests,
                what: cell(what),
                original: cell(original),
                tidegate: cell(tidegate),
                seen,
            });
        }
        Self { rows, wrong: Vec::new() }
    }

    /// Takes down what `request` was answered with, or `None` where there was nothing of the kind.
    pub(crate) fn compare(
        &mut self,
        request: &str,
        what: &str,
        original: Option<&str>,
        tidegate: Option<&str>,
    ) {
        if original == tidegate {
            return;
        }
        let (original, tidegate) = (original.unwrap_or(ABSENT), tidegate.unwrap_or(ABSENT));
        // What is said of this request alone comes before what is said of all.
        for wanted in [request, "*"] {
            for row in self.rows.iter().filter(|row| row.what == what) {
                let at = row.requests.iter().position(|name| name == wanted);
                let fitting = fits(original, &row.original) && fits(tidegate, &row.tidegate);
                if let Some(at) = at.filter(|_| fitting) {
                    row.seen[at].set(true);
                    return;
                }
            }
        }
        self.wrong.push(format!("| `{request}` | {what} | `{original}` | `{tidegate}` | ? |"));
    }

    /// Takes down what is wrong whatever the table says.
    pub(crate) fn object(&mut self, said: String) {
        self.wrong.push(said);
    }

    /// # Panics
    /// When something was different that no row tells, or a row tells of what was the same.
    pub(crate) fn finish(mut self, name: &str) {
        for row in &self.rows {
            for (request, seen) in row.requests.iter().zip(&row.seen) {
                if !seen.get() {
                    let line =
                        format!("listed and not seen: {request}: {}: {}", row.what, row.original);
                    self.wrong.push(line);
                }
            }
        }
        assert!(self.wrong.is_empty(), "differences of {name}:\n{}", self.wrong.join("\n"));
    }
}

/// Whether a cell says this: `…` is anything that is there, also within.
fn fits(said: &str, cell: &str) -> bool {
    if said == ABSENT || cell == ABSENT {
        return said == cell;
    }
    let parts: Vec<String> = cell.split(ANYTHING).map(regex::escape).collect();
    regex::Regex::new(&format!("^{}$", parts.join(".+"))).unwrap().is_match(said)
}

/// One thing about an answer that can be compared: its name, and what it was.
pub(crate) type Aspect = (String, String);

/// Fields of answers and requests that tell of connections and moments, or are different each time.
const NOT_COMPARED: [&str; 8] = [
    "connection",
    "keep-alive",
    "date",
    "content-length",
    "transfer-encoding",
    "x-echo",
    echo::SERVED_BY,
    "age",
];
/// Fields whose being there counts, and not their value.
const UNLIKE: [&str; 6] =
    ["retry-after", "etag", "x-request-id", "traceparent", "ratelimit", "cdn-loop"];

/// Status, fields and body of an answer; of one that tells what the server saw, that instead of the
/// body.
pub(crate) fn aspects(response: &Response, ports: &[u16]) -> Vec<Aspect> {
    let neutral = |text: &str| without_ports(text, ports);
    let mut all = vec![("status".to_owned(), response.status.to_string())];
    fields(&mut all, "", &response.headers, &neutral);
    let text = match response.header("content-encoding") {
        Some("gzip") => unzipped(&response.body),
        _ => response.text(),
    };
    if response.header(echo::ECHO).is_none() {
        all.push(("body".to_owned(), shown(&neutral(&text))));
        return all;
    }
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    all.push(("server sees".to_owned(), neutral(lines.next().unwrap())));
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    fields(&mut all, "server sees ", &headers, &neutral);
    all.push(("server sees body".to_owned(), shown(body)));
    all
}

/// What was compressed is compared as it was before.
pub(crate) fn unzipped(body: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap();
    text
}

fn fields(
    into: &mut Vec<Aspect>,
    prefix: &str,
    headers: &[(String, String)],
    neutral: &dyn Fn(&str) -> String,
) {
    let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    for name in names.iter().filter(|name| !NOT_COMPARED.contains(&name.as_str())) {
        let values: Vec<String> = headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| match name.as_str() {
                "set-cookie" => cookie(value),
                "cookie" => opaque(value),
                "vary" => value.to_lowercase(),
                name if UNLIKE.contains(&name) => ANYTHING.to_string(),
                _ => neutral(value),
            })
            .collect();
        into.push((format!("{prefix}{name}"), values.join(", ")));
    }
}

/// A cookie with its attributes in order and without its value, which is the proxy's own affair.
fn cookie(value: &str) -> String {
    let mut parts = value.split(';').map(str::trim);
    let name = parts.next().unwrap().split('=').next().unwrap().to_owned();
    let mut attributes: Vec<String> = parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => format!("{}={value}", name.to_lowercase()),
            None => part.to_lowercase(),
        })
        .map(|part| if part.starts_with("expires=") { "expires=…".to_owned() } else { part })
        .collect();
    attributes.sort();
    std::iter::once(format!("{name}={ANYTHING}")).chain(attributes).collect::<Vec<_>>().join("; ")
}

/// Cookies of a client without long values, which some proxy has made.
fn opaque(value: &str) -> String {
    let one = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if value.len() > 15 => format!("{name}={ANYTHING}"),
        _ => pair.to_owned(),
    };
    value.split("; ").map(one).collect::<Vec<_>>().join("; ")
}

/// As it would be on the ports that the files name, which need not be told.
fn without_ports(text: &str, ports: &[u16]) -> String {
    let mut text = text.to_owned();
    for port in ports {
        text = text.replace(&format!(":{port}"), "").replace(&port.to_string(), "PORT");
    }
    text
}

/// A body in one cell of a table.
fn shown(body: &str) -> String {
    const MOST: usize = 70;
    if body.is_empty() {
        return "empty".to_owned();
    }
    let line = body.replace('\n', "\\n").replace('\r', "\\r").replace('|', "¦");
    if line.chars().count() <= MOST {
        return line;
    }
    let digest = xxhash_rust::xxh3::xxh3_64(body.as_bytes());
    let beginning: String = line.chars().take(MOST).collect();
    format!("{beginning} and more, {digest:016x}")
}

#[test]
fn a_difference_that_is_not_listed_and_one_that_is_none_are_noticed() {
    let table = "| request | what | original | tidegate | why |\n|---|---|---|---|---|\n\
                 | `a`, `b` | status | 503 | 429 | it says what it is |\n\
                 | `*` | via | `1.1 …` | — | nobody asked for it |\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("differences.md");
    std::fs::write(&file, table).unwrap();
    let wrong = |seen: &[(&str, &str, Option<&str>, Option<&str>)]| {
        let mut differences = Differences::read(&file);
        for (request, what, original, tidegate) in seen {
            differences.compare(request, what, *original, *tidegate);
        }
        std::panic::catch_unwind(|| differences.finish("it")).err().map(|said| {
            said.downcast_ref::<String>().unwrap().lines().skip(1).collect::<Vec<_>>().join("\n")
        })
    };
    let status = |name| (name, "status", Some("503"), Some("429"));
    let via = ("c", "via", Some("1.1 it"), None);
    assert_eq!(wrong(&[status("a"), status("b"), via]), None);
    assert_eq!(wrong(&[status("a"), via]).as_deref(), Some("listed and not seen: b: status: 503"));
    assert_eq!(
        wrong(&[status("a"), status("b"), status("c"), via]).as_deref(),
        Some("| `c` | status | `503` | `429` | ? |")
    );
    let other = ("a", "status", Some("503"), Some("500"));
    assert_eq!(
        wrong(&[status("a"), status("b"), other, via]).as_deref(),
        Some("| `a` | status | `503` | `500` | ? |")
    );
    let none = ("c", "via", None, Some("1.1 it"));
    assert!(wrong(&[status("a"), status("b"), via, none]).is_some());
    assert!(fits("abc", "a…c") && fits("abc", "…") && fits("abc", "abc") && fits("abcd", "ab…"));
    assert!(!fits("abc", "ab") && !fits("abc", "b…") && !fits("abc", "a…x") && !fits(ABSENT, "…"));
}
