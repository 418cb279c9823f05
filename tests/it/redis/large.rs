//! Values up to the largest that Redis takes, through the whole agent in both directions. `LAMPLIGHTER_VALUE_MIB` is how large; up to
//! 512, which is Redis' own limit.

use std::io::{Read, Write};

use super::{Client, request};
use crate::cache::agent::{peak_kib, with_endpoint};
use crate::cache::{SOON, tls_redis};
use crate::support::poll;

/// What a client may leave unread (16 MiB), the buffers on both sides, and what the allocator makes of them; less than the smallest
/// value that is tried, which is never held whole.
const ROOM_KIB: u64 = 56 * 1024;

const CHUNK: usize = 1 << 20;

/// Reads a reply that is one value; its length. Panics if it is not made of `byte` alone.
fn read_value(client: &mut Client, byte: u8) -> usize {
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n") {
        let mut one = [0];
        client.stream.read_exact(&mut one).expect("a header");
        header.extend_from_slice(&one);
    }
    let text = String::from_utf8_lossy(&header);
    let length: usize = text
        .trim_end()
        .trim_start_matches('$')
        .parse()
        .expect("a length");
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let part = &mut buffer[..left.min(CHUNK)];
        client.stream.read_exact(part).expect("the value");
        assert!(part.iter().all(|seen| *seen == byte));
        left -= part.len();
    }
    let mut end = [0; 2];
    client.stream.read_exact(&mut end).expect("its end");
    assert_eq!(&end, b"\r\n");
    length
}

#[test]
fn the_largest_values_pass_through_in_both_directions_in_bounded_memory() {
    let mib = std::env::var("LAMPLIGHTER_VALUE_MIB");
    let mib: usize = mib.map_or(64, |text| text.parse().expect("a number"));
    let size = mib << 20;
    let redis = tls_redis();
    let mut agent = with_endpoint(&redis);
    let mut client = Client::connect(&agent.dir().join("redis.sock"));
    poll::until(SOON, "Redis to be reached", || {
        client.ask("SET k v") == "+OK\r\n"
    });
    let before = peak_kib(&mut agent);
    client.send(format!("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n${size}\r\n").as_bytes());
    let chunk = vec![b'v'; CHUNK];
    for _ in 0..mib {
        client.stream.write_all(&chunk).expect("the endpoint reads");
    }
    client.send(b"\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(redis.cli(&["STRLEN", "huge"]), size.to_string());
    client.send(&request("GET huge"));
    assert_eq!(read_value(&mut client, b'v'), size);
    client.expect("GET k", "$1\r\nv");
    let grown = peak_kib(&mut agent) - before;
    println!("a value of {mib} MiB in and out: the agent grew by {grown} KiB");
    assert!(grown < ROOM_KIB, "{grown} KiB for {mib} MiB");
}
