//! A container on https: only a certificate of the right authority and name is talked to, and a CA of one's own will do.

use lamplighter_core::tls::CaSource;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use lamplighter_core::config::SecretFile;

use super::*;

struct Secure {
    dir: TempDir,
    port: u16,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Secure {
    /// A server with a certificate for `name` of an authority whose certificate is in `ca.pem`; it lists an empty container.
    async fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::new(params, &ca_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = "<EnumerationResults ContainerName=\"www\"><Blobs/></EnumerationResults>";
        let answer = answer("200 OK", &[], page);
        #[expect(clippy::disallowed_methods, reason = "the test owns the task")]
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // whether it fails is the client's to say
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { dir, port, server }
    }

    /// Lists the container, trusting `ca`.
    async fn list(&self, ca: CaSource) -> Result<Page, StoreError> {
        let mut config = rig::config(self.dir.path());
        let url = format!("https://localhost:{}/account/www", self.port);
        config.container = ContainerUrl::new(&url).unwrap();
        config.tls.ca = ca;
        let secret = self.dir.path().join("secret");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&secret)
            .unwrap();
        file.write_all(SAS.as_bytes()).unwrap();
        config.sas_file = Some(SecretFile::new(secret));
        let store = AzureStore::new(&config, &SecretDirs::default(), None).unwrap();
        store.refresh_credential().await.unwrap();
        store.list_page("", None, 1).await
    }

    fn own_ca(&self) -> CaSource {
        CaSource::File(self.dir.path().join("ca.pem"))
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_authority_is_accepted() {
    let server = Secure::new("localhost").await;
    assert_eq!(server.list(server.own_ca()).await.unwrap().blobs, []);
}

#[tokio::test]
async fn another_authority_and_another_name_are_not() {
    let server = Secure::new("localhost").await;
    let named = Secure::new("elsewhere.example").await;
    for (case, list) in [
        ("another authority", server.list(CaSource::System).await),
        ("another name", named.list(named.own_ca()).await),
    ] {
        let error = list.unwrap_err();
        assert!(
            matches!(error, StoreError::Unreachable(_)),
            "{case}: {error:?}"
        );
        // what to look for, and nothing of the secret
        assert!(error.to_string().contains("certificate"), "{case}: {error}");
        assert!(!error.to_string().contains("SECRET"), "{case}: {error}");
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_said_at_the_start() {
    let mut config = rig::config(std::path::Path::new("/srv"));
    config.tls.ca = CaSource::File("/nowhere/ca.pem".into());
    let error = AzureStore::new(&config, &SecretDirs::default(), None).unwrap_err();
    assert!(matches!(error, SetupError::Tls(_)), "{error:?}");
}
