//! Azure Blob Storage behind [`BlobStore`]. The only module (with its parts) that names Microsoft's crates.
//!
//! What the crate does not do well is done here or by the caller: retries (its own sleep as long as `Retry-After` says, without
//! a limit), resuming a body, keeping secrets out of URLs. Every request is one attempt.

mod transport;

use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use azure_core::http::headers::Headers;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    ClientOptions, Context, Request, RetryOptions, StatusCode, Transport, UserAgentOptions,
};
use azure_core::{Error, error::ErrorKind};
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobContainerClientListBlobsOptions, BlobItem, ListBlobsIncludeItem,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use futures_util::{StreamExt, TryStreamExt};
use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::secret::{self, Secret};
use lamplighter_core::tls::{TlsClient, TlsError};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::credential::{Credential, Signable};
use super::{BlobStore, Body, ETag, Listed, Md5, Page, RemoteFile, StoreError};
use crate::config::Config;

/// How many blobs a page may hold. The service gives up to 5,000, which the crate makes 20 MiB of memory of.
const PAGE_MAX: i32 = 2000;

/// A container of an Azure storage account, or of Azurite.
pub struct AzureStore {
    container: BlobContainerClient,
    signer: Arc<Signer>,
}

impl std::fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureStore")
            .field("container", &self.container.url().as_str())
            .finish_non_exhaustive()
    }
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The CA of the entry.
    #[error("TLS for the storage cannot be set up")]
    Tls(#[from] TlsError),
    /// The HTTP client.
    #[error("the HTTP client for the storage cannot be made: {0}")]
    Http(String),
    /// The entry names no credential.
    #[error("no credential: name a file in sas_file or in connection_string_file")]
    NoCredential,
}

impl AzureStore {
    /// A client for the container of `config`. Nothing is sent and no secret is read yet.
    ///
    /// # Errors
    /// If the entry's CA or credential settings are unusable.
    pub fn new(config: &Config, secrets: &SecretDirs) -> Result<Self, SetupError> {
        let (form, file) = match (&config.sas_file, &config.connection_string_file) {
            (Some(file), _) => (Form::Sas, file),
            (None, Some(file)) => (Form::ConnectionString, file),
            (None, None) => return Err(SetupError::NoCredential),
        };
        let signer = Arc::new(Signer::new(form, file, secrets));
        let tls = match config.container.as_url().scheme() {
            "https" => Some(TlsClient::new(&config.tls)?.client_config()),
            _ => None,
        };
        let transport = transport::Reqwest::new(config, tls)
            .map_err(|error| SetupError::Http(error.to_string()))?;
        let policy: Arc<dyn Policy> = Arc::<Signer>::clone(&signer);
        let options = ClientOptions {
            per_try_policies: vec![policy],
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(transport))),
            user_agent: UserAgentOptions {
                application_id: Some("lamplighter".to_owned()),
            },
            ..ClientOptions::default()
        };
        let options = BlobContainerClientOptions {
            client_options: options,
            ..BlobContainerClientOptions::default()
        };
        let url = config.container.as_url().clone();
        let container = BlobContainerClient::new(url, None, Some(options))
            .map_err(|error| SetupError::Http(text_of(error)))?;
        Ok(Self { container, signer })
    }
}

impl BlobStore for AzureStore {
    async fn list_page(&self, prefix: &str, marker: Option<&str>) -> Result<Page, StoreError> {
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            marker: marker.map(str::to_owned),
            maxresults: Some(PAGE_MAX),
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let mut pages = self
            .container
            .list_blobs(Some(options))
            .map_err(in_container)?
            .into_pages();
        let page = quietly(pages.try_next())
            .await
            .map_err(in_container)?
            .ok_or_else(|| StoreError::Protocol("a list without a page".to_owned()))?;
        let page = page.into_model().map_err(in_container)?;
        if page.container_name.is_none() && page.service_endpoint.is_none() {
            // the crate reads any XML as a list without blobs, a proxy's error page too
            return Err(StoreError::Protocol("an answer that is no list".to_owned()));
        }
        let blobs = page
            .blob_items
            .into_iter()
            .map(|item| listed(item, prefix))
            .collect::<Result<_, _>>()?;
        Ok(Page {
            blobs,
            next: page.next_marker.filter(|marker| !marker.is_empty()),
        })
    }

    async fn get_range(
        &self,
        name: &str,
        range: Range<u64>,
        if_match: &ETag,
    ) -> Result<Body, StoreError> {
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .ok()
            .and_then(NonZero::new);
        let options = BlobClientDownloadOptions {
            if_match: Some(if_match.as_str().into()),
            // one request for exactly this range: the crate's own splitting buffers whole parts
            parallel: NonZero::new(1),
            partition_size: length,
            range: Some(range.into()),
            ..BlobClientDownloadOptions::default()
        };
        let blob = self.container.blob_client(name);
        let answer = quietly(blob.download(Some(options)))
            .await
            .map_err(in_blob)?;
        let headers = &answer.headers;
        let (start, total) = extent(headers)?;
        let whole_md5 = header(headers, "x-ms-blob-content-md5");
        Ok(Body {
            start,
            total,
            etag: header(headers, "etag").map(ETag::new),
            md5: whole_md5.and_then(decode_md5),
            chunks: answer.body.map_err(in_blob).boxed(),
        })
    }

    async fn head(&self, name: &str) -> Result<RemoteFile, StoreError> {
        let blob = self.container.blob_client(name);
        let answer = quietly(blob.get_properties(None)).await.map_err(in_blob)?;
        let headers = answer.headers();
        let etag = header(headers, "etag").map(ETag::new);
        let size = header(headers, "content-length").and_then(|length| length.parse().ok());
        match (etag, size) {
            (Some(etag), Some(size)) => Ok(RemoteFile {
                name: name.into(),
                size,
                etag,
                md5: header(headers, "content-md5").and_then(decode_md5),
            }),
            _ => Err(StoreError::Protocol(
                "properties without an ETag or a length".to_owned(),
            )),
        }
    }

    async fn refresh_credential(&self) -> Result<Option<SystemTime>, StoreError> {
        self.signer.refresh().await
    }
}

/// Without the crate's own log lines: at the level "info" it writes one for every failed attempt, and what failed is logged by
/// whoever gave up.
async fn quietly<T>(request: impl Future<Output = T>) -> T {
    request.with_subscriber(NoSubscriber::default()).await
}

fn listed(item: BlobItem, prefix: &str) -> Result<Listed, StoreError> {
    let missing = |what: &str| StoreError::Protocol(format!("a listed blob without its {what}"));
    let name = item.name.ok_or_else(|| missing("name"))?;
    let name = name
        .strip_prefix(prefix)
        .ok_or_else(|| StoreError::Protocol("a listed blob outside the prefix".to_owned()))?;
    let properties = item.properties.ok_or_else(|| missing("properties"))?;
    let etag = properties.etag.ok_or_else(|| missing("ETag"))?;
    let metadata = item.metadata.and_then(|metadata| metadata.values);
    let directory = metadata.is_some_and(|values| {
        values.iter().any(|(key, value)| {
            key.eq_ignore_ascii_case("hdi_isfolder") && value.eq_ignore_ascii_case("true")
        })
    });
    Ok(Listed {
        name: name.into(),
        size: properties.content_length.ok_or_else(|| missing("length"))?,
        etag: ETag::new(etag.as_ref()),
        md5: properties.content_md5.as_deref().and_then(Md5::from_slice),
        directory,
    })
}

fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&name.into())
}

fn decode_md5(base64: &str) -> Option<Md5> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .ok()?;
    Md5::from_slice(&bytes)
}

/// Where the bytes of an answer begin, and how long the whole blob is (RFC 9110 section 14.4).
fn extent(headers: &Headers) -> Result<(u64, u64), StoreError> {
    let Some(range) = header(headers, "content-range") else {
        // the range was not honoured: all of it
        let length = header(headers, "content-length").and_then(|length| length.parse().ok());
        return length
            .map(|length| (0, length))
            .ok_or_else(|| StoreError::Protocol("an answer without a length".to_owned()));
    };
    let parse = || {
        let (extent, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (start, _) = extent.split_once('-')?;
        Some((start.trim().parse().ok()?, total.trim().parse().ok()?))
    };
    parse().ok_or_else(|| StoreError::Protocol(format!("Content-Range {range:?}")))
}

/// An error about the container: "not found" means the container.
fn in_container(error: Error) -> StoreError {
    match in_blob(error) {
        StoreError::NotFound => StoreError::NoContainer,
        other => other,
    }
}

/// An error about a blob.
fn in_blob(error: Error) -> StoreError {
    let ErrorKind::HttpResponse {
        status,
        error_code,
        raw_response,
    } = error.kind()
    else {
        return match error.kind() {
            ErrorKind::Connection | ErrorKind::Io => StoreError::Unreachable(text_of(error)),
            ErrorKind::Credential => credential_error(error),
            _ => StoreError::Protocol(text_of(error)),
        };
    };
    let code = error_code.clone().unwrap_or_default();
    let number = u16::from(*status);
    match status {
        StatusCode::Unauthorized | StatusCode::Forbidden => StoreError::Denied {
            status: number,
            code,
        },
        StatusCode::NotFound if code == "ContainerNotFound" => StoreError::NoContainer,
        StatusCode::NotFound => StoreError::NotFound,
        StatusCode::PreconditionFailed | StatusCode::RequestedRangeNotSatisfiable => {
            StoreError::Changed
        }
        StatusCode::TooManyRequests | StatusCode::ServiceUnavailable => StoreError::Throttled {
            status: number,
            retry_after: raw_response
                .as_ref()
                .and_then(|response| retry_after(response.headers())),
        },
        StatusCode::RequestTimeout => StoreError::Server {
            status: number,
            code,
        },
        _ if number >= 500 => StoreError::Server {
            status: number,
            code,
        },
        _ => StoreError::Rejected {
            status: number,
            code,
        },
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), or Azure's own header in milliseconds.
fn retry_after(headers: &Headers) -> Option<Duration> {
    if let Some(text) = header(headers, "x-ms-retry-after-ms") {
        return text.parse().ok().map(Duration::from_millis);
    }
    let text = header(headers, "retry-after")?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(
        date.duration_since(SystemTime::now())
            .unwrap_or(Duration::ZERO),
    )
}

/// The innermost text: the crate's own wrappers say little, and its `Debug` prints headers.
fn text_of(error: Error) -> String {
    match error.into_inner() {
        Ok(inner) => lamplighter_core::fault::chain(&*inner),
        Err(error) => error.to_string(),
    }
}

/// Gives back the error that the signer put into the crate's.
fn credential_error(error: Error) -> StoreError {
    error
        .into_inner()
        .ok()
        .and_then(|inner| inner.downcast::<StoreError>().ok())
        .map_or(StoreError::BadCredential("it cannot sign"), |inner| *inner)
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Sas,
    ConnectionString,
}

/// Signs every request with the secret as it is on disk now. The URLs of clients, errors and logs never hold a SAS: it is
/// added to the request as the last thing before it is sent.
#[derive(Debug)]
struct Signer {
    form: Form,
    path: PathBuf,
    current: ArcSwapOption<Known>,
}

#[derive(Debug)]
struct Known {
    raw: Secret,
    credential: Credential,
}

impl Signer {
    fn new(form: Form, file: &SecretFile, secrets: &SecretDirs) -> Self {
        Self {
            form,
            path: secrets.resolve(file),
            current: ArcSwapOption::empty(),
        }
    }

    async fn refresh(&self) -> Result<Option<SystemTime>, StoreError> {
        let path = self.path.clone();
        let raw = tokio::task::spawn_blocking(move || secret::read(&path))
            .await
            .map_err(|_| StoreError::BadCredential("reading it was cut short"))??;
        let known = self.current.load_full();
        let known = match known {
            Some(known) if known.raw.expose() == raw.expose() => known,
            _ => {
                let credential = match self.form {
                    Form::Sas => Credential::from_sas(&raw),
                    Form::ConnectionString => Credential::from_connection_string(&raw),
                }?;
                let known = Arc::new(Known { raw, credential });
                self.current.store(Some(Arc::clone(&known)));
                known
            }
        };
        Ok(known.credential.expiry())
    }

    fn sign(&self, request: &mut Request) -> Result<(), StoreError> {
        let Some(known) = self.current.load_full() else {
            return Err(StoreError::BadCredential("it was not read yet"));
        };
        match &known.credential {
            Credential::Sas(sas) => {
                let sas = sas
                    .expose_str()
                    .map_err(|_| StoreError::BadCredential("the SAS is not text"))?;
                let query = match request.url().query() {
                    Some(query) if !query.is_empty() => format!("{query}&{sas}"),
                    _ => sas.to_owned(),
                };
                request.url_mut().set_query(Some(&query));
                Ok(())
            }
            Credential::SharedKey { account, key } => sign_with_key(request, account, key),
        }
    }
}

fn sign_with_key(request: &mut Request, account: &str, key: &Secret) -> Result<(), StoreError> {
    request.insert_header("x-ms-date", httpdate::fmt_http_date(SystemTime::now()));
    let names: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, _)| name.as_str().to_lowercase())
        .collect();
    let headers: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(request.headers().iter().map(|(_, value)| value.as_str()))
        .collect();
    let method = request.method();
    let text = Signable {
        verb: method.as_str(),
        url: request.url(),
        headers: &headers,
    }
    .string_to_sign(account);
    let key = key
        .expose_str()
        .map_err(|_| StoreError::BadCredential("the account key is not text"))?;
    let key = azure_core::credentials::Secret::new(key.to_owned());
    let signature = azure_core::hmac::hmac_sha256(&text, &key)
        .map_err(|_| StoreError::BadCredential("the account key is not base64"))?;
    request.insert_header("authorization", format!("SharedKey {account}:{signature}"));
    Ok(())
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "async_trait's lifetimes must be spelled as in the trait"
)]
#[async_trait]
impl Policy for Signer {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        self.sign(request)
            .map_err(|error| Error::new(ErrorKind::Credential, error))?;
        match next.split_first() {
            Some((first, rest)) => first.send(context, request, rest).await,
            None => Err(Error::with_message(
                ErrorKind::Other,
                "the pipeline has no transport",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
