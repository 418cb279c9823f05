//! Free TCP ports on loopback for servers that cannot be told "any port" and say which one they took.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use super::programs;

/// Below the kernel's range for outgoing connections (32768 up), so that no client takes a port between choice and use.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Lock files of the ports handed out, kept until this process ends: another test run on the machine will not choose them.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 that nobody listens on and that no other test, here or in another process, is given.
pub(crate) fn free() -> u16 {
    let dir = programs::cache().join("ports");
    fs::create_dir_all(&dir).expect("the directory of port locks");
    let mut taken = TAKEN.lock().unwrap();
    let count = usize::from(RANGE.end - RANGE.start);
    // start anywhere, so that two runs rarely meet
    let start = usize::try_from(std::process::id()).unwrap_or(0) * 64;
    for step in 0..count {
        let port = RANGE.start + u16::try_from((start + step) % count).expect("within the range");
        let file = File::create(dir.join(port.to_string())).expect("a port's lock file");
        if file.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            continue;
        }
        taken.push(file);
        return port;
    }
    panic!("no free port in {RANGE:?}");
}
