//! How long nobody can write when the primary changes: through the endpoint and through MySQL Router, by the same name and at the same
//! time. `make bench-failover` does it many times; the test here is its short form.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::chaos::End;
use super::login;
use crate::benches;
use crate::crosstalk::number;
use crate::endpoint::{Options, PATIENCE, start};
use crate::support::faults::Proxy;
use crate::support::mysql::raw::{Link, Login, Part};
use crate::support::mysql::{APP, Cluster};
use crate::support::poll;
use crate::support::router::Router;

const ENDPOINT: &str = "Lamplighter";

/// How the primary goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It takes no more writes; the new one has all of them.
    Planned,
    /// SIGKILL; whoever notices promotes the other one at once.
    Killed,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "switched over",
            Self::Killed => "killed, another promoted",
        })
    }
}

/// Somebody who writes all the time and connects again when it fails.
struct Writer {
    name: &'static str,
    login: Login,
    /// When each good write ended.
    good: Mutex<Vec<Instant>>,
    failed: AtomicU64,
    /// How the last one failed.
    last: Mutex<String>,
}

impl Writer {
    fn new(name: &'static str, login: Login) -> Self {
        Self {
            name,
            login,
            good: Mutex::default(),
            failed: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    fn write(&self, end: &End) {
        let mut link = None;
        // one that fails does not ask again thousands of times a second
        while !end.pause(Duration::from_millis(2)) {
            let asked = match &mut link {
                None => Link::open(&self.login).map(|it| link.insert(it)),
                Some(link) => Ok(link),
            };
            let answer = asked.map(|link| link.query(b"UPDATE kv SET v = v WHERE id = 1"));
            if let Ok([Part::Ok { .. }]) = answer.as_deref() {
                self.good.lock().unwrap().push(Instant::now());
            } else {
                *self.last.lock().unwrap() = format!("{answer:?}");
                self.failed.fetch_add(1, Ordering::SeqCst);
                link = None;
            }
        }
    }

    /// The first good write that ended after `then`.
    fn first_after(&self, then: Instant) -> Option<Instant> {
        let good = self.good.lock().unwrap();
        good.iter().copied().find(|it| *it > then)
    }

    /// The longest time between two good writes of which one ended after `then`.
    fn longest_gap(&self, then: Instant) -> Duration {
        let good = self.good.lock().unwrap();
        let gaps = good.windows(2).filter(|pair| pair[1] > then);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// What one round came to, for one writer.
struct Stall {
    way: Way,
    name: &'static str,
    /// Without a good write.
    stall: Duration,
    /// From when the name led to a server that takes writes.
    late: Duration,
    failed: u64,
}

fn round(cluster: &Cluster, name: &Proxy, writers: &[Writer], way: Way) -> Vec<Stall> {
    let good = |writer: &Writer, then| {
        let what = format!("a good write through {}", writer.name);
        poll::until(PATIENCE * 3, &what, || {
            let last = || writer.last.lock().unwrap().clone();
            writer.first_after(then).ok_or_else(last)
        })
    };
    let begun = Instant::now();
    for writer in writers {
        good(writer, begun);
        writer.failed.store(0, Ordering::SeqCst);
    }
    let (gone, led) = change(cluster, name, way);
    let stalls = writers.iter().map(|writer| Stall {
        way,
        name: writer.name,
        late: good(writer, led) - led,
        stall: writer.longest_gap(gone),
        failed: writer.failed.load(Ordering::SeqCst),
    });
    let stalls = stalls.collect();
    if way == Way::Killed {
        let primary = cluster.primary();
        cluster.start(1 - primary);
        cluster.follow(1 - primary, primary);
    }
    cluster.wait_replicas();
    stalls
}

/// One row for each way and writer: medians and the worst, and all that failed.
fn print_table(stalls: &[Stall], writers: &[Writer]) {
    for way in [Way::Planned, Way::Killed] {
        for writer in writers {
            let of = stalls
                .iter()
                .filter(|it| it.way == way && it.name == writer.name);
            let of: Vec<_> = of.collect();
            let sorted = |value: fn(&Stall) -> Duration| {
                let mut all: Vec<_> = of.iter().map(|it| value(it)).collect();
                all.sort();
                (all[all.len() / 2], all[all.len() - 1])
            };
            let ((stall, longest), (late, latest)) = (sorted(|it| it.stall), sorted(|it| it.late));
            let failed: u64 = of.iter().map(|it| it.failed).sum();
            benches::tell(&format!(
                "| {way} | {} | {stall:.1?} | {longest:.1?} | {late:.1?} | {latest:.1?} | {failed} |",
                writer.name
            ));
        }
    }
}

/// The primary goes and the other one takes its place: when it went, and when the name led to the other one.
fn change(cluster: &Cluster, name: &Proxy, way: Way) -> (Instant, Instant) {
    let old = cluster.primary();
    let new = 1 - old;
    let gone = Instant::now();
    match way {
        Way::Planned => {
            cluster.sql(old, "SET PERSIST super_read_only=ON");
            cluster.wait_replicas();
        }
        Way::Killed => cluster.kill(old),
    }
    cluster.promote(new);
    name.retarget(&cluster.address(new));
    // Azure drops them, too; Router would go on using those it shares
    name.begin_cut();
    (gone, Instant::now())
}

#[test]
fn writes_go_on_behind_the_name_and_the_stall_is_told() {
    let rounds = number("LAMPLIGHTER_STALL_ROUNDS", 1);
    let cluster = Cluster::builder().replicas(1).build();
    let name = Proxy::start(&cluster.address(0));
    let options = Options {
        primary: Some(name.address()),
        replicas: Some(Vec::new()),
        pool: "failover_wait = \"60s\"".to_owned(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    let router = Router::in_front_of(&cluster, &name.address());
    let mut through_router = Login::new(router.socket().display().to_string(), APP.0, APP.1);
    through_router.database = Some("app".to_owned());
    let writers = [
        Writer::new(ENDPOINT, login(&endpoint)),
        Writer::new("MySQL Router", through_router),
    ];
    let end = End::default();
    let stalls = std::thread::scope(|scope| {
        for writer in &writers {
            scope.spawn(|| writer.write(&end));
        }
        // whatever becomes of the rounds
        let _ending = end.ending();
        let ways = [Way::Planned, Way::Killed].into_iter();
        let ways = ways.flat_map(|way| (0..rounds).map(move |_| way));
        ways.flat_map(|way| round(&cluster, &name, &writers, way))
            .collect::<Vec<_>>()
    });
    print_table(&stalls, &writers);
    for stall in stalls.iter().filter(|stall| stall.name == ENDPOINT) {
        // what is in flight when a server is killed may or may not have been done
        let allowed = u64::from(stall.way == Way::Killed);
        assert!(
            stall.failed <= allowed,
            "{} statements failed: {}",
            stall.failed,
            stall.way
        );
    }
}
