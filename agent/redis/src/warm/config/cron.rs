//! Times of day in the form of crontab(5), in UTC. Pure; no IO.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Five fields as in crontab(5): minute, hour, day of month, month, day of week (0 and 7 are Sunday). In UTC, because instances of a
/// fleet must agree on it and a day without its 02:30 would leave a run out.
#[derive(Clone)]
pub struct CronTimes {
    text: String,
    cron: Cron,
}

/// Text that names no times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be five fields as in crontab(5), such as \"15 4 * * *\" for 04:15 UTC: {0}")]
pub struct CronError(String);

impl CronTimes {
    /// The last time at or before `millis` (since 1970), if there was one.
    pub(crate) fn last(&self, millis: u64) -> Option<u64> {
        let found = self.cron.find_previous_occurrence(&moment(millis)?, true);
        read(&found.ok()?)
    }

    /// The next time after `millis` (since 1970), if there will be one.
    pub(crate) fn next(&self, millis: u64) -> Option<u64> {
        let found = self.cron.find_next_occurrence(&moment(millis)?, false);
        read(&found.ok()?)
    }
}

fn moment(millis: u64) -> Option<Zoned> {
    let stamp = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
    Some(stamp.to_zoned(TimeZone::UTC))
}

fn read(time: &Zoned) -> Option<u64> {
    u64::try_from(time.timestamp().as_millisecond()).ok()
}

impl FromStr for CronTimes {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(text)
            .map_err(|error| CronError(error.to_string()))?;
        Ok(Self {
            text: text.to_owned(),
            cron,
        })
    }
}

impl PartialEq for CronTimes {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for CronTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for CronTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for CronTimes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for CronTimes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:20 UTC, a Tuesday.
    const NOW: u64 = 1_700_000_000_000;
    const MINUTE: u64 = 60_000;
    const DAY: u64 = 24 * 60 * MINUTE;

    #[test]
    fn times_are_those_of_crontab_in_utc() {
        // minutes since midnight of that day, which was 22 h 13 min 20 s ago
        let midnight = NOW - 22 * 60 * MINUTE - 13 * MINUTE - 20_000;
        for (text, last, next) in [
            (
                "15 4 * * *",
                midnight + 255 * MINUTE,
                midnight + DAY + 255 * MINUTE,
            ),
            (
                "*/30 * * * *",
                midnight + 22 * 60 * MINUTE,
                midnight + 22 * 60 * MINUTE + 30 * MINUTE,
            ),
            // 0 and 7 are Sunday, two days before and five after
            ("0 0 * * 0", midnight - 2 * DAY, midnight + 5 * DAY),
            ("0 0 * * 7", midnight - 2 * DAY, midnight + 5 * DAY),
        ] {
            let cron: CronTimes = text.parse().unwrap();
            assert_eq!(
                (cron.last(NOW), cron.next(NOW)),
                (Some(last), Some(next)),
                "{text}"
            );
            assert_eq!(cron.last(last), Some(last), "{text}: at its very time");
        }
    }

    #[test]
    fn what_names_no_times_is_refused() {
        for text in ["", "* * * *", "61 * * * *", "* * * * * *", "soon"] {
            assert!(text.parse::<CronTimes>().is_err(), "{text:?}");
        }
    }
}
