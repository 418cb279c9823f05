//! Prepared statements as clients know them: ids of the endpoint's own, each standing for a text that any server connection
//! can prepare when it is needed. Pure tables, bounded; no IO.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lamplighter_wire::mysql::prepared::PrepareReply;
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{LexMode, Statement};

use crate::server::Bucket;
use crate::statistics::Key;

/// A statement's text and what a server said when it prepared it. Clients with the same session state share one.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) text: Bytes,
    pub(crate) statement: Statement,
    pub(crate) mode: LexMode,
    /// The session state in which the text was read: `sql_mode`, character set and schema change its meaning.
    pub(crate) bucket: Bucket,
    pub(crate) reply: PrepareReply,
    /// Nobody else executes it.
    pub(crate) is_private: bool,
    /// What its executions are counted under, once there was one.
    pub(crate) digest: OnceLock<Key>,
}

impl Template {
    fn size(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.reply.size()
    }
}

/// One client's statements.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    last_id: u32,
    by_id: HashMap<u32, ClientStatement>,
}

/// What a client may have prepared at once, as `max_prepared_stmt_count` is by default for a whole server.
const STATEMENTS_MAX: usize = 16_382;

#[derive(Debug)]
pub(crate) struct ClientStatement {
    pub(crate) template: Arc<Template>,
    /// What its cursor reads, if that is not the client's own text.
    pub(crate) answered: Option<Arc<Template>>,
    /// The parameters' types as last sent; later executions may leave them out.
    pub(crate) types: Bytes,
    /// What went wrong with a command that has no reply; the next execution tells it.
    pub(crate) deferred: Option<ErrPacket>,
}

impl Statements {
    /// The id for one more statement; `None` if the client has too many.
    pub(crate) fn add(&mut self, template: Arc<Template>) -> Option<u32> {
        if self.by_id.len() >= STATEMENTS_MAX {
            return None;
        }
        loop {
            // 0 and the highest are never given: MariaDB's clients use the latter for "the last one"
            self.last_id = self.last_id.wrapping_add(1);
            let id = self.last_id;
            if id != 0 && id != u32::MAX && !self.by_id.contains_key(&id) {
                let statement = ClientStatement {
                    template,
                    answered: None,
                    types: Bytes::new(),
                    deferred: None,
                };
                self.by_id.insert(id, statement);
                return Some(id);
            }
        }
    }

    pub(crate) fn get(&self, id: u32) -> Option<&ClientStatement> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut ClientStatement> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<ClientStatement> {
        let removed = self.by_id.remove(&id);
        if self.by_id.is_empty() {
            // an idle client holds no room
            self.by_id = HashMap::new();
        }
        removed
    }
}

/// Templates that servers have prepared before, so that a client's COM_STMT_PREPARE needs no server. Bounded in bytes and in
/// age: what a server said of a table's columns may not be true for ever.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_text: HashMap<Bytes, Vec<Known>>,
    /// The texts, oldest first.
    order: VecDeque<Bytes>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Known {
    template: Arc<Template>,
    since: Instant,
}

/// Bytes that all of them may take together.
const TEMPLATES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The largest one kept, in bytes.
const TEMPLATE_BYTES_MAX: usize = 128 * 1024;

/// After this a server is asked again.
const TEMPLATE_AGE_MAX: Duration = Duration::from_secs(60);

impl Templates {
    /// What a server said of this text in this session state, if that was not too long ago.
    pub(crate) fn get(&self, text: &[u8], bucket: &Bucket) -> Option<Arc<Template>> {
        let table = self.lock();
        let known = table
            .by_text
            .get(text)?
            .iter()
            .find(|known| known.template.bucket == *bucket)?;
        (known.since.elapsed() < TEMPLATE_AGE_MAX).then(|| Arc::clone(&known.template))
    }

    /// Keeps what a server said. If it said the same before, returns the template from then: server connections know it.
    pub(crate) fn put(&self, template: Template) -> Arc<Template> {
        let size = template.size();
        let mut table = self.lock();
        let same = table.by_text.get_mut(&template.text).and_then(|all| {
            all.iter_mut()
                .find(|known| known.template.bucket == template.bucket)
        });
        if let Some(known) = same
            && known.template.reply == template.reply
        {
            known.since = Instant::now();
            return Arc::clone(&known.template);
        }
        let template = Arc::new(template);
        if size > TEMPLATE_BYTES_MAX {
            return template;
        }
        table.insert(&template, size);
        template
    }

    /// A definition may have changed: servers are asked again.
    pub(crate) fn forget(&self) {
        *self.lock() = Table::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        // nothing under the lock can leave it half done
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, template: &Arc<Template>, size: usize) {
        let known = Known {
            template: Arc::clone(template),
            since: Instant::now(),
        };
        let all = self.by_text.entry(template.text.clone()).or_default();
        if all.is_empty() {
            self.order.push_back(template.text.clone());
        }
        let replaced = all
            .iter()
            .position(|known| known.template.bucket == template.bucket)
            .map(|index| all.swap_remove(index));
        all.push(known);
        self.bytes += size;
        self.bytes -= replaced.map_or(0, |known| known.template.size());
        while self.bytes > TEMPLATES_BYTES_MAX && self.drop_oldest() {}
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(text) = self.order.pop_front() else {
            return false;
        };
        let all = self.by_text.remove(&text).unwrap_or_default();
        self.bytes -= all.iter().map(|known| known.template.size()).sum::<usize>();
        true
    }
}

#[cfg(test)]
mod tests;
