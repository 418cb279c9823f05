//! The fleet's list of the keys that are asked for most: every instance adds what it counted, the one that runs the job reads it. A sorted
//! set in Redis, `lmp:hot:{job}`; when Redis has lost it, what each instance remembers is put in again.

use redis::Script;

use super::keyset::text_literal;
use super::template::Template;
use crate::heat::HotList;
use crate::upstream::{Link, UpstreamError};

/// Adds `ARGV[3..]` (scores and members by turns), of which the first `ARGV[1]` are the new counts and the rest what is remembered; keeps
/// the `ARGV[2]` highest. A list that is not read any more ends by itself after a day.
const ADD: &str = "\
local first, last = 3, 2 + ARGV[1]
if redis.call('EXISTS', KEYS[1]) == 0 then
  first, last = 3 + ARGV[1], #ARGV
end
for i = first, last, 2 do
  redis.call('ZINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
redis.call('PEXPIRE', KEYS[1], 86400000)
return 1";

/// The keys most asked for; then all counts fade to `ARGV[2]` of what they were, so that yesterday's favourites leave the list.
const READ: &str = "\
local hot = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1)
redis.call('ZUNIONSTORE', KEYS[1], 1, KEYS[1], 'WEIGHTS', ARGV[2])
redis.call('PEXPIRE', KEYS[1], 86400000)
return hot";

/// So many times the wanted keys are kept in the list.
const ROOM: usize = 4;

/// The list of one job.
#[derive(Debug)]
pub(crate) struct Hot<'a> {
    pub(crate) job: &'a str,
    pub(crate) list: &'a HotList,
    pub(crate) template: &'a Template,
}

impl Hot<'_> {
    fn key(&self) -> String {
        format!("lmp:hot:{{{}}}", self.job)
    }

    /// Adds what was counted here since the last time.
    pub(crate) async fn publish(&self, link: &Link) -> Result<(), UpstreamError> {
        let (new, memory) = self.list.take();
        if new.is_empty() && memory.is_empty() {
            return Ok(());
        }
        let mut connection = link.get()?;
        let script = Script::new(ADD);
        let mut call = script.key(self.key());
        call.arg(2 * new.len()).arg(ROOM * self.list.keys_max());
        for (key, count) in new.iter().chain(&memory) {
            call.arg(*count).arg(&**key);
        }
        call.invoke_async::<()>(&mut connection)
            .await
            .map_err(|error| link.failed(error))
    }

    /// SQL for the values in the keys that are asked for most. The counts fade to `fade` of what they were.
    pub(crate) async fn literals(
        &self,
        link: &Link,
        fade: f32,
    ) -> Result<Vec<String>, UpstreamError> {
        let mut connection = link.get()?;
        let keys: Vec<Vec<u8>> = Script::new(READ)
            .key(self.key())
            .arg(self.list.keys_max())
            .arg(fade)
            .invoke_async(&mut connection)
            .await
            .map_err(|error| link.failed(error))?;
        let values = keys.iter().filter_map(|key| self.template.value_in(key));
        Ok(values.map(text_literal).collect())
    }
}
