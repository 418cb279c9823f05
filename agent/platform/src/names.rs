//! Whether the machine's resolver knows the names of the servers that the agent uses. Asks it; connects to nothing.
//!
//! A resolver that knows none of them is a fault, but not proof of a local one: Azure's DNS may be down for everyone, or a private
//! zone deleted. So the line `machine:dns` says "shared", and counts as this machine's only where the other instances resolve them.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use lamplighter_core::health::{HealthBoard, Reach};
use lamplighter_core::lifecycle::Tasks;

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// How long a resolver may take; glibc gives each of its servers 5 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// So many looks in a row must fail: one lost packet is no outage.
const FALL: u32 = 2;

/// Looks names up.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<String>,
    answers: bool,
    failures: u32,
}

impl Names {
    /// Of `hosts`, those that are names.
    pub(crate) fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<String> = hosts
            .into_iter()
            .filter(|host| host.parse::<std::net::IpAddr>().is_err())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            names,
            answers: false,
            failures: 0,
        }
    }

    /// Looks until draining begins. Without names there is no line on the board.
    pub(crate) async fn run(mut self, board: HealthBoard, tasks: Tasks) {
        if self.names.is_empty() {
            return;
        }
        let line = board.writer("machine:dns");
        loop {
            let looked = join_all(self.names.iter().map(|name| resolve(name)));
            let looked = tokio::select! {
                looked = looked => looked,
                () = tasks.draining() => return,
            };
            match self.judge(&looked) {
                Some(reason) => line.down(Reach::Shared, reason),
                None => line.ok(),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.draining() => return,
            }
        }
    }

    /// What to complain about. A machine whose resolver never knew a name is not set up yet: who connects says so.
    fn judge(&mut self, looked: &[io::Result<()>]) -> Option<String> {
        if looked.iter().any(Result::is_ok) {
            (self.answers, self.failures) = (true, 0);
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let error = looked.iter().find_map(|it| it.as_ref().err())?;
        let names = self.names.join(", ");
        (self.answers && self.failures >= FALL).then(|| format!("cannot resolve {names}: {error}"))
    }
}

async fn resolve(name: &str) -> io::Result<()> {
    // the port is asked of nobody
    let asked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0)));
    match asked.await {
        Ok(found) => match found?.next() {
            Some(_) => Ok(()),
            None => Err(io::Error::other("no address")),
        },
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {PATIENCE:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_knows_no_name_any_more_is_told_and_one_that_never_did_is_not() {
        let hosts = ["db.test", "10.0.0.4", "cache.test", "db.test", "::1"];
        let mut names = Names::new(hosts.map(str::to_owned));
        assert_eq!(names.names, ["cache.test", "db.test"]);
        let bad = || Err(io::Error::other("not known"));
        for _ in 0..5 {
            assert_eq!(names.judge(&[bad(), bad()]), None, "never knew one");
        }
        assert_eq!(names.judge(&[bad(), Ok(())]), None);
        assert_eq!(names.judge(&[bad(), bad()]), None, "once is no outage");
        let told = names.judge(&[bad(), bad()]).unwrap();
        assert_eq!(told, "cannot resolve cache.test, db.test: not known");
        assert_eq!(names.judge(&[Ok(()), bad()]), None);
        assert_eq!(names.judge(&[bad(), bad()]), None);
    }

    #[tokio::test]
    async fn the_machines_own_name_is_known() {
        resolve("localhost").await.unwrap();
    }
}
