//! A TOML text whose every key and value knows its place, read into a type with *all* its errors and not only the first. Pure.
//!
//! Reading goes round: deserialise, note the error, take the offending key out (or, where a key is missing, put a stand-in in
//! its place), again. What is known about the types comes from serde's own messages, so there is no second list of keys to
//! keep.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Error};

/// Something wrong at a place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Where, as byte offsets.
    pub(super) span: Range<usize>,
    /// What is wrong.
    pub(super) message: String,
    /// What to write instead, if known.
    pub(super) help: Option<String>,
    /// The key the value belongs to; empty at the top.
    pub(super) key: String,
}

/// What reading gave.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    /// The value made of everything that was right. Present even beside mistakes, so that further rules can be checked.
    pub(super) value: Option<T>,
    /// The tables at the top in which a stand-in replaces a missing key: their values mean nothing.
    pub(super) incomplete: BTreeSet<String>,
    /// Everything wrong.
    pub(super) mistakes: Vec<Mistake>,
}

/// A parsed text.
#[derive(Debug)]
pub(super) struct Document<'i> {
    root: Spanned<DeTable<'i>>,
}

/// One step from a table or array to what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Mistakes that are noted at most; whoever has more has other worries.
const MISTAKES_MAX: usize = 100;

/// The place of a stand-in, which is in no text.
const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

impl<'i> Document<'i> {
    /// Parses `text`.
    ///
    /// # Errors
    /// With every place that is not TOML.
    pub(super) fn parse(text: &'i str) -> Result<Self, Vec<Mistake>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { root });
        }
        Err(errors
            .into_iter()
            .take(MISTAKES_MAX)
            .map(|error| Mistake {
                span: error.span().unwrap_or_default(),
                message: error.message().to_owned(),
                help: None,
                key: String::new(),
            })
            .collect())
    }

    /// Reads the whole text as a `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Outcome<T> {
        let mut root = self.root.clone();
        let mut mistakes = Vec::new();
        let mut incomplete = BTreeSet::new();
        let mut stand_in: Option<StandIn> = None;
        let value = loop {
            let error = match T::deserialize(toml::Deserializer::from(root.clone())) {
                Ok(value) => break Some(value),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| root.span());
            if span == NOWHERE {
                let Some(missing) = stand_in.take() else {
                    break None;
                };
                stand_in = missing.try_next(&mut root);
                continue;
            }
            let path = deepest(root.get_ref(), &span);
            let mistake = Mistake::new(&error, span, &path);
            // a required key that was taken out for its wrong value is not missing as well
            let repeated = missing_field(error.message()).is_some_and(|field| {
                let full = dotted(&with_key(&path, field));
                mistakes.iter().any(|known: &Mistake| known.key == full)
            });
            if mistakes.len() >= MISTAKES_MAX || mistakes.contains(&mistake) {
                break None;
            }
            if !repeated {
                mistakes.push(mistake);
            }
            if let Some(field) = missing_field(error.message()) {
                if let Some(Step::Key(table)) = path.first() {
                    incomplete.insert(table.clone());
                }
                stand_in = StandIn::new(with_key(&path, field)).try_next(&mut root);
            } else if path.is_empty() {
                break None;
            } else {
                remove(root.get_mut(), &path);
            }
        };
        mistakes.sort_by_key(|mistake| mistake.span.start);
        Outcome {
            value,
            incomplete,
            mistakes,
        }
    }

    /// The place of the key with this dotted path (`"warm.0.ttl"`), or of the nearest table above it.
    pub(super) fn locate(&self, path: &str) -> Range<usize> {
        let mut segments = path.split('.').filter(|segment| !segment.is_empty());
        let Some((key, mut value)) = segments
            .next()
            .and_then(|first| self.root.get_ref().get_key_value(first))
        else {
            return 0..0;
        };
        let mut span = key.span();
        for segment in segments {
            let next = match value.get_ref() {
                DeValue::Table(table) => table
                    .get_key_value(segment)
                    .map(|(key, value)| (key.span(), value)),
                DeValue::Array(items) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|value| (value.span(), value)),
                _ => None,
            };
            let Some(next) = next else { break };
            (span, value) = next;
        }
        span
    }
}

impl Mistake {
    fn new(error: &Error, span: Range<usize>, path: &[Step]) -> Self {
        let text = error.message();
        let (message, help) = if let Some(field) = missing_field(text) {
            let table = match path {
                [] => "the file".to_owned(),
                [above @ .., Step::Index(_)] => format!("[[{}]]", dotted(above)),
                _ => format!("[{}]", dotted(path)),
            };
            (format!("{table} lacks the key `{field}`"), None)
        } else if let Some(field) = between(text, "unknown field `", "`") {
            (
                format!("unknown key `{field}`"),
                Some(advise(field, &expected(text), "key")),
            )
        } else if let Some(variant) = between(text, "unknown variant `", "`") {
            (
                format!("{variant:?} is not a value of this key"),
                Some(advise(variant, &expected(text), "value")),
            )
        } else {
            (text.trim_end().to_owned(), None)
        };
        Self {
            span,
            message,
            help,
            key: dotted(path),
        }
    }
}

/// A value in place of a key that is missing, so that the keys after it are looked at too.
#[derive(Debug)]
struct StandIn {
    path: Vec<Step>,
    tried: usize,
}

impl StandIn {
    const fn new(path: Vec<Step>) -> Self {
        Self { path, tried: 0 }
    }

    /// Puts the next candidate in place; once none is left, takes the whole table out instead.
    fn try_next(mut self, root: &mut Spanned<DeTable<'_>>) -> Option<Self> {
        const CANDIDATES: [&str; 10] = [
            "'x'",
            "'1s'",
            "'1B'",
            "'127.0.0.1:1'",
            "'https://h.example/x'",
            "'http://127.0.0.1/x'",
            "'rediss://h.example:1'",
            "1",
            "['127.0.0.1:1']",
            "{}",
        ];
        let (Step::Key(key), above) = self.path.split_last()? else {
            return None;
        };
        match CANDIDATES.get(self.tried) {
            Some(candidate) => {
                let value = DeValue::parse(candidate).ok()?.into_inner();
                let table = table_at(root.get_mut(), above)?;
                table.insert(
                    Spanned::new(NOWHERE, key.clone().into()),
                    Spanned::new(NOWHERE, anywhere(value)),
                );
                self.tried += 1;
                Some(self)
            }
            None if above.is_empty() => {
                root.get_mut().clear();
                None
            }
            None => {
                remove(root.get_mut(), above);
                None
            }
        }
    }
}

/// The candidate with all its parts moved to [`NOWHERE`].
fn anywhere(value: DeValue<'_>) -> DeValue<'_> {
    match value {
        DeValue::Array(items) => DeValue::Array(
            items
                .into_iter()
                .map(|item| Spanned::new(NOWHERE, item.into_inner()))
                .collect(),
        ),
        other => other,
    }
}

/// The path of the smallest key or value that holds `span`; empty when only the whole text does. A table with a header of its
/// own has the header as its place, so what is in it lies outside: everything has to be looked at.
fn deepest(table: &DeTable<'_>, span: &Range<usize>) -> Vec<Step> {
    let mut search = Search {
        span,
        path: Vec::new(),
        best: None,
    };
    search.table(table);
    search.best.map(|(_, path)| path).unwrap_or_default()
}

struct Search<'s> {
    span: &'s Range<usize>,
    path: Vec<Step>,
    best: Option<(usize, Vec<Step>)>,
}

impl Search<'_> {
    fn table(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            self.path.push(Step::Key(key.get_ref().to_string()));
            self.offer(&key.span());
            self.value(value);
            self.path.pop();
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>) {
        self.offer(&value.span());
        match value.get_ref() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.value(item);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn offer(&mut self, place: &Range<usize>) {
        let smaller = self
            .best
            .as_ref()
            // an array of tables has the place of its first table: of two equals the deeper
            .is_none_or(|(length, _)| place.len() <= *length);
        if *place != NOWHERE && holds(place, self.span) && smaller {
            self.best = Some((place.len(), self.path.clone()));
        }
    }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn remove(table: &mut DeTable<'_>, path: &[Step]) {
    let Some((last, above)) = path.split_last() else {
        return;
    };
    match last {
        Step::Key(key) => {
            if let Some(table) = table_at(table, above) {
                table.remove(key.as_str());
            }
        }
        Step::Index(index) => {
            if let Some(DeValue::Array(items)) = value_at(table, above) {
                let kept = std::mem::replace(items, DeArray::new())
                    .into_iter()
                    .enumerate();
                *items = kept
                    .filter(|(at, _)| at != index)
                    .map(|(_, item)| item)
                    .collect();
            }
        }
    }
}

fn table_at<'t, 'i>(table: &'t mut DeTable<'i>, path: &[Step]) -> Option<&'t mut DeTable<'i>> {
    if path.is_empty() {
        return Some(table);
    }
    match value_at(table, path)? {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn value_at<'t, 'i>(table: &'t mut DeTable<'i>, path: &[Step]) -> Option<&'t mut DeValue<'i>> {
    let (Step::Key(first), rest) = path.split_first()? else {
        return None;
    };
    let mut value = table.get_mut(first.as_str())?.get_mut();
    for step in rest {
        value = match (step, value) {
            (Step::Key(key), DeValue::Table(table)) => table.get_mut(key.as_str())?.get_mut(),
            (Step::Index(index), DeValue::Array(items)) => items.get_mut(*index)?.get_mut(),
            _ => return None,
        };
    }
    Some(value)
}

fn with_key(path: &[Step], key: &str) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(Step::Key(key.to_owned()));
    path
}

fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        if !text.is_empty() {
            text.push('.');
        }
        match step {
            Step::Key(key) => text.push_str(key),
            Step::Index(index) => text.push_str(&index.to_string()),
        }
    }
    text
}

fn missing_field(message: &str) -> Option<&str> {
    between(message, "missing field `", "`")
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

/// The names serde would have taken: "expected one of `a`, `b`", "expected `a` or `b`", "expected `a`".
fn expected(message: &str) -> Vec<&str> {
    let Some((_, list)) = message.split_once(", expected ") else {
        return Vec::new();
    };
    list.split('`').skip(1).step_by(2).collect()
}

/// "did you mean", or the list of what there is.
fn advise(given: &str, known: &[&str], what: &str) -> String {
    match nearest(given, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => format!("there is no {what} here"),
        None => format!("known {what}s here: {}", known.join(", ")),
    }
}

/// The name somebody who wrote `given` most likely meant.
fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = (given.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
        .or_else(|| {
            // `password` for `password_file`, `max_connections` for `connections`
            let part = |name: &&&str| {
                given.len() >= 4
                    && (name.starts_with(given) || (name.len() >= 4 && given.ends_with(**name)))
            };
            known.iter().find(part).copied()
        })
}

#[cfg(test)]
mod tests;
