//! The one TLS client: rustls with ring, the system's roots or a CA file, both read again on request. Reads CA files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Azure Database for MySQL is between these two roots (its certificate rotation notes), and images differ in which they ship.
const AZURE_ROOTS: [&[u8]; 2] = [
    include_bytes!("tls/digicert_global_root_ca.pem"),
    include_bytes!("tls/digicert_global_root_g2.pem"),
];

/// The two roots of Azure in PEM form, for libraries that bring their own TLS.
#[must_use]
pub fn azure_roots_pem() -> Vec<u8> {
    AZURE_ROOTS.join(&b'\n')
}

/// How to reach a server over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Whether to use TLS at all. Default true; off only for servers on this machine.
    pub enabled: bool,
    /// Whom to trust: `"system"` (default; the system's roots and the two DigiCert roots of Azure) or a PEM file.
    pub ca: CaSource,
    /// How far to check the certificate: `"identity"` (default: chain and name) or `"ca"` (chain only).
    pub verify: Verify,
    /// The name to expect in the certificate, if it is not the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ca: CaSource::System,
            verify: Verify::Identity,
            server_name: None,
        }
    }
}

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaSource {
    /// The system's store plus Azure's roots.
    System,
    /// The certificates in a PEM file, and nobody else.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for CaSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "system" {
            Self::System
        } else {
            Self::File(PathBuf::from(text))
        })
    }
}

impl Serialize for CaSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::System => serializer.serialize_str("system"),
            Self::File(path) => path.serialize(serializer),
        }
    }
}

/// How far to check the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Chain and name (MySQL's VERIFY_IDENTITY).
    Identity,
    /// Chain only (MySQL's VERIFY_CA): for servers reached by an address their certificate does not name.
    Ca,
}

/// Why TLS could not be set up or agreed on.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file is missing, unreadable or no PEM.
    #[error("cannot read CA certificates from {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rustls_pki_types::pem::Error,
    },
    /// There is nobody to trust.
    #[error("no usable CA certificate in {0}")]
    NoRoots(String),
    /// rustls refused the set-up.
    #[error("cannot set TLS up: {0}")]
    Setup(String),
    /// The name cannot be in a certificate.
    #[error("{name:?} cannot be a server's name")]
    Name {
        /// The name.
        name: String,
        /// The reason.
        source: InvalidDnsNameError,
    },
    /// The handshake failed: wrong CA, wrong name, expired, or no TLS at all.
    #[error("TLS handshake with {name} failed")]
    Handshake {
        /// The server's name.
        name: String,
        /// The reason.
        source: std::io::Error,
    },
}

/// A TLS client whose CA can be read again while connections go on.
pub struct TlsClient {
    config: TlsConfig,
    current: ArcSwap<ClientConfig>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads the CA and sets up.
    ///
    /// # Errors
    /// If the CA cannot be read or holds no certificate.
    pub fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        let current = ArcSwap::from(build(config)?);
        Ok(Self {
            config: config.clone(),
            current,
        })
    }

    /// Reads the CA again; new connections use it, old ones stay. On an error the old CA stays.
    ///
    /// # Errors
    /// As [`TlsClient::new`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(build(&self.config)?);
        Ok(())
    }

    /// What it was made from.
    #[must_use]
    pub const fn config(&self) -> &TlsConfig {
        &self.config
    }

    /// The current set-up, for libraries that connect by themselves.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.current.load_full()
    }

    /// Agrees on TLS with the server at the other end of `stream`. `host` is expected in its certificate unless the
    /// configuration names another. Sessions are resumed where the server allows it.
    ///
    /// # Errors
    /// If the name cannot be one, or the handshake fails.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.config.server_name.as_deref().unwrap_or(host);
        let server_name =
            ServerName::try_from(name.to_owned()).map_err(|source| TlsError::Name {
                name: name.to_owned(),
                source,
            })?;
        TlsConnector::from(self.client_config())
            .connect(server_name, stream)
            .await
            .map_err(|source| TlsError::Handshake {
                name: name.to_owned(),
                source,
            })
    }
}

fn build(config: &TlsConfig) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = Arc::new(match &config.ca {
        CaSource::System => system_roots()?,
        CaSource::File(path) => file_roots(path)?,
    });
    let provider = Arc::new(ring::default_provider());
    let setup = |error: &dyn std::fmt::Display| TlsError::Setup(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| setup(&error))?;
    let client = match config.verify {
        Verify::Identity => builder.with_root_certificates(roots).with_no_client_auth(),
        Verify::Ca => {
            let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| setup(&error))?;
            let verifier = Arc::new(ChainOnly { chain, provider });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        }
    };
    Ok(Arc::new(client))
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in AZURE_ROOTS {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    }
    if roots.is_empty() {
        Err(TlsError::NoRoots("the system's store".to_owned()))
    } else {
        Ok(roots)
    }
}

fn file_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |source| TlsError::CaFile {
        path: path.to_owned(),
        source,
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.map_err(failed)?);
    if roots.is_empty() {
        Err(TlsError::NoRoots(path.display().to_string()))
    } else {
        Ok(roots)
    }
}

/// Checks the chain and its dates, not the name.
#[derive(Debug)]
struct ChainOnly {
    chain: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        ) {
            // the name is checked last, so everything else was in order
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
