//! What the rules for a request's keys say: refusals, tombstones, and the leases of missing keys.

use std::sync::Arc;

use bytes::Bytes;
use lamplighter_wire::redis::command::{Access, Command as Known};
use lamplighter_wire::redis::keys::{beside, slot};
use lamplighter_wire::redis::write;

use super::{Flow, Session};
use crate::endpoint::lease::{self, Errand, Filler};
use crate::endpoint::rules::{COPY, Rule, TOMBSTONE};

/// What is known of a request before it is sent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) slot: Option<u16>,
    /// Its keys lie in several slots.
    pub(super) crosses: bool,
    /// The rule for its first key.
    pub(super) rule: Option<Arc<Rule>>,
    /// Sent before it: tombstones.
    pub(super) ahead: Vec<Bytes>,
    /// Refused, with this reply.
    pub(super) refused: Option<Bytes>,
}

impl Session {
    /// Looks at the keys of the request at the front of the inbox.
    pub(super) fn look(&self, known: &Known, length: usize) -> Seen {
        let mut seen = Seen::default();
        let cluster = self.shared.router.is_cluster();
        let rules = &self.shared.rules;
        let heat = &self.shared.heat;
        if !cluster && rules.is_empty() && heat.is_idle() {
            return seen;
        }
        let frame = self.inbox.get(..length).unwrap_or_default();
        let arguments = self.scanner.arguments();
        for place in known.keys(frame, arguments) {
            let Some(key) = arguments
                .get(place)
                .and_then(|range| frame.get(range.clone()))
            else {
                continue;
            };
            if known.access == Access::Read && !self.internal {
                heat.note(key);
            }
            if cluster {
                let slot = slot(key);
                seen.crosses |= seen.slot.is_some_and(|first| first != slot);
                seen.slot.get_or_insert(slot);
            }
            if let Some(rule) = rules.find(key).filter(|_| !self.internal) {
                self.apply(rule, known, key, &mut seen);
                seen.rule.get_or_insert_with(|| Arc::clone(rule));
            }
        }
        seen
    }

    fn apply(&self, rule: &Arc<Rule>, known: &Known, key: &[u8], seen: &mut Seen) {
        if rule.denies(known.name) {
            seen.refused = Some(write::error(&format!(
                "ERR lamplighter: {} is refused for keys that begin with {:?}",
                known.name, rule.prefix
            )));
        }
        let longest = || {
            self.scanner
                .arguments()
                .iter()
                .skip(2)
                .map(|range| range.len())
                .max()
        };
        if let Some(max) = rule.value_max
            && known.access == Access::Write
            && longest().is_some_and(|size| size > max)
        {
            seen.refused = Some(write::error(&format!(
                "ERR lamplighter: the value is larger than the {max} bytes allowed for keys that begin with {:?}",
                rule.prefix
            )));
        }
        if let Some(holdoff) = rule.holdoff
            && known.access == Access::Write
            && !self.is_fill(known, key)
            && let Some(tombstone) = beside(TOMBSTONE, key)
        {
            let life = holdoff.as_millis().to_string();
            seen.ahead.push(write::request(&[
                b"SET".as_slice(),
                &tombstone,
                b"1",
                b"PX",
                life.as_bytes(),
            ]));
        }
    }

    /// Whether a write only fills the cache with what may be old: SET NX, or by the holder of the key's lease.
    fn is_fill(&self, known: &Known, key: &[u8]) -> bool {
        match known.name {
            "SETNX" => true,
            "SET" => {
                self.argument(3..)
                    .any(|word| word.eq_ignore_ascii_case(b"NX"))
                    || self.shared.leases.is_held_by(key, self.who.id)
            }
            "SETEX" | "PSETEX" => self.shared.leases.is_held_by(key, self.who.id),
            _ => false,
        }
    }

    pub(super) fn argument(
        &self,
        places: std::ops::RangeFrom<usize>,
    ) -> impl Iterator<Item = &[u8]> {
        self.scanner
            .arguments()
            .get(places)
            .unwrap_or_default()
            .iter()
            .filter_map(|range| self.inbox.get(range.clone()))
    }

    /// What a command of a leased prefix is to its key's lease, if anything.
    pub(super) fn filler(&self, rule: &Arc<Rule>, known: &Known) -> Option<Filler> {
        if rule.lease.is_none() && rule.holdoff.is_none() {
            return None;
        }
        let key = Bytes::copy_from_slice(self.argument(1..).next()?);
        let rule = Arc::clone(rule);
        match known.name {
            "GET" if rule.lease.is_some() => Some(Filler::Ask { key, rule }),
            "SET" | "SETEX" | "PSETEX" | "SETNX" => {
                let held = self.is_fill(known, &key);
                if rule.lease.is_none() && !held {
                    return None;
                }
                let copy = rule.stale.and_then(|stale| self.copy(known, &key, stale));
                Some(Filler::Fill {
                    key,
                    rule,
                    held,
                    copy,
                })
            }
            _ => None,
        }
    }

    /// The request that writes the copy which outlives the value.
    fn copy(&self, known: &Known, key: &[u8], stale: std::time::Duration) -> Option<Bytes> {
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
        let name = beside(COPY, key)?;
        let (value, life) = match known.name {
            "SETEX" => (
                self.argument(3..).next()?,
                number(self.argument(2..).next()?)?.checked_mul(1000)?,
            ),
            "PSETEX" => (
                self.argument(3..).next()?,
                number(self.argument(2..).next()?)?,
            ),
            _ => {
                let mut words = self.argument(3..);
                let mut life = None;
                while let Some(word) = words.next() {
                    if word.eq_ignore_ascii_case(b"EX") {
                        life = number(words.next()?)?.checked_mul(1000);
                    } else if word.eq_ignore_ascii_case(b"PX") {
                        life = number(words.next()?);
                    }
                }
                (self.argument(2..).next()?, life?)
            }
        };
        let life = life
            .checked_add(u64::try_from(stale.as_millis()).ok()?)?
            .to_string();
        Some(write::request(&[
            b"SET".as_slice(),
            &name,
            value,
            b"PX",
            life.as_bytes(),
        ]))
    }

    pub(super) fn lease(&mut self, filler: Filler, length: usize, seen: &Seen) -> Flow {
        // its own task asks and answers; what the client has asked before must have been answered
        if !self.lanes.is_empty() {
            return Flow::Settle;
        }
        let request = self.consume(length);
        self.alone = true;
        let errand = Errand {
            request,
            slot: seen.slot,
            ahead: seen.ahead.clone(),
            who: self.who.clone(),
            shared: Arc::clone(&self.shared),
            outbox: self.replies(),
            place: self.outbox.reserve(),
        };
        let work = Box::pin(lease::run(filler, errand));
        self.shared.tasks.spawn("lease", work);
        Flow::Next
    }
}
