//! The client against scripted HTTP answers: what is sent, what each answer means, and that no secret shows.

mod tls;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use lamplighter_core::units::Millis;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use lamplighter_core::config::SecretFile;

use super::*;
use crate::config::ContainerUrl;
use crate::rig;

const SAS: &str = "sv=2021-12-02&se=2030-01-01&sig=TOP%2FSECRET";

/// A server that gives the same answer to every request, then closes, and remembers what it was asked.
struct Scripted {
    dir: TempDir,
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Scripted {
    /// Answers with `answer`; `silent` then keeps the connection open without a word.
    async fn new(answer: &str, silent: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), answer.to_owned());
        #[expect(clippy::disallowed_methods, reason = "the test owns the task")]
        let server = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                log.lock().unwrap().push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
                if silent {
                    open.push(stream);
                }
            }
        });
        Self {
            dir: tempfile::tempdir().unwrap(),
            port,
            asked,
            server,
        }
    }

    fn secret(&self, text: &str, mode: u32) {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(self.dir.path().join("secret"))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn store_with(&self, change: impl FnOnce(&mut Config)) -> AzureStore {
        let mut config = rig::config(self.dir.path());
        let url = format!("http://127.0.0.1:{}/account/www", self.port);
        config.container = ContainerUrl::new(&url).unwrap();
        config.sas_file = Some(SecretFile::new(self.dir.path().join("secret")));
        change(&mut config);
        AzureStore::new(&config, &SecretDirs::default(), None).unwrap()
    }

    async fn store(&self) -> AzureStore {
        self.secret(SAS, 0o600);
        let store = self.store_with(|_| {});
        store.refresh_credential().await.unwrap();
        store
    }

    fn asked(&self) -> String {
        self.asked.lock().unwrap().join("\n")
    }
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn get(answer: &str) -> Result<(Body, String), StoreError> {
    let scripted = Scripted::new(answer, false).await;
    let store = scripted.store().await;
    let body = store
        .get_range("a b/ü", 10..15, Some(&ETag::new("0x1")))
        .await?;
    Ok((body, scripted.asked()))
}

async fn read(body: Body) -> Result<Vec<u8>, StoreError> {
    body.chunks
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

const PAGE: &str = r#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://127.0.0.1/account" ContainerName="www"><Prefix>p/</Prefix><Blobs>
<Blob><Name>p/a &amp; b</Name><Properties><Etag>0x8D1</Etag><Content-Length>5</Content-Length><Content-MD5>XUFAKrxLKna5cZ2REBfFkg==</Content-MD5><BlobType>BlockBlob</BlobType></Properties><Metadata/></Blob>
<Blob><Name Encoded="true">p/c%01d</Name><Properties><Etag>"0x8D2"</Etag><Content-Length>0</Content-Length></Properties></Blob>
<Blob><Name>p/dir</Name><Properties><Etag>0x8D3</Etag><Content-Length>0</Content-Length></Properties><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>
</Blobs><NextMarker>more!</NextMarker></EnumerationResults>"#;

#[tokio::test]
async fn a_page_is_read_with_all_its_oddities() {
    let scripted = Scripted::new(
        &answer("200 OK", &["content-type: application/xml"], PAGE),
        false,
    )
    .await;
    let page = scripted
        .store()
        .await
        .list_page("p/", Some("mark er"), PAGE_MAX)
        .await
        .unwrap();
    assert_eq!(page.next.as_deref(), Some("more!"));
    let names: Vec<_> = page
        .blobs
        .iter()
        .map(|blob| (&*blob.name, blob.etag.as_str(), blob.size, blob.directory))
        .collect();
    assert_eq!(
        names,
        [
            ("a & b", "\"0x8D1\"", 5, false),
            ("c\u{1}d", "\"0x8D2\"", 0, false),
            ("dir", "\"0x8D3\"", 0, true)
        ]
    );
    assert_eq!(page.blobs[0].sum, Some(crate::sum::Way::Md5.of(b"hello")));
    let asked = scripted.asked();
    for part in [
        "comp=list",
        "restype=container",
        "prefix=p%2F",
        "marker=mark",
        "include=metadata",
        "maxresults=2000",
        "sig=TOP%2FSECRET",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
}

#[tokio::test]
async fn a_range_of_one_version_is_asked_for() {
    let headers = [
        "content-range: bytes 10-14/100",
        "etag: \"0x1\"",
        "x-ms-blob-content-md5: XUFAKrxLKna5cZ2REBfFkg==",
    ];
    let (body, asked) = get(&answer("206 Partial Content", &headers, "12345"))
        .await
        .unwrap();
    assert_eq!(
        (body.start, body.total, body.etag.clone()),
        (10, 100, Some(ETag::new("0x1")))
    );
    assert_eq!(body.md5, Some(crate::store::fake::md5_of(b"hello")));
    assert_eq!(read(body).await.unwrap(), b"12345");
    let asked = asked.to_lowercase();
    assert!(
        asked.starts_with("get /account/www/a%20b%2f%c3%bc?"),
        "{asked}"
    );
    assert!(asked.contains("range: bytes=10-14\r\n"), "{asked}");
    assert!(asked.contains("if-match: \"0x1\"\r\n"), "{asked}");
}

#[tokio::test]
async fn an_answer_without_a_range_is_the_whole_blob() {
    let (body, _) = get(&answer("200 OK", &[], "whole")).await.unwrap();
    assert_eq!((body.start, body.total), (0, 5));
}

#[tokio::test]
async fn a_body_that_breaks_off_gives_what_came_and_then_an_error() {
    let cut = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 10-14/100\r\ncontent-length: 5\r\n\r\n12";
    let (mut body, _) = get(cut).await.unwrap();
    assert_eq!(body.chunks.try_next().await.unwrap().unwrap(), "12");
    let error = body.chunks.try_next().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_stored_compressed_stays_compressed() {
    let headers = ["content-encoding: gzip", "content-range: bytes 0-4/5"];
    let (body, asked) = get(&answer("206 Partial Content", &headers, "12345"))
        .await
        .unwrap();
    assert_eq!(read(body).await.unwrap(), b"12345");
    assert!(!asked.to_lowercase().contains("accept-encoding"), "{asked}");
}

#[tokio::test]
async fn every_refusal_has_its_meaning() {
    let code = |code| format!("x-ms-error-code: {code}");
    for (status, headers, expected) in [
        (
            "403 Forbidden",
            vec![code("AuthenticationFailed")],
            "denied",
        ),
        ("401 Unauthorized", vec![], "denied"),
        ("404 Not Found", vec![code("BlobNotFound")], "gone"),
        (
            "404 Not Found",
            vec![code("ContainerNotFound")],
            "no_container",
        ),
        (
            "412 Precondition Failed",
            vec![code("ConditionNotMet")],
            "changed",
        ),
        (
            "416 Range Not Satisfiable",
            vec![code("InvalidRange")],
            "changed",
        ),
        ("409 Conflict", vec![code("BlobArchived")], "rejected"),
        (
            "301 Moved Permanently",
            vec!["location: http://127.0.0.1:1/".to_owned()],
            "rejected",
        ),
        ("500 Internal Server Error", vec![], "server"),
        (
            "503 Service Unavailable",
            vec![code("ServerBusy")],
            "throttled",
        ),
        ("429 Too Many Requests", vec![], "throttled"),
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let error = get(&answer(status, &headers, ""))
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error.label(), expected, "{status} {headers:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_list_of_what_is_not_there_is_about_the_container() {
    let scripted = Scripted::new(&answer("404 Not Found", &[], ""), false).await;
    let error = scripted
        .store()
        .await
        .list_page("", None, PAGE_MAX)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NoContainer), "{error:?}");
}

#[tokio::test]
async fn the_wish_to_wait_is_read_in_each_form() {
    for (header, expected) in [
        ("retry-after: 7", Some(7_000)),
        ("x-ms-retry-after-ms: 1500", Some(1_500)),
        ("retry-after: Fri, 01 Jan 2021 00:00:00 GMT", Some(0)),
        ("retry-after: soon", None),
        ("x-other: 1", None),
    ] {
        let error = get(&answer("503 Service Unavailable", &[header], ""))
            .await
            .map(|_| ())
            .unwrap_err();
        let StoreError::Throttled { retry_after, .. } = error else {
            panic!("{header}: {error:?}");
        };
        assert_eq!(retry_after, expected.map(Duration::from_millis), "{header}");
    }
}

#[tokio::test]
async fn each_request_is_sent_once() {
    let scripted = Scripted::new(&answer("503 Service Unavailable", &[], ""), false).await;
    let store = scripted.store().await;
    store.list_page("", None, PAGE_MAX).await.unwrap_err();
    assert_eq!(scripted.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nonsense_is_an_error_and_not_an_empty_list() {
    for body in [
        "",
        "<html>captive portal</html>",
        "<EnumerationResults ContainerName=\"www\"><Blobs><Blob><Name>x</Name></Blob></Blobs></EnumerationResults>",
        "<EnumerationRes",
    ] {
        let scripted = Scripted::new(&answer("200 OK", &[], body), false).await;
        let page = scripted.store().await.list_page("", None, PAGE_MAX).await;
        assert!(
            matches!(page, Err(StoreError::Protocol(_))),
            "{body}: {page:?}"
        );
    }
}

#[tokio::test]
async fn silence_ends_and_no_error_shows_the_secret() {
    let scripted = Scripted::new("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 10-14/100\r\ncontent-length: 5\r\n\r\n1", true).await;
    scripted.secret(SAS, 0o600);
    let store = scripted.store_with(|config| config.stall_timeout = Millis::new(200));
    store.refresh_credential().await.unwrap();
    let mut body = store
        .get_range("x", 10..15, Some(&ETag::new("0x1")))
        .await
        .unwrap();
    assert_eq!(body.chunks.try_next().await.unwrap().unwrap(), "1");
    let stalled = body.chunks.try_next().await.unwrap_err();
    drop(body);
    let gone = scripted.port;
    drop(scripted);
    let refused = store.list_page("", None, PAGE_MAX).await.unwrap_err();
    for error in [stalled, refused] {
        let text = format!("{error} {error:?} {store:?}");
        assert!(matches!(error, StoreError::Unreachable(_)), "{text}");
        assert!(!text.contains("SECRET"), "{gone}: {text}");
    }
}

#[tokio::test]
async fn a_secret_is_read_again_when_it_changes() {
    let page = "<EnumerationResults ContainerName=\"www\"><Blobs/></EnumerationResults>";
    let scripted = Scripted::new(&answer("200 OK", &[], page), false).await;
    let store = scripted.store().await;
    let expiry = store.refresh_credential().await.unwrap().unwrap();
    assert_eq!(
        humantime::format_rfc3339(expiry).to_string(),
        "2030-01-01T00:00:00Z"
    );
    scripted.secret("sv=2021-12-02&sig=NEW", 0o600);
    assert_eq!(store.refresh_credential().await.unwrap(), None);
    store.list_page("", None, PAGE_MAX).await.unwrap();
    assert!(scripted.asked().contains("sig=NEW"), "{}", scripted.asked());
    // a file that is half written or away does not take the good one's place
    scripted.secret("nothing of use", 0o600);
    assert!(store.refresh_credential().await.is_err());
    store.list_page("", None, PAGE_MAX).await.unwrap();
    std::fs::remove_file(scripted.dir.path().join("secret")).unwrap();
    let error = store.refresh_credential().await.unwrap_err();
    assert_eq!(error.label(), "credential");
}

#[tokio::test]
async fn a_secret_that_everybody_may_read_is_refused() {
    let scripted = Scripted::new("", false).await;
    scripted.secret(SAS, 0o644);
    let error = scripted
        .store_with(|_| {})
        .refresh_credential()
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Secret(_)), "{error:?}");
}

#[tokio::test]
async fn a_shared_key_signs_in_a_header() {
    let page = "<EnumerationResults ContainerName=\"www\"><Blobs/></EnumerationResults>";
    let scripted = Scripted::new(&answer("200 OK", &[], page), false).await;
    scripted.secret("AccountName=account;AccountKey=c2VjcmV0", 0o600);
    let store = scripted.store_with(|config| {
        config.connection_string_file = config.sas_file.take();
    });
    store.refresh_credential().await.unwrap();
    store.list_page("", None, PAGE_MAX).await.unwrap();
    let asked = scripted.asked();
    assert!(
        asked.contains("authorization: SharedKey account:"),
        "{asked}"
    );
    assert!(asked.contains("x-ms-date: "), "{asked}");
    assert!(!asked.contains("c2VjcmV0"), "{asked}");
}

#[tokio::test]
async fn properties_give_version_size_and_sum() {
    let head = "HTTP/1.1 200 OK\r\netag: \"0x7\"\r\ncontent-length: 42\r\ncontent-md5: XUFAKrxLKna5cZ2REBfFkg==\r\n\r\n";
    let scripted = Scripted::new(head, false).await;
    let remote = scripted.store().await.head("x").await.unwrap();
    assert_eq!((remote.size, remote.etag.as_str()), (42, "\"0x7\""));
    assert_eq!(remote.sum, Some(crate::sum::Way::Md5.of(b"hello")));
}
