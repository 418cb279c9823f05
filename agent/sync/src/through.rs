//! Gives a blob that is not on disk yet at once: `GET /files/<entry>/<path>` on a loopback address, for the web server's fallback,
//! so that what was uploaded on another instance a second ago is served before the next pass brings it. Touches the network.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lamplighter_core::lifecycle::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::config::Filters;
use crate::names;
use crate::store::{BlobStore, Body as BlobBody, ETag, StoreError};

/// How many requests are answered at a time; more wait for the web server's own patience.
const CONNECTIONS_MAX: usize = 64;
/// How much of a blob one request to the storage asks for.
const PIECE: u64 = 4 * 1024 * 1024;
/// For how long a blob that is not there is not asked for again.
const ABSENT_TIME: Duration = Duration::from_secs(1);
/// The most names of which that is remembered.
const ABSENT_MAX: usize = 4096;
/// How long a client may take for its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// One entry that can be read through.
#[derive(Debug)]
pub(crate) struct Shelf<S> {
    pub(crate) name: String,
    pub(crate) store: Arc<S>,
    pub(crate) prefix: String,
    pub(crate) filters: Filters,
    pub(crate) attempts: Attempts,
    /// A pass is wanted: there is something new.
    pub(crate) nudge: Arc<Notify>,
}

/// One address and the entries behind it.
#[derive(Debug)]
pub(crate) struct ReadThrough<S> {
    listener: StdListener,
    shelves: Vec<Shelf<S>>,
}

impl<S: BlobStore> ReadThrough<S> {
    /// Binds `address`.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            shelves: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, shelf: Shelf<S>) {
        self.shelves.push(shelf);
    }

    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Answers until `tasks` drain; what is under way then is ended.
    pub(crate) async fn run(self, tasks: Tasks) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("read_through cannot listen: {error}"),
        };
        let desk = Arc::new(Desk {
            shelves: self.shelves,
            absent: Mutex::default(),
        });
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = async {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return std::future::pending().await;
                };
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                accepted = accepted => accepted,
                () = tasks.draining() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("read_through cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (desk, ending) = (Arc::clone(&desk), tasks.clone());
            tasks.spawn("read_through", async move {
                tokio::select! {
                    () = serve(stream, desk) => {}
                    () = ending.draining() => {}
                }
                drop(place);
            });
        }
    }
}

async fn serve<S: BlobStore>(stream: TcpStream, desk: Arc<Desk<S>>) {
    let service = hyper::service::service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!("read_through: {error}");
    }
}

/// What answers share.
#[derive(Debug)]
struct Desk<S> {
    shelves: Vec<Shelf<S>>,
    absent: Mutex<HashMap<String, Instant>>,
}

impl<S: BlobStore> Desk<S> {
    async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let head_only = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => {
                let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
                let allowed = HeaderValue::from_static("GET, HEAD");
                answer.headers_mut().insert(header::ALLOW, allowed);
                return answer;
            }
        };
        let Some((shelf, name)) = self.find(request.uri().path()) else {
            return plain(StatusCode::NOT_FOUND);
        };
        let key = format!("{}/{name}", shelf.name);
        if self.is_absent(&key) {
            return plain(StatusCode::NOT_FOUND);
        }
        match shelf.open(&name).await {
            Ok(found) => {
                shelf.nudge.notify_one();
                let mut known = request.headers().get_all(header::IF_NONE_MATCH).iter();
                let unchanged = known.any(|known| names_version(known, &found.etag));
                found.answer(shelf, &name, unchanged, head_only)
            }
            Err(StoreError::NotFound) => {
                self.note_absent(key);
                plain(StatusCode::NOT_FOUND)
            }
            Err(error) => {
                shelf.attempts.metrics.errors(error.label()).inc();
                tracing::warn!(job = shelf.name, name, "read through failed: {error}");
                plain(StatusCode::BAD_GATEWAY)
            }
        }
    }

    /// The entry and the name that `path` (`/files/<entry>/<path>`) means.
    fn find(&self, path: &str) -> Option<(&Shelf<S>, String)> {
        let (entry, name) = path.strip_prefix("/files/")?.split_once('/')?;
        let shelf = self.shelves.iter().find(|shelf| shelf.name == entry)?;
        let name = decoded(name)?;
        let may_be = names::check(&name, 0).is_ok() && shelf.filters.wants(&name);
        may_be.then_some((shelf, name))
    }

    fn is_absent(&self, key: &str) -> bool {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(key).is_some_and(|until| *until > Instant::now())
    }

    fn note_absent(&self, key: String) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if absent.len() >= ABSENT_MAX {
            absent.retain(|_, until| *until > now);
        }
        if absent.len() < ABSENT_MAX {
            absent.insert(key, now + ABSENT_TIME);
        }
    }
}

/// A blob that is there: its first piece.
struct Found {
    first: Option<BlobBody>,
    etag: ETag,
    total: u64,
    content_type: Option<String>,
}

impl<S: BlobStore> Shelf<S> {
    async fn open(&self, name: &str) -> Result<Found, StoreError> {
        let blob = format!("{}{name}", self.prefix);
        let first = self
            .attempts
            .retried(|| self.store.get_range(&blob, 0..PIECE, None))
            .await;
        match first {
            Ok(body) => Ok(Found {
                etag: body
                    .etag
                    .clone()
                    .ok_or_else(|| StoreError::Protocol("an answer without an ETag".to_owned()))?,
                total: body.total,
                content_type: body.content_type.clone(),
                first: Some(body),
            }),
            // an empty blob has no range that could be asked for
            Err(StoreError::Changed) => {
                let head = self.attempts.retried(|| self.store.head(&blob)).await?;
                Ok(Found {
                    first: None,
                    etag: head.etag,
                    total: 0,
                    content_type: None,
                })
            }
            Err(error) => Err(error),
        }
    }
}

impl Found {
    fn answer<S: BlobStore>(
        self,
        shelf: &Shelf<S>,
        name: &str,
        unchanged: bool,
        head_only: bool,
    ) -> Answer {
        let builder = Response::builder().header(header::ETAG, self.etag.as_str());
        if unchanged {
            return builder
                .status(StatusCode::NOT_MODIFIED)
                .body(nothing())
                .unwrap_or_else(|_| plain(StatusCode::BAD_GATEWAY));
        }
        let kind = self.content_type.clone();
        let builder = builder
            .header(header::CONTENT_LENGTH, self.total)
            // what a stranger uploaded is what its type says, and nothing a browser guesses
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(
                header::CONTENT_TYPE,
                kind.as_deref().unwrap_or("application/octet-stream"),
            );
        let body = match self.first {
            Some(first) if !head_only && self.total > 0 => {
                pieces(shelf, name, first, self.etag, self.total)
            }
            _ => nothing(),
        };
        builder
            .body(body)
            .unwrap_or_else(|_| plain(StatusCode::BAD_GATEWAY))
    }
}

/// Whether an If-None-Match, a list or `*`, names this version; weak or not is the same here (RFC 9110, section 13.1.2).
fn names_version(known: &HeaderValue, etag: &ETag) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let known = known.to_str().unwrap_or_default();
    let own = strong(etag.as_str());
    known.trim() == "*" || known.split(',').any(|one| strong(one) == own)
}

/// The rest of a body, piece by piece, all of one version.
struct Rest<S> {
    store: Arc<S>,
    attempts: Attempts,
    blob: String,
    etag: ETag,
    total: u64,
    sent: u64,
    body: Option<BlobBody>,
}

fn pieces<S: BlobStore>(
    shelf: &Shelf<S>,
    name: &str,
    first: BlobBody,
    etag: ETag,
    total: u64,
) -> UnsyncBoxBody<Bytes, io::Error> {
    let rest = Rest {
        store: Arc::clone(&shelf.store),
        attempts: shelf.attempts.clone(),
        blob: format!("{}{name}", shelf.prefix),
        etag,
        total,
        sent: 0,
        body: Some(first),
    };
    let chunks = stream::try_unfold(rest, |mut rest| async move {
        match rest.next().await {
            Ok(Some(chunk)) => Ok(Some((Frame::data(chunk), rest))),
            Ok(None) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}

impl<S: BlobStore> Rest<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(body) = &mut self.body {
                let next = async { body.chunks.next().await.transpose() };
                // a piece that breaks off is asked for again, from where it broke
                if let Ok(Some(chunk)) = self.attempts.once(next).await {
                    self.sent += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    return Ok(Some(chunk));
                }
                self.body = None;
            }
            if self.sent >= self.total {
                return Ok(None);
            }
            let range = self.sent..self.total.min(self.sent + PIECE);
            let request = || {
                self.store
                    .get_range(&self.blob, range.clone(), Some(&self.etag))
            };
            let body = self.attempts.retried(request).await?;
            if body.start != self.sent {
                return Err(StoreError::Protocol(
                    "another range than asked for".to_owned(),
                ));
            }
            self.body = Some(body);
        }
    }
}

fn nothing() -> UnsyncBoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn plain(status: StatusCode) -> Answer {
    let text = status.canonical_reason().unwrap_or_default();
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

/// A path as it was before it was put into a URL; `None` if it is not text.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut one = [0];
            let digits = [rest.next()?, rest.next()?];
            if !crate::store::unhex(std::str::from_utf8(&digits).ok()?, &mut one) {
                return None;
            }
            bytes.extend(one);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
