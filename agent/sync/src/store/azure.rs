//! Azure Blob Storage behind [`BlobStore`]. The only module (with its parts) that names Microsoft's crates.
//!
//! What the crate does not do well is done here or by the caller: retries (its own sleep as long as `Retry-After` says, without
//! a limit), resuming a body, keeping secrets out of URLs. Every request is one attempt.

mod signer;
mod transport;

use std::collections::HashMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::http::headers::Headers;
use azure_core::http::policies::Policy;
use azure_core::http::{
    ClientOptions, Etag, RetryOptions, StatusCode, Transport, UserAgentOptions,
};
use azure_core::{Error, error::ErrorKind};
use azure_storage_blob::models::{
    BlobClientDeleteOptions, BlobClientDownloadOptions, BlobContainerClientListBlobsOptions,
    BlobItem, BlockBlobClientCommitBlockListOptions, BlockBlobClientUploadOptions, BlockLookupList,
    ListBlobsIncludeItem,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use lamplighter_core::config::SecretDirs;
use lamplighter_core::identity::TokenSource;
use lamplighter_core::tls::{TlsClient, TlsError};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use super::{
    Attributes, BlobStore, BlockId, Body, Condition, ETag, Listed, Md5, PAGE_MAX, Page, RemoteFile,
    StoreError, Sum,
};
use crate::config::{Auth, Config};
use signer::{Form, Signer, credential_error};

/// More than any body of one request here.
const WHOLE: usize = 1024 * 1024 * 1024;
const WHOLE_UPLOAD: u64 = 1024 * 1024 * 1024;

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
    /// The entry wants the managed identity, and there is no source of tokens.
    #[error(
        "auth = \"managed-identity\" works in the running agent only, or where [platform] finds the metadata service"
    )]
    NoTokens,
}

impl AzureStore {
    /// A client for the container of `config`; `tokens` are for entries with `auth = "managed-identity"`. Nothing is sent and no secret is read yet.
    ///
    /// # Errors
    /// If the entry's CA or credential settings are unusable.
    pub fn new(
        config: &Config,
        secrets: &SecretDirs,
        tokens: Option<&TokenSource>,
    ) -> Result<Self, SetupError> {
        let files = (&config.sas_file, &config.connection_string_file);
        let signer = match (config.auth, tokens, files) {
            (Some(Auth::ManagedIdentity), Some(tokens), _) => Signer::with_tokens(tokens.clone()),
            (Some(Auth::ManagedIdentity), None, _) => return Err(SetupError::NoTokens),
            (None, _, (Some(file), _)) => Signer::new(Form::Sas, file, secrets),
            (None, _, (None, Some(file))) => Signer::new(Form::ConnectionString, file, secrets),
            (None, _, (None, None)) => return Err(SetupError::NoCredential),
        };
        let signer = Arc::new(signer);
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

impl AzureStore {
    /// One request for a body.
    async fn download(
        &self,
        name: &str,
        options: BlobClientDownloadOptions<'_>,
    ) -> Result<Body, StoreError> {
        let blob = self.container.blob_client(name);
        let answer = quietly(blob.download(Some(options)))
            .await
            .map_err(in_blob)?;
        let headers = &answer.headers;
        let (start, total) = extent(headers)?;
        let ranged = header(headers, "content-range").is_some();
        let whole_md5 = header(headers, "x-ms-blob-content-md5")
            // without a range, Content-MD5 is that of the whole
            .or_else(|| header(headers, "content-md5").filter(|_| !ranged));
        Ok(Body {
            start,
            total,
            etag: header(headers, "etag").map(ETag::new),
            md5: whole_md5.and_then(decode_md5),
            content_type: header(headers, "content-type").map(str::to_owned),
            chunks: answer.body.map_err(in_blob).boxed(),
        })
    }
}

impl BlobStore for AzureStore {
    async fn list_page(
        &self,
        prefix: &str,
        marker: Option<&str>,
        most: u32,
    ) -> Result<Page, StoreError> {
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            marker: marker.map(str::to_owned),
            maxresults: i32::try_from(most.min(PAGE_MAX)).ok(),
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
        if_match: Option<&ETag>,
    ) -> Result<Body, StoreError> {
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .ok()
            .and_then(NonZero::new);
        let options = BlobClientDownloadOptions {
            if_match: if_match.map(|etag| etag.as_str().into()),
            // one request for exactly this range: the crate's own splitting buffers whole parts
            parallel: NonZero::new(1),
            partition_size: length,
            range: Some(range.into()),
            ..BlobClientDownloadOptions::default()
        };
        self.download(name, options).await
    }

    async fn get_if_changed(
        &self,
        name: &str,
        known: Option<&ETag>,
    ) -> Result<Option<Body>, StoreError> {
        let options = BlobClientDownloadOptions {
            if_none_match: known.map(|etag| etag.as_str().into()),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(WHOLE),
            ..BlobClientDownloadOptions::default()
        };
        match self.download(name, options).await {
            Ok(body) => Ok(Some(body)),
            Err(StoreError::Rejected { status: 304, .. }) => Ok(None),
            Err(error) => Err(error),
        }
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
                sum: header(headers, "content-md5")
                    .and_then(decode_md5)
                    .map(Sum::Md5),
                content: None,
                origin: header(headers, "x-ms-meta-lamplighter_origin").map(Into::into),
            }),
            _ => Err(StoreError::Protocol(
                "properties without an ETag or a length".to_owned(),
            )),
        }
    }

    async fn put(
        &self,
        name: &str,
        content: Bytes,
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<ETag, StoreError> {
        let (if_match, if_none_match) = conditions(condition);
        let options = BlockBlobClientUploadOptions {
            blob_content_md5: attributes.md5.map(|md5| md5.0.to_vec()),
            blob_content_type: attributes.content_type.clone(),
            metadata: metadata(attributes),
            if_match,
            if_none_match,
            parallel: NonZero::new(1),
            // one request whatever the size; the caller cuts what is too long for one
            partition_size: NonZero::new(WHOLE_UPLOAD),
            ..BlockBlobClientUploadOptions::default()
        };
        let blob = self.container.blob_client(name).block_blob_client();
        let answer = quietly(blob.upload(content.into(), Some(options)))
            .await
            .map_err(in_write)?;
        answer
            .etag
            .map(|etag| ETag::new(etag.as_ref()))
            .ok_or_else(|| StoreError::Protocol("a write without an ETag".to_owned()))
    }

    async fn put_block(&self, name: &str, id: BlockId, content: Bytes) -> Result<(), StoreError> {
        let blob = self.container.blob_client(name).block_blob_client();
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        quietly(blob.stage_block(&id.to_bytes(), length, content.into(), None))
            .await
            .map_err(in_write)?;
        Ok(())
    }

    async fn commit_blocks(
        &self,
        name: &str,
        ids: &[BlockId],
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<ETag, StoreError> {
        let (if_match, if_none_match) = conditions(condition);
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_md5: attributes.md5.map(|md5| md5.0.to_vec()),
            blob_content_type: attributes.content_type.clone(),
            metadata: metadata(attributes),
            if_match,
            if_none_match,
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        let list = BlockLookupList {
            latest: Some(ids.iter().map(|id| id.to_bytes()).collect()),
            ..BlockLookupList::default()
        };
        let list = list.try_into().map_err(in_write)?;
        let blob = self.container.blob_client(name).block_blob_client();
        let answer = quietly(blob.commit_block_list(list, Some(options)))
            .await
            .map_err(in_write)?;
        header(answer.headers(), "etag")
            .map(ETag::new)
            .ok_or_else(|| StoreError::Protocol("a write without an ETag".to_owned()))
    }

    async fn delete(&self, name: &str, if_match: &ETag) -> Result<(), StoreError> {
        let options = BlobClientDeleteOptions {
            if_match: Some(if_match.as_str().into()),
            ..BlobClientDeleteOptions::default()
        };
        let blob = self.container.blob_client(name);
        quietly(blob.delete(Some(options)))
            .await
            .map_err(in_write)?;
        Ok(())
    }

    async fn refresh_credential(&self) -> Result<Option<SystemTime>, StoreError> {
        self.signer.refresh().await
    }
}

/// Without the crate's own log lines: at the level "info" it writes one for every failed attempt, and what failed is logged by
/// whoever gave up.
async fn quietly<T>(request: impl Future<Output = T>) -> T {
    request.with_subscriber(Dispatch::none()).await
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
    let value = |wanted: &str| {
        let values = metadata.as_ref()?;
        let found = values
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let directory = value("hdi_isfolder").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok(Listed {
        name: name.into(),
        size: properties.content_length.ok_or_else(|| missing("length"))?,
        etag: ETag::new(etag.as_ref()),
        sum: properties
            .content_md5
            .as_deref()
            .and_then(Md5::from_slice)
            .map(Sum::Md5),
        directory,
        content: None,
        origin: value("lamplighter_origin").map(Into::into),
    })
}

fn conditions(condition: Condition<'_>) -> (Option<Etag>, Option<Etag>) {
    match condition {
        Condition::Absent => (None, Some("*".into())),
        Condition::Is(etag) => (Some(etag.as_str().into()), None),
    }
}

fn metadata(attributes: &Attributes) -> Option<HashMap<String, String>> {
    let origin = attributes.origin.clone()?;
    Some(HashMap::from([("lamplighter_origin".to_owned(), origin)]))
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

/// An error about a write: a blob that is there already answers 409 to "only if absent".
fn in_write(error: Error) -> StoreError {
    match in_blob(error) {
        StoreError::Rejected { status: 409, code } if code == "BlobAlreadyExists" => {
            StoreError::Changed
        }
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
        StatusCode::PreconditionFailed | StatusCode::Conflict if code.starts_with("Lease") => {
            StoreError::Leased
        }
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

#[cfg(test)]
mod tests;
