//! The admin endpoint: a plain HTTP server on a thread of its own, so that nothing asked of it can
//! slow a request down.
//!
//! [`guard`] decides who may ask, [`calls`] what is asked; each call has its file.

mod caches;
pub mod calls;
mod certificates;
mod dashboard;
mod explain;
pub mod guard;
mod history;
pub mod metrics;
pub mod openapi;
mod orders;
pub mod refusals;
mod registry;
mod seats;
mod servers;
pub mod stats;
mod supply;
mod warm;
mod webhook;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower::service_fn;

use self::calls::Calls;
use self::guard::AdminGuard;
use self::seats::{AdminSeat, AdminSeats};
use self::warm::Warming;
use crate::config::Spanned;
use crate::config::schema::process::Admin;
use crate::config::schema::words::Secret;
use crate::net::Address;
use crate::net::fetch::AnyConnection;
use crate::server::control::ControlCommand;
use crate::server::listener::{BindError, bind_alone, bind_unix};
use crate::server::status::Status;
use crate::snapshot::compile;

/// The longest time for a client's request head, and for the next one.
const HEADERS: Duration = Duration::from_secs(5);
/// The pause in accepting when the system has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The lifetime of a connection: long enough for a scrape, short enough for slow readers.
const LIFETIME: Duration = Duration::from_secs(60);

/// Starts the endpoint as it is written and returns the address it is bound to.
///
/// # Errors
/// When the address cannot be bound or the thread not be started.
pub fn open_admin(
    written: &Admin,
    status: Arc<Status>,
    commands: SyncSender<ControlCommand>,
) -> Result<Address, BindError> {
    let address = &compile::listen_address(&written.address.value);
    let access = &written.address.value.access;
    let secret = |secret: &Option<Spanned<Secret>>| -> Option<String> {
        secret.as_ref().map(|secret| secret.value.expose().to_owned())
    };
    let (token, read_token) = (secret(&written.token), secret(&written.read_token));
    let guard = AdminGuard::new(address, token.as_deref(), read_token.as_deref());
    let calls = Arc::new(Calls {
        status,
        commands,
        guard,
        checks: Arc::new(Semaphore::new(1)),
        warming: Warming::default(),
    });
    let fail = |source| BindError { address: address.clone(), source };
    let socket = match address {
        Address::Tcp(at) => bind_alone(*at),
        Address::Unix(path) => bind_unix(path, access),
    }
    .map_err(fail)?;
    let bound = match address {
        Address::Tcp(at) => {
            let local = socket.local_addr().map_err(fail)?;
            Address::Tcp(local.as_socket().unwrap_or(*at))
        }
        Address::Unix(path) => Address::Unix(path.clone()),
    };
    let unix = matches!(bound, Address::Unix(_));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(fail)?;
    let serve = move || {
        runtime.block_on(async {
            let listener = if unix {
                UnixListener::from_std(socket.into()).map(AdminListener::Unix)
            } else {
                TcpListener::from_std(socket.into()).map(AdminListener::Tcp)
            };
            match listener {
                Ok(listener) => serve_admin(&listener, calls).await,
                Err(error) => tracing::error!(%error, "the admin endpoint could not start"),
            }
        });
    };
    std::thread::Builder::new().name("admin".into()).spawn(serve).map_err(fail)?;
    Ok(bound)
}

enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

async fn serve_admin(listener: &AdminListener, calls: Arc<Calls>) {
    let mut seats = AdminSeats::default();
    loop {
        let calls = calls.clone();
        let accepted = match listener {
            AdminListener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(serve_connection(Box::new(stream), calls, seats.take_seat()));
            }),
            AdminListener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(serve_connection(Box::new(stream), calls, seats.take_seat()));
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "accepting admin connections is paused");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn serve_connection(stream: AnyConnection, calls: Arc<Calls>, seat: Arc<AdminSeat>) {
    let at_work = seat.clone();
    let service = ServiceBuilder::new().service(service_fn(move |request: Request<Incoming>| {
        let (calls, seat) = (calls.clone(), at_work.clone());
        async move { Ok::<_, Infallible>(calls.answer_request(request, &seat).await) }
    }));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // Whatever goes wrong here is the admin client's own doing.
    tokio::select! {
        _ended = tokio::time::timeout(LIFETIME, connection) => {}
        () = seat.given_away() => {}
    }
}
