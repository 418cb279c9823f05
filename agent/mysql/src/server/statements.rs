//! The statements that one server connection has prepared: few, the least recently used closed first. Bookkeeping only; the
//! connection sends what is gathered here.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::command::Command;

use super::command;
use crate::prepared::Template;

/// What a client wants to execute, and as whose.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) template: Arc<Template>,
    /// Not shared: a cursor, or pieces of parameters, belong to this statement of the client that keeps the connection.
    pub(crate) owner: Option<u32>,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    id: u32,
    /// The parameters' types it was last executed with.
    types: Bytes,
    /// The types it is executed with, whoever executes it; NULLs take the place of any.
    kinds: Bytes,
}

/// The statements of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// Most recently used last.
    entries: Vec<Entry>,
    /// COM_STMT_CLOSE packets that go in front of the next command; they have no reply.
    closing: BytesMut,
}

impl Statements {
    /// The server's id of a statement, if it is prepared here for parameters of these types. A server takes the types of the first
    /// execution for those of all, and converts: what one client sends must not change what another one gets.
    pub(super) fn find(&mut self, wanted: &Wanted, types: &[u8]) -> Option<u32> {
        let is_own = wanted.owner.is_some() || wanted.template.is_private;
        let fits = |entry: &Entry| is_own || common(&entry.kinds, types).is_some();
        let index = self
            .entries
            .iter()
            .rposition(|entry| entry.is(wanted) && fits(entry))?;
        let last = self.entries.len() - 1;
        if index != last {
            self.entries
                .get_mut(index..)
                .unwrap_or_default()
                .rotate_left(1);
        }
        let entry = self.entries.last_mut()?;
        if let Some(Some(kinds)) = common(&entry.kinds, types) {
            entry.kinds = kinds;
        }
        Some(entry.id)
    }

    /// Whether a statement is prepared here.
    pub(super) fn has(&self, template: &Arc<Template>) -> bool {
        self.entries.iter().any(|entry| {
            entry.wanted.owner.is_none() && Arc::ptr_eq(&entry.wanted.template, template)
        })
    }

    /// One more; what goes beyond `max` is closed.
    pub(super) fn add(&mut self, wanted: Wanted, id: u32, max: usize) {
        while self.entries.len() >= max.max(1) && self.drop_one() {}
        self.entries.push(Entry {
            wanted,
            id,
            types: Bytes::new(),
            kinds: Bytes::new(),
        });
    }

    /// The types that the statement was last executed with, to be read or replaced.
    pub(super) fn types(&mut self, wanted: &Wanted) -> Option<&mut Bytes> {
        self.entries
            .iter_mut()
            .rfind(|entry| entry.is(wanted))
            .map(|entry| &mut entry.types)
    }

    /// Closes a statement.
    pub(super) fn close(&mut self, wanted: &Wanted) {
        // the one used last
        if let Some(index) = self.entries.iter().rposition(|entry| entry.is(wanted)) {
            let entry = self.entries.remove(index);
            self.send_close(entry.id);
        }
    }

    /// Closes all but those that belong to somebody.
    pub(super) fn close_shared(&mut self) {
        while self.drop_one() {}
    }

    /// The server has forgotten them all (COM_RESET_CONNECTION).
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes what has to be sent in front of the next command.
    pub(super) fn take_closing(&mut self) -> Option<BytesMut> {
        (!self.closing.is_empty()).then(|| std::mem::take(&mut self.closing))
    }

    /// The one that nobody can ask for any more, else the one not used for longest.
    fn drop_one(&mut self) -> bool {
        let shared = |entry: &Entry| entry.wanted.owner.is_none();
        let unknown =
            |entry: &Entry| shared(entry) && Arc::strong_count(&entry.wanted.template) == 1;
        let index = self
            .entries
            .iter()
            .position(unknown)
            .or_else(|| self.entries.iter().position(shared));
        let Some(index) = index else { return false };
        let entry = self.entries.remove(index);
        self.send_close(entry.id);
        true
    }

    fn send_close(&mut self, id: u32) {
        self.closing
            .extend_from_slice(&command(Command::StmtClose, &id.to_le_bytes()));
    }
}

/// MYSQL_TYPE_NULL.
const NULL: u8 = 6;

/// Whether parameters of these types are of one kind with those before, and what is known of them then if that is more.
fn common(kinds: &Bytes, types: &[u8]) -> Option<Option<Bytes>> {
    if kinds == types || types.is_empty() {
        return Some(None);
    }
    if kinds.is_empty() {
        return Some(Some(Bytes::copy_from_slice(types)));
    }
    let is_null = |kind: &[u8]| kind.first() == Some(&NULL);
    let mut more = Vec::new();
    for (at, (have, new)) in kinds.chunks(2).zip(types.chunks(2)).enumerate() {
        if have == new || is_null(new) {
            continue;
        }
        if !is_null(have) {
            return None;
        }
        more.push((at, new));
    }
    if kinds.len() != types.len() {
        return None;
    }
    if more.is_empty() {
        return Some(None);
    }
    let mut all = kinds.to_vec();
    for (at, new) in more {
        if let Some(place) = all.get_mut(at * 2..at * 2 + new.len()) {
            place.copy_from_slice(new);
        }
    }
    Some(Some(all.into()))
}

impl Entry {
    fn is(&self, wanted: &Wanted) -> bool {
        self.wanted.owner == wanted.owner && Arc::ptr_eq(&self.wanted.template, &wanted.template)
    }
}
