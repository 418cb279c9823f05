//! Against a plain blocking peer: what is written arrives whole, however slowly it is read.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::UnixSocket;

/// More than any socket buffer holds.
const LARGE: usize = 8 * 1024 * 1024;

fn pair() -> (UnixSocket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (UnixSocket::new(ours).expect("registered"), theirs)
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_write_larger_than_the_socket_waits_for_its_reader() {
    let (mut socket, mut peer) = pair();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).expect("read");
        all
    });
    let sent = pattern(LARGE);
    socket.write_all(&sent).await.expect("written");
    assert!(socket.full.is_none(), "nobody waits for room any more");
    socket.shutdown().await.expect("shut down");
    assert!(reader.join().expect("joined") == sent);
}

#[tokio::test]
async fn a_dialogue_of_many_turns_loses_no_wakeup() {
    let (mut socket, mut peer) = pair();
    let other = std::thread::spawn(move || {
        let mut word = [0; 3];
        for turn in 0..5_000_u32 {
            peer.write_all(&turn.to_le_bytes()).expect("asked");
            peer.read_exact(&mut word).expect("answered");
        }
    });
    for turn in 0..5_000_u32 {
        // more room than the word needs, as with every real read
        let mut word = [0; 64];
        let count = socket.read(&mut word).await.expect("read");
        assert_eq!(word.get(..count), Some(turn.to_le_bytes().as_slice()));
        socket.write_all(b"yes").await.expect("answered");
    }
    other.join().expect("joined");
    let mut rest = [0; 1];
    assert_eq!(socket.read(&mut rest).await.expect("the end"), 0);
}

#[tokio::test]
async fn the_end_of_the_peer_is_readable_and_writing_to_it_an_error() {
    let (mut socket, peer) = pair();
    drop(peer);
    socket.readable().await.expect("readable");
    assert_eq!(socket.read(&mut [0; 8]).await.expect("the end"), 0);
    let error = socket.write(b"x").await.expect_err("nobody there");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}
