//! A real Redis cluster of primaries, with TLS towards clients or without, each with a third (or whatever share) of the slots.

use std::time::Duration;

use super::{Builder, Server};
use crate::support::{poll, ports};

const START: Duration = Duration::from_secs(30);

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The primaries.
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Starts `count` primaries, made from `builder`, and waits until all slots are covered.
    pub(crate) fn start(count: u16, builder: impl Fn() -> Builder) -> Self {
        // by itself a bus would listen 10,000 ports higher, where outgoing connections are
        let buses: Vec<u16> = (0..count).map(|_| ports::free()).collect();
        let nodes: Vec<Server> = buses
            .iter()
            .map(|bus| {
                builder()
                    .config(&format!("cluster-enabled yes\ncluster-node-timeout 2000\ntls-cluster no\ncluster-announce-hostname localhost\ncluster-port {bus}"))
                    .start()
            })
            .collect();
        for node in &nodes {
            // with TLS there is no other port, and by itself a node only announces the one without
            let port = node.port().to_string();
            node.cli(&["CONFIG", "SET", "cluster-announce-port", &port]);
        }
        let cluster = Self { nodes };
        let share = 16384 / count;
        for (index, node) in (0..count).zip(&cluster.nodes) {
            let last = if index + 1 == count {
                16383
            } else {
                (index + 1) * share - 1
            };
            node.cli(&[
                "CLUSTER",
                "ADDSLOTSRANGE",
                &(index * share).to_string(),
                &last.to_string(),
            ]);
        }
        let first = &cluster.nodes[0];
        for (node, bus) in cluster.nodes.iter().zip(&buses).skip(1) {
            let (port, bus) = (node.port().to_string(), bus.to_string());
            first.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        for node in &cluster.nodes {
            poll::until(START, "the cluster to be whole", || {
                let info = node.cli(&["CLUSTER", "INFO"]);
                if info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{count}"))
                {
                    Ok(())
                } else {
                    Err(info)
                }
            });
        }
        cluster
    }

    /// The node that has a slot.
    pub(crate) fn owner(&self, slot: &str) -> &Server {
        let holds = |node: &&Server| {
            node.try_cli(&["CLUSTER", "COUNTKEYSINSLOT", slot]).is_ok() && owns(node, slot)
        };
        self.nodes
            .iter()
            .find(holds)
            .expect("every slot has an owner")
    }

    /// Moves a slot, without its keys' knowing: the two ends of `redis-cli --cluster reshard`, in steps of the test's choice.
    pub(crate) fn set_slot(at: &Server, slot: &str, what: &[&str]) {
        let mut command = vec!["CLUSTER", "SETSLOT", slot];
        command.extend(what);
        at.cli(&command);
    }
}

fn owns(node: &Server, slot: &str) -> bool {
    let wanted: u16 = slot.parse().expect("a slot");
    let nodes = node.cli(&["CLUSTER", "NODES"]);
    let own = nodes
        .lines()
        .find(|line| line.contains("myself"))
        .unwrap_or_default();
    own.split(' ').skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&wanted),
            _ => false,
        }
    })
}
