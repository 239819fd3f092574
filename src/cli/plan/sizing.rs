//! What is needed for a load, step by step.

use std::fmt::Display;

use super::arguments::{ArgumentReader, PlanArguments, parse_size};
use super::figures;
use super::history;
use super::trial;
use super::{
    BASE_BYTES, CONNECTION_BYTES, CONNECTIONS, PROXY_NANOS, PlanFigure, choose_room, tier_need,
};
use crate::cli::plan::capacity::{Bound, LoadRoom, PlannedLoad};
use crate::cli::plan::figures::MILLION;
use crate::cli::plan::report::{Assumption, CapacityPlan, PlannedTier};

/// Everything that is known of the load and of what carries it.
#[derive(Debug)]
pub(super) struct Said {
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

impl Said {
    /// Reads the flags.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn read_flags(of: &PlanArguments) -> Result<Self, Vec<String>> {
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
    pub(super) fn ask_missing(mut self, of: &PlanArguments) -> Result<Self, String> {
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
    pub(super) fn compute_plan(self) -> Result<CapacityPlan, String> {
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
