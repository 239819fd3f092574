//! Compiles `[redis]`.

use std::path::PathBuf;
use std::sync::Arc;

use super::Snapshot;
use crate::config::schema::process;
use crate::config::schema::words::Secret;
use crate::config::{Config, Finding, Spanned};
use crate::policy::shared::{OnError, Redis, RedisSettings, RedisTopology, SettingsError};

/// Compiles `[redis]`, taking over what is known of it when nothing changes.
///
/// # Errors
/// The URL is none.
pub(super) fn compile_redis(
    config: &Config,
    previous: Option<&Snapshot>,
) -> Result<Option<Arc<Redis>>, Box<Finding>> {
    let Some(written) = &config.redis else { return Ok(None) };
    let process::RedisConfig { place, url, sentinel, cluster, ca, cert, key, timeout, on_error } =
        written;
    let on_error = match on_error {
        process::OnErrorConfig::Local => OnError::Local,
        process::OnErrorConfig::Allow => OnError::Allow,
        process::OnErrorConfig::Deny => OnError::Deny,
    };
    let exposed = |urls: &[Spanned<Secret>]| -> Vec<String> {
        urls.iter().map(|url| url.value.expose().to_owned()).collect()
    };
    let topology = match sentinel {
        Some(process::SentinelConfig { place: _, master, nodes, user, password, database }) => {
            RedisTopology::Sentinel {
                master: master.clone(),
                nodes: exposed(nodes),
                user: user.clone(),
                password: password.as_ref().map(|password| password.expose().to_owned()),
                database: *database,
            }
        }
        None if cluster.value => RedisTopology::Cluster(exposed(url)),
        // Without any the check has reported it.
        None => RedisTopology::Url(exposed(url).into_iter().next().unwrap_or_default()),
    };
    let path = |file: &Option<Spanned<PathBuf>>| file.as_ref().map(|file| file.value.clone());
    let settings = RedisSettings {
        topology,
        ca: path(ca),
        identity: path(cert).zip(path(key)),
        timeout: timeout.get(),
        on_error,
    };
    let known = previous.and_then(|previous| previous.redis.as_ref());
    Redis::new(settings, known).map(Some).map_err(|SettingsError { at, message }| {
        let named = sentinel.as_ref().map_or(&**url, |sentinel| &sentinel.nodes);
        let named = at.and_then(|at| named.get(at)).map(|url| url.place);
        // What is wrong beside them are the files.
        let file = ca.as_ref().or(cert.as_ref()).map(|file| file.place);
        let message = format!("Redis cannot be used: {message}");
        let finding = Finding::error("bad_value", named.or(file).unwrap_or(*place), message);
        let help = named.map(|_| match (sentinel, cluster.value) {
            (Some(_), _) => {
                "a Sentinel is \"10.0.0.1:26379\", or \"redis://:PASSWORD@10.0.0.1:26379\""
            }
            (None, true) => "a server of a Cluster is \"redis://USER:PASSWORD@10.0.0.1:6379\"",
            (None, false) => {
                "a whole one is \"redis://USER:PASSWORD@10.0.0.1:6379/0\"; rediss:// for TLS, \
                 unix:///run/redis.sock for a socket"
            }
        });
        Box::new(finding.maybe_help(help.map(str::to_owned)))
    })
}
