//! The words that are exchanged, and the one script that counts. Touches Redis.

use std::time::Duration;

use lamplighter_core::fleet::Ration;
use redis::Script;

use crate::upstream::{Link, UpstreamError};

/// The key of one thing; its name stands between the braces.
const KEY: &str = "lmp:ration:";

/// Whoever has said nothing for so long counts as gone, but for what it may use without asking.
pub(super) const TTL: Duration = Duration::from_secs(12);

/// After so long that is given to others as well.
const FORGOTTEN: Duration = Duration::from_secs(5 * 60);

/// The hash has a field `OWNER` = `TIME HAS` for each instance, and the field of nobody with when it was made. While it is younger
/// than `TTL` there may be instances that have not said what they have: nobody gets more than what it may use without asking.
const EXCHANGE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner, has = ARGV[1], tonumber(ARGV[2])
local total, alone, size_max = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local ttl, forgotten = tonumber(ARGV[6]), tonumber(ARGV[7])
local all, made, among, taken, silent = redis.call('HGETALL', KEYS[1]), nil, 1, 0, 0
for i = 1, #all, 2 do
  if all[i] == '' then
    made = tonumber(all[i + 1])
  elseif all[i] ~= owner then
    local at, amount = string.match(all[i + 1], '^(%d+) (%d+)$')
    local age = now - (tonumber(at) or 0)
    if age > forgotten then
      redis.call('HDEL', KEYS[1], all[i])
    elseif age > ttl then
      silent = silent + 1
    else
      among = among + 1
      taken = taken + tonumber(amount)
    end
  end
end
if not made then
  made = now
  redis.call('HSET', KEYS[1], '', string.format('%d', now))
end
taken = taken + alone * math.min(silent, math.max(size_max - among, 0))
local share = math.max(math.floor(total / among), 1)
if now - made < ttl then
  share = math.min(share, alone)
end
local amount = math.max(math.min(share, total - taken), 0)
redis.call('HSET', KEYS[1], owner, string.format('%d %d', now, math.max(amount, has)))
redis.call('PEXPIRE', KEYS[1], forgotten)
return {amount, share, among}";

/// What we say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) owner: &'a str,
    /// What we use, or may take into use without asking.
    pub(super) has: usize,
}

/// What we hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    /// What we may use.
    pub(super) amount: usize,
    /// What we may use once the others have given it up.
    pub(super) share: usize,
    /// How many share it.
    pub(super) among: usize,
}

pub(super) async fn exchange(
    link: &Link,
    ration: &Ration,
    said: &Said<'_>,
) -> Result<Reply, UpstreamError> {
    let mut connection = link.get()?;
    let (amount, share, among) = Script::new(EXCHANGE)
        .key(key(&ration.name))
        .arg(said.owner)
        .arg(said.has)
        .arg((ration.total)())
        .arg(ration.alone())
        .arg(ration.size_max)
        .arg(millis(TTL))
        .arg(millis(FORGOTTEN))
        .invoke_async(&mut connection)
        .await
        .map_err(|error| link.failed(error))?;
    Ok(Reply {
        amount,
        share,
        among,
    })
}

/// We use nothing any more.
pub(super) async fn leave(link: &Link, name: &str, owner: &str) -> Result<(), UpstreamError> {
    let mut connection = link.get()?;
    redis::cmd("HDEL")
        .arg(key(name))
        .arg(owner)
        .query_async(&mut connection)
        .await
        .map_err(|error| link.failed(error))
}

fn key(name: &str) -> String {
    format!("{KEY}{{{name}}}")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
