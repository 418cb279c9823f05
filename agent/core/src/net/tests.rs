//! Addresses, binding next to others, and accepting under limits.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn addresses_read_and_print() {
    for text in [
        "unix:/run/lamplighter/mysql.sock",
        "tcp:127.0.0.1:3306",
        "tcp:[::1]:3306",
    ] {
        assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
    }
    assert_eq!(
        "0.0.0.0:8470".parse::<ListenAddress>().unwrap().to_string(),
        "tcp:0.0.0.0:8470"
    );
    let long = format!("unix:/{}", "x".repeat(120));
    for text in [
        "",
        "8470",
        "unix:relative.sock",
        "localhost:1",
        long.as_str(),
    ] {
        assert!(text.parse::<ListenAddress>().is_err(), "{text}");
    }
}

#[test]
fn servers_read_and_print() {
    for text in ["db.example:3306", "[2001:db8::1]:3306", "10.0.0.1:1"] {
        assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
    }
    for text in [
        "db.example",
        "db.example:0",
        "2001:db8::1:3306",
        ":3306",
        "user@host:1",
        "db:99999",
    ] {
        assert!(text.parse::<HostPort>().is_err(), "{text}");
    }
}

#[test]
fn a_taken_port_names_its_holder() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ListenAddress::Tcp(holder.local_addr().unwrap());
    let error = Sockets::none()
        .bind(&address, 0o660)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
}

#[test]
fn a_stale_unix_socket_is_replaced_and_a_live_one_names_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = ListenAddress::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the standard library leaves the file behind");
    let listener = Sockets::none().bind(&address, 0o640).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    let error = Sockets::none()
        .bind(&address, 0o660)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
    drop(listener);
    assert!(!path.exists(), "our own file goes with its listener");
}

#[test]
fn a_plain_file_in_the_way_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    std::fs::write(&path, "precious").unwrap();
    let error = Sockets::none()
        .bind(&ListenAddress::Unix(path.clone()), 0o660)
        .unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_full_house_queues_and_a_leaver_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = Sockets::none()
        .bind(&ListenAddress::Unix(path.clone()), 0o600)
        .unwrap();
    let mut acceptor = Acceptor::new(listener, 1).unwrap();
    let mut first_client = tokio::net::UnixStream::connect(&path).await.unwrap();
    let _second_client = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut first = acceptor.accept().await;
    assert!(
        matches!(first.peer, Peer::Unix { uid, .. } if uid == rustix::process::getuid().as_raw())
    );
    first_client.write_all(b"hi").await.unwrap();
    let mut bytes = [0; 2];
    first.stream.read_exact(&mut bytes).await.unwrap();
    let blocked = tokio::time::timeout(Duration::from_millis(50), acceptor.accept()).await;
    assert!(blocked.is_err(), "the second must wait for a place");
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), acceptor.accept())
        .await
        .expect("a place is free");
}

#[tokio::test]
async fn dialling_sets_the_socket_up_and_reports_failures() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = HostPort {
        host: "127.0.0.1".to_owned(),
        port,
    };
    let stream = dial(&address, &DialOptions::default()).await.unwrap();
    assert!(stream.nodelay().unwrap());
    let reference = socket2::SockRef::from(&stream);
    assert!(reference.keepalive().unwrap());
    assert_eq!(
        reference.tcp_user_timeout().unwrap(),
        Some(Duration::from_secs(10))
    );
    drop((stream, listener));
    let refused = dial(&address, &DialOptions::default()).await.unwrap_err();
    assert!(matches!(refused, DialError::Connect { .. }), "{refused}");
}

#[tokio::test]
async fn sockets_that_are_kept_leave_their_files_unless_we_leave_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = ListenAddress::Unix(path.clone());
    let handover = Handover::kept();
    let mut sockets = Sockets::from_env(handover.clone());
    let acceptor = Acceptor::new(sockets.bind(&address, 0o600).unwrap(), 1).unwrap();
    let kept = sockets.take_kept();
    let names: Vec<_> = kept.iter().map(|kept| kept.name.clone()).collect();
    assert_eq!(names, [format!("kept-unix-{}", path.display())]);
    drop(acceptor);
    // what is kept takes clients while nobody accepts
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
    drop(kept);
    assert!(std::os::unix::net::UnixStream::connect(&path).is_err());

    let again = Acceptor::new(sockets.bind(&address, 0o600).unwrap(), 1).unwrap();
    handover.leave_for_good();
    drop(again);
    assert!(!path.exists());
}
