//! One client fills a missing key; the others that ask for it wait a moment for the value, or get the copy that outlived it. Who
//! fills is decided on this machine first and then, among the machines, by a key in Redis that ends by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lamplighter_wire::redis::keys::beside;
use lamplighter_wire::redis::reply::is_null;
use lamplighter_wire::redis::request::RequestScanner;
use lamplighter_wire::redis::write;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::listener::Shared;
use super::local::Who;
use super::outbox::{Data, Outbox};
use super::rules::{COPY, LEASE, Rule, TOMBSTONE};
use super::tally::Tally;
use crate::server::{Command, Failure, Miss};

/// The most keys that are being filled at once; beyond it nobody waits.
const LEASES_MAX: usize = 10_000;

/// How often a key that another machine fills is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Writes unless there is a tombstone.
const FILL: &str = "\
if redis.call('EXISTS', KEYS[2]) == 1 then
  return redis.status_reply('STALE')
end
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";

/// Who fills what on this machine.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<Bytes, Held>>);

#[derive(Debug)]
struct Held {
    holder: u64,
    until: Instant,
    done: Arc<Notify>,
}

enum Claim {
    Ours,
    Theirs(Arc<Notify>),
    /// There are too many.
    Nobody,
}

impl Leases {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Bytes, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self, key: &Bytes, client: u64, life: Duration) -> Claim {
        let now = Instant::now();
        let mut held = self.lock();
        match held.get(key) {
            Some(lease) if lease.until > now && lease.holder != client => {
                return Claim::Theirs(Arc::clone(&lease.done));
            }
            _ => {}
        }
        if held.len() >= LEASES_MAX {
            held.retain(|_, lease| lease.until > now);
            if held.len() >= LEASES_MAX {
                return Claim::Nobody;
            }
        }
        let lease = Held {
            holder: client,
            until: now + life,
            done: Arc::default(),
        };
        held.insert(key.clone(), lease);
        Claim::Ours
    }

    /// Whether the client holds the lease of a key.
    pub(crate) fn is_held_by(&self, key: &[u8], client: u64) -> bool {
        let held = self.lock();
        held.get(key)
            .is_some_and(|lease| lease.holder == client && lease.until > Instant::now())
    }

    /// Whether anybody of this machine fills the key.
    fn is_held(&self, key: &[u8]) -> bool {
        self.lock().contains_key(key)
    }

    /// The key is there, or will not be: nobody need wait.
    fn end(&self, key: &[u8]) {
        if let Some(lease) = self.lock().remove(key) {
            lease.done.notify_waiters();
        }
    }

    /// The client is gone.
    pub(crate) fn release(&self, client: u64) {
        let mut held = self.lock();
        if held.is_empty() {
            return;
        }
        held.retain(|_, lease| {
            if lease.holder == client {
                lease.done.notify_waiters();
            }
            lease.holder != client
        });
    }
}

/// What a command is to the lease of its key.
#[derive(Debug)]
pub(crate) enum Filler {
    /// GET.
    Ask { key: Bytes, rule: Arc<Rule> },
    /// SET and its like.
    Fill {
        key: Bytes,
        rule: Arc<Rule>,
        /// The client was told that the key is missing: what it writes may be old.
        held: bool,
        /// Writes the copy that outlives the value.
        copy: Option<Bytes>,
    },
}

/// One command and what it needs.
pub(crate) struct Errand {
    pub(crate) request: Bytes,
    pub(crate) slot: Option<u16>,
    /// Sent before it.
    pub(crate) ahead: Vec<Bytes>,
    pub(crate) who: Who,
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) place: u64,
}

/// Does what a command of a leased prefix asks for, and answers it in its place.
pub(crate) async fn run(filler: Filler, errand: Errand) {
    let answered = match filler {
        Filler::Ask { key, rule } => errand.get(&key, &rule).await,
        Filler::Fill {
            key,
            rule,
            held,
            copy,
        } => errand.fill(&key, &rule, held, copy).await,
    };
    let reply = match answered {
        Ok(reply) => reply,
        Err(failure) => {
            let null = Errand::is_get(&errand.request) && errand.shared.misses;
            if null {
                write::null(errand.who.protocol)
            } else {
                write::error(&format!("ERR lamplighter: {failure}"))
            }
        }
    };
    errand.outbox.add(errand.place, Data::Shared(reply), true);
}

impl Errand {
    fn is_get(request: &[u8]) -> bool {
        request.starts_with(b"*2\r\n")
    }

    async fn ask(&self, request: Bytes, repeatable: bool) -> Result<Bytes, Failure> {
        let (command, answer) = Command::task(request, 1, self.shared.patience(false));
        let command = Command {
            slot: self.slot,
            protocol: self.who.protocol,
            repeatable,
            miss: Miss::Error,
            ..command
        };
        self.shared.router.send(command).await;
        answer.await.unwrap_or(Err(Failure::Overloaded))
    }

    async fn get(&self, key: &Bytes, rule: &Rule) -> Result<Bytes, Failure> {
        let tally = Tally::one(Arc::clone(&rule.series));
        let first = self.ask(self.request.clone(), true).await?;
        tally.count(&first);
        let (Some(life), true) = (rule.lease, is_null(&first)) else {
            return Ok(first);
        };
        let deadline = Instant::now() + rule.lease_wait;
        let found = match self.shared.leases.claim(key, self.who.id, life) {
            Claim::Nobody => return Ok(first),
            Claim::Ours if self.lease_among_machines(key, life).await => {
                self.shared.metrics.lease("filler");
                return Ok(first);
            }
            Claim::Ours => {
                // others of this machine wait for what this one finds
                let found = self.look_until(deadline).await;
                self.shared.leases.end(key);
                found?
            }
            Claim::Theirs(done) => {
                let heard = done.notified();
                // whoever fills may have ended between the two lines above
                if self.shared.leases.is_held(key) {
                    drop(tokio::time::timeout_at(deadline, heard).await);
                }
                self.ask(self.request.clone(), true).await?
            }
        };
        if !is_null(&found) {
            self.shared.metrics.lease("waited");
            return Ok(found);
        }
        if rule.stale.is_some()
            && let Some(name) = beside(COPY, key)
        {
            let copy = self
                .ask(write::request(&[b"GET".as_slice(), &name]), true)
                .await?;
            if !is_null(&copy) {
                self.shared.metrics.lease("stale");
                return Ok(copy);
            }
        }
        self.shared.metrics.lease("in_vain");
        Ok(found)
    }

    /// Whether no other machine fills the key. If that cannot be found out, this one does.
    async fn lease_among_machines(&self, key: &[u8], life: Duration) -> bool {
        let Some(name) = beside(LEASE, key) else {
            return true;
        };
        let life = life.as_millis().to_string();
        let request = [
            b"SET".as_slice(),
            &name,
            b"1",
            b"NX",
            b"PX",
            life.as_bytes(),
        ];
        !matches!(self.ask(write::request(&request), false).await, Ok(reply) if is_null(&reply))
    }

    async fn look_until(&self, deadline: Instant) -> Result<Bytes, Failure> {
        loop {
            tokio::time::sleep(LOOK).await;
            let reply = self.ask(self.request.clone(), true).await?;
            if !is_null(&reply) || Instant::now() >= deadline {
                return Ok(reply);
            }
        }
    }

    async fn fill(
        &self,
        key: &Bytes,
        rule: &Rule,
        held: bool,
        copy: Option<Bytes>,
    ) -> Result<Bytes, Failure> {
        for bytes in &self.ahead {
            self.ask(bytes.clone(), false).await?;
        }
        let conditional = (held && rule.holdoff.is_some())
            .then(|| conditional(&self.request, key))
            .flatten();
        let is_conditional = conditional.is_some();
        let request = conditional.unwrap_or_else(|| self.request.clone());
        let mut reply = self.ask(request, false).await;
        let stale = is_conditional && matches!(&reply, Ok(reply) if reply.starts_with(b"+STALE"));
        if stale {
            // to the client it is as if it had been written and removed again at once
            self.shared.metrics.stale_fill();
            reply = Ok(write::OK);
        } else if let (Some(copy), Ok(done)) = (copy, &reply)
            && done.starts_with(b"+")
        {
            drop(self.ask(copy, false).await);
        }
        if rule.lease.is_some() {
            self.shared.leases.end(key);
            if let Some(name) = beside(LEASE, key).filter(|_| held) {
                drop(
                    self.ask(write::request(&[b"DEL".as_slice(), &name]), false)
                        .await,
                );
            }
        }
        reply
    }
}

/// The request as a script that writes only if there is no tombstone.
fn conditional(request: &[u8], key: &[u8]) -> Option<Bytes> {
    let tombstone = beside(TOMBSTONE, key)?;
    let mut scanner = RequestScanner::new();
    scanner.feed(request).ok()?;
    let mut words = scanner
        .arguments()
        .iter()
        .filter_map(|range| request.get(range.clone()));
    let name = words.next()?;
    let key = words.next()?;
    let mut script = vec![
        b"EVAL".as_slice(),
        FILL.as_bytes(),
        b"2",
        key,
        &tombstone,
        name,
    ];
    script.extend(words);
    Some(write::request(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_client_holds_a_lease_until_it_ends() {
        let leases = Leases::default();
        let key = Bytes::from_static(b"k");
        let life = Duration::from_secs(2);
        assert!(matches!(leases.claim(&key, 1, life), Claim::Ours));
        assert!(matches!(leases.claim(&key, 1, life), Claim::Ours));
        assert!(matches!(leases.claim(&key, 2, life), Claim::Theirs(_)));
        assert!(leases.is_held_by(b"k", 1) && !leases.is_held_by(b"k", 2));
        tokio::time::advance(life).await;
        assert!(!leases.is_held_by(b"k", 1));
        assert!(matches!(leases.claim(&key, 2, life), Claim::Ours));
        leases.release(2);
        assert!(matches!(leases.claim(&key, 1, life), Claim::Ours));
        leases.end(b"k");
        assert!(!leases.is_held_by(b"k", 1));
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_the_end() {
        let leases = Leases::default();
        let key = Bytes::from_static(b"k");
        drop(leases.claim(&key, 1, Duration::from_secs(60)));
        let Claim::Theirs(done) = leases.claim(&key, 2, Duration::from_secs(60)) else {
            panic!("held by another");
        };
        let heard = done.notified();
        leases.end(b"k");
        heard.await;
    }

    #[test]
    fn a_fill_becomes_a_script_with_the_key_and_its_tombstone() {
        let request = write::request(&["SETEX", "p:1", "10", "value"]);
        let script = conditional(&request, b"p:1").unwrap();
        let text = String::from_utf8(script.to_vec()).unwrap();
        assert!(text.starts_with("*8\r\n$4\r\nEVAL"), "{text}");
        assert!(text.contains("lmp:h:{p:1}"), "{text}");
        assert!(
            text.ends_with("$5\r\nSETEX\r\n$2\r\n10\r\n$5\r\nvalue\r\n"),
            "{text}"
        );
    }
}
