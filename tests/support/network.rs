//! Machines with a network of their own: network namespaces that reach one another over a switch, and nothing else. A machine can be
//! given Azure's platform: the metadata service's real address and the prober's, behind a link of its own. Needs root.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::programs;

/// The address of the metadata service ("Azure Instance Metadata Service").
pub(crate) const METADATA: &str = "169.254.169.254";
/// From where Azure's load balancer probes ("What is IP address 168.63.129.16?").
pub(crate) const PROBER: &str = "168.63.129.16";

/// What every namespace of the tests begins with; the process's id follows.
const MARK: &str = "lamp";

/// Where `ip netns` keeps what its namespaces have instead of the machine's own files (ip-netns(8)).
const FILES: &str = "/etc/netns";

/// The machines. Dropping it takes their networks away.
#[derive(Debug)]
pub(crate) struct Network {
    /// Different from that of every other network of this process.
    number: u32,
    machines: Vec<String>,
}

static NETWORKS: AtomicU32 = AtomicU32::new(0);

impl Network {
    /// `machines` on one switch: the first has 10.77.0.10/24, the next 10.77.0.11; the switch, where their default routes lead, 10.77.0.1.
    #[track_caller]
    pub(crate) fn up(machines: &[&str]) -> Self {
        sweep();
        let mut network = Self {
            number: NETWORKS.fetch_add(1, Ordering::Relaxed),
            machines: vec!["sw".to_owned()],
        };
        network.add("sw");
        network.ip("sw", "link add br0 type bridge");
        network.ip("sw", "addr add 10.77.0.1/24 dev br0");
        network.ip("sw", "link set br0 up");
        for (number, machine) in (10..).zip(machines) {
            network.machines.push((*machine).to_owned());
            network.add(machine);
            let (theirs, switch) = (network.space(machine), network.space("sw"));
            ip(&format!(
                "link add eth0 netns {theirs} type veth peer name v{number} netns {switch}"
            ));
            network.ip(machine, &format!("addr add 10.77.0.{number}/24 dev eth0"));
            network.ip("sw", &format!("link set v{number} master br0 up"));
            network.heal(machine);
        }
        network
    }

    /// The namespace of `machine`.
    fn space(&self, machine: &str) -> String {
        format!("{MARK}{}-{}-{machine}", std::process::id(), self.number)
    }

    fn add(&self, machine: &str) {
        ip(&format!("netns add {}", self.space(machine)));
        self.ip(machine, "link set lo up");
    }

    /// Gives `machine`, whose address is `address`, its platform: a namespace `MACHINE-az` with the two addresses.
    pub(crate) fn azure(&mut self, machine: &str, address: &str) {
        let platform = format!("{machine}-az");
        self.machines.push(platform.clone());
        self.add(&platform);
        let (theirs, other) = (self.space(machine), self.space(&platform));
        ip(&format!(
            "link add az0 netns {theirs} type veth peer name vm0 netns {other}"
        ));
        for at in [METADATA, PROBER] {
            self.ip(&platform, &format!("addr add {at}/32 dev vm0"));
        }
        self.ip(&platform, "link set vm0 up");
        self.ip(machine, "link set az0 up");
        self.ip(machine, &format!("addr add {address}/32 dev az0"));
        for at in [METADATA, PROBER] {
            self.ip(machine, &format!("route add {at}/32 dev az0 src {address}"));
        }
        self.ip(
            &platform,
            &format!("route add {address}/32 dev vm0 src {PROBER}"),
        );
    }

    /// What `machine` has in place of `/etc/NAME`, from its next program on; a change is seen at once.
    pub(crate) fn etc(&self, machine: &str, name: &str, text: &str) {
        let dir = Path::new(FILES).join(self.space(machine));
        fs::create_dir_all(&dir).expect("the namespace's files");
        fs::write(dir.join(name), text).expect("the namespace's files");
    }

    /// The words that start a program on `machine`.
    pub(crate) fn by(&self, machine: &str) -> [String; 4] {
        ["ip", "netns", "exec", &self.space(machine)].map(str::to_owned)
    }

    /// `ip -n MACHINE WORDS`.
    #[track_caller]
    pub(crate) fn ip(&self, machine: &str, words: &str) {
        ip(&format!("-n {} {words}", self.space(machine)));
    }

    /// Cuts the machine off the switch.
    pub(crate) fn cut(&self, machine: &str) {
        self.ip(machine, "link set eth0 down");
    }

    /// Takes [`Self::cut`] back.
    pub(crate) fn heal(&self, machine: &str) {
        self.ip(machine, "link set eth0 up");
        self.ip(machine, "route replace default via 10.77.0.1");
    }

    /// Does `work` with the network of `machine`: what it connects to and listens on is there.
    pub(crate) fn inside<T: Send>(&self, machine: &str, work: impl FnOnce() -> T + Send) -> T {
        let file = PathBuf::from("/run/netns").join(self.space(machine));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(file).expect("the namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                work()
            });
            thread.join().expect("the work inside")
        })
    }

    /// Whoever connects to `address` on `machine` reaches `target` of the machine that runs the tests.
    pub(crate) fn forward(&self, machine: &str, address: &str, target: &str) {
        let listener = self.inside(machine, || TcpListener::bind(address));
        let listener = listener.expect("an address of the machine");
        let target = target.to_owned();
        // it ends with the process: a blocked accept cannot be called back
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let target = target.clone();
                std::thread::spawn(move || pass_on(client, &target));
            }
        });
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in &self.machines {
            remove(&self.space(machine));
        }
    }
}

fn pass_on(client: TcpStream, target: &str) {
    let Ok(server) = TcpStream::connect(target) else {
        return;
    };
    let (Ok(from_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else {
        return;
    };
    let back = std::thread::spawn(move || copy(from_server, to_client));
    copy(client, server);
    drop(back.join());
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    drop((to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read)));
}

/// Takes away what test runs left that were killed.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(MARK).and_then(|it| it.split_once('-'));
        let dead = |(pid, _): &(&str, &str)| !Path::new("/proc").join(pid).exists();
        if owner.as_ref().is_some_and(dead) {
            remove(&name);
        }
    }
}

fn remove(space: &str) {
    // what is left of it is the next run's to sweep away
    drop(Command::new("ip").args(["netns", "del", space]).output());
    fs::remove_dir_all(Path::new(FILES).join(space)).ok();
}

#[track_caller]
fn ip(words: &str) {
    let output = Command::new(programs::find("ip", "base"))
        .args(words.split(' '))
        .output()
        .expect("ip runs");
    assert!(
        output.status.success(),
        "ip {words}: {}; this test gives machines networks of their own, for which it must run as root where network namespaces are allowed",
        String::from_utf8_lossy(&output.stderr).trim()
    );
}
