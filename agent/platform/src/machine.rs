//! What the machine can see of itself without asking anybody: whether it has a network, and whether its state directory can be written.
//! These are local faults by their nature. Reads /sys/class/net and /proc/net; writes and removes one small file.
//!
//! | what | on the board as `machine:network`, `machine:disk` |
//! |---|---|
//! | no interface but loopback is up, though one was | down, local: out of the pool, replaced when it lasts |
//! | no default route by an interface that is up, though there was one | likewise |
//! | the state directory is full, read-only or gone, though it was there | degraded, local: the agent serves on from memory, only files stand still |

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_core::health::{HealthBoard, HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;

/// Where the kernel lists the network interfaces (sysfs-class-net).
const INTERFACES: &str = "/sys/class/net";

/// Where it lists the routes (proc(5); for IPv6 `Documentation/networking` and `net/ipv6/route.c`).
const ROUTES: [&str; 2] = ["/proc/net/route", "/proc/net/ipv6_route"];

/// The route is in use (`RTF_UP`), and the route refuses (`RTF_REJECT`); linux/route.h.
const ROUTE_UP: u32 = 0x1;
const ROUTE_REJECTS: u32 = 0x200;

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// The disk is tried at every so many looks.
const DISK_EVERY: u32 = 10;

/// Looks at the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    interfaces: PathBuf,
    routes: [PathBuf; 2],
    state: PathBuf,
    had_network: bool,
    had_route: bool,
    had_state: bool,
}

/// What a look saw: reasons to complain.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    network: Option<String>,
    disk: Option<String>,
}

impl Machine {
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            interfaces: PathBuf::from(INTERFACES),
            routes: ROUTES.map(PathBuf::from),
            state: state.to_owned(),
            had_network: false,
            had_route: false,
            had_state: false,
        }
    }

    /// Looks until draining begins.
    pub(crate) async fn run(self, board: HealthBoard, tasks: Tasks) {
        let (network, disk) = (
            board.writer("machine:network"),
            board.writer("machine:disk"),
        );
        let mut ticker = tokio::time::interval(LOOK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut machine = self;
        for look in 0_u32.. {
            tokio::select! {
                _ = ticker.tick() => {}
                () = tasks.draining() => return,
            }
            let tries_disk = look.is_multiple_of(DISK_EVERY);
            // a disk may take its time
            let looked = tokio::task::spawn_blocking(move || {
                let seen = machine.look(tries_disk);
                (machine, seen)
            });
            let Ok((same, seen)) = looked.await else {
                return;
            };
            machine = same;
            match seen.network {
                Some(reason) => network.down(Reach::Local, reason),
                None => network.ok(),
            }
            if tries_disk {
                tell_disk(&disk, seen.disk);
            }
        }
    }

    fn look(&mut self, tries_disk: bool) -> Seen {
        self.had_state |= self.state.exists();
        let up = interfaces_up(&self.interfaces);
        let [v4, v6] = &self.routes;
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (v4, v6) = (read(v4), read(v6));
        let routed = defaults(&v4, &v6).any(|by| up.iter().any(|name| name == by));
        self.had_network |= !up.is_empty();
        self.had_route |= routed;
        let network = if self.had_network && up.is_empty() {
            Some("no network interface is up".to_owned())
        } else if self.had_route && !routed {
            Some("no default route by an interface that is up".to_owned())
        } else {
            None
        };
        let disk = if tries_disk { self.try_disk() } else { None };
        Seen { network, disk }
    }

    fn try_disk(&mut self) -> Option<String> {
        self.had_state |= self.state.exists();
        if !self.had_state {
            return None;
        }
        let error = write_and_remove(&self.state.join(".tried")).err()?;
        Some(format!(
            "{} cannot be written: {error}",
            self.state.display()
        ))
    }
}

fn tell_disk(line: &HealthWriter, reason: Option<String>) {
    match reason {
        Some(reason) => line.degraded(Reach::Local, reason),
        None => line.ok(),
    }
}

/// The interfaces besides loopback that carry traffic. `unknown` is what drivers say that cannot tell.
fn interfaces_up(interfaces: &Path) -> Vec<String> {
    let entries = fs::read_dir(interfaces).into_iter().flatten().flatten();
    let names = entries.filter_map(|it| it.file_name().into_string().ok());
    let carries = |name: &String| {
        let state = fs::read_to_string(interfaces.join(name).join("operstate"));
        matches!(state.unwrap_or_default().trim(), "up" | "unknown")
    };
    names.filter(|name| name != "lo").filter(carries).collect()
}

/// By which interfaces the default routes of the two tables go.
fn defaults<'a>(v4: &'a str, v6: &'a str) -> impl Iterator<Item = &'a str> {
    let leads = |flags: &str| {
        u32::from_str_radix(flags, 16)
            .is_ok_and(|flags| flags & ROUTE_UP != 0 && flags & ROUTE_REJECTS == 0)
    };
    let v4 = v4.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, "00000000", _, flags, _, _, _, "00000000", ..] = *fields.as_slice() else {
            return None;
        };
        leads(flags).then_some(name)
    });
    let v6 = v6.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [to, "00", _, _, _, _, _, _, flags, name] = *fields.as_slice() else {
            return None;
        };
        (to.bytes().all(|it| it == b'0') && leads(flags)).then_some(name)
    });
    v4.chain(v6)
}

/// A page of data, so that a full disk is noticed.
fn write_and_remove(path: &Path) -> io::Result<()> {
    let written = fs::File::create(path).and_then(|mut file| file.write_all(&[0; 4096]));
    let removed = fs::remove_file(path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_was_there_and_is_gone_is_a_fault_and_one_that_never_was_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let interface = |name: &str, state: &str| {
            let path = dir.path().join("net").join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("operstate"), format!("{state}\n")).unwrap();
        };
        let mut machine = Machine::new(Path::new("/nonexistent"));
        machine.interfaces = dir.path().join("net");
        machine.routes = ["route", "ipv6_route"].map(|name| dir.path().join(name));
        interface("lo", "unknown");
        assert_eq!(machine.look(true), Seen::default());
        interface("eth0", "down");
        assert_eq!(machine.look(true), Seen::default(), "not yet up");
        interface("eth0", "up");
        assert_eq!(machine.look(true), Seen::default());
        interface("eth0", "lowerlayerdown");
        assert!(machine.look(true).network.is_some());
        interface("eth1", "up");
        assert_eq!(machine.look(true), Seen::default());

        let route = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT";
        let link = "eth1 0004000A 00000000 0001 0 0 0 00FFFFFF 0 0 0";
        let default = "eth1 00000000 0104000A 0003 0 0 0 00000000 0 0 0";
        route("route", &format!("{head}\n{link}\n"));
        assert_eq!(machine.look(true), Seen::default(), "never had a way out");
        route("route", &format!("{head}\n{default}\n{link}\n"));
        assert_eq!(machine.look(true), Seen::default());
        interface("eth0", "up");
        interface("eth1", "down");
        assert!(machine.look(true).network.is_some(), "the link is down");
        interface("eth1", "up");
        route("route", &format!("{head}\n{link}\n"));
        assert!(machine.look(true).network.is_some(), "the route is gone");
        let zeros = "0".repeat(32);
        let six = |flags: &str| {
            format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 {flags} eth1\n")
        };
        route("ipv6_route", &six("00200200"));
        assert!(machine.look(true).network.is_some(), "one that refuses");
        route("ipv6_route", &six("00000003"));
        assert_eq!(machine.look(true), Seen::default());
    }

    #[test]
    fn a_state_directory_that_was_there_and_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let mut machine = Machine::new(&state);
        assert_eq!(machine.try_disk(), None, "never there");
        fs::create_dir(&state).unwrap();
        assert_eq!(machine.try_disk(), None);
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
        fs::remove_dir(&state).unwrap();
        let told = machine.try_disk().unwrap();
        assert!(told.contains("cannot be written"), "{told}");
        // a file system that is full takes the name and not the data
        if Path::new("/dev/full").exists() {
            assert!(write_and_remove(Path::new("/dev/full/x")).is_err());
        }
    }
}
