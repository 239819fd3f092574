//! What is asked: the arguments, and what is read of them.

use clap::Args;

use super::PlanFigure;
use super::figures;
use crate::cli::admin::CallTarget;
use crate::config::read::WordReader as _;
use crate::config::schema::units::Bytes;

#[derive(Debug, Args)]
#[command(after_help = "Instances = rate / (what an instance does x utilisation), rounded up.\n\n\
    Examples:\n  \
    tidegate plan --rate 1000/s --service 20ms                     29 servers that take one request at a time\n  \
    tidegate plan --rate 5000/s --capacity 1000/s --head-room 2    10 servers\n  \
    tidegate plan --from-history --admin http://127.0.0.1:9900 --head-room 2\n  \
    tidegate plan --rate 5000/s --load http://127.0.0.1:3000/ --json")]
pub(crate) struct PlanArguments {
    /// Requests at the peak: 5000/s, 90000/min
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<String>,
    /// The time that a server takes for a request: 20ms
    #[arg(long, value_name = "TIME")]
    pub(super) service: Option<String>,
    /// Requests that a server handles at a time [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(super) concurrency: Option<String>,
    /// Requests that a server is known to handle: 1000/s. With --service, the lower of the two
    /// counts
    #[arg(long, value_name = "RATE")]
    pub(super) capacity: Option<String>,
    /// How much of an instance is planned for [default: 70%]
    #[arg(long, value_name = "SHARE")]
    pub(super) utilisation: Option<String>,
    /// How many times the peak is planned for, in the stead of --utilisation: 2
    #[arg(long, alias = "headroom", value_name = "TIMES")]
    pub(super) head_room: Option<String>,
    /// Servers that may be away at the peak [default: 0]
    #[arg(long, value_name = "NUMBER")]
    pub(super) spare: Option<String>,
    /// Zones, one of which may be away at the peak [default: 1, which plans for none]
    #[arg(long, value_name = "NUMBER")]
    pub(super) zones: Option<String>,
    /// Cores of a server [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(super) cores: Option<String>,
    /// Memory of a server [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Clients that are connected at the peak [default: one for each request per second]
    #[arg(long, value_name = "NUMBER")]
    pub(super) connections: Option<String>,
    /// CPU time of the proxy for a request [default: 25.8us, as measured over TLS]
    #[arg(long, value_name = "TIME")]
    pub(super) proxy_cpu: Option<String>,
    /// Cores of an instance of the proxy [default: 2]
    #[arg(long, value_name = "NUMBER")]
    pub(super) proxy_cores: Option<String>,
    /// Instances of the proxy that may be away at the peak [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(super) proxy_spare: Option<String>,
    /// Take peak, time and CPU time from the last six hours of a proxy that runs, where no flag
    /// says them
    #[arg(long)]
    pub(super) from_history: bool,
    #[command(flatten)]
    pub(super) target: CallTarget,
    /// Find out what a server does by a short load on it: http://127.0.0.1:3000/. It is sent as
    /// much as it takes
    #[arg(long, value_name = "URL")]
    pub(super) load: Option<String>,
    /// How long the load takes, from 1 to 30 [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub(super) seconds: Option<String>,
    /// Connections that the load comes on, from 1 to 256 [default: 16]
    #[arg(long, value_name = "NUMBER")]
    pub(super) clients: Option<String>,
    /// Let the load go to a server that is not on this machine
    #[arg(long)]
    pub(super) force: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads flags and keeps what is wrong with each.
#[derive(Default)]
pub(super) struct ArgumentReader {
    pub(super) wrong: Vec<String>,
}

impl ArgumentReader {
    pub(super) fn read_flag<T>(
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

    pub(super) fn read_number(
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

pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let read = Bytes::parse_word(text).map(|bytes| bytes.get());
    match read {
        Ok(0) => Err(format!("`{text}` is no memory to run with")),
        read => read.map_err(|wrong| match wrong.help {
            Some(help) => format!("{}: {help}", wrong.message),
            None => wrong.message,
        }),
    }
}
