//! The text of the page: families, samples, labels, and what a list of families needs to be
//! written.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::ACCEPT;

use crate::telemetry::history::BUCKETS;

/// Metrics that each of `all` has, under its name.
pub(super) fn write_each<'a, T: 'a, I: Iterator<Item = (&'a str, &'a T)>>(
    text: &mut MetricsText,
    families: &[MetricFamily<T>],
    label: &'static str,
    all: impl Fn() -> I,
) {
    for family in families {
        let mut values = all().filter_map(|(name, of)| Some((name, (family.read)(of)?))).peekable();
        if values.peek().is_none() {
            continue;
        }
        text.write_family(family.name, family.kind, family.help);
        values.for_each(|(name, value)| text.write_sample(family.name, &[(label, name)], value));
    }
}

/// Returns whether the client prefers OpenMetrics, as Prometheus itself does.
#[must_use]
pub fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/openmetrics-text")
    })
}

/// A metric that each upstream or server has.
pub(super) struct MetricFamily<T: 'static> {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    /// `None` where it makes no sense.
    pub(super) read: fn(&T) -> Option<f64>,
}

pub(super) const fn gauge_family<T>(
    name: &'static str,
    help: &'static str,
    read: fn(&T) -> Option<f64>,
) -> MetricFamily<T> {
    MetricFamily { name, kind: "gauge", help, read }
}

pub(super) const fn counter_family<T>(
    name: &'static str,
    help: &'static str,
    read: fn(&T) -> Option<f64>,
) -> MetricFamily<T> {
    MetricFamily { name, kind: "counter", help, read }
}

#[derive(Default)]
pub(super) struct MetricsText {
    pub(super) out: String,
    /// OpenMetrics.
    pub(super) open: bool,
}

impl MetricsText {
    pub(super) fn write_family(&mut self, name: &str, kind: &str, help: &str) {
        // A counter's samples have the suffix, its family has not (OpenMetrics 1.0, "Counter").
        let bare = name.strip_suffix("_total").filter(|_| self.open && kind == "counter");
        let name = bare.unwrap_or(name);
        // Writing to a string cannot fail.
        let _ok = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn write_histogram(
        &mut self,
        name: &str,
        [a, b]: &[(&str, &str); 2],
        buckets: &[u64],
        (count, micros): (u64, u64),
    ) {
        let (bucket, count) = (format!("{name}_bucket"), count as f64);
        for (upto, count) in BUCKETS.iter().zip(buckets) {
            let le = (*upto as f64 / 1e6).to_string();
            let le = if le.contains('.') { le } else { le + ".0" };
            self.write_sample(&bucket, &[*a, *b, ("le", &le)], *count as f64);
        }
        self.write_sample(&bucket, &[*a, *b, ("le", "+Inf")], count);
        self.write_sample(&format!("{name}_sum"), &[*a, *b], micros as f64 / 1e6);
        self.write_sample(&format!("{name}_count"), &[*a, *b], count);
    }

    pub(super) fn write_sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ok = write!(self.out, "{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ok = writeln!(self.out, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = MetricsText::default();
        text.write_family("a_total", "counter", "Some.");
        text.write_sample("a_total", &[("x", "1\"2\\3\n4"), ("y", "z")], 5.0);
        text.write_sample("b", &[], 0.5);
        let expected = "# HELP a_total Some.\n# TYPE a_total counter\n\
                        a_total{x=\"1\\\"2\\\\3\\n4\",y=\"z\"} 5\nb 0.5\n";
        assert_eq!(text.out, expected);
    }
}
