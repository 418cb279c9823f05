//! Who gives tokens: the instance metadata service (managed identity; Azure: "Use managed identities on a virtual machine to
//! acquire access token"), or Entra itself against a file that somebody else keeps fresh (workload identity; "Microsoft identity
//! platform and OAuth 2.0 client credentials flow", federated credential).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Method;
use lamplighter_core::identity::Resource;
use lamplighter_core::secret::{self, SecretError};
use lamplighter_core::tls::TlsClient;
use url::form_urlencoded::Serializer;

use super::reply::{self, Reply};
use crate::config::Identity;
use crate::http::{self, Ask, HttpError, Origin};
use crate::imds::{Endpoint, Imds, ImdsError, complaint};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Why no token came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error(transparent)]
    Imds(#[from] ImdsError),
    #[error("{0}")]
    Off(&'static str),
    #[error("cannot read the federated token")]
    Assertion(#[source] SecretError),
    #[error("the federated token is not text")]
    AssertionText,
    #[error("cannot ask {authority}")]
    Authority {
        authority: String,
        source: HttpError,
    },
    #[error("{authority} answers {status}: {text}")]
    Refused {
        authority: String,
        status: u16,
        text: String,
    },
    #[error("the answer of {authority} is not understood: {text}")]
    Junk { authority: String, text: String },
}

impl ProviderError {
    /// Whether asking again cannot help before somebody changed something.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Imds(error) => error.outcome() == "refused",
            Self::Refused { status, .. } => matches!(status, 400 | 401 | 403),
            Self::Off(_) => true,
            Self::Assertion(_)
            | Self::AssertionText
            | Self::Authority { .. }
            | Self::Junk { .. } => false,
        }
    }

    /// How long to leave it alone after the `failures`th failure in a row: 2, 6, 14, 30 s and then each 30 s, as the documentation
    /// of managed identities asks for; longer where only a person can help.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        if self.is_refusal() {
            return Duration::from_secs(30 * u64::from(failures.clamp(1, 10)));
        }
        match self {
            Self::Imds(
                error @ ImdsError::Status {
                    status: 410 | 429, ..
                },
            ) => error.pause(failures),
            _ => Duration::from_secs((1 << failures.clamp(1, 4).saturating_add(1)) - 2),
        }
    }
}

/// Who is asked. Clones share the connection's settings.
#[derive(Debug, Clone)]
pub(crate) enum Provider {
    /// The instance metadata service, with what is added to the query to name the identity.
    Managed {
        imds: Imds,
        whom: String,
    },
    Workload(Arc<Workload>),
    /// Nobody, and why.
    Nobody(&'static str),
}

/// The settings of a workload identity.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) origin: Origin,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) tenant: String,
    pub(crate) client: String,
    pub(crate) token_file: PathBuf,
}

impl Provider {
    /// The managed identity that `identity` names.
    pub(crate) fn managed(imds: Imds, identity: &Identity) -> Self {
        let mut query = Serializer::new(String::new());
        let named = [
            ("client_id", &identity.client_id),
            ("object_id", &identity.object_id),
            ("msi_res_id", &identity.resource_id),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        let query = query.finish();
        let whom = match query.is_empty() {
            true => query,
            false => format!("&{query}"),
        };
        Self::Managed { imds, whom }
    }

    /// Asks for a token once.
    pub(crate) async fn ask(&self, resource: Resource) -> Result<Reply, ProviderError> {
        match self {
            Self::Managed { imds, whom } => {
                let resource: String =
                    url::form_urlencoded::byte_serialize(resource.uri().as_bytes()).collect();
                let target = format!(
                    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{whom}"
                );
                let read = |body: &[u8]| reply::read(body, SystemTime::now());
                Ok(imds.get(Endpoint::Token, &target, LIMIT, read).await?)
            }
            Self::Workload(workload) => workload.ask(resource).await,
            Self::Nobody(why) => Err(ProviderError::Off(why)),
        }
    }
}

impl Workload {
    async fn ask(&self, resource: Resource) -> Result<Reply, ProviderError> {
        // read each time: whoever keeps the file fresh replaces it about once an hour
        let file = self.token_file.clone();
        let assertion = tokio::task::spawn_blocking(move || secret::read(&file)).await;
        let assertion = match assertion {
            Ok(read) => read.map_err(ProviderError::Assertion)?,
            Err(_) => return Err(ProviderError::AssertionText),
        };
        let text = assertion
            .expose_str()
            .map_err(|_| ProviderError::AssertionText)?;
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client)
            .append_pair(
                "scope",
                &format!("{}/.default", resource.uri().trim_end_matches('/')),
            )
            .append_pair(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            )
            .append_pair("client_assertion", text)
            .finish();
        let target = format!("/{}/oauth2/v2.0/token", self.tenant);
        let authority = self.origin.server.to_string();
        let ask = Ask {
            origin: &self.origin,
            tls: self.tls.as_ref(),
            method: Method::POST,
            target: &target,
            headers: &[
                ("Content-Type", "application/x-www-form-urlencoded"),
                ("Accept", "application/json"),
            ],
            body: form.into_bytes(),
        };
        let answer = http::ask(ask, LIMIT)
            .await
            .map_err(|source| ProviderError::Authority {
                authority: authority.clone(),
                source,
            })?;
        let body = answer.body;
        if answer.status != 200 {
            return Err(ProviderError::Refused {
                authority,
                status: answer.status,
                text: complaint(&body),
            });
        }
        reply::read(&body, SystemTime::now())
            .map_err(|text| ProviderError::Junk { authority, text })
    }
}
