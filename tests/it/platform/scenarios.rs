//! What can happen to a machine in Azure, caused for real on a whole one: what its visitors, its load balancer and Azure see of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::SOON;
use super::whole::{CONTAINER, Machine, PARTS, Servers, builder, degraded, greet, stays};
use crate::probe::Probed;
use crate::support::disk::Disk;
use crate::support::faults::Proxy;
use crate::support::imds::Imds;
use crate::support::{http, php, poll};

/// Long enough for whoever would leave to leave, and for attempts to be counted.
const LONG: Duration = Duration::from_secs(4);

/// Attempts to connect that a machine may make in a second while a server is away: a look of the monitor, one to have a connection
/// ready, and what visitors ask for.
const ATTEMPTS_MAX: f64 = 8.0;

fn metric(probed: &Probed, start: &str) -> f64 {
    let text = http::get(&probed.metrics, "/metrics").map(|it| it.text());
    let text = text.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    line.and_then(|it| it.trim().parse().ok()).unwrap_or(-1.0)
}

/// A statement on a replica that takes a while; prints 0 if nobody cut it.
fn long_read(machine: &Machine) -> php::Running {
    let dir = machine.probed.agent.dir().display();
    let code = format!(
        "$c = new mysqli('localhost', 'web', '', 'app', 0, '{dir}/mysql.sock');
         echo $c->query('/* lamplighter:replica */ SELECT SLEEP(4)')->fetch_row()[0];"
    );
    php::Script::code(&code).spawn()
}

/// Five machines, one of them with visitors, on a primary and a replica.
struct Fleet {
    machine: Machine,
    others: Vec<Probed>,
    way: Proxy,
    servers: Servers,
}

impl Fleet {
    fn start() -> Self {
        let servers = Servers::start(1);
        let way = Proxy::start(&servers.cluster.address(0));
        let configured = || {
            let builder = builder();
            let config = servers.tables(&builder, &way.address());
            (builder, config)
        };
        let (builder, config) = configured();
        let machine = Machine::start(builder, &config, "");
        let alone = |()| {
            let (builder, config) = configured();
            Probed::start(builder, &format!("[platform]\nimds = \"off\"\n{config}"))
        };
        let mut others: Vec<Probed> = [(); 4].map(alone).into();
        for other in &mut others {
            other.agent.wait_ready(SOON);
            other.wait(200);
        }
        Self {
            machine,
            others,
            way,
            servers,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Probed> {
        self.others.iter().chain([&self.machine.probed])
    }

    /// Nobody leaves for a while.
    #[track_caller]
    fn all_stay(&self, what: &str) {
        poll::throughout(LONG, what, || self.all().try_for_each(stays));
    }

    /// Waits until everybody finds MySQL degraded, or nothing.
    #[track_caller]
    fn wait_degraded(&self, wanted: bool) {
        for probed in self.all() {
            poll::until(SOON, "X-Degraded", || {
                let names = degraded(probed);
                if names.contains("mysql") == wanted {
                    Ok(())
                } else {
                    Err(names)
                }
            });
        }
    }

    /// Waits until the replica may answer reads, or may not.
    #[track_caller]
    fn wait_readable(&self, wanted: f64) {
        let server = self.servers.cluster.address(1);
        let series = format!("lamplighter_mysql_server_readable{{server=\"{server}\"}}");
        poll::until(SOON, "the replica's place", || {
            let now = metric(&self.machine.probed, &series);
            if now == wanted { Ok(()) } else { Err(now) }
        });
    }

    /// A replica that falls behind is left without cutting what it does, one that dies is left, and both come back.
    fn lose_and_regain_the_replica(&self) {
        let cluster = &self.servers.cluster;
        let connections = || cluster.connections(1);
        let busy = || connections().iter().any(|it| it.info.contains("SLEEP"));
        self.wait_readable(1.0);
        self.machine.visited(&PARTS, || {
            let running = long_read(&self.machine);
            poll::until(SOON, "the statement on the replica", busy);
            cluster.stop_sql(1);
            self.wait_readable(0.0);
            assert_eq!(running.wait(SOON).expect_ok(), "0", "to its end");
            cluster.start_sql(1);
            self.wait_readable(1.0);
        });
        // a read that it was working on ends with an error
        cluster.kill(1);
        self.wait_readable(0.0);
        self.machine.visited(&PARTS, || {
            self.all_stay("a replica is gone");
            cluster.start(1);
            self.wait_readable(1.0);
        });
    }
}

#[test]
fn a_replica_that_lags_or_dies_and_a_primary_that_is_gone_take_no_machine_away() {
    let fleet = Fleet::start();
    fleet.lose_and_regain_the_replica();

    fleet.servers.cluster.kill(0);
    let told = poll::until(SOON, "an error for a write", || {
        let page = fleet.machine.page()?;
        let write = page["write"].as_str().unwrap_or_default().to_owned();
        if write == "done" {
            Err(write)
        } else {
            Ok(write)
        }
    });
    let named = told.starts_with("error 2003: ") && told.contains(&fleet.way.address());
    assert!(named, "{told}");
    fleet.wait_degraded(true);
    let (before, start) = (fleet.way.accepted(), Instant::now());
    fleet.machine.visited(&["read", "cache", "file"], || {
        fleet.all_stay("MySQL is gone for all of them");
    });
    let attempts = f64::from(u32::try_from(fleet.way.accepted() - before).expect("few"));
    let rate = attempts / start.elapsed().as_secs_f64() / 5.0;
    eprintln!("{rate:.1} attempts a second of each machine");
    assert!(rate < ATTEMPTS_MAX, "{rate}");

    fleet.servers.cluster.start(0);
    let back = Instant::now();
    poll::until(SOON, "a whole page", || fleet.machine.is_whole());
    eprintln!("whole again {:?} after the primary", back.elapsed());
    fleet.wait_degraded(false);
}

/// How often the log says so.
fn lines(machine: &Machine, words: &str) -> usize {
    let log = machine.probed.agent.log();
    log.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_redis_that_is_gone_or_lets_nobody_in_costs_the_cache_and_nothing_else() {
    let servers = Servers::start(0);
    let machine = servers.machine("");
    let cache = |wanted_error: bool| {
        poll::until(SOON, "the cache's word", || {
            let page = machine.page()?;
            let failed = page["cache"]
                .as_str()
                .is_some_and(|it| it.starts_with("error: "));
            if failed == wanted_error {
                Ok(())
            } else {
                Err(page.to_string())
            }
        });
    };
    let changes = || {
        [
            "WARN Redis cannot be reached",
            "INFO Redis can be reached again",
        ]
        .map(|words| lines(&machine, words))
    };
    let [gone, back] = changes();
    let trouble = |times| {
        cache(true);
        poll::until(SOON, "X-Degraded", || {
            degraded(&machine.probed).contains("redis")
        });
        // after a pause that grows, if the connections that were lost were young
        poll::until(SOON, "an attempt that failed", || {
            changes()[0] == gone + times
        });
        // whoever asks is not kept waiting; the best of many, because others use this machine, too
        let waits = (0..20).map(|_| {
            machine.page().expect("a page")["cache_ms"]
                .as_f64()
                .expect("a number")
        });
        let best = waits.fold(f64::MAX, f64::min);
        eprintln!("refused within {best:.1} ms");
        assert!(best < 50.0, "{best} ms");
    };
    machine.visited(&["read", "write", "file"], || {
        servers.redis.kill();
        trouble(1);
        servers.redis.start();
        greet(&servers.redis);
        cache(false);

        let with = |words: &[&str]| {
            let login = ["--no-auth-warning", "-a", "other"];
            servers.redis.cli(&[&login[..], words].concat())
        };
        servers
            .redis
            .cli(&["CONFIG", "SET", "requirepass", "other"]);
        with(&["CLIENT", "KILL", "TYPE", "normal"]);
        trouble(2);
        with(&["CONFIG", "SET", "requirepass", ""]);
        cache(false);
        poll::until(SOON, "nothing degraded", || {
            degraded(&machine.probed).is_empty()
        });
    });
    machine.wait_whole();
    assert_eq!(changes(), [gone + 2, back + 2], "one line for each change");
}

#[test]
fn a_machine_that_was_frozen_thaws_as_if_nothing_had_been() {
    let servers = Servers::start(1);
    let mut machine = {
        let builder = builder().watchdog(Duration::from_secs(3));
        let config = servers.tables(&builder, &servers.cluster.address(0));
        Machine::start(builder, &config, "")
    };
    let freeze = json!({"id": "f", "type": "Freeze", "resources": ["web_0"], "duration": 7});
    machine.visited(&PARTS, || {
        machine.imds.event(&freeze);
        poll::until(SOON, "the acknowledgement", || {
            machine.imds.acknowledged() == ["f"]
        });
    });
    let pid = machine.probed.agent.process().pid();
    machine.probed.agent.process().freeze();
    // the connection is taken by the kernel while the machine stands still
    let waiting =
        std::net::TcpStream::connect(&machine.probed.probe).expect("a full stop is no refusal");
    let frozen = Instant::now();
    // the servers give up on connections of which they hear nothing
    for node in servers.cluster.nodes() {
        for connection in servers.cluster.connections(node) {
            // it may have ended by itself meanwhile
            let _gone = servers
                .cluster
                .try_sql(node, &format!("KILL {}", connection.id));
        }
    }
    servers
        .redis
        .cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    poll::throughout(Duration::from_secs(7), "frozen", || true);
    machine.probed.agent.process().thaw();
    eprintln!("frozen for {:?}", frozen.elapsed());
    // the first visitor and the first probe
    machine
        .serves(&["read", "write", "file"])
        .expect("no stale connection is used");
    machine.stays().expect("no false ejection");
    machine.imds.take_off("f");
    poll::until(SOON, "the cache", || machine.serves(&["cache"]));
    machine.visited(&PARTS, || super::wait_polls(&machine.imds, 3));
    assert_eq!(machine.probed.agent.process().pid(), pid, "no suicide");
    let log = machine.probed.agent.log();
    assert!(!log.contains("stands still"), "{log}");
    drop(waiting);
}

/// Asks `/lb` without a pause until `span` is over; how often, and the longest wait.
fn probe(address: &str, span: Duration) -> (u32, Duration) {
    let (mut probes, mut longest) = (0, Duration::ZERO);
    poll::throughout(span, "200 for every probe", || {
        let start = Instant::now();
        let answer = http::get(address, "/lb")?;
        longest = longest.max(start.elapsed());
        probes += 1;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.text())
        }
    });
    (probes, longest)
}

#[test]
fn a_storm_of_probes_is_answered_while_statements_keep_every_core_busy() {
    let machine = Servers::shared().machine("");
    let dir = machine.probed.agent.dir().display();
    let code = format!(
        "$c = new mysqli('localhost', 'web', '', 'app', 0, '{dir}/mysql.sock'); echo 'on';
         while (!file_exists('{dir}/enough')) {{ clearstatcache();
           for ($i = 0; $i < 200; $i++) $c->query('SELECT v FROM kv WHERE id = 1')->fetch_row(); }}"
    );
    let busy: Vec<_> = (0..4).map(|_| php::Script::code(&code).spawn()).collect();
    poll::until(SOON, "statements", || {
        busy.iter().all(|it| it.stdout() == "on")
    });
    let address = &machine.probed.probe;
    let probes: Vec<(u32, Duration)> = std::thread::scope(|scope| {
        let probers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| probe(address, LONG)))
            .collect();
        probers
            .into_iter()
            .map(|it| it.join().expect("a prober"))
            .collect()
    });
    std::fs::write(machine.probed.agent.dir().join("enough"), "").expect("a file");
    for client in busy {
        client.wait(SOON).expect_ok();
    }
    let count: u32 = probes.iter().map(|it| it.0).sum();
    let longest = probes.iter().map(|it| it.1).max().unwrap_or_default();
    eprintln!("{count} probes in {LONG:?}, the longest took {longest:?}");
    assert!(probes.iter().all(|it| it.0 > 0));
    machine.wait_whole();
}

#[test]
fn a_disk_that_is_full_or_read_only_stops_the_files_and_nothing_else() {
    let servers = Servers::shared();
    let disk = Disk::mount("4m");
    let builder = builder();
    for name in ["state", "tree"] {
        std::fs::create_dir(disk.path().join(name)).expect("a folder");
        std::os::unix::fs::symlink(disk.path().join(name), builder.dir().join(name))
            .expect("a link");
    }
    let config = servers.tables(&builder, &servers.cluster.address(0));
    let config = config.replace(
        "{dir}/tree",
        &disk.path().join("tree").display().to_string(),
    );
    let machine = Machine::start(builder, &config, "");
    let wait_row = |text: &str| super::wait_row(SOON, &machine.probed, text);
    let names = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(disk.path().join("tree"))
            .expect("the tree")
            .flatten();
        let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
        names.filter(|it| !it.starts_with(".lamplighter")).collect()
    };
    machine.visited(&PARTS, || {
        disk.fill();
        servers.storage.put(CONTAINER, "b.txt", vec![b'b'; 200_000]);
        wait_row("[!] sync:site: degraded");
        assert_eq!(names(), ["a.txt".to_owned()].into(), "nothing half done");
        disk.empty();
        poll::until(SOON, "the file", || names().contains("b.txt"));
        wait_row("[+] sync:site: ok");

        disk.forbid_writing();
        wait_row("[!] machine:disk: degraded (local)");
        disk.allow_writing();
        wait_row("[+] machine:disk: ok");
    });
    drop(machine);
}

#[test]
fn a_machine_made_from_an_image_of_a_live_one_begins_anew_and_serves() {
    let servers = Servers::shared();
    let imds = Imds::start();
    imds.name_machine_of("image", "web_0", super::VM_ID);
    let mut machine = servers.machine_beside(imds, "");
    let state = machine.probed.agent.dir().join("state");
    super::wait_owner(&machine.probed.agent, super::VM_ID);
    let mark = state.join("sync/of-the-first-machine");
    std::fs::write(&mark, "x").expect("the folder of state is there");
    assert!(machine.probed.agent.stop().0.success());

    let other = "11111111-2222-3333-4444-555555555555";
    machine.imds.name_machine_of("image", "web_7", other);
    super::start_as_another(&mut machine.probed.agent, other);
    assert!(!mark.exists(), "what the first machine knew is gone");
    machine.wait_whole();
    poll::until(SOON, "the fleet's list", || {
        let listed = servers.redis.cli(&["HKEYS", "lmp:fleet:{image}"]);
        if listed == other { Ok(()) } else { Err(listed) }
    });
}
