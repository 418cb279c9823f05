//! The fleet's list in Redis: one hash, a field for each instance, with when it was written (by Redis' clock) and how that instance
//! finds each of its components. One script every few seconds writes our field, drops those of instances that fell silent and reads
//! the rest. Without Redis there is no fleet: nobody's word is used that is not fresh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_core::fleet::{Fleet, FleetDesk, Peer};
use lamplighter_core::health::{Condition, Snapshot};
use lamplighter_core::lifecycle::{Step, Tasks};
use redis::Script;

use crate::backoff::splayed;
use crate::upstream::{Link, UpstreamError};

/// The list of the scale set; the name of the scale set stands between the braces.
const KEY: &str = "lmp:fleet:";

/// The time between two exchanges, shortened by up to a fifth.
const PAUSE: Duration = Duration::from_secs(3);

/// Writes ours, drops the silent, reads the rest.
const EXCHANGE: &str = "\
local now = tonumber(redis.call('TIME')[1])
redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], 3600)
local all, out = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local age = now - (tonumber(string.match(all[i + 1], '^%d+')) or 0)
  if age > 60 then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    out[#out + 1] = all[i]
    out[#out + 1] = age .. ' ' .. string.match(all[i + 1], ' (.*)$')
  end
end
return out";

/// The most instances that are looked at; a scale set has at most 1,000.
const PEERS_MAX: usize = 1_000;

/// Carries descriptions between the machines.
#[derive(Debug)]
pub(crate) struct Roll {
    pub(crate) desk: FleetDesk,
    pub(crate) link: Link,
    /// Who we are while the platform has not said it.
    pub(crate) owner: String,
}

impl Roll {
    /// Exchanges until draining begins, or the instance has left the fleet; then takes our field away.
    pub(crate) async fn run(self, tasks: Tasks) {
        let mut duty = tasks.duty(Step::Releasing, "membership");
        let departures = tasks.departures().clone();
        let mut written = None;
        loop {
            let (id, set) = self.names();
            let told = self.exchange(&id, &set).await;
            if told.is_ok() {
                written = Some((id, set));
            }
            let fleet = told.map_or_else(
                |_| Fleet::default(),
                |peers| Fleet {
                    peers,
                    read: Some(Instant::now()),
                },
            );
            self.desk.tell.send_replace(Arc::new(fleet));
            tokio::select! {
                () = tokio::time::sleep(splayed(PAUSE)) => {}
                call = duty.called() => {
                    self.leave(written.take()).await;
                    drop(call);
                    tokio::select! {
                        () = departures.recalled() => {}
                        () = tasks.draining() => return,
                    }
                }
                () = tasks.draining() => {
                    self.leave(written.take()).await;
                    return;
                }
            }
        }
    }

    fn names(&self) -> (String, String) {
        match self.desk.instance.now() {
            Some(instance) => (instance.vm_id.clone(), instance.scale_set.clone()),
            None => (self.owner.clone(), String::new()),
        }
    }

    async fn exchange(&self, id: &str, set: &str) -> Result<Vec<Peer>, UpstreamError> {
        let mut connection = self.link.get()?;
        let said: Vec<String> = Script::new(EXCHANGE)
            .key(format!("{KEY}{{{set}}}"))
            .arg(id)
            .arg(describe(&self.desk.board.snapshot()))
            .invoke_async(&mut connection)
            .await
            .map_err(|error| self.link.failed(error))?;
        let pairs = said.chunks_exact(2).take(PEERS_MAX);
        Ok(pairs.filter_map(|pair| read(&pair[0], &pair[1])).collect())
    }

    async fn leave(&self, written: Option<(String, String)>) {
        let (Some((id, set)), Ok(mut connection)) = (written, self.link.get()) else {
            return;
        };
        let gone: Result<(), _> = redis::cmd("HDEL")
            .arg(format!("{KEY}{{{set}}}"))
            .arg(&id)
            .query_async(&mut connection)
            .await;
        if let Err(error) = gone {
            // it vanishes by itself within a minute
            tracing::debug!(%error, "cannot leave the fleet's list");
        }
    }
}

/// `mysql=ok redis=down`; a name with a space or `=` in it is left out.
fn describe(board: &Snapshot) -> String {
    let reports = board.reports.iter();
    let plain = reports.filter(|(name, _)| !name.contains([' ', '=']));
    let words: Vec<String> = plain
        .map(|(name, report)| format!("{name}={}", report.condition.label()))
        .collect();
    words.join(" ")
}

/// What `AGE mysql=ok redis=down` says. Words of another version that are not understood are left out.
fn read(id: &str, text: &str) -> Option<Peer> {
    let mut words = text.split(' ');
    let age = Duration::from_secs(words.next()?.parse().ok()?);
    let seen: BTreeMap<String, Condition> = words
        .filter_map(|word| {
            let (name, label) = word.split_once('=')?;
            let condition = Condition::ALL.into_iter().find(|it| it.label() == label)?;
            Some((name.to_owned(), condition))
        })
        .collect();
    Some(Peer {
        id: id.to_owned(),
        age,
        seen,
    })
}

#[cfg(test)]
mod tests {
    use lamplighter_core::health::{HealthBoard, Reach};

    use super::*;

    #[test]
    fn what_one_says_another_understands() {
        let board = HealthBoard::new();
        board.writer("mysql").down(Reach::Shared, "refused");
        board.writer("redis").ok();
        board.writer("odd name").ok();
        let text = format!("7 {} newer=splendid", describe(&board.snapshot()));
        let peer = read("x", &text).unwrap();
        assert_eq!(peer.age, Duration::from_secs(7));
        let seen: Vec<_> = peer.seen.iter().map(|(name, it)| (&**name, *it)).collect();
        assert_eq!(seen, [("mysql", Condition::Down), ("redis", Condition::Ok)]);
        assert_eq!(read("x", "soon mysql=ok"), None);
    }
}
