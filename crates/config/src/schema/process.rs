//! The process itself: `[runtime]`, `[admin]`, `[log]`, `[redis]`.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::json;

use super::bind::Bind;
use super::defaults;
use super::forms::OneOrMany;
use super::units::{Bytes, Percent, Period, Timeout};
use super::words::{LogField, Secret};
use crate::read::{Reader, Shape, any_of, schema_of, settings, table, words};
use crate::source::{Place, Spanned};
use crate::tree::{TreeNode, Value};

settings! {
    /// Threads and shutdown.
    pub struct Runtime {
        /// Number of worker threads, 1 to 1024. Default: usable CPUs, cgroup quota respected.
        /// A reload does not change it.
        workers: Option<Spanned<NonZeroU16>> = None,
        /// The zone this instance is in; servers in the same one are preferred. Default: none.
        zone: Option<String> = None,
        /// How long a shutdown waits for requests, streams and tunnels.
        drain: Period = defaults::DRAIN,
        /// How long a shutdown goes on accepting while `/ready` fails already, for load balancers
        /// in front that need time to notice.
        drain_delay: Period = defaults::DRAIN_DELAY,
        /// What requests under way may hold together: their heads, what is kept of their bodies,
        /// and what waits in buffers. Beyond that, responses make room whose clients take nothing,
        /// and only then new requests are answered with 503. Default: a quarter of the memory that
        /// the process may use.
        request_memory: Option<Bytes> = None,
        /// What makes it read its files again: a change in them, or only who asks for it.
        reload: ReloadBy = ReloadBy::Watch,
        /// A reload that would remove more than this share of routes or servers is refused unless
        /// forced. A source of servers that no longer has more than this share of an upstream's is
        /// believed for those that do not answer.
        shrink_guard: Percent = defaults::SHRINK_GUARD,
        /// An update that would make an upstream this many times as large, and larger than 1000
        /// servers, is taken in that far.
        growth_guard: NonZeroU32 = defaults::GROWTH_GUARD,
        /// How long a source of servers has to say the same to be believed against the guards.
        guard_hold: Period = defaults::GUARD_HOLD,
    }
}

words! {
    /// What makes the process read its files again.
    pub enum ReloadBy ("a reason to reload") {
        /// A change of what is in them, besides what `signal` allows.
        Watch = "watch",
        /// SIGHUP, `POST /reload` and `tidegate reload`.
        Signal = "signal",
    }
}

table! {
    /// The admin endpoint. Without this table there is none.
    pub struct Admin {
        /// Where it listens: IP:PORT, unix:/PATH or { unix, mode, group }. An address that is not
        /// loopback needs a token.
        address: Spanned<Bind>,
        /// Bearer token for every call that changes something.
        token: Option<Spanned<Secret>> = None,
        /// Bearer token for calls that only show. Default: they are open on loopback and Unix
        /// sockets, and need `token` elsewhere.
        read_token: Option<Spanned<Secret>> = None,
    }
}

settings! {
    /// What is written about the program and about requests.
    pub struct Log {
        /// The least severe level that is written.
        level: LogLevel = LogLevel::Info,
        /// How a line looks.
        format: LogFormat = LogFormat::Text,
        /// Where the access log goes: "stdout", "off", a file path, "syslog:HOST:PORT" (UDP, RFC
        /// 5424), or a table.
        access: AccessLogConfig = defaults::ACCESS,
        /// Where traces are sent.
        trace: Option<TraceConfig> = None,
    }
}

words! {
    /// Severities of the log.
    pub enum LogLevel ("a log level") {
        /// Something is broken.
        Error = "error",
        /// Something will be.
        Warn = "warn",
        /// Transitions an operator wants to know.
        Info = "info",
        /// Details of decisions.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// How a line of the log looks.
    pub enum LogFormat ("a log format") {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLogConfig {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file or a syslog server.
    #[serde(untagged)]
    File(AccessFile),
    /// To an OpenTelemetry collector.
    #[serde(untagged)]
    Otlp(AccessOtlp),
}

impl AccessLogConfig {
    /// What lines say besides.
    #[must_use]
    pub fn fields(&self) -> &[Spanned<LogField>] {
        match self {
            Self::Off | Self::Stdout => &[],
            Self::File(file) => &file.fields,
            Self::Otlp(otlp) => &otlp.fields,
        }
    }
}

impl Shape for AccessLogConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::String(text) if text == "off" => Some(Self::Off),
            Value::String(text) if text == "stdout" => Some(Self::Stdout),
            Value::Table(entries) if entries.iter().any(|entry| entry.key == "otlp") => {
                AccessOtlp::read_node(node, reader).map(Self::Otlp)
            }
            Value::Table(_) => AccessFile::read_node(node, reader).map(Self::File),
            Value::String(_) => Spanned::<PathBuf>::read_node(node, reader).map(|path| {
                Self::File(AccessFile {
                    path,
                    format: AccessFormat::Json,
                    sample: Percent::new(100),
                    fields: Vec::new(),
                })
            }),
            _ => reader.mismatch(node, "\"stdout\", \"off\", a file path or a table"),
        }
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([
            schema_of(json!({ "type": "string", "minLength": 1 })),
            AccessFile::json_schema(generator),
            AccessOtlp::json_schema(generator),
        ])
    }
}

table! {
    /// An access log in a file.
    pub struct AccessFile {
        /// The file, "stdout", or "syslog:HOST:PORT".
        path: Spanned<PathBuf>,
        /// How a line looks.
        format: AccessFormat = AccessFormat::Json,
        /// The share of requests that are written.
        sample: Percent = Percent::new(100),
        /// What lines say besides: "header:NAME" of the request, "jwt:CLAIM" of its verified token.
        /// Never what clients prove who they are with.
        fields: Vec<Spanned<LogField>> = Vec::new(),
    }
}

table! {
    /// An access log as log records of OpenTelemetry.
    pub struct AccessOtlp {
        /// URL of a collector; records are posted to `/v1/logs` below it.
        otlp: Spanned<String>,
        /// The share of requests that are written.
        sample: Percent = Percent::new(100),
        /// What records say besides, as for a file.
        fields: Vec<Spanned<LogField>> = Vec::new(),
    }
}

words! {
    /// How a line of the access log looks.
    pub enum AccessFormat ("an access log format") {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
        /// The combined format of Apache and nginx.
        Combined = "combined",
    }
}

table! {
    /// Where traces are sent.
    pub struct TraceConfig {
        /// URL of an OpenTelemetry collector.
        otlp: Spanned<String>,
        /// The share of requests that are traced.
        sample: Percent = defaults::TRACE_SAMPLE,
        /// How servers are told their place in a trace: "w3c" is `traceparent`, "b3" the single
        /// field and `X-B3-*`.
        propagate: OneOrMany<TraceForm> = OneOrMany(vec![TraceForm::W3c]),
    }
}

words! {
    /// Forms of a place in a trace.
    pub enum TraceForm ("a form of a place in a trace") {
        /// W3C Trace Context.
        W3c = "w3c",
        /// B3, of Zipkin.
        B3 = "b3",
    }
}

table! {
    /// Shared state, for everything that says store = "redis" or tier = "redis". One of `url`,
    /// `sentinel`, or `cluster` with the URLs of some of its servers.
    pub struct RedisConfig {
        [#[serde(skip)] place: Place]
        /// URL of the server, `redis://`, `rediss://` for TLS or `unix:`; it may contain a password
        /// and is never printed.
        url: OneOrMany<Spanned<Secret>> = OneOrMany::default(),
        /// The Sentinels that know where the primary is.
        sentinel: Option<SentinelConfig> = None,
        /// The URLs are those of servers of a Redis Cluster.
        cluster: Spanned<bool> = false.into(),
        /// PEM file with authorities for `rediss://`. Default: those of the system.
        ca: Option<Spanned<PathBuf>> = None,
        /// PEM file with a client certificate.
        cert: Option<Spanned<PathBuf>> = None,
        /// PEM file with its private key.
        key: Option<Spanned<PathBuf>> = None,
        /// How long one operation may take.
        timeout: Timeout = defaults::REDIS_TIMEOUT,
        /// What to do while it does not answer.
        on_error: OnErrorConfig = OnErrorConfig::Local,
    }
}

table! {
    /// The Sentinels of a Redis.
    pub struct SentinelConfig {
        [#[serde(skip)] place: Place]
        /// The name by which they know the primary.
        master: String,
        /// Their addresses, `HOST:PORT`, or URLs with a password of their own; `rediss://` is TLS
        /// to them and to the primary.
        nodes: Vec<Spanned<Secret>>,
        /// The user that the primary is told.
        user: Option<String> = None,
        /// The password that the primary is told.
        password: Option<Secret> = None,
        /// The number of the primary's database.
        database: u16 = 0,
    }
}

words! {
    /// What to do while the shared store does not answer.
    pub enum OnErrorConfig ("a way to go on without Redis") {
        /// Go on with this instance's own state.
        Local = "local",
        /// Let the request pass.
        Allow = "allow",
        /// Refuse the request.
        Deny = "deny",
    }
}
