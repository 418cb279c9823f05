//! Machines with a network of their own, each with Azure's platform on its real addresses: who loses what, and who leaves for it.

use std::time::{Duration, Instant};

use super::{SOON, leaving_of};
use crate::probe::application_health::{self, State};
use crate::support::agent::Agent;
use crate::support::imds::Imds;
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::network::{METADATA, Network, PROBER};
use crate::support::{http, poll, redis};

const MACHINES: [&str; 5] = ["vm0", "vm1", "vm2", "vm3", "vm4"];
const ADDRESSES: [&str; 5] = [
    "10.77.0.10",
    "10.77.0.11",
    "10.77.0.12",
    "10.77.0.13",
    "10.77.0.14",
];
const MYSQL: &str = "10.77.0.20";
const REDIS: &str = "10.77.0.21";
const HOSTS: &str = "127.0.0.1 localhost\n10.77.0.20 mysql.test\n10.77.0.21 redis.test\n";

/// More than it takes to be sure that a fault is this machine's, and to give up on a server that does not answer.
const SURE: Duration = Duration::from_secs(60);

/// Long enough for whoever would leave to leave.
const LONG: Duration = Duration::from_secs(6);

struct Site {
    agents: Vec<Agent>,
    services: Vec<Imds>,
    cluster: Cluster,
    redis: redis::Server,
    // the last to go
    network: Network,
}

fn config(cluster: &Cluster, redis: &redis::Server) -> String {
    format!(
        "[state]\ndir = \"{{dir}}/state\"\n[health]\nlisten = \"0.0.0.0:8080\"\nmetrics_listen = \"127.0.0.1:9000\"\n\
         admin_listen = \"127.0.0.1:9001\"\nadmin_socket = \"{{dir}}/admin.sock\"\nruntime_dir = \"{{dir}}/run\"\nprobe_interval = \"1s\"\n\
         policy = {{ shed_after = \"1s\", unhealthy_after = \"3s\" }}\n[platform]\nimds = \"http://{METADATA}\"\n\
         [mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\nprimary = \"mysql.test:3306\"\nuser = \"{}\"\npassword_file = \"{{dir}}/app\"\n\
         tls = {{ ca = \"{}\", server_name = \"127.0.0.1\" }}\nconnect_timeout = \"2s\"\n[mysql.clients.web]\npeer_users = [\"root\"]\n\
         [mysql.monitor]\nuser = \"{}\"\npassword_file = \"{{dir}}/mon\"\n\
         [redis]\nupstream = \"rediss://redis.test:6379\"\ntls = {{ ca = \"{}\", server_name = \"127.0.0.1\" }}\n",
        APP.0,
        cluster.ca_path().display(),
        MON.0,
        redis.ca_path().display(),
    )
}

impl Site {
    /// The first `count` of [`MACHINES`], each with its agent, all on the servers they share.
    fn start(count: usize) -> Self {
        let mut network = Network::up(&MACHINES[..count]);
        let cluster = Cluster::builder().build();
        let redis = redis::Server::builder().tls().start();
        for (address, port, server) in [
            (MYSQL, 3306, cluster.address(0)),
            (REDIS, 6379, redis.address()),
        ] {
            network.ip("sw", &format!("addr add {address}/32 dev br0"));
            network.forward("sw", &format!("{address}:{port}"), &server);
        }
        let mut services = Vec::new();
        let mut agents = Vec::new();
        for (machine, address) in MACHINES.into_iter().zip(ADDRESSES).take(count) {
            network.azure(machine, address);
            network.etc(machine, "hosts", HOSTS);
            network.etc(
                machine,
                "resolv.conf",
                "nameserver 10.77.0.1\noptions timeout:1 attempts:1\n",
            );
            let by = network.by(&format!("{machine}-az"));
            let by: Vec<&str> = by.iter().map(String::as_str).collect();
            let service = Imds::start_at(&format!("{METADATA}:80"), &by);
            service.name_machine(machine, &format!("{machine}-ef00-4000-8000-000000000000"));
            services.push(service);
            let by = network.by(machine);
            let by: Vec<&str> = by.iter().map(String::as_str).collect();
            let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter")).by(&by);
            builder.secret("app", APP.1);
            builder.secret("mon", MON.1);
            agents.push(builder.start(&config(&cluster, &redis)));
        }
        for agent in &mut agents {
            agent.wait_ready(SOON);
        }
        Self {
            agents,
            services,
            cluster,
            redis,
            network,
        }
    }

    /// What Azure's load balancer is told by a machine, asked from where it asks, and what Application Health reads, on the machine.
    fn told(&self, number: usize) -> (u16, String, State) {
        let machine = MACHINES[number];
        let probe = format!("{}:8080", ADDRESSES[number]);
        let lb = self
            .network
            .inside(&format!("{machine}-az"), || http::get(&probe, "/lb"));
        let lb = lb.expect("an answer");
        let health = self
            .network
            .inside(machine, || http::get("127.0.0.1:8080", "/health/azure"));
        let health = health.expect("an answer");
        let state = application_health::read(Some((health.status, &*health.body)));
        (lb.status, lb.text(), state)
    }

    fn numbers(&self) -> std::ops::Range<usize> {
        0..self.agents.len()
    }

    /// The machines that the load balancer or Application Health would not leave as they are, without those of `gone`.
    fn away(&self, gone: &[usize]) -> Result<(), String> {
        let others = self.numbers().filter(|it| !gone.contains(it));
        let told = others.map(|number| (number, self.told(number)));
        let away: Vec<_> = told
            .filter(|(_, told)| told.0 != 200 || told.2 != State::Healthy)
            .collect();
        if away.is_empty() {
            Ok(())
        } else {
            Err(format!("{away:?}"))
        }
    }

    /// Nobody but `gone` is away now.
    #[track_caller]
    fn expect_others(&self, gone: &[usize]) {
        if let Err(away) = self.away(gone) {
            panic!("machines that lost nothing of their own are away: {away}");
        }
    }

    /// Nobody but `gone` leaves for `span`.
    #[track_caller]
    fn stay(&self, gone: &[usize], span: Duration, what: &str) {
        poll::throughout(span, what, || self.away(gone));
    }

    /// Waits until each machine named has left for a reason that has its text in it, Application Health included; the others stay
    /// meanwhile and a little after.
    #[track_caller]
    fn leave(&self, reasons: &[(usize, &str)]) {
        let leaving: Vec<usize> = reasons.iter().map(|(number, _)| *number).collect();
        let start = Instant::now();
        let mut waiting = reasons.to_vec();
        poll::until(SURE, "everybody hurt to leave", || {
            self.expect_others(&leaving);
            let mut told = Vec::new();
            waiting.retain(|(number, why)| {
                let (status, text, state) = self.told(*number);
                let left = status == 503 && text.contains(why) && state == State::Unhealthy;
                if left {
                    eprintln!("{why}: Unhealthy after {:?}", start.elapsed());
                } else {
                    told.push((*number, status, text, state));
                }
                !left
            });
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        });
        self.stay(&leaving, Duration::from_secs(2), "what others lost");
    }

    /// Waits until everybody serves, finds nothing degraded, and is on the fleet's list.
    #[track_caller]
    fn all_back(&self) {
        let start = Instant::now();
        poll::until(SURE, "all of them", || {
            self.away(&[])?;
            let degraded = self.degraded();
            if degraded.is_empty() {
                Ok(())
            } else {
                Err(format!("{degraded:?}"))
            }
        });
        poll::until(SURE, "the fleet's list", || {
            let found = self.redis.cli(&["HLEN", "lmp:fleet:{web}"]);
            if found == self.agents.len().to_string() {
                Ok(())
            } else {
                Err(found)
            }
        });
        eprintln!("all back after {:?}", start.elapsed());
    }

    /// What each finds degraded.
    fn degraded(&self) -> Vec<String> {
        let names = self.numbers().filter_map(|number| {
            let machine = MACHINES[number];
            let answer = self
                .network
                .inside(machine, || http::get("127.0.0.1:8080", "/lb"));
            let answer = answer.expect("an answer");
            let names = answer.header("x-degraded")?;
            Some(format!("{machine}: {names}"))
        });
        names.collect()
    }
}

#[test]
fn whoever_loses_its_own_network_server_or_resolver_leaves_alone() {
    let site = Site::start(5);
    site.all_back();
    // a resolver that knows nothing any more, though the connections there are go on
    site.network.etc("vm0", "hosts", "127.0.0.1 localhost\n");
    site.network.cut("vm1");
    // one server cannot be reached from one machine; the others reach it
    site.network
        .ip("vm2", &format!("route add unreachable {MYSQL}/32"));
    site.leave(&[
        (0, "machine:dns: cannot resolve"),
        (1, "no default route by an interface that is up"),
        (2, "others reach it"),
    ]);

    site.network.etc("vm0", "hosts", HOSTS);
    site.network.heal("vm1");
    site.network
        .ip("vm2", &format!("route del unreachable {MYSQL}/32"));
    site.all_back();
}

#[test]
fn what_all_machines_lose_takes_nobody_away_and_an_event_its_own_machine_only() {
    let site = Site::start(3);
    site.all_back();
    for number in site.numbers() {
        let polls = || site.services[number].count("events", 200);
        poll::until(SURE, "polls of its own service", || polls() >= 2);
        site.network
            .etc(MACHINES[number], "hosts", "127.0.0.1 localhost\n");
    }
    site.cluster.kill(0);
    poll::until(SURE, "everybody's trouble", || {
        site.expect_others(&[]);
        let degraded = site.degraded();
        let whole = |it: &String| it.contains("mysql") && it.contains("machine:dns");
        if degraded.len() == 3 && degraded.iter().all(whole) {
            Ok(())
        } else {
            Err(format!("{degraded:?}"))
        }
    });
    site.stay(&[], LONG, "MySQL and the names are gone for all of them");

    site.services[1].announce("t", "Terminate", &["vm1"], 300);
    poll::until(SURE, "503", || site.told(1).0 == 503);
    poll::until(SURE, "the acknowledgement", || {
        match site.services[1].acknowledged() {
            told if told == ["t"] => Ok(()),
            told => Err(format!("{told:?} {:?}", leaving_of(&site.agents[1]))),
        }
    });
    assert_eq!(
        site.told(1).2,
        State::Healthy,
        "it leaves anyway: no repair"
    );
    site.stay(&[1], Duration::from_secs(2), "a neighbour's Terminate");
    // who was probed from elsewhere gave the balancer its time
    let log = site.agents[1].log();
    let line = log
        .lines()
        .find(|line| line.contains("leaving") && line.contains("shed_seconds"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(
        !line.contains("shed_seconds=0") || line.contains("shed_seconds=0."),
        "{line} {PROBER}"
    );
}
