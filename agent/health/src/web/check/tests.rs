//! One check against servers that behave and servers that do not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;

/// A server that answers its first connection with `reply` and hands over what it was asked.
fn server(reply: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/healthz.php?x=1", listener.local_addr().unwrap());
    let (asked, was_asked) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            request.push(byte[0]);
        }
        // the test may not care what was asked
        let _unread = asked.send(String::from_utf8(request).unwrap());
        reply(&mut stream);
    });
    (url, was_asked)
}

fn says(text: impl Into<Vec<u8>>) -> String {
    let text = text.into();
    server(move |stream| stream.write_all(&text).unwrap()).0
}

fn config(url: &str) -> WebConfig {
    WebConfig {
        timeout: lamplighter_core::units::Millis::new(2000),
        ..WebConfig::new(url.parse().unwrap())
    }
}

#[tokio::test]
async fn a_good_answer_passes_and_the_request_is_a_plain_one() {
    let (url, asked) = server(|stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            .unwrap();
    });
    let mut config = config(&url);
    config.host = Some("shop.example".to_owned());
    assert_eq!(check_once(&config).await, Ok(()));
    let request = asked.recv().unwrap();
    assert!(
        request.starts_with("GET /healthz.php?x=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("host: shop.example\r\n"), "{request}");
    assert!(request.contains("connection: close\r\n"), "{request}");
}

#[tokio::test]
async fn the_body_is_searched_however_it_is_framed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis u\r\n1\r\np\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nit is up",
    ] {
        let mut config = config(&says(answer));
        config.expect_body = Some("is up".to_owned());
        assert_eq!(check_once(&config).await, Ok(()), "{answer}");
    }
    let mut config = config(&says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndown"));
    config.expect_body = Some("is up".to_owned());
    assert_eq!(check_once(&config).await, Err(Failure::Body));
}

#[tokio::test]
async fn a_huge_body_is_not_read_to_its_end() {
    let (url, _) = server(|stream| {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        stream.write_all(head).unwrap();
        // until the checker has had enough and closes
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert_eq!(check_once(&config(&url)).await, Ok(()));
}

#[tokio::test]
async fn every_failure_has_its_name() {
    for (answer, failure) in [
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "status"),
        (
            "HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            "status",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            "garbled",
        ),
        ("HTTP/1.1 200", "garbled"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "garbled"),
        ("", "garbled"),
    ] {
        let outcome = check_once(&config(&says(answer))).await;
        assert_eq!(
            outcome.as_ref().unwrap_err().label(),
            failure,
            "{answer}: {outcome:?}"
        );
    }
    let mut teapot = config(&says("HTTP/1.1 418 Tea\r\nContent-Length: 0\r\n\r\n"));
    teapot.expect_status = 418;
    assert_eq!(check_once(&teapot).await, Ok(()));
}

#[tokio::test]
async fn nobody_there_is_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let failure = check_once(&config(&url)).await.unwrap_err();
    assert!(failure.is_refusal(), "{failure:?}");
    assert!(failure.to_string().contains("refused"), "{failure}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_slow() {
    let (hold, held) = mpsc::sync_channel::<()>(0);
    let (url, _) = server(move |_stream| {
        // until the test has its outcome
        let _over = held.recv();
    });
    let mut config = config(&url);
    config.timeout = lamplighter_core::units::Millis::new(50);
    assert_eq!(
        check_once(&config).await,
        Err(Failure::Slow(Duration::from_millis(50)))
    );
    drop(hold);
}
