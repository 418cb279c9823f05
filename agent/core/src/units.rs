//! Quantities that carry their unit: `"250ms"`, `"64MiB"`, `"20%"`. Bare numbers are refused, because
//! `timeout = 30` means seconds to one reader and milliseconds to the next. Pure; no IO.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// Why a quantity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number without its unit.
    #[error("{given:?} has no unit; write for example {example:?}")]
    NoUnit {
        /// What was written.
        given: String,
        /// A value of the right form.
        example: &'static str,
    },
    /// Not a quantity at all.
    #[error("{given:?} is not {what}; write for example {example:?}")]
    Malformed {
        /// What was written.
        given: String,
        /// What was expected, with its article.
        what: &'static str,
        /// A value of the right form.
        example: &'static str,
    },
}

/// A length of time with millisecond resolution, written `"250ms"`, `"5s"`, `"1h 30m"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

impl Millis {
    /// `count` milliseconds.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// `count` seconds.
    #[must_use]
    pub const fn from_secs(count: u64) -> Self {
        Self(count * 1000)
    }

    /// The standard library's form of it.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl FromStr for Millis {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if text != "0" && has_no_letter(text) {
            return Err(UnitError::NoUnit {
                given: text.to_owned(),
                example: "250ms",
            });
        }
        humantime::parse_duration(text)
            .ok()
            .and_then(|duration| u64::try_from(duration.as_millis()).ok())
            .map(Self)
            .ok_or_else(|| UnitError::Malformed {
                given: text.to_owned(),
                what: "a duration",
                example: "250ms",
            })
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.get()).fmt(f)
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of bytes, written `"64MiB"`, `"512B"`, `"1GB"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// `count` bytes.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// `count` MiB.
    #[must_use]
    pub const fn from_mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// As a plain count.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// As a length in memory; a value no memory can hold becomes the largest one that fits.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if has_no_letter(text) {
            return Err(UnitError::NoUnit {
                given: text.to_owned(),
                example: "64MiB",
            });
        }
        text.parse::<bytesize::ByteSize>()
            .map(|size| Self(size.as_u64()))
            .map_err(|_| UnitError::Malformed {
                given: text.to_owned(),
                what: "a size",
                example: "64MiB",
            })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // exact, so that what is printed can be read back as the same number
        const UNITS: [(u64, &str); 4] = [
            (1 << 40, "TiB"),
            (1 << 30, "GiB"),
            (1 << 20, "MiB"),
            (1 << 10, "KiB"),
        ];
        match UNITS
            .iter()
            .find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size))
        {
            Some((size, name)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A share of 100, written `"20%"`.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// `value` percent; clamped to 0..=100.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self(value.clamp(0.0, 100.0))
    }

    /// As a fraction of one.
    #[must_use]
    pub const fn fraction(self) -> f64 {
        self.0 / 100.0
    }

    /// So much of `count`, rounded down.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "never negative nor above `count`; counts beyond 2^52 lose their last digits"
    )]
    pub const fn of(self, count: usize) -> usize {
        (count as f64 * self.0 / 100.0) as usize
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let Some(number) = text.strip_suffix('%') else {
            return Err(UnitError::NoUnit {
                given: text.to_owned(),
                example: "20%",
            });
        };
        match number.trim().parse::<f64>() {
            Ok(value) if (0.0..=100.0).contains(&value) => Ok(Self(value)),
            _ => Err(UnitError::Malformed {
                given: text.to_owned(),
                what: "a percentage from 0% to 100%",
                example: "20%",
            }),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Debug for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn has_no_letter(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_alphabetic())
}

/// Reads a quantity from a string and gives bare numbers an answer of their own.
struct Text<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = UnitError>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity with its unit, in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Text(std::marker::PhantomData))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serde_as_text!(Millis, Bytes, Percent);

#[cfg(test)]
mod tests;
