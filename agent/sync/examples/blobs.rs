//! A blob service in memory for measuring: what clients ask of a container, as fast as one thread answers, with a latency.
//!
//! `blobs PORT DIR LATENCY_MS`: serves the files of DIR as `http://127.0.0.1:PORT/account/www`, and what is put there later.
//! Every credential is good. `GET /requests` answers how many requests came since the last time it was asked.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program for measuring: what it cannot do ends it"
)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};

struct Blob {
    content: Bytes,
    md5: String,
    etag: String,
    modified: String,
}

#[derive(Default)]
struct Account {
    blobs: Mutex<BTreeMap<String, Arc<Blob>>>,
    blocks: Mutex<HashMap<String, Bytes>>,
    requests: AtomicU64,
    versions: AtomicU64,
    latency: Duration,
}

type Answer = Response<Full<Bytes>>;

/// How many blobs one answer lists at most.
const PAGE: usize = 5000;

impl Account {
    fn put(&self, name: &str, content: Bytes) -> Arc<Blob> {
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        let sum = Md5::digest(&content);
        let blob = Arc::new(Blob {
            md5: base64::engine::general_purpose::STANDARD.encode(sum),
            etag: format!("0x8D{version:012X}"),
            modified: httpdate::fmt_http_date(SystemTime::now()),
            content,
        });
        let mut blobs = self.blobs.lock().unwrap();
        blobs.insert(name.to_owned(), Arc::clone(&blob));
        blob
    }

    fn load(&self, dir: &Path, below: &str) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.load(&entry.path(), &format!("{name}/"));
            } else {
                self.put(&name, std::fs::read(entry.path()).unwrap().into());
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = percent(request.uri().path());
        if path == "/requests" {
            let count = self.requests.swap(0, Ordering::Relaxed);
            return Response::new(Full::from(count.to_string()));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let query: HashMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), percent(value)))
            .collect();
        let rest = path.strip_prefix("/account/www").unwrap_or_default();
        let name = rest.strip_prefix('/').unwrap_or_default().to_owned();
        if name.is_empty() {
            return match query.get("comp").map(String::as_str) {
                Some("list") => self.list(&query),
                _ => plain(StatusCode::OK, ""),
            };
        }
        match *request.method() {
            Method::GET => self.get(&name, &request, true),
            Method::HEAD => self.get(&name, &request, false),
            Method::PUT => self.write(&name, &query, request).await,
            Method::DELETE => {
                self.blobs.lock().unwrap().remove(&name);
                plain(StatusCode::ACCEPTED, "")
            }
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, ""),
        }
    }

    fn list(&self, query: &HashMap<String, String>) -> Answer {
        let value = |key: &str| query.get(key).map_or("", String::as_str);
        let (prefix, marker) = (value("prefix"), value("marker"));
        let page = value("maxresults").parse().unwrap_or(PAGE).min(PAGE);
        let blobs = self.blobs.lock().unwrap();
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://127.0.0.1/account\" \
             ContainerName=\"www\"><Blobs>",
        );
        let mut found = blobs
            .range(prefix.max(marker).to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix));
        for (name, blob) in found.by_ref().take(page) {
            let name = name.replace('&', "&amp;").replace('<', "&lt;");
            write!(
                text,
                "<Blob><Name>{name}</Name><Properties><Creation-Time>{0}</Creation-Time><Last-Modified>{0}</Last-Modified>\
                 <Etag>{1}</Etag><Content-Length>{2}</Content-Length><Content-Type>application/octet-stream</Content-Type>\
                 <Content-MD5>{3}</Content-MD5><BlobType>BlockBlob</BlobType></Properties></Blob>",
                blob.modified,
                blob.etag,
                blob.content.len(),
                blob.md5
            )
            .unwrap();
        }
        let next = found.next().map_or("", |(name, _)| name.as_str());
        write!(
            text,
            "</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>"
        )
        .unwrap();
        Response::builder()
            .header("content-type", "application/xml")
            .body(Full::from(text))
            .unwrap()
    }

    fn get(&self, name: &str, request: &Request<Incoming>, body: bool) -> Answer {
        let Some(blob) = self.blobs.lock().unwrap().get(name).cloned() else {
            return plain(StatusCode::NOT_FOUND, "BlobNotFound");
        };
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let quoted = format!("\"{}\"", blob.etag);
        if header("if-none-match") == Some(&*quoted) {
            return plain(StatusCode::NOT_MODIFIED, "ConditionNotMet");
        }
        if header("if-match").is_some_and(|wanted| wanted != quoted && wanted != "*") {
            return plain(StatusCode::PRECONDITION_FAILED, "ConditionNotMet");
        }
        let total = blob.content.len();
        let builder = Response::builder()
            .header("etag", quoted)
            .header("last-modified", &blob.modified)
            .header("x-ms-blob-type", "BlockBlob")
            .header("x-ms-version", "2023-11-03")
            .header("accept-ranges", "bytes")
            .header("content-type", "application/octet-stream");
        let range = header("x-ms-range").or_else(|| header("range"));
        let range = range.and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            let start: usize = start.parse().ok()?;
            Some((
                start,
                end.parse().map_or(total, |end: usize| (end + 1).min(total)),
            ))
        });
        match range {
            Some((start, _)) if start >= total => {
                plain(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange")
            }
            Some((start, end)) => builder
                .status(StatusCode::PARTIAL_CONTENT)
                .header(
                    "content-range",
                    format!("bytes {start}-{}/{total}", end - 1),
                )
                .header("x-ms-blob-content-md5", &blob.md5)
                .body(Full::from(blob.content.slice(start..end)))
                .unwrap(),
            None => builder
                .header("content-md5", &blob.md5)
                .header("content-length", total)
                .body(Full::from(if body {
                    blob.content.clone()
                } else {
                    Bytes::new()
                }))
                .unwrap(),
        }
    }

    async fn write(
        &self,
        name: &str,
        query: &HashMap<String, String>,
        request: Request<Incoming>,
    ) -> Answer {
        let absent = request.headers().contains_key("if-none-match");
        let content = request.into_body().collect().await.unwrap().to_bytes();
        if absent && self.blobs.lock().unwrap().contains_key(name) {
            return plain(StatusCode::CONFLICT, "BlobAlreadyExists");
        }
        let blob = match query.get("comp").map(String::as_str) {
            Some("block") => {
                let id = query.get("blockid").cloned().unwrap_or_default();
                self.blocks.lock().unwrap().insert(id, content);
                return plain(StatusCode::CREATED, "");
            }
            Some("blocklist") => {
                let text = String::from_utf8(content.to_vec()).unwrap();
                let mut all = Vec::new();
                let mut blocks = self.blocks.lock().unwrap();
                for part in text.split("<Latest>").skip(1) {
                    let id = part.split('<').next().unwrap();
                    all.extend_from_slice(&blocks.remove(id).unwrap());
                }
                drop(blocks);
                self.put(name, all.into())
            }
            _ => self.put(name, content),
        };
        Response::builder()
            .status(StatusCode::CREATED)
            .header("etag", format!("\"{}\"", blob.etag))
            .header("last-modified", &blob.modified)
            .body(Full::default())
            .unwrap()
    }
}

fn plain(status: StatusCode, code: &'static str) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    if !code.is_empty() {
        answer
            .headers_mut()
            .insert("x-ms-error-code", code.parse().unwrap());
    }
    answer
}

fn percent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().expect("PORT").parse().expect("a port");
    let dir = arguments.next().expect("DIR");
    let latency: u64 = arguments
        .next()
        .expect("LATENCY_MS")
        .parse()
        .expect("a number");
    let account = Account {
        latency: Duration::from_millis(latency),
        ..Account::default()
    };
    account.load(Path::new(&dir), "");
    let account = Arc::new(account);
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let account = Arc::clone(&account);
        let service = hyper::service::service_fn(move |request| {
            let account = Arc::clone(&account);
            async move { Ok::<_, Infallible>(account.answer(request).await) }
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "the program ends by being killed"
        )]
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}
