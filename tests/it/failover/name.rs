//! The primary's name leads to another address than it did, as in a failover of Azure's.

use std::net::{Ipv4Addr, UdpSocket};

use crate::endpoint::{Options, PATIENCE, start};
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::Link;
use crate::support::network::Network;
use crate::support::poll;
use crate::support::resolver::Resolver;

use super::{expect_ok, login, value};

/// The machine on which the agent runs, which asks a name server of its own.
const MACHINE: &str = "vm";

/// Long enough for the name to be resolved a few times.
const RESOLVED: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn connections_to_the_old_address_are_given_up_once_the_new_one_lets_somebody_in() {
    let network = Network::up(&[MACHINE]);
    let cluster = Cluster::builder().replicas(1).build();
    // both take writes: no error leads to the other one
    cluster.sql(
        1,
        "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only=OFF",
    );
    for node in cluster.nodes() {
        network.forward(
            MACHINE,
            &format!("127.0.2.{node}:3306"),
            &cluster.address(node),
        );
    }
    network.etc(MACHINE, "nsswitch.conf", "hosts: dns\n");
    network.etc(MACHINE, "resolv.conf", "nameserver 127.0.0.53\n");
    let socket = network.inside(MACHINE, || UdpSocket::bind("127.0.0.53:53"));
    let host = |number| Ipv4Addr::new(127, 0, 2, number);
    let resolver = Resolver::start(socket.expect("a port of the machine"), host(0));
    let options = Options {
        // the name in the servers' certificate
        primary: Some("localhost:3306".to_owned()),
        replicas: Some(Vec::new()),
        by: network.by(MACHINE).to_vec(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    let mut link = Link::open(&login(&endpoint)).expect("in");
    let port = |link: &mut Link| value(&link.query(b"SELECT @@port"));
    assert_eq!(port(&mut link), cluster.port(0).to_string());

    resolver.lead_to(host(9));
    poll::until(RESOLVED, "an address that lets nobody in", || {
        endpoint.agent.log().contains("lets nobody in")
    });
    assert_eq!(
        port(&mut link),
        cluster.port(0).to_string(),
        "what is open may be all there is"
    );

    // what is in the middle of something is left alone
    let mut busy = Link::open(&login(&endpoint)).expect("in");
    expect_ok(&busy.query(b"BEGIN"));
    resolver.lead_to(host(1));
    poll::until(RESOLVED, "statements on the new server", || {
        let seen = port(&mut link);
        if seen == cluster.port(1).to_string() {
            Ok(())
        } else {
            Err(seen)
        }
    });
    assert_eq!(port(&mut busy), cluster.port(0).to_string());
    expect_ok(&busy.query(b"COMMIT"));
    poll::until(PATIENCE, "nothing open to the old server", || {
        let list = cluster.connections(0);
        let left = list.iter().filter(|it| it.user == "app").count();
        if left == 0 { Ok(()) } else { Err(left) }
    });
    assert_eq!(port(&mut busy), cluster.port(1).to_string());
}
