//! How long nobody can write when the primary changes, and what becomes of every command meanwhile. `make bench-redis-failover` does it
//! many times; the test here is its short form.

use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::faults::failures;
use super::{Client, Endpoint};
use crate::benches;
use crate::cache::{PASSWORD, SOON};
use crate::crosstalk::number;
use crate::failover::chaos::End;
use crate::support::faults::Proxy;
use crate::support::poll;
use crate::support::redis::Server;

/// From when the new primary answers to when it is written to through the endpoint.
const RECOVERED: Duration = Duration::from_secs(2);

/// All is well for so long before the primary goes: what breaks again within a second is tried again more slowly.
const CALM: Duration = Duration::from_millis(1200);

/// Between two commands of a client.
const PAUSE: Duration = Duration::from_millis(1);

/// How the primary goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `FAILOVER`: the replica takes over when it has everything; connections to what was the primary stay.
    Planned,
    /// SIGKILL; the replica is promoted at once.
    Killed,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "handed over (`FAILOVER`)",
            Self::Killed => "killed, its replica promoted",
        })
    }
}

/// A primary and its replica with TLS, behind one name.
struct Pair {
    servers: [Server; 2],
    primary: usize,
    name: Proxy,
}

impl Pair {
    fn start() -> Self {
        let builder = || {
            let replication =
                format!("tls-replication yes\nmasterauth {PASSWORD}\nrepl-diskless-sync-delay 0");
            Server::builder()
                .tls()
                .password(PASSWORD)
                .config(&replication)
        };
        let first = builder().start();
        let second = builder().authority(first.authority()).start();
        let name = Proxy::start(&first.address());
        let pair = Self {
            servers: [first, second],
            primary: 0,
            name,
        };
        pair.replicate();
        pair
    }

    fn primary(&self) -> &Server {
        &self.servers[self.primary]
    }

    fn replica(&self) -> &Server {
        &self.servers[1 - self.primary]
    }

    /// Returns when the replica has everything.
    fn replicate(&self) {
        let (primary, replica) = (self.primary(), self.replica());
        replica.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
        let offset = |server: &Server| {
            let info = server.cli(&["INFO", "replication"]);
            let up = !info.contains("master_link_status:down");
            let mut lines = info.lines();
            let offset = lines.find_map(|line| line.strip_prefix("master_repl_offset:"));
            offset.filter(|_| up).map(str::to_owned)
        };
        poll::until(SOON, "the replica to have everything", || {
            offset(replica).is_some_and(|it| Some(it) == offset(primary))
        });
    }

    /// The replica becomes the primary. When it answered, and the name led to it.
    fn change(&mut self, way: Way) -> Instant {
        let (old, new) = (self.primary(), self.replica());
        match way {
            Way::Planned => {
                old.cli(&["FAILOVER"]);
                poll::until(SOON, "the replica to take over", || {
                    new.cli(&["ROLE"]).starts_with("master")
                });
            }
            Way::Killed => {
                old.kill();
                new.cli(&["REPLICAOF", "NO", "ONE"]);
            }
        }
        self.name.retarget(&new.address());
        self.primary = 1 - self.primary;
        Instant::now()
    }

    /// A replica again, for the next round.
    fn mend(&self, way: Way) {
        if way == Way::Killed {
            self.replica().start();
        }
        self.replicate();
    }
}

/// What was answered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Account {
    asked: u32,
    done: u32,
    /// Errors of the endpoint's own.
    failed: u32,
    /// The server's own words, such as `-READONLY`.
    refused: u32,
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.done += other.done;
        self.failed += other.failed;
        self.refused += other.refused;
    }
}

impl Account {
    /// Whether it was an answer to the command that was asked, by `is_right`.
    fn take(&mut self, reply: &str, is_right: bool) -> bool {
        self.asked += 1;
        match reply {
            _ if is_right => self.done += 1,
            reply if reply.starts_with("-ERR lamplighter") => self.failed += 1,
            reply if reply.starts_with("-READONLY") => self.refused += 1,
            other => panic!("{other:?} is no answer to what was asked"),
        }
        is_right
    }
}

/// A client that writes and reads all the time, a counter of its own.
struct Caller {
    number: u64,
    client: Client,
    account: Account,
    writes: u64,
    /// When each good write ended.
    good: Vec<Instant>,
}

impl Caller {
    fn new(number: u64, client: Client) -> Self {
        Self {
            number,
            client,
            account: Account::default(),
            writes: 0,
            good: Vec::new(),
        }
    }

    /// No two clients' counters ever have the same value.
    fn base(&self) -> u64 {
        (self.number + 1) * 100_000_000
    }

    fn key(&self) -> String {
        format!("count:{}", self.number)
    }

    /// Whether a value can be that of this client's counter: each write was done at most once.
    fn fits(&self, digits: &str) -> bool {
        let value: Option<u64> = digits.trim().parse().ok();
        value.is_some_and(|value| (self.base()..=self.base() + self.writes).contains(&value))
    }

    fn write_and_read(&mut self) {
        self.writes += 1;
        let reply = self.client.ask(&format!("INCR {}", self.key()));
        let is_right = reply.strip_prefix(':').is_some_and(|it| self.fits(it));
        if self.account.take(&reply, is_right) {
            self.good.push(Instant::now());
        }
        let reply = self.client.ask(&format!("GET {}", self.key()));
        let value = reply.split_once("\r\n").map(|(_, value)| value);
        let is_right = reply.starts_with('$') && value.is_some_and(|it| self.fits(it));
        self.account.take(&reply, is_right);
    }

    /// Until the end, and then until a good write.
    fn call(&mut self, end: &End) {
        while !end.pause(PAUSE) {
            self.write_and_read();
        }
        let before = self.good.len();
        poll::until(SOON, "a good write", || {
            self.write_and_read();
            self.good.len() > before
        });
    }

    fn first_good_after(&self, then: Instant) -> Option<Instant> {
        self.good.iter().copied().find(|it| *it > then)
    }
}

/// What one round came to.
struct Round {
    way: Way,
    /// From when the new primary answered to the first good write.
    first: Duration,
    /// The same, for the client that came last.
    last: Duration,
    /// The longest that any client was without a good write.
    longest: Duration,
    account: Account,
}

fn round(pair: &mut Pair, endpoint: &Endpoint, callers: &mut [Caller], way: Way) -> Round {
    let failed_before = failures(endpoint);
    for caller in callers.iter_mut() {
        let base = caller.base() + caller.writes;
        caller
            .client
            .expect(&format!("SET {} {base}", caller.key()), "+OK");
        (caller.account, caller.good) = (Account::default(), Vec::new());
    }
    // what was set must survive: a replica has what it was sent before it is promoted
    pair.replicate();
    let (end, under_way) = (End::default(), AtomicUsize::new(0));
    let (all, begun) = (callers.len(), Instant::now());
    let answers = std::thread::scope(|scope| {
        for caller in callers.iter_mut() {
            scope.spawn(|| {
                caller.write_and_read();
                under_way.fetch_add(1, Ordering::SeqCst);
                caller.call(&end);
            });
        }
        // whatever becomes of the change
        let _ending = end.ending();
        poll::until(SOON, "everybody to be under way", || {
            under_way.load(Ordering::SeqCst) == all && begun.elapsed() > CALM
        });
        pair.change(way)
    });
    pair.mend(way);
    let after = |caller: &Caller| caller.first_good_after(answers).expect("a good write") - answers;
    let mut account = Account::default();
    callers.iter().for_each(|caller| account += caller.account);
    assert_eq!(
        account.asked,
        account.done + account.failed + account.refused
    );
    assert_eq!(
        failures(endpoint) - failed_before,
        f64::from(account.failed),
        "each error that a client was told is counted, and no other: {account:?}"
    );
    let gaps = callers.iter().flat_map(|caller| caller.good.windows(2));
    Round {
        way,
        first: callers.iter().map(after).min().expect("a client"),
        last: callers.iter().map(after).max().expect("a client"),
        longest: gaps
            .map(|pair| pair[1] - pair[0])
            .max()
            .expect("two writes"),
        account,
    }
}

/// One row for each way: medians and the longest, and all that was answered.
fn tell(rounds: &[Round]) {
    for way in [Way::Planned, Way::Killed] {
        let of: Vec<&Round> = rounds.iter().filter(|it| it.way == way).collect();
        let sorted = |value: fn(&Round) -> Duration| {
            let mut all: Vec<_> = of.iter().map(|it| value(it)).collect();
            all.sort();
            let [median, longest] = [all.len() / 2, all.len() - 1].map(|at| all[at].as_millis());
            format!("{median} ms | {longest} ms")
        };
        let mut account = Account::default();
        of.iter().for_each(|it| account += it.account);
        benches::tell(&format!(
            "| {way} | {} | {} | {} | {} | {} | {} | {} |",
            sorted(|it| it.first),
            sorted(|it| it.last),
            sorted(|it| it.longest),
            account.asked,
            account.failed,
            account.failed,
            account.refused,
        ));
    }
}

#[test]
fn a_new_primary_is_written_to_within_two_seconds_and_every_error_is_accounted_for() {
    let (rounds, clients) = (
        number("LAMPLIGHTER_FAILOVER_ROUNDS", 1),
        number("LAMPLIGHTER_FAILOVER_CLIENTS", 16),
    );
    let mut pair = Pair::start();
    let url = format!("rediss://{}", pair.name.address());
    let ca = pair.primary().ca_path();
    let endpoint = Endpoint::towards(&url, &ca, "");
    let mut callers: Vec<_> = (0..clients)
        .map(|number| Caller::new(number, endpoint.client()))
        .collect();
    let ways = [Way::Planned, Way::Killed].into_iter();
    let ways = ways.flat_map(|way| (0..rounds).map(move |_| way));
    let rounds: Vec<_> = ways
        .map(|way| round(&mut pair, &endpoint, &mut callers, way))
        .collect();
    tell(&rounds);
    for Round { way, first, .. } in &rounds {
        assert!(*first < RECOVERED, "{first:?} until a good write: {way}");
    }
}
