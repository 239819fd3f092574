//! `tidegate plan`: how many servers a load takes, and how many instances of the proxy in front of
//! them.
//!
//! Figures come from flags, from the history of a proxy that runs, or from a short load on a
//! server; what nobody says is assumed, and every assumption is printed with the flag that changes
//! it.

mod arguments;
mod capacity;
mod figures;
mod history;
mod report;
mod sizing;
mod trial;

use std::process::ExitCode;

pub(super) use self::arguments::PlanArguments;
use self::sizing::Said;
use crate::cli::plan::capacity::{Bound, LoadRoom, PlannedLoad};
use crate::cli::plan::figures::MILLION;
use crate::cli::plan::report::TierNeed;
use crate::cli::{print_error, print_text};

/// CPU time of the proxy for a request over TLS on a kept connection: `docs/speed.md`,
/// `tls-keepalive`.
const PROXY_NANOS: u128 = 25_800;
/// Memory of the proxy for a connection: 8 to 11 KiB idle over TLS (`docs/scale.md`), and as much
/// again twice for what is under way.
const CONNECTION_BYTES: u128 = 32 << 10;
/// Memory of the proxy before anybody connects: 23 MiB (`docs/scale.md`), and a configuration
/// larger than that one.
const BASE_BYTES: u128 = 32 << 20;
/// Connections to one instance; more is possible, and takes longer to drain.
const CONNECTIONS: u64 = 50_000;

/// Exit code 0 with a plan, 1 when a proxy or a server could not be asked, 2 when the flags make
/// none.
pub(super) fn run_plan(arguments: &PlanArguments) -> ExitCode {
    let said = match Said::read_flags(arguments) {
        Ok(said) => said,
        Err(wrong) => {
            let mut text: String = wrong.iter().map(|why| format!("error: {why}\n")).collect();
            if wrong.len() > 1 {
                text.push_str(&format!("{} errors\n", wrong.len()));
            }
            let _failure = print_error(&text);
            return ExitCode::from(2);
        }
    };
    match said.ask_missing(arguments).and_then(|said| said.compute_plan()) {
        Ok(plan) => {
            let json = || serde_json::to_string_pretty(&plan).unwrap_or_default() + "\n";
            print_text(&if arguments.json { json() } else { plan.plan_text() }, ExitCode::SUCCESS)
        }
        Err(error) => print_error(&format!("error: {}\n", error.trim_end())),
    }
}

/// The room to leave: what `--head-room` says, or else `--utilisation`, or else 70 % of use.
fn choose_room(
    used: Option<PlanFigure<u128>>,
    times: Option<PlanFigure<u128>>,
) -> PlanFigure<LoadRoom> {
    match (used, times) {
        (_, Some(times)) => {
            PlanFigure { value: LoadRoom::HeadRoom(times.value), source: times.source }
        }
        (Some(used), None) => {
            PlanFigure { value: LoadRoom::Utilisation(used.value), source: used.source }
        }
        (None, None) => {
            PlanFigure::from_assumption(LoadRoom::Utilisation(MILLION * 7 / 10), "--utilisation")
        }
    }
}

/// A figure and who says it.
#[derive(Debug, Clone)]
pub(super) struct PlanFigure<T> {
    value: T,
    source: String,
}

impl<T> PlanFigure<T> {
    fn from_assumption(value: T, flag: &str) -> Self {
        Self { value, source: format!("assumed, {flag}") }
    }
}

fn tier_need(
    by: &'static str,
    bound: Bound,
    load: &PlannedLoad,
    because: String,
    source: &str,
) -> Result<TierNeed, String> {
    let instances = bound.needed_instances(load).ok_or_else(|| {
        format!(
            "{because} would take more than 1000000000 instances: look at {source} and --rate again"
        )
    })?;
    Ok(TierNeed { by, instances, because, source: source.to_owned() })
}
