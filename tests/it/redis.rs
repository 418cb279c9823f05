//! The local Redis endpoint on real servers: what clients see, what the servers see, and what every fault does.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lamplighter_core::identity::TokenSource;
use lamplighter_redis::Links;
use lamplighter_wire::redis::reply::ReplyScanner;
use lamplighter_wire::redis::write;

use crate::cache::{Instance, PASSWORD, SOON};
use crate::support::poll;
use crate::support::redis::Server;
use crate::support::scratch::Scratch;

mod cluster;
mod commands;
mod connecting;
mod differential;
mod enterprise;
mod failover;
mod faults;
mod identity;
mod large;
mod maintenance;
mod recipes;
mod rules;
mod scripts;
mod wordpress;

/// An endpoint in this process in front of `redis`, and a directory for its socket.
struct Endpoint {
    instance: Instance,
    socket: PathBuf,
    _dir: Scratch,
}

impl Endpoint {
    fn start(redis: &Server, more: &str) -> Self {
        Self::towards(&redis.url(), &redis.ca_path(), more)
    }

    /// Towards an address that is not the server's own, such as a proxy's.
    fn towards(url: &str, ca: &Path, more: &str) -> Self {
        let secrets = Scratch::new("redis-secrets");
        secrets.write_secret("password", PASSWORD);
        let more = format!("password_file = 'password'\n{more}");
        Self::linked(secrets, url, ca, &more, Links::default())
    }

    /// With tokens instead of a password.
    fn with_tokens(url: &str, ca: &Path, more: &str, tokens: TokenSource) -> Self {
        let links = Links {
            tokens: Some(tokens),
            ..Links::default()
        };
        let more = format!("auth = 'managed-identity'\n{more}");
        Self::linked(Scratch::new("redis-secrets"), url, ca, &more, links)
    }

    fn linked(secrets: Scratch, url: &str, ca: &Path, more: &str, links: Links) -> Self {
        let dir = Scratch::new("redis-endpoint");
        let socket = dir.join("redis.sock");
        let text = format!(
            "upstream = '{url}'\ntls.ca = '{}'\nlisten = ['unix:{}']\n{more}",
            ca.display(),
            socket.display()
        );
        let endpoint = Self {
            instance: Instance::from_text(secrets, &text, &[], links),
            socket,
            _dir: dir,
        };
        poll::until(SOON, "the endpoint to reach Redis", || {
            endpoint.metric("endpoint_upstream_connections") >= 2.0
        });
        endpoint
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket)
    }

    fn metric(&self, name: &str) -> f64 {
        self.instance.metric(name)
    }
}

/// A client that speaks RESP and waits at most ten seconds.
struct Client {
    stream: UnixStream,
    pending: BytesMut,
}

impl Client {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the socket");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        Self {
            stream,
            pending: BytesMut::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the endpoint listens");
    }

    /// Waits for the first bytes of a reply and leaves the rest where it is.
    fn first_bytes(&mut self) {
        let mut buffer = [0; 1024];
        let count = self.stream.read(&mut buffer).expect("a reply");
        self.pending.extend_from_slice(&buffer[..count]);
    }

    /// The next whole reply; an error text if the connection ended.
    fn try_reply(&mut self) -> Result<Vec<u8>, String> {
        let (mut scanner, mut at) = (ReplyScanner::new(), 0);
        loop {
            let fed = scanner.feed(&self.pending[at..]).map_err(|error| {
                format!(
                    "{error}: {:?}",
                    &self.pending[..self.pending.len().min(100)]
                )
            })?;
            at += fed.consumed;
            if fed.complete {
                return Ok(self.pending.split_to(at).to_vec());
            }
            let mut buffer = vec![0; 256 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("closed".to_owned()),
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn reply(&mut self) -> String {
        let reply = self.try_reply().unwrap_or_else(|error| panic!("{error}"));
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Sends a command of words and returns the reply.
    fn ask(&mut self, line: &str) -> String {
        self.send(&request(line));
        self.reply()
    }

    fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line).trim_end(), reply, "{line}");
    }

    fn expect_error(&mut self, line: &str, part: &str) {
        let reply = self.ask(line);
        assert!(
            reply.starts_with('-') && reply.contains(part),
            "{line}: {reply}"
        );
    }
}

fn request(line: &str) -> Vec<u8> {
    write::request(&line.split(' ').collect::<Vec<_>>()).to_vec()
}

/// How long `work` took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    (work(), started.elapsed())
}
