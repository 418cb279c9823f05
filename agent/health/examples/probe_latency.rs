//! Measures how long probes take: `probe_latency ADDRESS [RATE-PER-SECOND] [SECONDS] [PATH]`. A new connection for each, as load
//! balancers make them; started on a fixed clock, so that a slow answer does not hide the ones it delays. The time includes
//! connecting. Keep both cores busy meanwhile to see what a prober sees of a busy machine.
#![expect(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .ok_or("usage: probe_latency ADDRESS [RATE] [SECONDS] [PATH]")?;
    let rate: u32 = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let seconds: u32 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let path = arguments.next().unwrap_or_else(|| "/lb".to_owned());
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let pause = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let (mut times, mut failures) = (Vec::new(), 0);
    for number in 0..rate * seconds {
        let due = start + pause * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match probe(&address, &request) {
            // from when it was due: a probe that waits for the one before it waits, too
            Ok(true) => times.push(due.elapsed()),
            Ok(false) | Err(_) => failures += 1,
        }
    }
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 1000).min(times.len() - 1));
    println!(
        "{} probes, {failures} failed; p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        times.len(),
        at(500),
        at(990),
        at(999),
        times.last()
    );
    Ok(())
}

/// Whether the answer was 200.
fn probe(address: &str, request: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
