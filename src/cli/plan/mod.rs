//! `tidegate plan`: how many servers a load takes, and how many instances of the proxy in front of them.
//!
//! Figures come from flags, from the history of a proxy that runs, or from a short load on a server; what nobody says is assumed,
//! and every assumption is printed with the flag that changes it.

mod capacity;
mod figures;
mod history;
mod report;
mod trial;

use std::fmt::Display;
use std::process::ExitCode;

use clap::Args;

use self::capacity::{Bound, LoadRoom, PlannedLoad};
use self::figures::MILLION;
use self::report::{Assumption, CapacityPlan, PlannedTier, TierNeed};
use super::admin::CallTarget;
use super::{print_error, print_text};
use crate::config::read::WordReader as _;
use crate::config::schema::units::Bytes;

/// CPU time of the proxy for a request over TLS on a kept connection: `docs/speed.md`, `tls-keepalive`.
const PROXY_NANOS: u128 = 25_800;
/// Memory of the proxy for a connection: 8 to 11 KiB idle over TLS (`docs/scale.md`), and as much again twice for what is under way.
const CONNECTION_BYTES: u128 = 32 << 10;
/// Memory of the proxy before anybody connects: 23 MiB (`docs/scale.md`), and a configuration larger than that one.
const BASE_BYTES: u128 = 32 << 20;
/// Connections to one instance; more is possible, and takes longer to drain.
const CONNECTIONS: u64 = 50_000;

#[derive(Debug, Args)]
#[command(after_help = "Instances = rate / (what an instance does x utilisation), rounded up.\n\n\
    Examples:\n  \
    tidegate plan --rate 1000/s --service 20ms                     29 servers that take one request at a time\n  \
    tidegate plan --rate 5000/s --capacity 1000/s --head-room 2    10 servers\n  \
    tidegate plan --from-history --admin http://127.0.0.1:9900 --head-room 2\n  \
    tidegate plan --rate 5000/s --load http://127.0.0.1:3000/ --json")]
pub(super) struct PlanArguments {
    /// Requests at the peak: 5000/s, 90000/min
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// The time that a server takes for a request: 20ms
    #[arg(long, value_name = "TIME")]
    service: Option<String>,
    /// Requests that a server handles at a time [default: 1]
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<String>,
    /// Requests that a server is known to handle: 1000/s. With --service, the lower of the two counts
    #[arg(long, value_name = "RATE")]
    capacity: Option<String>,
    /// How much of an instance is planned for [default: 70%]
    #[arg(long, value_name = "SHARE")]
    utilisation: Option<String>,
    /// How many times the peak is planned for, in the stead of --utilisation: 2
    #[arg(long, alias = "headroom", value_name = "TIMES")]
    head_room: Option<String>,
    /// Servers that may be away at the peak [default: 0]
    #[arg(long, value_name = "NUMBER")]
    spare: Option<String>,
    /// Zones, one of which may be away at the peak [default: 1, which plans for none]
    #[arg(long, value_name = "NUMBER")]
    zones: Option<String>,
    /// Cores of a server [default: 1]
    #[arg(long, value_name = "NUMBER")]
    cores: Option<String>,
    /// Memory of a server [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Clients that are connected at the peak [default: one for each request per second]
    #[arg(long, value_name = "NUMBER")]
    connections: Option<String>,
    /// CPU time of the proxy for a request [default: 25.8us, as measured over TLS]
    #[arg(long, value_name = "TIME")]
    proxy_cpu: Option<String>,
    /// Cores of an instance of the proxy [default: 2]
    #[arg(long, value_name = "NUMBER")]
    proxy_cores: Option<String>,
    /// Instances of the proxy that may be away at the peak [default: 1]
    #[arg(long, value_name = "NUMBER")]
    proxy_spare: Option<String>,
    /// Take peak, time and CPU time from the last six hours of a proxy that runs, where no flag says them
    #[arg(long)]
    from_history: bool,
    #[command(flatten)]
    target: CallTarget,
    /// Find out what a server does by a short load on it: http://127.0.0.1:3000/. It is sent as much as it takes
    #[arg(long, value_name = "URL")]
    load: Option<String>,
    /// How long the load takes, from 1 to 30 [default: 5]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<String>,
    /// Connections that the load comes on, from 1 to 256 [default: 16]
    #[arg(long, value_name = "NUMBER")]
    clients: Option<String>,
    /// Let the load go to a server that is not on this machine
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 0 with a plan, 1 when a proxy or a server could not be asked, 2 when the flags make none.
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

/// Everything that is known of the load and of what carries it.
#[derive(Debug)]
struct Said {
    rate: Option<PlanFigure<u128>>,
    service: Option<PlanFigure<u128>>,
    capacity: Option<PlanFigure<u128>>,
    at_a_time: PlanFigure<u64>,
    room: PlanFigure<LoadRoom>,
    spare: PlanFigure<u64>,
    zones: PlanFigure<u64>,
    cores: PlanFigure<u64>,
    memory: PlanFigure<u64>,
    connections: Option<PlanFigure<u64>>,
    proxy_nanos: Option<PlanFigure<u128>>,
    proxy_cores: PlanFigure<u64>,
    proxy_spare: PlanFigure<u64>,
    seconds: u64,
    clients: u64,
    notes: Vec<String>,
}

/// Reads flags and keeps what is wrong with each.
#[derive(Default)]
struct ArgumentReader {
    wrong: Vec<String>,
}

impl ArgumentReader {
    fn read_flag<T>(
        &mut self,
        flag: &str,
        text: Option<&String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<PlanFigure<T>> {
        match read(text?) {
            Ok(value) => Some(PlanFigure { value, source: flag.to_owned() }),
            Err(why) => {
                self.wrong.push(format!("{flag}: {why}"));
                None
            }
        }
    }

    fn read_number(
        &mut self,
        flag: &str,
        text: Option<&String>,
        least: u64,
        default: u64,
        most: u64,
    ) -> PlanFigure<u64> {
        let said = self.read_flag(flag, text, |text| figures::parse_count(text, least, most));
        said.unwrap_or_else(|| PlanFigure::from_assumption(default, flag))
    }
}

impl Said {
    /// Reads the flags.
    ///
    /// # Errors
    /// All that is wrong with them.
    fn read_flags(of: &PlanArguments) -> Result<Self, Vec<String>> {
        let mut reader = ArgumentReader::default();
        let rate = reader.read_flag("--rate", of.rate.as_ref(), figures::parse_rate);
        if of.rate.is_none() && !of.from_history {
            reader.wrong.push(
                "--rate is missing: say how many requests the peak has, such as --rate 5000/s, or --from-history"
                    .to_owned(),
            );
        }
        let service = reader.read_flag("--service", of.service.as_ref(), figures::parse_time);
        let capacity = reader.read_flag("--capacity", of.capacity.as_ref(), figures::parse_rate);
        if of.service.is_none() && of.capacity.is_none() && of.load.is_none() && !of.from_history {
            reader.wrong.push(
                "what a server does is missing: --service 20ms, --capacity 1000/s, --load URL or --from-history"
                    .to_owned(),
            );
        }
        let used = reader.read_flag("--utilisation", of.utilisation.as_ref(), figures::parse_share);
        let times = reader.read_flag("--head-room", of.head_room.as_ref(), figures::parse_times);
        if of.utilisation.is_some() && of.head_room.is_some() {
            reader
                .wrong
                .push("--utilisation and --head-room say the same thing: leave one out".to_owned());
        }
        if of.load.is_some() && of.capacity.is_some() {
            reader.wrong.push("--load finds out what --capacity says: leave one out".to_owned());
        }
        let of_load = [("--seconds", &of.seconds), ("--clients", &of.clients)];
        for (flag, _) in of_load.iter().filter(|(_, text)| text.is_some() && of.load.is_none()) {
            reader.wrong.push(format!("{flag} is for --load URL only"));
        }
        if of.force && of.load.is_none() {
            reader.wrong.push("--force is for --load URL only".to_owned());
        }
        if let Some(Err(why)) = of.load.as_deref().map(trial::parse_target) {
            reader.wrong.push(format!("--load: {why}"));
        }
        let memory = reader.read_flag("--memory", of.memory.as_ref(), parse_size);
        let room = choose_room(used, times);
        let connections = of.connections.as_ref();
        let connections = reader.read_flag("--connections", connections, |text| {
            figures::parse_count(text, 1, 1_000_000_000)
        });
        let said = Self {
            rate,
            service,
            capacity,
            at_a_time: reader.read_number(
                "--concurrency",
                of.concurrency.as_ref(),
                1,
                1,
                1_000_000,
            ),
            room,
            spare: reader.read_number("--spare", of.spare.as_ref(), 0, 0, 1_000_000),
            zones: reader.read_number("--zones", of.zones.as_ref(), 1, 1, 1000),
            cores: reader.read_number("--cores", of.cores.as_ref(), 1, 1, 4096),
            memory: memory.unwrap_or_else(|| PlanFigure::from_assumption(512 << 20, "--memory")),
            connections,
            proxy_nanos: reader.read_flag(
                "--proxy-cpu",
                of.proxy_cpu.as_ref(),
                figures::parse_time,
            ),
            proxy_cores: reader.read_number("--proxy-cores", of.proxy_cores.as_ref(), 1, 2, 4096),
            proxy_spare: reader.read_number(
                "--proxy-spare",
                of.proxy_spare.as_ref(),
                0,
                1,
                1_000_000,
            ),
            seconds: reader.read_number("--seconds", of.seconds.as_ref(), 1, 5, 30).value,
            clients: reader.read_number("--clients", of.clients.as_ref(), 1, 16, 256).value,
            notes: Vec::new(),
        };
        if reader.wrong.is_empty() { Ok(said) } else { Err(reader.wrong) }
    }

    /// Asks a proxy and a server for what the flags leave open.
    ///
    /// # Errors
    /// A message for the operator.
    fn ask_missing(mut self, of: &PlanArguments) -> Result<Self, String> {
        if of.from_history {
            let past = history::look_up(&of.target)?;
            let from = |what: &str| format!("{what} of the history");
            self.rate.get_or_insert(PlanFigure { value: past.rate, source: from("peak") });
            if self.service.is_none() && self.capacity.is_none() && of.load.is_none() {
                self.service =
                    Some(PlanFigure { value: past.median, source: from("median at the peak") });
            }
            if let (None, Some(nanos)) = (&self.proxy_nanos, past.proxy_nanos) {
                let source = "CPU time by requests of that proxy".to_owned();
                self.proxy_nanos = Some(PlanFigure { value: nanos, source });
            }
            self.notes.extend(past.notes);
        }
        if let Some(url) = &of.load {
            let found = trial::run_trial(url, (self.seconds, self.clients), of.force)?;
            self.capacity = Some(PlanFigure { value: found.rate, source: found.figure_source() });
            self.notes.push(found.figure_note());
        }
        Ok(self)
    }

    /// Computes the plan.
    ///
    /// # Errors
    /// There are more instances than anybody has.
    fn compute_plan(self) -> Result<CapacityPlan, String> {
        let rate = self.rate.clone().ok_or("--rate is missing")?;
        let load = PlannedLoad {
            rate: rate.value,
            room: self.room.value,
            spare: self.spare.value,
            zones: self.zones.value,
        };
        let servers = self.plan_servers(&load)?;
        let tidegate = self.plan_proxies(&load)?;
        Ok(CapacityPlan {
            servers,
            tidegate,
            assumptions: self.list_assumptions(&rate),
            notes: self.notes,
        })
    }

    fn plan_servers(&self, load: &PlannedLoad) -> Result<PlannedTier, String> {
        let mut needs = Vec::new();
        if let Some(capacity) = &self.capacity {
            let because = format!("{}/s each", figures::show_number(capacity.value, MILLION));
            needs.push(tier_need(
                "capacity",
                Bound::Capacity(capacity.value),
                load,
                because,
                &capacity.source,
            )?);
        }
        if let Some(service) = &self.service {
            let at_a_time = self.at_a_time.value;
            let because =
                format!("{} a request, {at_a_time} at a time", figures::show_time(service.value));
            let bound = Bound::Service { nanos: service.value, at_a_time };
            needs.push(tier_need("service", bound, load, because, &service.source)?);
        }
        let memory = u128::from(self.memory.value);
        PlannedTier::from_needs(needs, load, (self.cores.value, memory))
    }

    fn plan_proxies(&self, load: &PlannedLoad) -> Result<PlannedTier, String> {
        let nanos = self.proxy_nanos.clone();
        let nanos =
            nanos.unwrap_or_else(|| PlanFigure::from_assumption(PROXY_NANOS, "--proxy-cpu"));
        let connections = self.assumed_connections();
        let load = PlannedLoad { spare: self.proxy_spare.value, ..*load };
        let cores = self.proxy_cores.value;
        let because =
            format!("{} of CPU a request, {cores} cores", figures::show_time(nanos.value));
        let cpu = Bound::Service { nanos: nanos.value, at_a_time: cores };
        let (all, each) = (u128::from(connections.value), u128::from(CONNECTIONS));
        let held = format!("{all} connections, {CONNECTIONS} each");
        let needs = vec![
            tier_need("cpu", cpu, &load, because, &nanos.source)?,
            tier_need("connections", Bound::Holds { all, each }, &load, held, &connections.source)?,
        ];
        let without = needs.iter().map(|need| need.instances).max().unwrap_or(1);
        let memory = BASE_BYTES + all.div_ceil(u128::from(without)) * CONNECTION_BYTES;
        PlannedTier::from_needs(needs, &load, (cores, memory))
    }

    fn assumed_connections(&self) -> PlanFigure<u64> {
        let one_each = || {
            let rate = self.rate.as_ref().map_or(1, |rate| rate.value.div_ceil(MILLION));
            PlanFigure::from_assumption(u64::try_from(rate).unwrap_or(u64::MAX), "--connections")
        };
        self.connections.clone().unwrap_or_else(one_each)
    }

    fn list_assumptions(&self, rate: &PlanFigure<u128>) -> Vec<Assumption> {
        fn assumption_row<T>(
            name: &'static str,
            of: &PlanFigure<T>,
            value: impl Display,
        ) -> Assumption {
            Assumption { name, value: value.to_string(), source: of.source.clone() }
        }
        let per_second = |rate: u128| format!("{}/s", figures::show_number(rate, MILLION));
        let mut rows = vec![assumption_row("rate", rate, per_second(rate.value))];
        rows.extend(
            self.capacity.as_ref().map(|c| assumption_row("capacity", c, per_second(c.value))),
        );
        if let Some(service) = &self.service {
            rows.push(assumption_row("service", service, figures::show_time(service.value)));
            rows.push(assumption_row("concurrency", &self.at_a_time, self.at_a_time.value));
        }
        rows.push(match self.room.value {
            LoadRoom::Utilisation(share) => {
                let percent = figures::show_number(share * 100, MILLION);
                assumption_row("utilisation", &self.room, format!("{percent}%"))
            }
            LoadRoom::HeadRoom(times) => {
                assumption_row("head-room", &self.room, figures::show_number(times, MILLION))
            }
        });
        rows.push(assumption_row("spare", &self.spare, self.spare.value));
        rows.push(assumption_row("zones", &self.zones, self.zones.value));
        rows.push(assumption_row("cores", &self.cores, self.cores.value));
        rows.push(assumption_row(
            "memory",
            &self.memory,
            figures::show_size(u128::from(self.memory.value)),
        ));
        let nanos = self.proxy_nanos.clone();
        let nanos =
            nanos.unwrap_or_else(|| PlanFigure::from_assumption(PROXY_NANOS, "--proxy-cpu"));
        rows.push(assumption_row("proxy-cpu", &nanos, figures::show_time(nanos.value)));
        rows.push(assumption_row("proxy-cores", &self.proxy_cores, self.proxy_cores.value));
        rows.push(assumption_row("proxy-spare", &self.proxy_spare, self.proxy_spare.value));
        let connections = self.assumed_connections();
        rows.push(assumption_row("connections", &connections, connections.value));
        rows
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let read = Bytes::parse_word(text).map(|bytes| bytes.get());
    match read {
        Ok(0) => Err(format!("`{text}` is no memory to run with")),
        read => read.map_err(|wrong| match wrong.help {
            Some(help) => format!("{}: {help}", wrong.message),
            None => wrong.message,
        }),
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
