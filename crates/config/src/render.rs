//! How findings look: like those of a compiler for people, or as JSON for machines.

use std::borrow::Cow;
use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde_json::{Value as Json, json};

use super::finding::{Finding, FindingReport, MOST_FINDINGS, Severity};
use super::source::{Place, Sources};

/// The choice of escape sequences for colour in text, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextColour {
    /// For a terminal.
    Ansi,
    /// For everything else.
    Plain,
}

/// Findings that are told to those who did not ask for all of them.
const MOST_LINES: usize = 20;

/// Lines around a finding in a file with longer lines than this are not shown.
const LONGEST_LINE: usize = 400;

impl FindingReport {
    /// All findings as text, each with its place, line and caret, and a last line that counts.
    #[must_use]
    pub fn text(&self, colour: TextColour) -> String {
        let renderer = match colour {
            TextColour::Ansi => Renderer::styled(),
            TextColour::Plain => Renderer::plain(),
        };
        let mut out = String::new();
        for finding in self.findings.iter().take(MOST_FINDINGS) {
            out.push_str(&one(finding, &self.sources, &renderer));
            out.push_str("\n\n");
        }
        if let more @ 1.. = self.findings.len().saturating_sub(MOST_FINDINGS) + self.more {
            out.push_str(&format!("… and {more} more findings\n\n"));
        }
        out.push_str(&self.count_line());
        out.push('\n');
        out
    }

    /// The first findings, each with its place, words and advice and without the text it is about:
    /// for logs and for those who may not know what a file contains.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut out = String::new();
        for finding in self.findings.iter().take(MOST_LINES) {
            if let Some(at) = self.sources.position(finding.place) {
                out.push_str(&format!("{at}: "));
            }
            let (severity, code) = (finding.severity.as_str(), finding.code);
            out.push_str(&format!("{severity}[{code}]: {}\n", printable(&finding.message)));
            if let Some(help) = &finding.help {
                out.push_str(&format!("  help: {}\n", printable(help)));
            }
        }
        if let more @ 1.. = self.findings.len().saturating_sub(MOST_LINES) + self.more {
            out.push_str(&format!("… and {more} more findings\n"));
        }
        out + &self.count_line()
    }

    /// `2 errors, 1 warning`.
    #[must_use]
    pub fn count_line(&self) -> String {
        let count = |n: usize, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!("{}, {}", count(self.errors(), "error"), count(self.warnings(), "warning"))
    }

    /// All findings as JSON: `errors`, `warnings`, and `findings` with `severity`, `code`,
    /// `message`, `file`, `line`, `column`, `label`, `help` and `related`. The counts are of all
    /// findings, of which the first [`MOST_FINDINGS`] are listed.
    #[must_use]
    pub fn json(&self) -> Json {
        let shown = self.findings.iter().take(MOST_FINDINGS);
        let findings: Vec<Json> = shown.map(|f| as_json(f, &self.sources)).collect();
        json!({ "errors": self.errors(), "warnings": self.warnings(), "findings": findings })
    }
}

fn one(finding: &Finding, sources: &Sources, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = printable(&finding.message);
    let mut group = Group::with_title(level.primary_title(message).id(finding.code));
    let label = finding.label.as_deref();
    let first = excerpt(finding.place, label, AnnotationKind::Primary, sources);
    let same_file = |place: Place| place.file == finding.place.file;
    if let Some(Excerpt { mut snippet, origin, start, line, end }) = first {
        for (place, label) in &finding.related {
            // Only what is on the same line fits into the excerpt; the rest gets its own.
            let span = place.span();
            if same_file(*place) && span.start >= start && span.end <= end {
                let local = span.start - start..span.end - start;
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(local).label(label.as_str()));
            }
        }
        if let Some(origin) = origin {
            group = group.element(origin);
        }
        group = group.element(snippet.line_start(line));
        for (place, label) in &finding.related {
            let span = place.span();
            if same_file(*place) && span.start >= start && span.end <= end {
                continue;
            }
            let context = AnnotationKind::Context;
            if let Some(related) = excerpt(*place, Some(label.as_str()), context, sources) {
                if let Some(origin) = related.origin {
                    group = group.element(origin);
                }
                group = group.element(related.snippet.line_start(related.line));
            }
        }
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    renderer.render(&[group])
}

struct Excerpt<'a> {
    snippet: Snippet<'a, annotate_snippets::Annotation<'a>>,
    /// The position, when the renderer cannot know it.
    origin: Option<Origin<'a>>,
    line: usize,
    /// The bytes of the file that are shown.
    start: usize,
    end: usize,
}

/// The first line of a place with its annotation. Handing over one line and not the whole file
/// keeps a thousand findings in a large file from being quadratic.
fn excerpt<'a>(
    place: Place,
    label: Option<&'a str>,
    kind: AnnotationKind,
    sources: &'a Sources,
) -> Option<Excerpt<'a>> {
    let file = sources.file(place)?;
    let position = sources.position(place)?;
    let span = place.span();
    let (line_start, line) = file.line(span.start)?;
    let line = line.strip_suffix('\r').unwrap_or(line);
    let line_end = line_start + line.len();
    let (mut start, mut end, mut origin) = (line_start, line_end, None);
    if line.len() > LONGEST_LINE {
        // A line of a megabyte: the value alone, cut at characters. The renderer would count
        // columns from the cut, so the position is said apart.
        start = char_start(&file.text, span.start.min(line_end));
        end = char_start(&file.text, (start + LONGEST_LINE).min(line_end));
        let at = Origin::path(file.name.as_str()).line(position.line);
        origin = Some(at.char_column(position.column));
    }
    let from = span.start.clamp(start, end) - start;
    let to = span.end.clamp(start + from, end.max(start + from)) - start;
    let annotation = kind.span(from..to).label(label);
    let shown = hide_passwords(file.text.get(start..end)?);
    let mut snippet = Snippet::source(shown).annotation(annotation);
    if origin.is_none() {
        snippet = snippet.path(file.name.as_str());
    }
    Some(Excerpt { snippet, origin, line: position.line, start, end })
}

/// A line in which passwords of URLs are stars: from the first colon of what stands before the last
/// `@` of a quoted text. Each character gives way to one of as many bytes and one column, so that
/// annotations stay where they are.
fn hide_passwords(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        let quote = before.chars().rev().find(|c| matches!(c, '\'' | '"'));
        let end = after.find(|c| Some(c) == quote).unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        out.push_str(before);
        out.push_str("://");
        match url.rsplit_once('@').and_then(|(user, _)| Some((user, user.find(':')? + 1))) {
            Some((user, colon)) => {
                out.push_str(url.get(..colon).unwrap_or_default());
                let password = user.get(colon..).unwrap_or_default();
                out.extend(password.chars().map(star_like));
                out.push_str(url.get(user.len()..).unwrap_or_default());
            }
            None => out.push_str(url),
        }
        rest = next;
    }
    if out.is_empty() {
        return Cow::Borrowed(line);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// A mark of one column with as many bytes as a character.
fn star_like(c: char) -> char {
    match c.len_utf8() {
        1 => '*',
        2 => '\u{b7}',
        3 => '\u{2022}',
        _ => '\u{1d6a1}',
    }
}

/// The start of the character that `at` is in.
fn char_start(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One line without control characters: names and values in messages come from the file.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(LONGEST_LINE) {
        if c.is_control() {
            // Writing to a string does not fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn as_json(finding: &Finding, sources: &Sources) -> Json {
    let place = |place: Place| match sources.position(place) {
        Some(at) => json!({ "file": at.file, "line": at.line, "column": at.column }),
        None => json!({ "file": null, "line": null, "column": null }),
    };
    let mut object = json!({
        "severity": finding.severity.as_str(),
        "code": finding.code,
        "message": finding.message,
        "label": finding.label,
        "help": finding.help,
    });
    if let (Json::Object(object), Json::Object(at)) = (&mut object, place(finding.place)) {
        object.extend(at);
        let related = finding.related.iter().map(|(at, label)| {
            let mut related = place(*at);
            if let Json::Object(related) = &mut related {
                related.insert("label".into(), label.as_str().into());
            }
            related
        });
        object.insert("related".into(), related.collect());
    }
    object
}
