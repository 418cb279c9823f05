//! Waiting: bounded, on a condition, with the last thing seen in the message. The only place besides [`super::faults`] that
//! sleeps.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// What a probe may return: `bool`, `Option<T>` or `Result<T, E>`; the error text is what a failed wait prints last.
pub(crate) trait Seen {
    /// What the wait returns once the condition holds.
    type Value;
    /// The value, or what was seen instead of it.
    fn seen(self) -> Result<Self::Value, String>;
}

impl Seen for bool {
    type Value = ();
    fn seen(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".into()) }
    }
}

impl<T> Seen for Option<T> {
    type Value = T;
    fn seen(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".into())
    }
}

impl<T, E: Display> Seen for Result<T, E> {
    type Value = T;
    fn seen(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Asks `probe` again and again until it says yes, and returns its value. Panics after `deadline` with `what` and the last
/// answer. `what` completes the sentence "waited for ...".
#[track_caller]
pub(crate) fn until<S: Seen>(deadline: Duration, what: &str, probe: impl FnMut() -> S) -> S::Value {
    match try_until(deadline, probe) {
        Ok(value) => value,
        Err(last) => panic!("waited {deadline:?} for {what}; last seen: {last}"),
    }
}

/// As [`until`], but hands the last answer back instead of panicking.
pub(crate) fn try_until<S: Seen>(
    deadline: Duration,
    mut probe: impl FnMut() -> S,
) -> Result<S::Value, String> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        match probe().seen() {
            Ok(value) => return Ok(value),
            Err(last) if Instant::now() >= end => return Err(last),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Checks that `holds` stays true for all of `span`: for promises that something does *not* happen.
#[track_caller]
pub(crate) fn throughout<S: Seen>(span: Duration, what: &str, mut holds: impl FnMut() -> S) {
    let start = Instant::now();
    while start.elapsed() < span {
        if let Err(seen) = holds().seen() {
            panic!(
                "{what} held for {:?} of {span:?}, then: {seen}",
                start.elapsed()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
