//! Figures out of the history that a proxy keeps of itself.

use http::Method;
use serde_json::Value as Json;

use super::figures::{MILLION, SECOND};
use crate::cli::admin::CallTarget;

/// Requests from which on the proxy's CPU time says what one costs, and not what starting does.
const ENOUGH: f64 = 10_000.0;
/// Seconds of history below which a peak may be none.
const SHORT: u64 = 3600;

/// The past of a proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PastLoad {
    /// The most requests per second of any ten seconds, in millionths.
    pub(super) rate: u128,
    /// The median of that time, in nanoseconds.
    pub(super) median: u128,
    /// The CPU time of the process by its requests, in nanoseconds; `None` where there were too
    /// few.
    pub(super) proxy_nanos: Option<u128>,
    /// The remarks that belong to these figures.
    pub(super) notes: Vec<String>,
}

/// Asks a proxy.
///
/// # Errors
/// A message for the operator.
pub(super) fn look_up(target: &CallTarget) -> Result<PastLoad, String> {
    let call = |path: &str| match target.call_admin(Method::GET, path)? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("GET {path} answers {status}: {}", body.trim_end())),
    };
    let history = call("/history?points=2160&of=all")?;
    read_history(&history, &call("/metrics")?)
}

/// Reads a history and metrics.
fn read_history(history: &str, metrics: &str) -> Result<PastLoad, String> {
    let wrong = || "the history is not what this version of tidegate keeps".to_owned();
    let history: Json = serde_json::from_str(history).map_err(|_| wrong())?;
    let seconds = history["point_seconds"].as_u64().filter(|n| *n > 0).ok_or_else(wrong)?;
    let points = history["all"]["classes"].as_array().ok_or_else(wrong)?;
    let count = |point: &Json| {
        let classes = point.as_array().into_iter().flatten();
        classes.filter_map(Json::as_u64).fold(0, u64::saturating_add)
    };
    let busiest = points.iter().map(count).enumerate().max_by_key(|(_, requests)| *requests);
    let (at, requests) = busiest.filter(|(_, requests)| *requests > 0).ok_or(
        "the proxy has no history of requests yet: it keeps them in steps of ten seconds, for six hours",
    )?;
    let median = history["all"]["p50_ms"][at].as_f64().unwrap_or_default();
    let mut notes = Vec::new();
    let kept = points.len() as u64 * seconds;
    if kept < SHORT {
        notes.push(format!(
            "the history covers {kept} s only: the peak of a day or a week may be higher"
        ));
    }
    Ok(PastLoad {
        rate: u128::from(requests) * MILLION / u128::from(seconds),
        median: ((median * 1e6) as u128).clamp(1, 3600 * SECOND),
        proxy_nanos: cpu_by_requests(metrics),
        notes,
    })
}

fn cpu_by_requests(metrics: &str) -> Option<u128> {
    let sample = |name: &str| {
        let mut lines =
            metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next_back()?.trim().parse::<f64>().ok()
    };
    let requests = sample("tidegate_requests_total").filter(|requests| *requests >= ENOUGH)?;
    let nanos = sample("process_cpu_seconds_total")? * 1e9 / requests;
    (nanos >= 1.0).then_some(nanos as u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: &str = r#"{"point_seconds": 10, "all": {
        "classes": [[0,100,0,0,0,0],[0,49000,500,400,100,0],[0,0,0,0,0,0]],
        "p50_ms": [2.0, 12.5, null]}}"#;
    const METRICS: &str = "# TYPE tidegate_requests_total counter\ntidegate_requests_total 50100\n\
                           process_cpu_seconds_total 1.503\n";

    #[test]
    fn the_busiest_ten_seconds_are_the_peak() {
        let past = read_history(HISTORY, METRICS).unwrap();
        assert_eq!((past.rate, past.median), (5_000_000_000, 12_500_000));
        assert_eq!(past.proxy_nanos, Some(30_000));
        assert_eq!(past.notes.len(), 1);
        assert!(past.notes[0].contains("30 s only"), "{:?}", past.notes);
    }

    #[test]
    fn few_requests_say_nothing_about_cpu() {
        let few = METRICS.replace("50100", "9999");
        assert_eq!(read_history(HISTORY, &few).unwrap().proxy_nanos, None);
    }

    #[test]
    fn no_requests_and_no_history_are_told_apart() {
        let none =
            r#"{"point_seconds": 10, "all": {"classes": [[0,0,0,0,0,0]], "p50_ms": [null]}}"#;
        assert!(read_history(none, METRICS).unwrap_err().contains("no history of requests yet"));
        for other in ["", "[]", "{}", r#"{"point_seconds": 0, "all": {"classes": []}}"#] {
            assert!(
                read_history(other, METRICS).unwrap_err().contains("not what this version"),
                "{other}"
            );
        }
    }
}
