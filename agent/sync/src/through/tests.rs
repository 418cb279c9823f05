//! Requests over a real socket, blobs from a scripted storage.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::rig::Rig;
use crate::store::fake::{Fake, Fault};

#[expect(clippy::disallowed_methods, reason = "the server is this test's own")]
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // a body that breaks off is the answer's business
    let _end = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

struct Door {
    rig: Rig,
    address: SocketAddr,
    nudge: Arc<Notify>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn door() -> Door {
    let rig = Rig::new();
    let mut through = ReadThrough::<Fake>::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nudge = Arc::new(Notify::new());
    through.add(Shelf {
        name: "uploads".to_owned(),
        store: Arc::clone(&rig.engine.store),
        prefix: "p/".to_owned(),
        filters: Filters::default(),
        attempts: rig.engine.attempts.clone(),
        nudge: Arc::clone(&nudge),
    });
    let address = through.address();
    let desk = Arc::new(Desk {
        shelves: through.shelves,
        absent: Mutex::default(),
    });
    let listener = TcpListener::from_std(through.listener).unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test owns the task")]
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, Arc::clone(&desk)).await;
        }
    });
    Door {
        rig,
        address,
        nudge,
        server,
    }
}

#[tokio::test]
async fn a_blob_is_given_at_once_and_a_pass_is_asked_for() {
    let door = door();
    door.rig.fake.put("p/a b/ü.jpg", "picture");
    let answer = ask(door.address, "GET /files/uploads/a%20b/%C3%BC.jpg").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-length: 7\r\n") && answer.ends_with("\r\n\r\npicture"));
    assert_eq!(door.rig.fake.take_log().len(), 1);
    tokio::time::timeout(Duration::from_secs(5), door.nudge.notified())
        .await
        .unwrap();
    let head = ask(door.address, "HEAD /files/uploads/a%20b/%C3%BC.jpg").await;
    assert!(
        head.contains("content-length: 7\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_asked_for_once_a_second_and_what_must_not_be_never() {
    let door = door();
    for _ in 0..5 {
        let answer = ask(door.address, "GET /files/uploads/none").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    assert_eq!(door.rig.fake.take_log().len(), 1);
    door.rig.fake.put("p/../secret", "x");
    door.rig.fake.put("secret", "x");
    for path in [
        "/files/uploads/../secret",
        "/files/uploads/%2e%2e/secret",
        "/files/uploads//secret",
        "/files/uploads/.lamplighter/manifest.jsonl",
        "/files/uploads/a%00b",
        "/files/uploads/%ff",
        "/files/uploads/%2",
        "/files/other/secret",
        "/files/uploads",
        "/",
    ] {
        let answer = ask(door.address, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let answer = ask(door.address, "POST /files/uploads/none").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    assert!(door.rig.fake.take_log().is_empty());
}

#[tokio::test]
async fn a_large_blob_comes_in_pieces_of_one_version_and_breaks_are_mended() {
    let door = door();
    let large = "0123456789".repeat(1024 * 1024);
    door.rig.fake.put("p/large", large.clone());
    door.rig.fake.script("p/large", [Fault::Cut(100_000)]);
    let answer = ask(door.address, "GET /files/uploads/large").await;
    assert!(answer.ends_with(&large), "{} bytes", answer.len());
    // replaced in the middle: the answer ends, it is never a mixture
    let other = Fault::Replace("x".repeat(large.len()).into_bytes());
    door.rig
        .fake
        .script("p/large", [Fault::Cut(100_000), other]);
    let answer = ask(door.address, "GET /files/uploads/large").await;
    assert!(
        answer.len() < 200_000 && !answer.contains("xx"),
        "{} bytes",
        answer.len()
    );
}

#[tokio::test]
async fn a_storage_that_fails_is_a_bad_gateway() {
    let door = door();
    let denied = || StoreError::Denied {
        status: 403,
        code: String::new(),
    };
    door.rig.fake.script("p/a", [Fault::Error(denied)]);
    let answer = ask(door.address, "GET /files/uploads/a").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[test]
fn a_version_is_known_by_itself_in_a_list_weakly_and_by_a_star() {
    let etag = ETag::new("\"0x8D\"");
    for (known, expected) in [
        ("\"0x8D\"", true),
        ("W/\"0x8D\"", true),
        ("\"1\", W/\"0x8D\"", true),
        ("*", true),
        ("\"1\", \"2\"", false),
        ("0x8D", false),
        ("", false),
    ] {
        let known = HeaderValue::from_static(known);
        assert_eq!(names_version(&known, &etag), expected, "{known:?}");
    }
}
