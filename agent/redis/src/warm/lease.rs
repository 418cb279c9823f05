//! That one instance of the fleet runs a job, and what it leaves behind. All in Redis, through small scripts; the keys of a job
//! share a hash tag, so that a sharded server can run them:
//!
//! - `lmp:lease:{job}`: who runs it now; vanishes by itself when that instance falls silent.
//! - `lmp:gen:{job}`: the number of the run, greater with each lease. Writes are fenced with it.
//! - `lmp:m:{job}:FINGERPRINT`: the result of the last run; the other instances see in it that there is nothing to do.
//! - `lmp:w:{job}`: is there without an end once a run has ended well. Azure's default policy (volatile-lru) never evicts a key without an
//!   end, so when it is gone Redis has lost its data.
//! - `lmp:at:{job}:FINGERPRINT`: how far the run under way came; whoever continues it begins there.
//!
//! The lease is for economy, the fence for correctness: after a failover of Redis two instances may both hold the lease,
//! but only the one with the newer generation can go on writing.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Script, Value};
use tokio::time::Instant;

use super::config::JobConfig;
use super::error::RunError;
use super::schedule::{Done, fingerprint};
use super::writer::Saved;
use crate::upstream::{Link, UpstreamError};

/// Takes the lease and a new generation, or says how long the other's lease lasts (milliseconds, negative). The time is in a generation
/// because a failover may lose it: a number that was only counted up would then be given a second time, and fence nobody.
const ACQUIRE: &str = "\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local generation = math.max(now, tonumber(redis.call('GET', KEYS[2]) or 0) + 1)
  redis.call('SET', KEYS[2], string.format('%d', generation))
  return generation
end
return -math.max(redis.call('PTTL', KEYS[1]), 1)";

/// Prolongs the lease if it is ours.
const RENEW: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0";

/// Gives the lease back if it is ours.
const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0";

/// Leaves the result if the generation is still ours, and gives the lease back.
const FINISH: &str = "\
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
redis.call('SET', KEYS[4], ARGV[2])
redis.call('DEL', KEYS[5])
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1";

/// Notes how far the run came if the generation is still ours.
const SAVE: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1";

/// So long a run may be continued; rows written before that are to be written again.
const SAVED_TTL: Duration = Duration::from_secs(600);

/// A result is kept for this long at least: it also shows that the cache has not been flushed since. It is read all the
/// time, so it is the last thing an LRU policy evicts.
const RESULT_TTL_MIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The keys of one job.
#[derive(Debug, Clone)]
pub(crate) struct JobKeys {
    lease: String,
    pub(crate) generation: String,
    done: String,
    sentinel: String,
    saved: String,
}

impl JobKeys {
    pub(crate) fn new(job: &JobConfig) -> Self {
        let name = &job.name;
        Self {
            lease: format!("lmp:lease:{{{name}}}"),
            generation: format!("lmp:gen:{{{name}}}"),
            done: format!("lmp:m:{{{name}}}:{}", fingerprint(job)),
            sentinel: format!("lmp:w:{{{name}}}"),
            saved: format!("lmp:at:{{{name}}}:{}", fingerprint(job)),
        }
    }
}

/// What Redis knows of a job.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Redis' clock, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// The last result.
    pub(crate) done: Option<Done>,
    /// The sign that Redis has not lost its data since a run ended.
    pub(crate) sentinel: bool,
}

/// TIME, the result, the sentinel.
type Looked = ((u64, u64), Option<Vec<u8>>, Option<Vec<u8>>);

/// Asks Redis for its clock and for what it knows of the job.
pub(crate) async fn look(link: &Link, keys: &JobKeys) -> Result<Seen, UpstreamError> {
    let mut connection = link.get()?;
    let ((seconds, micros), done, sentinel): Looked = redis::pipe()
        .cmd("TIME")
        .cmd("GET")
        .arg(&keys.done)
        .cmd("GET")
        .arg(&keys.sentinel)
        .query_async(&mut connection)
        .await
        .map_err(|error| link.failed(error))?;
    Ok(Seen {
        now_ms: seconds * 1000 + micros / 1000,
        // a result that cannot be read is none
        done: done.and_then(|json| serde_json::from_slice(&json).ok()),
        sentinel: sentinel.is_some(),
    })
}

/// What an attempt to take the lease came to.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// It is ours.
    Lease(Lease),
    /// Another instance runs the job; its lease lasts this long if it does not renew it.
    Busy(Duration),
}

/// The right to run a job.
#[derive(Debug)]
pub(crate) struct Lease {
    keys: JobKeys,
    owner: String,
    ttl: Duration,
    link: Link,
    pub(crate) generation: u64,
    /// Until when the lease is certainly ours, by this machine's monotonic clock.
    valid_until: std::sync::Mutex<Instant>,
}

impl Lease {
    /// Tries to take the lease. `owner` is unique to this process.
    pub(crate) async fn acquire(
        link: &Link,
        keys: &JobKeys,
        owner: &str,
        ttl: Duration,
    ) -> Result<Acquired, UpstreamError> {
        // from before the question: the server's count starts later than ours
        let asked = Instant::now();
        let answer: i64 = run(
            link,
            ACQUIRE,
            &[&keys.lease, &keys.generation],
            &[owner, &millis(ttl)],
        )
        .await?;
        Ok(match u64::try_from(answer) {
            Ok(generation) => Acquired::Lease(Self {
                keys: keys.clone(),
                owner: owner.to_owned(),
                ttl,
                link: link.clone(),
                generation,
                valid_until: std::sync::Mutex::new(asked + ttl),
            }),
            Err(_) => Acquired::Busy(Duration::from_millis(answer.unsigned_abs())),
        })
    }

    /// Whether the lease is ours for certain.
    pub(crate) fn is_valid(&self) -> bool {
        Instant::now() < *self.lock()
    }

    /// The key that writes are fenced with.
    pub(crate) fn generation_key(&self) -> &str {
        &self.keys.generation
    }

    /// Renews the lease three times in its life; ends when it is lost.
    pub(crate) async fn hold(&self) -> RunError {
        loop {
            tokio::time::sleep(self.ttl / 3).await;
            // a renewal that fails is tried again until the lease has run out
            loop {
                let valid_until = *self.lock();
                match tokio::time::timeout_at(valid_until, self.renew()).await {
                    Ok(Ok(true)) => break,
                    Ok(Ok(false)) => {
                        return RunError::LeaseLost("another instance took it, or Redis lost it");
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "lease not renewed");
                        tokio::time::sleep(self.ttl / 20).await;
                    }
                    Err(_) => return RunError::LeaseLost("Redis could not be reached to renew it"),
                }
            }
        }
    }

    async fn renew(&self) -> Result<bool, UpstreamError> {
        let asked = Instant::now();
        let ttl = millis(self.ttl);
        let renewed: i64 =
            run(&self.link, RENEW, &[&self.keys.lease], &[&self.owner, &ttl]).await?;
        if renewed == 1 {
            *self.lock() = asked + self.ttl;
        }
        Ok(renewed == 1)
    }

    /// Leaves the result for `keep` or longer and gives the lease back. Returns it with its time.
    pub(crate) async fn finish(&self, mut done: Done, keep: Duration) -> Result<Done, RunError> {
        done.finished_ms = look(&self.link, &self.keys).await?.now_ms;
        done.generation = self.generation;
        let json = serde_json::to_string(&done).unwrap_or_default();
        let keep = (keep * 2).max(RESULT_TTL_MIN);
        let kept: i64 = run(
            &self.link,
            FINISH,
            &[
                &self.keys.lease,
                &self.keys.generation,
                &self.keys.done,
                &self.keys.sentinel,
                &self.keys.saved,
            ],
            &[
                &self.owner,
                &self.generation.to_string(),
                &json,
                &millis(keep),
            ],
        )
        .await?;
        if kept == 1 {
            Ok(done)
        } else {
            Err(RunError::LeaseLost("another instance took it at the end"))
        }
    }

    /// Notes how far the run came.
    pub(crate) async fn save(&self, saved: &Saved) -> Result<(), UpstreamError> {
        let json = serde_json::to_string(saved).unwrap_or_default();
        let keys = [&*self.keys.generation, &*self.keys.saved];
        let generation = self.generation.to_string();
        let args = [&*generation, &*json, &*millis(SAVED_TTL)];
        run::<i64>(&self.link, SAVE, &keys, &args).await.map(drop)
    }

    /// How far a run came that did not end, not long ago. What cannot be read is nothing.
    pub(crate) async fn saved(&self) -> Option<Saved> {
        let mut connection = self.link.get().ok()?;
        let json: Option<Vec<u8>> = redis::cmd("GET")
            .arg(&self.keys.saved)
            .query_async(&mut connection)
            .await
            .ok()?;
        serde_json::from_slice(&json?).ok()
    }

    /// Gives the lease back after a run that did not succeed, so that another instance need not wait for its end.
    pub(crate) async fn release(&self) {
        let released = run::<i64>(&self.link, RELEASE, &[&self.keys.lease], &[&self.owner]).await;
        if let Err(error) = released {
            tracing::debug!(%error, "lease not given back; it ends by itself");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.valid_until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Runs a script on the control connection.
async fn run<T: FromRedisValue>(
    link: &Link,
    script: &str,
    keys: &[&str],
    args: &[&str],
) -> Result<T, UpstreamError> {
    let mut connection: MultiplexedConnection = link.get()?;
    let script = Script::new(script);
    let mut call = script.prepare_invoke();
    for key in keys {
        call.key(*key);
    }
    for arg in args {
        call.arg(*arg);
    }
    let value: Value = call
        .invoke_async(&mut connection)
        .await
        .map_err(|error| link.failed(error))?;
    T::from_redis_value(value).map_err(|_| UpstreamError::Confused)
}
