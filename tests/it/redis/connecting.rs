//! How connections to the servers are kept while nobody needs them, and where new ones lead.

use std::net::{Ipv4Addr, UdpSocket};

use super::faults::{failures, through};
use super::{Client, Endpoint};
use crate::cache::agent::health;
use crate::cache::{PASSWORD, SOON, tls_redis};
use crate::support::agent::Agent;
use crate::support::faults::Proxy;
use crate::support::network::Network;
use crate::support::poll;
use crate::support::redis::Server;
use crate::support::resolver::Resolver;

/// The endpoint's shared connections and the agent's own.
const CONNECTIONS: usize = 4;

/// A number of a line of `CLIENT LIST`.
fn number(line: &str, name: &str) -> u64 {
    let field = line.split(' ').find_map(|field| field.strip_prefix(name));
    field.and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn a_connection_that_nobody_needs_is_never_silent_for_long() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "ping_interval = '100ms'\n");
    poll::until(SOON, "old connections that were heard of just now", || {
        let list = redis.cli(&["CLIENT", "LIST"]);
        let port = format!("laddr=127.0.0.1:{}", redis.port());
        let all: Vec<&str> = list.lines().filter(|it| it.contains(&port)).collect();
        let fresh = |line: &&str| number(line, "age=") >= 2 && number(line, "idle=") == 0;
        if all.len() >= CONNECTIONS && all.iter().all(fresh) {
            Ok(())
        } else {
            Err(list)
        }
    });
    assert_eq!(
        endpoint.metric("endpoint_commands_total{way=\"shared\"}"),
        0.0
    );
}

#[test]
fn a_connection_that_died_while_nobody_needed_it_is_replaced_before_anybody_does() {
    let redis = tls_redis();
    let proxy = Proxy::start(&redis.address());
    let more = "ping_interval = '200ms'\ncommand_timeout = '500ms'\n";
    let endpoint = through(&proxy, &redis, more);
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    let all = u64::try_from(CONNECTIONS).unwrap();
    poll::until(SOON, "every connection", || proxy.open() >= all);
    let (before, open) = (proxy.accepted(), proxy.open());
    // nothing comes over them any more, and nobody says so
    proxy.deafen();
    poll::until(SOON, "a successor of each", || {
        proxy.accepted() >= before + open && endpoint.metric("endpoint_upstream_connections") >= 3.0
    });
    client.expect("SET k w", "+OK");
    client.expect("GET k", "$1\r\nw");
    assert_eq!(failures(&endpoint), 0.0);
    assert_eq!(endpoint.metric("endpoint_retried_total"), 0.0);
}

/// The machine on which the agent runs, which asks a name server of its own.
const MACHINE: &str = "vm";

#[test]
fn a_name_that_leads_elsewhere_is_followed_with_the_next_connection() {
    let network = Network::up(&[MACHINE]);
    let old = tls_redis();
    let new = Server::builder()
        .tls()
        .authority(old.authority())
        .password(PASSWORD)
        .start();
    for (number, server) in [(1, &old), (2, &new)] {
        let address = format!("127.0.2.{number}:6380");
        network.forward(MACHINE, &address, &server.address());
    }
    network.etc(MACHINE, "nsswitch.conf", "hosts: dns\n");
    network.etc(MACHINE, "resolv.conf", "nameserver 127.0.0.53\n");
    let socket = network.inside(MACHINE, || UdpSocket::bind("127.0.0.53:53"));
    let host = |number| Ipv4Addr::new(127, 0, 2, number);
    let resolver = Resolver::start(socket.expect("a port of the machine"), host(1));
    let agent = agent(&network, &old);
    let mut client = Client::connect(&agent.dir().join("redis.sock"));
    poll::until(SOON, "the old address", || {
        client.ask("SET k old") == "+OK\r\n"
    });
    assert_eq!(old.cli(&["GET", "k"]), "old");

    resolver.lead_to(host(2));
    client.expect("GET k", "$3\r\nold");
    // the old address is still there, and lets everybody in who comes
    old.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    poll::until(SOON, "the new address", || {
        match client.ask("SET k new").as_str() {
            "+OK\r\n" if new.cli(&["EXISTS", "k"]) == "1" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    assert_eq!(old.cli(&["GET", "k"]), "old");
}

/// An agent on the machine, which knows Redis by a name only: the one in the servers' certificate.
fn agent(network: &Network, redis: &Server) -> Agent {
    let by = network.by(MACHINE);
    let by: Vec<&str> = by.iter().map(String::as_str).collect();
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter")).by(&by);
    builder.secret("redis-password", PASSWORD);
    let (health, _) = health();
    let mut agent = builder.start(&format!(
        "{health}[redis]\nlisten = [\"unix:{{dir}}/redis.sock\"]\nupstream = \"rediss://localhost:6380\"\n\
         password_file = \"{{dir}}/redis-password\"\ntls = {{ ca = \"{}\" }}\n",
        redis.ca_path().display()
    ));
    agent.wait_ready(SOON);
    agent
}
