//! Whether the machine's resolver knows the names of the servers that the agent uses. Asks it; connects to nothing.
//!
//! A resolver that knows none of them is a fault, but not proof of a local one: Azure's DNS may be down for everyone, or a private
//! zone deleted. So the line `machine:dns` says "shared", and counts as this machine's only where the other instances resolve them.
//! Instances notice an outage at different moments. So that nobody is taken for well who only has not looked yet, the line is off
//! the board from the first failure on, which is no word at all, and says "down" only when everybody has had a look since.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use lamplighter_core::health::{HealthBoard, Reach};
use lamplighter_core::lifecycle::Tasks;
use tokio::time::Instant;

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// How long a resolver may take; glibc gives each of its servers 5 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// For how long they must fail: longer than another instance goes without a look ([`LOOK`] and [`PATIENCE`]), and some more.
const FALL: Duration = Duration::from_secs(15);

/// Looks names up.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<String>,
    answered: bool,
    failing: Option<Instant>,
}

/// What a look says.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Fine,
    /// Nothing yet.
    None,
    Down(String),
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
            answered: false,
            failing: None,
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
            match self.judge(&looked, Instant::now()) {
                Word::Fine => line.ok(),
                Word::None => line.clone().remove(),
                Word::Down(reason) => line.down(Reach::Shared, reason),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = tasks.draining() => return,
            }
        }
    }

    /// A machine whose resolver never knew a name is not set up yet: who connects says so.
    fn judge(&mut self, looked: &[io::Result<()>], now: Instant) -> Word {
        if looked.iter().any(Result::is_ok) {
            (self.answered, self.failing) = (true, None);
            return Word::Fine;
        }
        let error = looked.iter().find_map(|it| it.as_ref().err());
        let since = *self.failing.get_or_insert(now);
        match error {
            Some(error) if self.answered && now - since >= FALL => {
                let names = self.names.join(", ");
                Word::Down(format!("cannot resolve {names}: {error}"))
            }
            _ => Word::None,
        }
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
        let start = Instant::now();
        let mut judge = |seconds: u64, looked: [io::Result<()>; 2]| {
            names.judge(&looked, start + Duration::from_secs(seconds))
        };
        for seconds in [0, 5, 60] {
            assert_eq!(judge(seconds, [bad(), bad()]), Word::None, "never knew one");
        }
        assert_eq!(judge(61, [bad(), Ok(())]), Word::Fine);
        assert_eq!(judge(65, [bad(), bad()]), Word::None, "no word, not yet");
        assert_eq!(judge(79, [bad(), bad()]), Word::None);
        let told = "cannot resolve cache.test, db.test: not known".to_owned();
        assert_eq!(judge(80, [bad(), bad()]), Word::Down(told));
        assert_eq!(judge(85, [Ok(()), bad()]), Word::Fine);
        assert_eq!(judge(90, [bad(), bad()]), Word::None);
    }

    #[tokio::test]
    async fn the_machines_own_name_is_known() {
        resolve("localhost").await.unwrap();
    }
}
