//! Machines with a network of their own, each with Azure's platform on its real addresses: who loses what, and who leaves for it.

use std::time::{Duration, Instant};

use super::SOON;
use crate::probe::application_health::{self, State};
use crate::support::agent::Agent;
use crate::support::imds::Imds;
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::network::{METADATA, Network, PROBER};
use crate::support::{http, poll, redis};

const MACHINES: [&str; 3] = ["vm0", "vm1", "vm2"];
const ADDRESSES: [&str; 3] = ["10.77.0.10", "10.77.0.11", "10.77.0.12"];
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
    fn start() -> Self {
        let mut network = Network::up(&MACHINES);
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
        for (machine, address) in MACHINES.into_iter().zip(ADDRESSES) {
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

    /// Nobody but `gone` leaves for `span`.
    #[track_caller]
    fn stay(&self, gone: Option<usize>, span: Duration, what: &str) {
        poll::throughout(span, what, || {
            for number in (0..MACHINES.len()).filter(|it| Some(*it) != gone) {
                let told = self.told(number);
                if told.0 != 200 || told.2 != State::Healthy {
                    return Err(format!("{number}: {told:?}"));
                }
            }
            Ok(())
        });
    }

    /// Waits until `number` has left for a reason that has `why` in it, Application Health included; the others stay meanwhile.
    #[track_caller]
    fn leaves(&self, number: usize, why: &str) {
        let start = Instant::now();
        poll::until(SURE, why, || {
            self.stay(Some(number), Duration::ZERO, why);
            let told = self.told(number);
            let gone = told.0 == 503 && told.1.contains(why) && told.2 == State::Unhealthy;
            if gone {
                Ok(())
            } else {
                Err(format!("{told:?}"))
            }
        });
        eprintln!("{why}: Unhealthy after {:?}", start.elapsed());
        self.stay(Some(number), Duration::from_secs(2), why);
    }

    /// Waits until everybody serves, finds nothing degraded, and is on the fleet's list.
    #[track_caller]
    fn all_back(&self) {
        let start = Instant::now();
        poll::until(SURE, "all of them", || {
            let told: Vec<_> = (0..MACHINES.len()).map(|it| self.told(it)).collect();
            let degraded = self.degraded();
            if told.iter().all(|it| it.0 == 200 && it.2 == State::Healthy) && degraded.is_empty() {
                Ok(())
            } else {
                Err(format!("{told:?} {degraded:?}"))
            }
        });
        poll::until(SURE, "the fleet's list", || {
            let found = self.redis.cli(&["HLEN", "lmp:fleet:{web}"]);
            if found == "3" { Ok(()) } else { Err(found) }
        });
        eprintln!("all back after {:?}", start.elapsed());
    }

    /// What each finds degraded.
    fn degraded(&self) -> Vec<String> {
        let names = MACHINES.into_iter().filter_map(|machine| {
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
    let site = Site::start();
    site.all_back();

    site.network.cut("vm1");
    site.leaves(1, "no default route by an interface that is up");
    site.network.heal("vm1");
    site.all_back();

    // one server cannot be reached from one machine; the others reach it
    site.network
        .ip("vm2", &format!("route add unreachable {MYSQL}/32"));
    site.leaves(2, "others reach it");
    site.network
        .ip("vm2", &format!("route del unreachable {MYSQL}/32"));
    site.all_back();

    // a resolver that knows nothing any more, though the connections there are go on
    site.network.etc("vm0", "hosts", "127.0.0.1 localhost\n");
    site.leaves(0, "machine:dns: cannot resolve");
    site.network.etc("vm0", "hosts", HOSTS);
    site.all_back();

    // what hurts everybody takes nobody away
    for machine in MACHINES {
        site.network.etc(machine, "hosts", "127.0.0.1 localhost\n");
    }
    site.cluster.kill(0);
    poll::until(SURE, "everybody's trouble", || {
        let degraded = site.degraded();
        let whole = |it: &String| it.contains("mysql") && it.contains("machine:dns");
        if degraded.len() == 3 && degraded.iter().all(whole) {
            Ok(())
        } else {
            Err(format!("{degraded:?}"))
        }
    });
    site.stay(None, LONG, "MySQL and the names are gone for all of them");
}

#[test]
fn on_its_real_address_the_service_is_each_machines_own_and_a_probe_from_azure_is_a_balancers() {
    let site = Site::start();
    site.all_back();
    let polls = |number: usize| site.services[number].count("events", 200);
    for number in 0..MACHINES.len() {
        poll::until(SURE, "polls of its own service", || polls(number) >= 2);
    }
    site.services[1].announce("t", "Terminate", &["vm1"], 300);
    poll::until(SURE, "503", || site.told(1).0 == 503);
    poll::until(SURE, "the acknowledgement", || {
        site.services[1].acknowledged() == ["t"]
    });
    assert_eq!(
        site.told(1).2,
        State::Healthy,
        "it leaves anyway: no repair"
    );
    site.stay(Some(1), Duration::from_secs(2), "a neighbour's Terminate");
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
