//! How findings look: like those of a compiler for people, or as JSON for machines.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};

use super::finding::{Finding, MOST_FINDINGS, Report, Severity};
use super::source::{Place, Sources};

/// Whether text may contain escape sequences for colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Ansi,
    /// For everything else.
    Plain,
}

/// Lines around a finding in a file with longer lines than this are not shown.
const LONGEST_LINE: usize = 400;

impl Report {
    /// All findings as text, each with its place, line and caret, and a last line that counts.
    #[must_use]
    pub fn text(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Ansi => Renderer::styled(),
            Colour::Plain => Renderer::plain(),
        };
        let mut out = String::new();
        for finding in self.findings.iter().take(MOST_FINDINGS) {
            out.push_str(&one(finding, &self.sources, &renderer));
            out.push_str("\n\n");
        }
        if let Some(more) = self.findings.len().checked_sub(MOST_FINDINGS).filter(|more| *more > 0)
        {
            out.push_str(&format!("… and {more} more findings\n\n"));
        }
        out.push_str(&self.count_line());
        out.push('\n');
        out
    }

    /// `2 errors, 1 warning`.
    #[must_use]
    pub fn count_line(&self) -> String {
        let count = |n: usize, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!("{}, {}", count(self.errors(), "error"), count(self.warnings(), "warning"))
    }

    /// All findings as JSON: `errors`, `warnings`, and `findings` with `severity`, `code`, `message`,
    /// `file`, `line`, `column`, `label`, `help` and `related`. The counts are of all
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
    if let Some(Excerpt { mut snippet, start, line, end }) = first {
        for (place, label) in &finding.related {
            // Only what is on the same line fits into the excerpt; the rest gets its own.
            let span = place.span();
            if same_file(*place) && span.start >= start && span.end <= end {
                let local = span.start - start..span.end - start;
                snippet =
                    snippet.annotation(AnnotationKind::Context.span(local).label(label.as_str()));
            }
        }
        group = group.element(snippet.line_start(line));
        for (place, label) in &finding.related {
            let span = place.span();
            if same_file(*place) && span.start >= start && span.end <= end {
                continue;
            }
            let context = AnnotationKind::Context;
            if let Some(related) = excerpt(*place, Some(label.as_str()), context, sources) {
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
    line: usize,
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
    let start = file.text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let rest = file.text.get(start..)?;
    let line = rest.split('\n').next().unwrap_or(rest);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let end = start + line.len();
    let mut from = (span.start - start).min(line.len());
    let mut to = (span.end.max(span.start) - start).clamp(from, line.len());
    let mut shown = line;
    if line.len() > LONGEST_LINE {
        // A line of a megabyte: the value alone, cut at characters.
        let cut = |mut at: usize| {
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (left, right) = (cut(from), cut((from + LONGEST_LINE).min(line.len())));
        shown = line.get(left..right)?;
        from = 0;
        to = to.saturating_sub(left).min(shown.len());
    }
    let annotation = kind.span(from..to).label(label);
    let snippet = Snippet::source(shown).path(file.name.as_str()).annotation(annotation);
    Some(Excerpt { snippet, line: position.line, start, end })
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
