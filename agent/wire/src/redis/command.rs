//! What a command may do and which keys it touches. One table, looked up by name without regard to case.

mod table;

use std::ops::Range;

/// How a command is treated by an endpoint that shares few connections among many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Goes over a shared connection.
    Plain,
    /// May take long: goes over a shared connection of its own kind, so that others need not wait behind it.
    Slow,
    /// Waits for data: needs a connection to itself for as long.
    Blocking,
    /// XREAD and XREADGROUP: blocking with the word BLOCK, plain without.
    Streams,
    /// About the connection, which is the client's with the endpoint: answered there.
    Local,
    /// MULTI, EXEC, DISCARD.
    Transaction,
    /// WATCH, UNWATCH: needs a connection to itself until the transaction is over.
    Watch,
    /// Turns a connection into a stream of messages.
    Subscribe,
    /// Touches the server or everybody's data: refused unless allowed.
    Denied,
    /// Makes no sense on a shared connection.
    Never,
}

/// Whether a command changes data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only reads: doing it twice does no harm.
    Read,
    /// It may write, or nobody knows (scripts).
    Write,
    /// It is about the connection or the server.
    Neither,
}

/// Where the keys are among the arguments, the command's name being argument 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Nowhere.
    None,
    /// Argument 1.
    One,
    /// Arguments 1 and 2.
    Two,
    /// From 1 to the last.
    All,
    /// From 1 to the last but one.
    AllButLast,
    /// 1, 3, 5 ...
    Pairs,
    /// From 2 to the last.
    FromSecond,
    /// Argument 2, behind a subcommand.
    Third,
    /// Argument 1, and the one behind a word STORE or STOREDIST.
    FirstAndStore,
    /// Argument `at` says how many follow it.
    Counted {
        /// Where the number stands.
        at: usize,
    },
    /// Argument 1 and, counted by argument 2, those behind it.
    StoreCounted,
    /// The first half of what follows the word STREAMS.
    Streams,
}

/// A command of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Its name in capitals.
    pub name: &'static str,
    /// How many arguments, the name included; negative: at least so many.
    pub arity: i8,
    /// How it is treated.
    pub class: Class,
    /// Whether it changes data.
    pub access: Access,
    /// Where its keys are.
    pub keys: Keys,
}

/// The longest name of a command.
const NAME_MAX: usize = 24;

/// SCRIPT DEBUG turns its connection into one of a debugger; with SYNC the server waits for it.
static SCRIPT_DEBUG: Command = Command {
    name: "SCRIPT DEBUG",
    arity: -2,
    class: Class::Never,
    access: Access::Write,
    keys: Keys::None,
};

/// FUNCTION DELETE, FLUSH and RESTORE take every client's functions away.
static FUNCTION_REMOVES: Command = Command {
    name: "FUNCTION",
    arity: -2,
    class: Class::Denied,
    access: Access::Write,
    keys: Keys::None,
};

/// What `command` is with `first` as its first argument: some subcommands are of another class than the rest.
#[must_use]
pub fn called(command: &'static Command, first: Option<&[u8]>) -> &'static Command {
    let is = |word: &[u8]| first.is_some_and(|first| first.eq_ignore_ascii_case(word));
    match command.name {
        "SCRIPT" if is(b"DEBUG") => &SCRIPT_DEBUG,
        "FUNCTION" if is(b"DELETE") || is(b"FLUSH") || is(b"RESTORE") => &FUNCTION_REMOVES,
        _ => command,
    }
}

/// Whether some subcommands of `command` are denied unless the configuration allows it.
#[must_use]
pub fn is_partly_denied(command: &Command) -> bool {
    command.name == FUNCTION_REMOVES.name
}

/// Finds a command by its name in any case.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    let mut upper = [0_u8; NAME_MAX];
    let letters = upper.get_mut(..name.len())?;
    letters.copy_from_slice(name);
    letters.make_ascii_uppercase();
    let place = KEYS.binary_search(&key(&upper)).ok()?;
    let found = table::COMMANDS.get(place)?;
    // what is filled up with zeros may have had some
    (found.name.len() == name.len()).then_some(found)
}

/// The table's names as [`key`] makes them.
#[expect(
    clippy::indexing_slicing,
    reason = "a constant: an index out of bounds does not compile"
)]
static KEYS: [Key; table::COMMANDS.len()] = {
    let mut keys = [[0; NAME_MAX / 8]; table::COMMANDS.len()];
    let mut at = 0;
    while at < keys.len() {
        let name = table::COMMANDS[at].name.as_bytes();
        let mut padded = [0; NAME_MAX];
        let mut letter = 0;
        while letter < name.len() {
            padded[letter] = name[letter];
            letter += 1;
        }
        keys[at] = key(&padded);
        at += 1;
    }
    keys
};

/// Three words that sort as the bytes do: a few comparisons of numbers instead of strings for each command that passes.
type Key = [u64; NAME_MAX / 8];

#[expect(clippy::indexing_slicing, reason = "as many words as the array has")]
const fn key(name: &[u8; NAME_MAX]) -> Key {
    let (words, _) = name.as_chunks::<8>();
    [
        u64::from_be_bytes(words[0]),
        u64::from_be_bytes(words[1]),
        u64::from_be_bytes(words[2]),
    ]
}

/// Whether a name is that of a module's command (`JSON.GET`, `FT.SEARCH`), whose first argument is taken for its key.
#[must_use]
pub fn is_of_module(name: &[u8]) -> bool {
    name.len() <= NAME_MAX
        && matches!(memchr::memchr(b'.', name), Some(dot) if dot > 0 && dot + 1 < name.len())
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl Command {
    /// Whether `count` arguments, the name included, are as many as it takes.
    #[must_use]
    pub fn takes(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 {
            count >= wanted
        } else {
            count == wanted
        }
    }

    /// The numbers of the arguments that are keys. Arguments that make no sense have none; the server will say so.
    #[must_use]
    pub fn keys(&self, buffer: &[u8], arguments: &[Range<usize>]) -> KeyPlaces {
        let count = arguments.len();
        let argument = |at: usize| {
            arguments
                .get(at)
                .and_then(|range| buffer.get(range.clone()))
        };
        let step = |from: usize, to: usize, step: usize| KeyPlaces {
            first: None,
            from,
            to: to.min(count),
            step,
        };
        match self.keys {
            Keys::None => step(0, 0, 1),
            Keys::One => step(1, 2, 1),
            Keys::Two => step(1, 3, 1),
            Keys::All => step(1, count, 1),
            Keys::AllButLast => step(1, count.saturating_sub(1), 1),
            Keys::Pairs => step(1, count, 2),
            Keys::FromSecond => step(2, count, 1),
            Keys::Third => step(2, 3, 1),
            Keys::FirstAndStore => {
                let is_store = |at: &usize| {
                    argument(*at).is_some_and(|word| {
                        word.eq_ignore_ascii_case(b"STORE")
                            || word.eq_ignore_ascii_case(b"STOREDIST")
                    })
                };
                let store = (2..count.saturating_sub(1)).rev().find(is_store);
                KeyPlaces {
                    first: store.map(|at| at + 1),
                    ..step(1, 2, 1)
                }
            }
            Keys::Counted { at } => match argument(at).and_then(parse) {
                Some(keys) => step(at + 1, (at + 1).saturating_add(keys), 1),
                None => step(0, 0, 1),
            },
            Keys::StoreCounted => KeyPlaces {
                first: (count > 1).then_some(1),
                ..match argument(2).and_then(parse) {
                    Some(keys) => step(3, 3_usize.saturating_add(keys), 1),
                    None => step(0, 0, 1),
                }
            },
            Keys::Streams => {
                let is_word =
                    |at: &usize| argument(*at).is_some_and(|w| w.eq_ignore_ascii_case(b"STREAMS"));
                match (1..count).find(is_word) {
                    Some(word) => step(word + 1, word + 1 + (count - word - 1) / 2, 1),
                    None => step(0, 0, 1),
                }
            }
        }
    }
}

/// The numbers of the arguments that are keys; an iterator over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPlaces {
    /// One that is out of line, given out first.
    first: Option<usize>,
    from: usize,
    to: usize,
    step: usize,
}

impl Iterator for KeyPlaces {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.from >= self.to {
            return None;
        }
        let at = self.from;
        self.from += self.step;
        Some(at)
    }
}

fn parse(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
