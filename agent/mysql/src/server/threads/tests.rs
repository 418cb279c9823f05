//! Who waits for the server since when, and what is cut.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use super::*;

fn thread(all: &Arc<Threads>, id: u32) -> (Thread, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let ours = TcpStream::connect(address).expect("connected");
    let lifeline = Lifeline::of(&ours).expect("a lifeline");
    (Threads::add(all, id, lifeline), ours)
}

/// Until so many microseconds have passed.
fn pass(all: &Threads, micros: u64) {
    let end = all.now() + micros;
    while all.now() < end {
        std::thread::yield_now();
    }
}

#[test]
fn silence_is_counted_while_somebody_waits_and_ends_with_any_word() {
    let all = Arc::new(Threads::default());
    let (one, _ours) = thread(&all, 1);
    let (two, _theirs) = thread(&all, 2);
    assert_eq!(all.silence(), None, "nobody waits");
    one.waits();
    let first = all.silence().expect("one waits");
    pass(&all, 5000);
    two.waits();
    let longest = all.silence().expect("both wait");
    assert!(longest >= first + Duration::from_millis(5), "{longest:?}");
    two.hears();
    assert!(all.silence().expect("one waits") < longest);
    one.rests();
    assert_eq!(all.silence(), None);
}

#[test]
fn only_what_still_waits_for_the_same_is_cut() {
    let all = Arc::new(Threads::default());
    let (one, mut ours) = thread(&all, 1);
    one.sends(3);
    one.sends(4);
    one.waits();
    let [before] = all.waiting()[..] else {
        panic!("one waits");
    };
    assert_eq!(before.sent, 7);
    one.hears();
    pass(&all, 1);
    one.waits();
    ours.set_nonblocking(true).expect("set");
    all.cut(&before);
    assert!(
        ours.read(&mut [0]).is_err(),
        "not cut: it waits for another answer"
    );
    let [now] = all.waiting()[..] else {
        panic!("one waits");
    };
    all.cut(&now);
    assert_eq!(ours.read(&mut [0]).expect("its end"), 0);
}

#[test]
fn a_connection_takes_only_itself_out_of_the_list() {
    let all = Arc::new(Threads::default());
    let (old, _ours) = thread(&all, 7);
    let (new, _theirs) = thread(&all, 7);
    drop(old);
    assert!(all.contains(7));
    drop(new);
    assert!(!all.contains(7));
}
