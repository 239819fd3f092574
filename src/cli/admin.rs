//! Talks to the admin endpoint of a running proxy, for the commands that do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;

use super::config_file;
use crate::config;
use crate::config::schema::words::ListenAddress;
use crate::net::fetch::{self, AnyConnection, FetchError, RequestBody};

/// The longest time for a call; a reload looks up names and compiles routes.
const PATIENCE: Duration = Duration::from_secs(35);
/// The longest answer: the statistics of tens of thousands of servers.
const ANSWER: usize = 256 << 20;

/// The address of the proxy's admin endpoint.
#[derive(Debug, Args)]
pub(super) struct CallTarget {
    /// The configuration file that says where the admin endpoint is [default: ./tidegate.toml, then
    /// /etc/tidegate/tidegate.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin endpoint itself: http://HOST:PORT or unix:/PATH. The token is then taken from
    /// TIDEGATE_TOKEN
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

/// The address of the demo's admin endpoint, unless somebody else is there.
const DEMO: &str = "http://127.0.0.1:9900";

/// A place to call and what to show there.
struct AdminAddress {
    address: AdminSocket,
    token: Option<String>,
}

enum AdminSocket {
    Tcp(String),
    Unix(PathBuf),
}

impl CallTarget {
    /// Calls and returns status and body.
    ///
    /// # Errors
    /// A message for the operator.
    pub(super) fn call_admin(&self, method: Method, path: &str) -> Result<(u16, String), String> {
        self.call_within(PATIENCE, method, path)
    }

    /// As [`Self::call_admin`], for what only looks: where no file says where a proxy is, it is the
    /// demo's place.
    ///
    /// # Errors
    /// A message for the operator.
    pub(super) fn look_up(&self, path: &str) -> Result<(u16, String), String> {
        if self.admin.is_none() && no_file(self.config.as_deref()) {
            return look_at_demo(path);
        }
        self.call_admin(Method::GET, path)
    }

    /// Calls and returns status and body; waits no longer than `patience`.
    ///
    /// # Errors
    /// A message for the operator.
    pub(super) fn call_within(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
    ) -> Result<(u16, String), String> {
        let endpoint = match &self.admin {
            Some(url) => admin_at(url)?,
            None => from_file(&config_file(self.config.as_deref()))?,
        };
        endpoint.send_call(patience, method, path)
    }
}

/// Returns whether no file is named and none is where one would be.
pub(super) fn no_file(named: Option<&Path>) -> bool {
    named.is_none() && !config_file(None).exists()
}

/// Asks the demo, if it runs.
///
/// # Errors
/// A message for the operator.
pub(super) fn look_at_demo(path: &str) -> Result<(u16, String), String> {
    call_url(DEMO, Method::GET, path).map_err(|error| {
        format!(
            "there is no {}, and nothing answers where the demo would ({error}); say where the proxy is \
             with -c or --admin",
            config::DEFAULT_FILES.join(" or ")
        )
    })
}

/// Calls the admin endpoint at `url`.
///
/// # Errors
/// A message for the operator.
pub(super) fn call_url(url: &str, method: Method, path: &str) -> Result<(u16, String), String> {
    admin_at(url)?.send_call(PATIENCE, method, path)
}

fn admin_at(url: &str) -> Result<AdminAddress, String> {
    Ok(AdminAddress { address: parse_url(url)?, token: std::env::var("TIDEGATE_TOKEN").ok() })
}

impl AdminAddress {
    fn send_call(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
    ) -> Result<(u16, String), String> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let asked = async {
            match &self.address {
                AdminSocket::Tcp(at) => {
                    let stream = TcpStream::connect(at).await.map_err(|e| format!("{at}: {e}"))?;
                    ask_stream(Box::new(stream), at, self.token.as_deref(), method, path).await
                }
                AdminSocket::Unix(at) => {
                    let stream = UnixStream::connect(at).await;
                    let stream = stream.map_err(|e| format!("{}: {e}", at.display()))?;
                    ask_stream(Box::new(stream), "localhost", self.token.as_deref(), method, path)
                        .await
                }
            }
        };
        runtime.block_on(async {
            let answered = tokio::time::timeout(patience, asked).await;
            answered
                .unwrap_or_else(|_| Err(format!("no answer within {patience:?}").into()))
                .map_err(|error| error.to_string())
        })
    }
}

fn parse_url(url: &str) -> Result<AdminSocket, String> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(AdminSocket::Unix(path.into()));
    }
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if rest.is_empty() || rest.contains('/') {
        return Err(format!(
            "`{url}` is not an admin endpoint: write http://HOST:PORT or unix:/PATH"
        ));
    }
    Ok(AdminSocket::Tcp(rest.to_owned()))
}

fn from_file(file: &Path) -> Result<AdminAddress, String> {
    let loaded = config::load(file).map_err(|report| {
        let text = report.text(config::TextColour::Plain);
        format!("{text}\nwhere the proxy is can also be said with --admin")
    })?;
    let admin = loaded.config.admin.ok_or_else(|| {
        format!("{} has no [admin]; say where the proxy is with --admin", file.display())
    })?;
    let address = match &admin.address.value.at {
        ListenAddress::Ip(address) => AdminSocket::Tcp(address.to_string()),
        ListenAddress::Unix(path) => AdminSocket::Unix(path.clone()),
    };
    Ok(AdminAddress { address, token: admin.token.map(|token| token.value.expose().to_owned()) })
}

async fn ask_stream(
    stream: AnyConnection,
    host: &str,
    token: Option<&str>,
    method: Method,
    path: &str,
) -> Result<(u16, String), FetchError> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let mut sender = fetch::speak_http1(stream).await?;
    let response = sender.send_request(request.body(RequestBody::default())?).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
