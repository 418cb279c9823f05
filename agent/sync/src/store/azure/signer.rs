//! Signs every request: with a secret as it is on disk now, or with a token of the instance's identity.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{AsyncRawResponse, Body, Context, Request, StatusCode};
use azure_core::{Error, error::ErrorKind};
use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::identity::{Token, TokenSource};
use lamplighter_core::secret::{self, Secret};

use super::super::StoreError;
use super::super::credential::{Credential, Signable};

/// How long the first token is waited for; what takes longer is tried again by the next pass.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Sas,
    ConnectionString,
}

/// Signs every request with the secret as it is on disk now. The URLs of clients, errors and logs never hold a SAS: it is
/// added to the request as the last thing before it is sent.
#[derive(Debug)]
pub(super) struct Signer {
    means: Means,
    current: ArcSwapOption<Known>,
}

/// What signs.
#[derive(Debug)]
enum Means {
    /// A secret in a file.
    File { form: Form, path: PathBuf },
    /// Tokens of the instance's managed identity, or of its workload identity.
    Token(TokenSource),
}

#[derive(Debug)]
struct Known {
    raw: Secret,
    credential: Credential,
}

impl Signer {
    pub(super) fn new(form: Form, file: &SecretFile, secrets: &SecretDirs) -> Self {
        Self {
            means: Means::File {
                form,
                path: secrets.resolve(file),
            },
            current: ArcSwapOption::empty(),
        }
    }

    /// Shows the tokens of `source`.
    pub(super) const fn with_tokens(source: TokenSource) -> Self {
        Self {
            means: Means::Token(source),
            current: ArcSwapOption::const_empty(),
        }
    }

    /// Reads the secret again, or waits a moment for the first token. When it ends, if it does and nobody renews it.
    pub(super) async fn refresh(&self) -> Result<Option<SystemTime>, StoreError> {
        let (form, path) = match &self.means {
            Means::File { form, path } => (*form, path.clone()),
            Means::Token(source) => {
                let waited = source.wait(TOKEN_PATIENCE).await;
                waited.map_err(|error| StoreError::NoToken(error.to_string()))?;
                return Ok(None);
            }
        };
        let raw = tokio::task::spawn_blocking(move || secret::read(&path))
            .await
            .map_err(|_| StoreError::BadCredential("reading it was cut short"))??;
        let known = self.current.load_full();
        let known = match known {
            Some(known) if known.raw.expose() == raw.expose() => known,
            _ => {
                let credential = match form {
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

    fn sign(&self, request: &mut Request) -> Result<Option<Token>, StoreError> {
        if let Means::Token(source) = &self.means {
            let token = source
                .current()
                .ok_or_else(|| StoreError::NoToken("the last one has expired".to_owned()))?;
            let text = token
                .secret()
                .expose_str()
                .map_err(|_| StoreError::BadCredential("the token is not text"))?;
            request.insert_header("authorization", format!("Bearer {text}"));
            return Ok(Some(token));
        }
        self.sign_with_secret(request).map(|()| None)
    }

    fn sign_with_secret(&self, request: &mut Request) -> Result<(), StoreError> {
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
    // the length is signed; the crate leaves it to the transport for a list of blocks
    let length = match request.body() {
        Body::Bytes(bytes) => bytes.len(),
        Body::SeekableStream(_) => 0,
    };
    let says_length = request
        .headers()
        .iter()
        .any(|(name, _)| name.as_str().eq_ignore_ascii_case("content-length"));
    if length > 0 && !says_length {
        request.insert_header("content-length", length.to_string());
    }
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
        let token = self
            .sign(request)
            .map_err(|error| Error::new(ErrorKind::Credential, error))?;
        let Some((first, rest)) = next.split_first() else {
            return Err(Error::with_message(
                ErrorKind::Other,
                "the pipeline has no transport",
            ));
        };
        let answer = first.send(context, request, rest).await;
        let (Means::Token(source), Some(token), Ok(refusal)) = (&self.means, token, &answer) else {
            return answer;
        };
        if !refuses_token(refusal) {
            return answer;
        }
        source.reject(&token);
        // with another token the request is sent once more, so that a list goes on where it was
        if source.wait_other(&token, TOKEN_PATIENCE).await.is_err() {
            return answer;
        }
        request.body_mut().reset().await?;
        self.sign(request)
            .map_err(|error| Error::new(ErrorKind::Credential, error))?;
        first.send(context, request, rest).await
    }
}

/// Whether the token itself is not good any more (Microsoft: "Status and error codes", `InvalidAuthenticationInfo` with 401,
/// `AuthenticationFailed` with 403). Another 403 is about what the identity may do, which no other token changes.
fn refuses_token(answer: &AsyncRawResponse) -> bool {
    let code = HeaderName::from_static("x-ms-error-code");
    match answer.status() {
        StatusCode::Unauthorized => true,
        StatusCode::Forbidden => {
            answer.headers().get_optional_str(&code) == Some("AuthenticationFailed")
        }
        _ => false,
    }
}

/// Gives back the error that the signer put into the crate's.
pub(super) fn credential_error(error: Error) -> StoreError {
    error
        .into_inner()
        .ok()
        .and_then(|inner| inner.downcast::<StoreError>().ok())
        .map_or(StoreError::BadCredential("it cannot sign"), |inner| *inner)
}
