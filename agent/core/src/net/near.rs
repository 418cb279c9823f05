//! Looking for bytes that are about to come, without going to sleep. One system call at a time, no protocol.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// Looks at a non-blocking socket until there is something to be read (or its end), or `budget` is over. Returns whether there
/// is. Takes nothing out, and lets go of the processor only for whoever wants it: for a peer that answers within microseconds,
/// where falling asleep and being woken takes longer than the answer.
///
/// # Errors
/// What the socket says (recv(2)).
pub fn look_for_bytes(socket: &impl AsFd, budget: Duration) -> io::Result<bool> {
    let socket = SockRef::from(socket);
    let begun = Instant::now();
    loop {
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= budget {
            return Ok(false);
        }
        // whoever else wants this processor may be the one who is to answer
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_there_is_seen_and_left_there() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("set");
        let no_time = Duration::ZERO;
        assert!(!look_for_bytes(&ours, no_time).expect("looked"));
        assert!(!look_for_bytes(&ours, Duration::from_millis(1)).expect("looked"));
        theirs.write_all(b"x").expect("written");
        assert!(look_for_bytes(&ours, no_time).expect("looked"));
        assert!(
            look_for_bytes(&ours, no_time).expect("looked"),
            "still there"
        );
        drop((theirs, std::io::Read::read(&mut &ours, &mut [0; 1])));
        assert!(look_for_bytes(&ours, no_time).expect("looked"), "the end");
    }
}
