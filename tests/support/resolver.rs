//! A name server that knows one address, for every name: a failover of Azure's changes what it says.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// A header and its counts ("Domain Names - Implementation and Specification", RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// QTYPE A (section 3.2.2).
const A: [u8; 2] = [0, 1];

/// How often the thread looks whether anybody still wants it.
const TICK: Duration = Duration::from_millis(200);

/// The name server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Resolver(Arc<Mutex<Ipv4Addr>>);

impl Resolver {
    /// Answers on `socket`.
    pub(crate) fn start(socket: UdpSocket, address: Ipv4Addr) -> Self {
        let address = Arc::new(Mutex::new(address));
        let known = Arc::downgrade(&address);
        socket.set_read_timeout(Some(TICK)).expect("a timeout");
        std::thread::spawn(move || serve(&socket, &known));
        Self(address)
    }

    /// What every name leads to from now on.
    pub(crate) fn lead_to(&self, address: Ipv4Addr) {
        *self.0.lock().expect("nobody fails with it") = address;
    }
}

fn serve(socket: &UdpSocket, known: &Weak<Mutex<Ipv4Addr>>) {
    let mut buffer = [0; 512];
    while let Some(address) = known.upgrade() {
        let asked: Result<(usize, SocketAddr), _> = socket.recv_from(&mut buffer);
        let Ok((length, from)) = asked else {
            continue;
        };
        let address = *address.lock().expect("nobody fails with it");
        if let Some(answer) = answer(&buffer[..length], address) {
            // whoever gets no answer asks again
            socket.send_to(&answer, from).ok();
        }
    }
}

/// The same question with the address behind it, to be kept for no time at all; for any other type with nothing.
fn answer(asked: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let name = asked.get(HEADER..)?.iter().position(|byte| *byte == 0)?;
    let end = HEADER + name + 1 + 4;
    let question = asked.get(HEADER..end)?;
    let is_a = question.get(name + 1..name + 3)? == A;
    let mut answer = asked.get(..2)?.to_vec();
    // a response, recursion desired and available; one question, perhaps one answer
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        // a pointer to the name, A, IN, TTL 0, four bytes
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
