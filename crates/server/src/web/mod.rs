//! What monitoring asks over HTTP: `/metrics`, `/health`, `/livez`, `/readyz`.
//!
//! In: requests. Out: what the cores tell of themselves, and what the health monitor believes.
//!
//! It runs on the control plane's thread, so that nobody who asks holds up a client. What a stranger
//! can take is bounded: connections, the size of a request's head, the time for it, and the age of a
//! connection.

mod health;
mod metrics;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pgherd::HealthMonitor;
use pgherd_core::metrics::Format;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, oneshot};

use crate::admin::report::{Report, Scope};
use crate::reactor::mio_driver::Mailbox;
use crate::reactor::{Mail, Proxy};
use health::Kept;

/// Connections at the same time: a few scrapers and probes each hold one or two. One more waits.
const MOST_CONNECTIONS: usize = 64;

/// Bytes of a request's head, at most: 16 KiB, which no scraper comes near.
const LONGEST_HEAD: usize = 16 * 1024;

/// How long the head of a request may take, from the end of the last one.
const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// How old a connection may get. Who has not read an answer by then, and a little more, is cut off.
const OLDEST: Duration = Duration::from_secs(120);

/// The little more.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long the cores may take to answer: a loop that is that late serves nobody.
const CORES_LIMIT: Duration = Duration::from_secs(2);

type Answer = Response<Full<Bytes>>;

/// Answers over HTTP.
pub(crate) struct Web {
    proxy: Arc<Proxy>,
    mailboxes: Arc<[Mailbox]>,
    monitor: Arc<HealthMonitor>,
    // The last report of the nodes' health. Held while they are asked, so that they are asked once for
    // all who want to know.
    health: Mutex<Option<Kept>>,
}

impl Web {
    pub(crate) fn new(
        proxy: Arc<Proxy>,
        mailboxes: Arc<[Mailbox]>,
        monitor: Arc<HealthMonitor>,
    ) -> Self {
        Self { proxy, mailboxes, monitor, health: Mutex::default() }
    }

    /// Serves whoever connects. Has no end.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let web = Arc::new(self);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("nobody closes the semaphore");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let web = Arc::clone(&web);
                    tokio::spawn(async move {
                        web.converse(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for HTTP");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let web = Arc::clone(&self);
            async move { Ok::<_, Infallible>(web.answer(&request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = match tokio::time::timeout(OLDEST, connection.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(LAST_WORDS, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return tracing::debug!("cut off who reads no answer over HTTP"),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection for HTTP broke");
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => {
                let accepted = request.headers().get_all(header::ACCEPT);
                let accepted: Vec<_> = accepted.iter().filter_map(|v| v.to_str().ok()).collect();
                self.metrics(Format::accepted(&accepted.join(","))).await
            }
            "/health" => self.health().await,
            "/livez" => self.livez().await,
            "/readyz" => self.readyz(),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /health, /livez and /readyz\n"),
        }
    }

    async fn metrics(&self, format: Format) -> Answer {
        match self.ask_cores(Some(Scope::Sums)).await {
            Ok(reports) => {
                let body = metrics::written(self, format, &reports, Instant::now());
                answer(StatusCode::OK, format.content_type(), body)
            }
            Err(late) => text(StatusCode::SERVICE_UNAVAILABLE, late.to_string()),
        }
    }

    async fn livez(&self) -> Answer {
        match self.ask_cores(None).await {
            Ok(_) => text(StatusCode::OK, "ok\n"),
            Err(late) => text(StatusCode::SERVICE_UNAVAILABLE, late.to_string()),
        }
    }

    fn readyz(&self) -> Answer {
        match health::why_not_ready(self) {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    /// What each core tells, in their order; nothing if no scope is given but that they are there.
    async fn ask_cores(&self, scope: Option<Scope>) -> Result<Vec<Report>, Late> {
        let ask = |mailbox: &Mailbox| {
            let (to, report) = oneshot::channel();
            mailbox.post(Mail::Tell(scope, to));
            report
        };
        let asked: Vec<_> = self.mailboxes.iter().map(ask).collect();
        let deadline = tokio::time::Instant::now() + CORES_LIMIT;
        let mut reports = Vec::new();
        for (core, report) in asked.into_iter().enumerate() {
            match tokio::time::timeout_at(deadline, report).await {
                Ok(Ok(report)) => reports.push(report),
                // An error means that its loop has ended.
                Ok(Err(_)) | Err(_) => return Err(Late { core }),
            }
        }
        Ok(reports)
    }
}

/// A core that does not answer.
#[derive(Debug, thiserror::Error)]
#[error("core {core} does not answer within {CORES_LIMIT:?}\n")]
struct Late {
    core: usize,
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
