//! What the machine can see of itself without asking anybody: whether it has a network, and whether its state directory can be written.
//! These are local faults by their nature. Reads /sys/class/net; writes and removes one small file.
//!
//! | what | on the board as `machine:network`, `machine:disk` |
//! |---|---|
//! | no interface but loopback is up, though one was | down, local: out of the pool, replaced when it lasts |
//! | the state directory is full, read-only or gone, though it was there | degraded, local: the agent serves on from memory, only files stand still |

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_core::health::{HealthBoard, HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;

/// Where the kernel lists the network interfaces (sysfs-class-net).
const INTERFACES: &str = "/sys/class/net";

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// The disk is tried at every so many looks.
const DISK_EVERY: u32 = 10;

/// Looks at the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    interfaces: PathBuf,
    state: PathBuf,
    had_network: bool,
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
            state: state.to_owned(),
            had_network: false,
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
        let up = up(&self.interfaces);
        self.had_network |= up;
        let network = (self.had_network && !up).then(|| "no network interface is up".to_owned());
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

/// Whether an interface besides loopback carries traffic. `unknown` is what drivers say that cannot tell.
fn up(interfaces: &Path) -> bool {
    let Ok(entries) = fs::read_dir(interfaces) else {
        return false;
    };
    let mut others = entries.flatten().filter(|it| it.file_name() != "lo");
    others.any(|it| {
        let state = fs::read_to_string(it.path().join("operstate")).unwrap_or_default();
        matches!(state.trim(), "up" | "unknown")
    })
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
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("operstate"), format!("{state}\n")).unwrap();
        };
        let mut machine = Machine::new(Path::new("/nonexistent"));
        machine.interfaces = dir.path().to_owned();
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
