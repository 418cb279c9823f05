//! Handshakes against a server made here: right CA, wrong CA, wrong name, expired, and a CA that is read again.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;

use super::*;

struct Pki {
    ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn pki(name: &str, expired: bool) -> Pki {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, &ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Pki {
        ca_pem: ca.pem(),
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}

/// Connects once to a server that shows `pki`'s certificate, trusting `client`'s CA.
async fn handshake(pki: &Pki, client: &TlsClient) -> Result<(), String> {
    let server = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(pki.chain.clone(), pki.key.clone_key())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        // whether it fails is the client's to say
        let _outcome = tokio_rustls::TlsAcceptor::from(Arc::new(server))
            .accept(stream)
            .await;
    };
    let connect = async {
        let address = crate::net::HostPort {
            host: "127.0.0.1".to_owned(),
            port,
        };
        let stream = crate::net::dial(&address, &crate::net::DialOptions::default())
            .await
            .unwrap();
        client
            .connect("db.test", stream)
            .await
            .map(drop)
            .map_err(|error| crate::fault::chain(&error))
    };
    tokio::join!(accept, connect).1
}

fn client(ca_pem: &str, verify: Verify) -> (tempfile::TempDir, PathBuf, TlsClient) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, ca_pem).unwrap();
    let config = TlsConfig {
        ca: CaSource::File(path.clone()),
        verify,
        ..TlsConfig::default()
    };
    let client = TlsClient::new(&config).unwrap();
    (dir, path, client)
}

#[tokio::test]
async fn the_right_ca_and_name_pass_and_nothing_else() {
    let good = pki("db.test", false);
    let (_dir, _, trusting) = client(&good.ca_pem, Verify::Identity);
    assert_eq!(handshake(&good, &trusting).await, Ok(()));
    let stranger = handshake(&pki("db.test", false), &trusting)
        .await
        .unwrap_err();
    assert!(
        stranger.contains("UnknownIssuer") || stranger.contains("BadSignature"),
        "{stranger}"
    );

    let other_name = pki("other.test", false);
    let (_dir, _, by_identity) = client(&other_name.ca_pem, Verify::Identity);
    assert!(
        handshake(&other_name, &by_identity)
            .await
            .unwrap_err()
            .contains("not valid for name")
    );
    let (_dir, _, by_ca) = client(&other_name.ca_pem, Verify::Ca);
    assert_eq!(handshake(&other_name, &by_ca).await, Ok(()));
    assert!(
        handshake(&good, &by_ca).await.is_err(),
        "chain-only still needs the chain"
    );

    let expired = pki("db.test", true);
    for verify in [Verify::Identity, Verify::Ca] {
        let (_dir, _, client) = client(&expired.ca_pem, verify);
        assert!(
            handshake(&expired, &client)
                .await
                .unwrap_err()
                .contains("expired")
        );
    }
}

#[tokio::test]
async fn a_ca_is_read_again_and_a_bad_one_changes_nothing() {
    let (old, new) = (pki("db.test", false), pki("db.test", false));
    let (_dir, path, client) = client(&old.ca_pem, Verify::Identity);
    assert!(handshake(&new, &client).await.is_err());
    std::fs::write(&path, "no certificate").unwrap();
    assert!(matches!(client.reload(), Err(TlsError::NoRoots(_))));
    assert_eq!(handshake(&old, &client).await, Ok(()));
    std::fs::write(&path, &new.ca_pem).unwrap();
    client.reload().unwrap();
    assert_eq!(handshake(&new, &client).await, Ok(()));
}

#[test]
fn the_shipped_azure_roots_parse() {
    for pem in AZURE_ROOTS {
        let mut roots = RootCertStore::empty();
        assert_eq!(
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten()),
            (1, 0)
        );
    }
}

#[test]
fn configuration_reads_back() {
    let config: TlsConfig =
        serde_json::from_str(r#"{"ca": "/etc/ca.pem", "verify": "ca"}"#).unwrap();
    assert_eq!(config.ca, CaSource::File("/etc/ca.pem".into()));
    assert!(config.enabled);
    assert!(serde_json::from_str::<TlsConfig>(r#"{"verify": "maybe"}"#).is_err());
}
