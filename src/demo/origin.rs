//! A server that says who it is and what it was asked.
//!
//! `/stream` answers in five lines, one every 200 ms, everything else with one line of JSON.
//! Written on hyper, which shares no HTTP code with the proxy's data path.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::Interval;

/// Lines of `/stream`.
const LINES: u32 = 5;
/// Time between two of them.
const BETWEEN: Duration = Duration::from_millis(200);
/// The pause in accepting after an error, so that running out of descriptors is no busy loop.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts a server on a thread and a port of its own. It goes on until the process ends.
///
/// # Errors
/// When there is no port or no thread.
pub(super) fn start_origin(name: &'static str) -> io::Result<SocketAddr> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("server-{name}")).spawn(move || {
        if let Err(error) = runtime.block_on(serve_origin(name, listener)) {
            tracing::error!(%error, server = name, "a demo server stopped");
        }
    })?;
    Ok(address)
}

async fn serve_origin(name: &'static str, listener: StdListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let service =
            service_fn(
                move |request| async move { Ok::<_, Infallible>(demo_answer(name, &request)) },
            );
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // The proxy closes connections as it likes, which is no news.
            let _ended = connection.await;
        });
    }
}

fn demo_answer(name: &'static str, request: &Request<Incoming>) -> Response<DemoAnswer> {
    if request.uri().path() == "/stream" {
        let lines = DemoAnswer::Lines { name, sent: 0, tick: tokio::time::interval(BETWEEN) };
        return typed_answer(lines, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    let body = json!({
        "server": name,
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("/", |path| path.as_str()),
        "headers": show_fields(request.headers()),
    });
    let whole = DemoAnswer::Whole(Some(format!("{body}\n").into()));
    typed_answer(whole, HeaderValue::from_static("application/json"))
}

fn typed_answer(body: DemoAnswer, kind: HeaderValue) -> Response<DemoAnswer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Header fields by name; several with one name as the list that they are (RFC 9110 §5.3).
fn show_fields(headers: &HeaderMap) -> Map<String, Value> {
    let list = |name| {
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        values.collect::<Vec<_>>().join(", ")
    };
    headers.keys().map(|name| (name.as_str().to_owned(), list(name).into())).collect()
}

/// The body of an answer.
enum DemoAnswer {
    /// All at once.
    Whole(Option<Bytes>),
    /// Line by line.
    Lines { name: &'static str, sent: u32, tick: Interval },
}

impl Body for DemoAnswer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            DemoAnswer::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            DemoAnswer::Lines { sent: LINES, .. } => Poll::Ready(None),
            DemoAnswer::Lines { name, sent, tick } => {
                ready!(tick.poll_tick(cx));
                *sent += 1;
                let line = format!("line {sent} of {LINES} from server {name}\n");
                Poll::Ready(Some(Ok(Frame::data(line.into()))))
            }
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            DemoAnswer::Whole(body) => {
                hyper::body::SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            DemoAnswer::Lines { .. } => hyper::body::SizeHint::default(),
        }
    }
}
