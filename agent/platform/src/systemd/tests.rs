//! Messages over a real datagram socket.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::*;

fn receive(socket: &UnixDatagram) -> String {
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn reloading(manager: &Manager, ready: bool) -> Reloading {
    let told = Told {
        ready,
        status: "ready; mysql down".to_owned(),
    };
    Reloading::new(manager.clone(), Arc::new(Mutex::new(told)))
}

#[test]
fn a_reload_is_bracketed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let manager = Manager::new(Some(path.as_os_str()), None);
    let notice = reloading(&manager, true).begin();
    let begin = receive(&socket);
    let lines: Vec<_> = begin.lines().collect();
    assert_eq!(&lines[..2], ["RELOADING=1", "STATUS=reloading"]);
    let stamp = lines[2].strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(stamp.parse::<u64>().unwrap() > 0);
    drop(notice);
    assert_eq!(receive(&socket), "READY=1\nSTATUS=ready; mysql down\n");
}

#[test]
fn a_reload_during_the_start_does_not_end_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let manager = Manager::new(Some(path.as_os_str()), None);
    drop(reloading(&manager, false).begin());
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 64]).is_err());
}

#[test]
fn an_abstract_socket_works_too() {
    let name = format!("lamplighter-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let manager = Manager::new(Some(OsStr::new(&format!("@{name}"))), None);
    assert!(manager.tell(&[NotifyState::Ready]));
    assert_eq!(receive(&socket), "READY=1\n");
}

#[test]
fn no_manager_is_told_nothing_and_a_dead_one_hurts_nobody() {
    let manager = Manager::new(None, Some(Duration::from_secs(1)));
    assert!(!manager.is_there());
    assert_eq!(manager.watchdog(), None, "nobody would hear it");
    assert!(manager.tell(&[NotifyState::Ready]));
    for gone in ["/nonexistent/notify", "vsock:2:1234"] {
        let manager = Manager::new(Some(OsStr::new(gone)), None);
        assert_eq!(manager.tell(&[NotifyState::Ready]), !manager.is_there());
    }
}
