//! The HTTP client under Microsoft's crate: ours, so that timeouts, TLS and what an error says are ours too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use azure_core::{Error, error::ErrorKind};
use futures_util::{StreamExt, TryStreamExt};

use crate::config::Config;

/// How long an unused connection is kept; longer than the default pause between passes.
const POOL_IDLE: Duration = Duration::from_secs(45);
/// How often an idle connection is proved alive.
const KEEPALIVE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Reqwest(reqwest::Client);

impl Reqwest {
    pub(super) fn new(
        config: &Config,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self, reqwest::Error> {
        // also where TLS is not used, reqwest wants a set-up, or looks for one that is global
        let tls = tls.map_or_else(no_roots, |tls| Ok(Arc::unwrap_or_clone(tls)));
        let mut builder = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout.get())
            .read_timeout(config.stall_timeout.get())
            .pool_max_idle_per_host(usize::from(config.concurrency))
            .pool_idle_timeout(POOL_IDLE)
            .tcp_keepalive(KEEPALIVE)
            .tcp_nodelay(true)
            .http1_only()
            // a proxy from the environment is not what the configuration says
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // what is stored compressed is wanted compressed: sizes and sums are of the stored bytes
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        if let Ok(tls) = tls {
            builder = builder.tls_backend_preconfigured(tls);
        }
        builder.build().map(Self)
    }
}

/// A set-up that trusts nobody, for containers on plain http.
fn no_roots() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

#[async_trait]
impl HttpClient for Reqwest {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut builder = self
            .0
            .request(method(request.method()), request.url().clone());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        builder = match request.body() {
            Body::Bytes(bytes) if bytes.is_empty() => builder,
            Body::Bytes(bytes) => builder.body(bytes.clone()),
            Body::SeekableStream(stream) => {
                builder.body(reqwest::Body::wrap_stream(stream.clone()))
            }
        };
        let answer = builder.send().await.map_err(transport_error)?;
        let status = answer.status().as_u16().into();
        let mut headers = Headers::new();
        for (name, value) in answer.headers() {
            if let Ok(value) = value.to_str() {
                let value = HeaderValue::from(value.to_owned());
                headers.insert(HeaderName::from(name.as_str().to_owned()), value);
            }
        }
        let body = answer.bytes_stream().map_err(transport_error).boxed();
        Ok(AsyncRawResponse::new(status, headers, body))
    }
}

/// reqwest's errors print the URL, and with it the SAS.
fn transport_error(error: reqwest::Error) -> Error {
    let kind = if error.is_connect() {
        ErrorKind::Connection
    } else {
        ErrorKind::Io
    };
    Error::new(kind, error.without_url())
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Delete => reqwest::Method::DELETE,
        Method::Head => reqwest::Method::HEAD,
        Method::Patch => reqwest::Method::PATCH,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        _ => reqwest::Method::GET,
    }
}
