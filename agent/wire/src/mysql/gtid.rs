//! Sets of global transaction identifiers as MySQL writes them ("GTID Format and Storage"): which transactions a server has, and
//! whether some are among them. In memory only; what would take too much of it is refused.

use std::collections::BTreeMap;

/// Most bytes of text that are read; a server with a longer history is asked, not remembered.
pub const TEXT_MAX: usize = 64 * 1024;

/// The longest tag of a source (MySQL 8.3).
const TAG_MAX: usize = 32;

/// Who committed a transaction first: a server's UUID, and the tag of the transactions, if they have one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    uuid: [u8; 16],
    tag: Option<Box<str>>,
}

/// Transactions `first..=last` of a source; numbers begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first.
    pub first: u64,
    /// The last, not smaller.
    pub last: u64,
}

/// A text that is no GTID set, or a longer one than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GTID set of at most {TEXT_MAX} bytes")]
pub struct NotASet;

/// A GTID set: the intervals of each source, in order, neither touching nor overlapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet(BTreeMap<Source, Vec<Interval>>);

impl GtidSet {
    /// Reads `uuid:1-5:7, uuid:tag:3`. Blanks and line breaks may stand anywhere between its parts.
    ///
    /// # Errors
    /// [`NotASet`].
    pub fn parse(text: &[u8]) -> Result<Self, NotASet> {
        if text.len() > TEXT_MAX {
            return Err(NotASet);
        }
        let text = std::str::from_utf8(text).map_err(|_| NotASet)?;
        let mut set = Self::default();
        for part in text.split(',').map(str::trim) {
            if !part.is_empty() {
                set.read_part(part)?;
            }
        }
        Ok(set)
    }

    /// `uuid[:tag]:interval[:interval]...[:tag:interval...]`: a tag holds for the intervals behind it.
    fn read_part(&mut self, part: &str) -> Result<(), NotASet> {
        let mut words = part.split(':').map(str::trim);
        let uuid = words.next().and_then(uuid).ok_or(NotASet)?;
        let mut source = Source { uuid, tag: None };
        for word in words {
            if word.starts_with(|first: char| first.is_ascii_digit()) {
                self.insert(&source, interval(word).ok_or(NotASet)?);
            } else {
                source.tag = Some(tag(word).ok_or(NotASet)?);
            }
        }
        Ok(())
    }

    /// Adds the transactions of `interval`.
    pub fn insert(&mut self, source: &Source, interval: Interval) {
        if !self.0.contains_key(source) {
            self.0.insert(source.clone(), vec![interval]);
            return;
        }
        let Some(known) = self.0.get_mut(source) else {
            return;
        };
        let begin = known.partition_point(|it| it.last.saturating_add(1) < interval.first);
        let end = known.partition_point(|it| it.first <= interval.last.saturating_add(1));
        let touched = known.get(begin..end).unwrap_or_default();
        let first = touched.first().map_or(interval.first, |it| it.first);
        let last = touched.last().map_or(interval.last, |it| it.last);
        let joined = Interval {
            first: first.min(interval.first),
            last: last.max(interval.last),
        };
        known.splice(begin..end, [joined]);
    }

    /// Whether all transactions of `interval` are among them.
    #[must_use]
    pub fn contains(&self, source: &Source, interval: Interval) -> bool {
        self.0.get(source).is_some_and(|known| {
            let at = known.partition_point(|it| it.last < interval.first);
            known
                .get(at)
                .is_some_and(|it| it.first <= interval.first && interval.last <= it.last)
        })
    }

    /// Its sources with their intervals.
    pub fn iter(&self) -> impl Iterator<Item = (&Source, &[Interval])> {
        self.0
            .iter()
            .map(|(source, intervals)| (source, intervals.as_slice()))
    }

    /// How many intervals it has: what it takes in memory.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As a server reads it: `uuid:1-5:7-7,uuid:tag:3-3`.
impl std::fmt::Display for GtidSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (source, intervals)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{source}")?;
            for interval in intervals {
                write!(f, ":{interval}")?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, byte) in self.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    for place in &mut uuid {
        let mut digit = || char::from(digits.next()?).to_digit(16);
        *place = u8::try_from(digit()? * 16 + digit()?).ok()?;
    }
    digits.next().is_none().then_some(uuid)
}

/// A letter or underscore, then letters, digits and underscores; kept in small letters, as the server compares them.
fn tag(word: &str) -> Option<Box<str>> {
    let begins = word.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    let goes_on = word
        .bytes()
        .all(|it| it.is_ascii_alphanumeric() || it == b'_');
    let fits = begins && goes_on && word.len() <= TAG_MAX;
    fits.then(|| word.to_ascii_lowercase().into_boxed_str())
}

fn interval(word: &str) -> Option<Interval> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let first: u64 = first.trim().parse().ok()?;
    let last: u64 = last.trim().parse().ok()?;
    (first >= 1 && first <= last).then_some(Interval { first, last })
}

#[cfg(test)]
mod tests;
