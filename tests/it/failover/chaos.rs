//! Random faults under many clients that keep account of what they were told: no wrong row, no acknowledged write that is gone, no write
//! there that was told not to be, no client that gets no answer, no memory that grows. `make chaos` does it for half an hour.
//!
//! The servers lose nothing when they are killed (their log is with the kernel at each commit), and a replica is only promoted when it
//! has everything: what is lost here is lost by the endpoint.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{login, value};
use crate::benches;
use crate::crosstalk::number;
use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::sessions::Dice;
use crate::support::faults::{Mode, Proxy};
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Answer, Link, Login, Part, error_of, text_rows};
use crate::support::poll;

const CLIENTS: u64 = 64;

/// Between two things that one client does.
const PACE: Duration = Duration::from_millis(50);

/// More than an agent may take with all its waits.
const STUCK: Duration = Duration::from_secs(60);

/// What the agent may grow by after its first quarter, in KiB: connections open and close all the time.
const GROWTH_KIB: u64 = 16 * 1024;

const SETTINGS: &str = "innodb-flush-log-at-trx-commit=2\ninnodb-doublewrite=ON";

/// The end, which whoever pauses hears of.
#[derive(Default)]
pub(crate) struct End(Mutex<bool>, Condvar);

/// Begins the end when it is dropped.
pub(crate) struct Ending<'a>(&'a End);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

impl End {
    pub(crate) fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    fn begin(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    /// Pauses, but not beyond the end. True if it is the end.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let over = self.0.lock().unwrap();
        *self
            .1
            .wait_timeout_while(over, pause, |over| !*over)
            .unwrap()
            .0
    }
}

/// What a client knows of a statement of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Done,
    NotDone,
    Unknown,
}

fn told(answer: &Answer) -> Told {
    match answer.last() {
        // nothing was sent, or the server did nothing
        Some(Part::Err {
            code: 1040 | 1290 | 1836 | 2003,
            ..
        }) => Told::NotDone,
        Some(Part::Err { .. } | Part::Lost(_)) | None => Told::Unknown,
        Some(_) => Told::Done,
    }
}

/// A client and its account of what it did.
struct Client<'a> {
    login: &'a Login,
    link: Option<Link>,
    dice: Dice,
    next: u64,
    /// The row it wrote last, on the connection it has now.
    last: Option<u64>,
    done: Vec<u64>,
    not_done: Vec<u64>,
    /// Rows that were written in one transaction.
    pairs: Vec<[u64; 2]>,
    asked: u64,
    failed: u64,
    longest: Duration,
}

impl<'a> Client<'a> {
    fn new(login: &'a Login, client: u64, seed: u64) -> Self {
        Self {
            login,
            link: None,
            dice: Dice::new(seed * 1000 + client),
            next: client * 10_000_000,
            last: None,
            done: Vec::new(),
            not_done: Vec::new(),
            pairs: Vec::new(),
            asked: 0,
            failed: 0,
            longest: Duration::ZERO,
        }
    }

    fn ask(&mut self, sql: &str) -> Answer {
        if self.link.is_none() {
            self.last = None;
            self.link = Some(Link::open(self.login).expect("the endpoint lets its clients in"));
        }
        let begun = Instant::now();
        let answer = self.link.as_mut().expect("opened").query(sql.as_bytes());
        self.longest = self.longest.max(begun.elapsed());
        if let Some(Part::Lost(why)) = answer.last() {
            assert!(
                !why.contains("in time"),
                "no answer to {sql} within {STUCK:?}"
            );
            self.link = None;
        }
        self.asked += 1;
        self.failed += u64::from(told(&answer) != Told::Done);
        answer
    }

    fn key(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One thing of a random kind.
    fn step(&mut self) {
        match self.dice.below(10) {
            0..=3 => self.write(),
            4 => self.transact(),
            5 | 6 => self.read_own(),
            7 | 8 => self.read_any(),
            _ => self.link = None,
        }
    }

    fn write(&mut self) {
        let key = self.key();
        let answer = self.ask(&format!("INSERT INTO ledger VALUES ({key}, 'row-{key}')"));
        match told(&answer) {
            Told::Done => {
                self.done.push(key);
                self.last = Some(key);
            }
            Told::NotDone => self.not_done.push(key),
            Told::Unknown => {}
        }
    }

    fn transact(&mut self) {
        let pair = [self.key(), self.key()];
        self.pairs.push(pair);
        let [first, second] =
            pair.map(|key| format!("INSERT INTO ledger VALUES ({key}, 'row-{key}')"));
        for sql in ["BEGIN", &first, &second] {
            if told(&self.ask(sql)) != Told::Done {
                // it is rolled back with its connection
                self.link = None;
                self.not_done.extend(pair);
                return;
            }
        }
        match told(&self.ask("COMMIT")) {
            Told::Done => self.done.extend(pair),
            Told::NotDone => self.not_done.extend(pair),
            Told::Unknown => {}
        }
    }

    /// What this session wrote it reads.
    fn read_own(&mut self) {
        let Some(key) = self.last.filter(|_| self.link.is_some()) else {
            return;
        };
        let answer = self.ask(&format!("SELECT v FROM ledger WHERE id = {key}"));
        if error_of(&answer).is_none() && self.link.is_some() {
            assert_eq!(value(&answer), format!("row-{key}"), "not what was written");
        }
    }

    fn read_any(&mut self) {
        let id = 1 + self.dice.below(1000);
        let answer = self.ask(&format!("SELECT id, v FROM kv WHERE id = {id}"));
        for row in text_rows(&answer) {
            let [id, v] = [&row[0], &row[1]].map(|it| it.as_deref().unwrap_or_default());
            let [id, v] = [id, v].map(|it| String::from_utf8_lossy(it).into_owned());
            assert_eq!(v, format!("value-{id}"), "a wrong row");
        }
        let whole = error_of(&answer).is_none() && self.link.is_some();
        assert!(!whole || text_rows(&answer).len() == 1, "{answer:?}");
    }
}

/// The servers, each behind a proxy; the first proxy is the primary's name and leads to whoever is the primary.
struct Stage {
    cluster: Cluster,
    proxies: Vec<Proxy>,
    endpoint: Endpoint,
}

impl Stage {
    fn set() -> Self {
        let cluster = Cluster::builder()
            .replicas(2)
            .in_memory()
            .cnf(SETTINGS)
            .schema("CREATE TABLE app.ledger (id BIGINT PRIMARY KEY, v VARCHAR(30) NOT NULL);")
            .build();
        let nodes = cluster.nodes();
        let proxies: Vec<_> = nodes
            .map(|node| Proxy::start(&cluster.address(node)))
            .collect();
        let options = Options {
            primary: Some(proxies[0].address()),
            replicas: Some(proxies[1..].iter().map(Proxy::address).collect()),
            pool: "failover_wait = \"5s\"\nsilence_max = \"3s\"".to_owned(),
            ..Options::default()
        };
        let endpoint = start(&cluster, options);
        Self {
            cluster,
            proxies,
            endpoint,
        }
    }

    fn replica(&self, dice: &mut Dice) -> usize {
        let primary = self.cluster.primary();
        let others: Vec<_> = self
            .cluster
            .nodes()
            .filter(|node| *node != primary)
            .collect();
        others[dice.below(others.len())]
    }

    /// One bad thing, for a while, and its end.
    fn hurt(&self, dice: &mut Dice, end: &End) -> &'static str {
        let cluster = &self.cluster;
        let (primary, replica) = (cluster.primary(), self.replica(dice));
        let any = [primary, replica][dice.below(2)];
        let proxy = &self.proxies[dice.below(self.proxies.len())];
        let while_long = Duration::from_millis([100, 500, 2000, 5000][dice.below(4)]);
        let pause = || end.pause(while_long);
        match dice.below(10) {
            0 => {
                cluster.kill(any);
                pause();
                cluster.start(any);
                "kill -9"
            }
            1 => {
                cluster.freeze(any);
                pause();
                cluster.thaw(any);
                "freeze"
            }
            2 | 3 => {
                self.switch(replica, dice.percent(50));
                "switch-over"
            }
            4 => {
                cluster.sql(primary, "SET GLOBAL super_read_only=ON");
                pause();
                cluster.sql(primary, "SET GLOBAL read_only=OFF");
                "read-only"
            }
            5 => {
                cluster.stop_sql(replica);
                pause();
                cluster.start_sql(replica);
                "replica stopped"
            }
            6 => {
                cluster.lag(replica, 3);
                pause();
                cluster.lag(replica, 0);
                "lag"
            }
            7 => {
                proxy.begin_cut();
                "cut"
            }
            8 => {
                proxy.deafen();
                "half open"
            }
            _ => {
                let mode = [
                    Mode::BlackHole,
                    Mode::CutAfter(5000),
                    Mode::Refuse,
                    Mode::Delay(Duration::from_millis(20)),
                ];
                proxy.set(mode[dice.below(mode.len())]);
                pause();
                proxy.set(Mode::Pass);
                "network"
            }
        }
    }

    /// The old primary takes no more writes, the new one has all of them before it takes any.
    fn switch(&self, to: usize, cut: bool) {
        let cluster = &self.cluster;
        cluster.sql(cluster.primary(), "SET PERSIST super_read_only=ON");
        self.wait_replicas();
        cluster.promote(to);
        self.proxies[0].retarget(&cluster.address(to));
        if cut {
            self.proxies[0].begin_cut();
        }
    }

    /// A replica that was killed while it stopped or started does not go on by itself.
    fn wait_replicas(&self) {
        let primary = self.cluster.primary();
        for replica in self.cluster.nodes().filter(|node| *node != primary) {
            self.cluster.sql(replica, "START REPLICA");
        }
        self.cluster.wait_replicas();
    }

    /// Holds what the clients were told against what is there.
    fn settle(&self, clients: &[Client<'_>]) {
        self.wait_replicas();
        for node in self.cluster.nodes() {
            let rows = self.cluster.sql(node, "SELECT id, v FROM app.ledger");
            let there: HashSet<u64> = rows
                .iter()
                .map(|row| row[0].parse().expect("an id"))
                .collect();
            assert!(rows.iter().all(|row| row[1] == format!("row-{}", row[0])));
            for client in clients {
                let lost: Vec<_> = client
                    .done
                    .iter()
                    .filter(|key| !there.contains(key))
                    .collect();
                assert!(
                    lost.is_empty(),
                    "acknowledged and not on node {node}: {lost:?}"
                );
                let sent: Vec<_> = client
                    .not_done
                    .iter()
                    .filter(|key| there.contains(key))
                    .collect();
                assert!(
                    sent.is_empty(),
                    "told not to be done and on node {node}: {sent:?}"
                );
                let halves = client
                    .pairs
                    .iter()
                    .filter(|[a, b]| there.contains(a) != there.contains(b));
                assert_eq!(halves.count(), 0, "half a transaction on node {node}");
            }
        }
    }
}

#[test]
fn whatever_fails_no_row_is_wrong_no_write_is_lost_and_nobody_is_stuck() {
    let seconds = number("LAMPLIGHTER_CHAOS_SECONDS", 25);
    let seed = number("LAMPLIGHTER_CHAOS_SEED", 1);
    let mut stage = Stage::set();
    let mut login = login(&stage.endpoint);
    login.timeout = STUCK;
    let (end, mut happened) = (End::default(), Vec::new());
    let begun = Instant::now();
    let length = Duration::from_secs(seconds);
    let mut early_kib = None;
    let clients = std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|client| {
                let (login, end) = (&login, &end);
                scope.spawn(move || {
                    let mut client = Client::new(login, client, seed);
                    while !end.pause(PACE) {
                        client.step();
                    }
                    client
                })
            })
            .collect();
        // whatever becomes of the faults
        let ending = end.ending();
        let mut dice = Dice::new(seed);
        while begun.elapsed() < length && !clients.iter().any(|client| client.is_finished()) {
            happened.push(stage.hurt(&mut dice, &end));
            end.pause(Duration::from_millis([50, 500, 1500][dice.below(3)]));
            if begun.elapsed() > length / 4 && early_kib.is_none() {
                early_kib = Some(stage.endpoint.agent.rss_kib());
            }
        }
        drop(ending);
        clients
            .into_iter()
            .map(|client| {
                client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect::<Vec<_>>()
    });
    let late_kib = stage.endpoint.agent.rss_kib();
    stage.settle(&clients);
    let done: usize = clients.iter().map(|client| client.done.len()).sum();
    let failed: u64 = clients.iter().map(|client| client.failed).sum();
    let longest = clients
        .iter()
        .map(|client| client.longest)
        .max()
        .unwrap_or_default();
    let early_kib = early_kib.unwrap_or(late_kib);
    let asked: u64 = clients.iter().map(|client| client.asked).sum();
    let summary = format!(
        "| {seconds} s, seed {seed} | {} | {asked} | {failed} | {done} | {longest:.1?} | {early_kib} KiB, then {late_kib} KiB |",
        happened.len()
    );
    benches::tell(&summary);
    assert!(late_kib < early_kib + GROWTH_KIB, "memory grows: {summary}");
    assert!(done > 100, "too little came through: {summary}");
    // and all is well afterwards
    let mut last = Client::new(&login, CLIENTS + 1, seed);
    poll::until(PATIENCE, "a write after it all", || {
        last.write();
        !last.done.is_empty()
    });
    let bugs = r#"lamplighter_faults_total{culprit="bug",subsystem="mysql"}"#;
    assert_eq!(stage.endpoint.metric(bugs), 0.0);
}
