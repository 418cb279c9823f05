//! One HTTP/1.1 request on a connection of its own, with a deadline and a bound on what is read. Never through a proxy: nothing
//! here reads the environment.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use lamplighter_core::net::{DialError, DialOptions, HostPort, dial};
use lamplighter_core::secret::wipe_bytes;
use lamplighter_core::tls::{TlsClient, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

/// The longest answer that is read, in bytes; instance metadata with full user data is about 100 KiB.
const BODY_MAX: usize = 512 * 1024;

/// Where to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) server: HostPort,
    /// What comes before each path; no slash at its end.
    pub(crate) prefix: String,
}

/// Text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form \"http://169.254.169.254\"")]
pub(crate) struct OriginError(String);

impl std::str::FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refused = || OriginError(text.to_owned());
        let url = url::Url::parse(text).map_err(|_| refused())?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(refused()),
        };
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let (Some(host), Some(port), true) = (url.host(), url.port_or_known_default(), plain)
        else {
            return Err(refused());
        };
        let host = match host {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self {
            tls,
            server: HostPort { host, port },
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What `Retry-After` asks for, if it is a number of seconds.
    pub(crate) retry_after: Option<Duration>,
    /// Wiped when dropped: it may hold a token.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("no whole answer within {0:?}")]
    Slow(Duration),
    #[error("the answer is not HTTP, or broke off")]
    Broken(#[source] hyper::Error),
    #[error("the answer is longer than {BODY_MAX} bytes")]
    TooLong,
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    #[error("{0} is https, but no TLS is set up")]
    NoTls(HostPort),
}

/// What to ask.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) tls: Option<&'a TlsClient>,
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Vec<u8>,
}

/// Asks, and reads the whole answer, within `limit`.
pub(crate) async fn ask(ask: Ask<'_>, limit: Duration) -> Result<Answer, HttpError> {
    tokio::time::timeout(limit, Box::pin(exchange(ask, limit)))
        .await
        .unwrap_or(Err(HttpError::Slow(limit)))
}

async fn exchange(ask: Ask<'_>, limit: Duration) -> Result<Answer, HttpError> {
    let origin = ask.origin;
    let options = DialOptions {
        connect_timeout: limit.min(Duration::from_secs(5)),
        ..DialOptions::default()
    };
    let stream = dial(&origin.server, &options).await?;
    let mut request = Request::builder()
        .method(&ask.method)
        .uri(format!("{}{}", origin.prefix, ask.target))
        .header(header::HOST, origin.server.to_string())
        .header(header::USER_AGENT, "lamplighter")
        .header(header::CONNECTION, "close");
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(ask.body)))
        .map_err(HttpError::Request)?;
    if !origin.tls {
        return talk(stream, request).await;
    }
    let tls = ask
        .tls
        .ok_or_else(|| HttpError::NoTls(origin.server.clone()))?;
    talk(tls.connect(&origin.server.host, stream).await?, request).await
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(HttpError::Broken)?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(HttpError::Broken)?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let mut body = response.into_body();
        let (mut frames, mut length) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(HttpError::Broken)?.into_data() else {
                continue;
            };
            length += data.len();
            frames.push(data);
            if length > BODY_MAX {
                return Err(HttpError::TooLong);
            }
        }
        Ok((status, retry_after, frames))
    };
    let (status, retry_after, frames) = {
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer?,
            // the connection has ended; what it brought is still in the channel
            _ended = &mut connection => answer.await?,
        }
    };
    Ok(Answer {
        status,
        retry_after,
        body: gather(frames),
    })
}

/// One body of its parts, which are wiped: with the connection, their other owner has gone.
fn gather(frames: Vec<Bytes>) -> Zeroizing<Vec<u8>> {
    let length = frames.iter().map(Bytes::len).sum();
    // at once: one that has to grow leaves its first bytes where they were
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    for frame in frames {
        body.extend_from_slice(&frame);
        wipe_bytes(frame);
    }
    body
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    // a day is longer than anybody should be kept waiting by a header
    let seconds = text.trim().parse::<u64>().ok()?.min(86_400);
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let origin: Origin = "http://169.254.169.254".parse().unwrap();
        assert_eq!(origin.server.to_string(), "169.254.169.254:80");
        assert_eq!((origin.tls, &*origin.prefix), (false, ""));
        let origin: Origin = "https://login.microsoftonline.com/".parse().unwrap();
        assert_eq!(origin.server.to_string(), "login.microsoftonline.com:443");
        assert!(origin.tls);
        let origin: Origin = "http://[::1]:8080/fake/".parse().unwrap();
        assert_eq!(origin.server.to_string(), "[::1]:8080");
        assert_eq!(origin.prefix, "/fake");
        for bad in [
            "169.254.169.254",
            "ftp://x",
            "http://u:p@x",
            "http://x?y=1",
            "",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn retry_after_is_read_when_it_is_a_number() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(read("99999999999"), Some(Duration::from_secs(86_400)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(read("-1"), None);
    }
}
