//! The answer of the scheduled events endpoint. Pure. What cannot be understood is left out, event by event: one that is odd must
//! not hide the others.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::imds::one_line;

/// The most events and the most machines of an event that are read; a placement group has at most 100 machines.
const LIST_MAX: usize = 1000;

/// What will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Freeze,
    Reboot,
    Redeploy,
    Terminate,
    Preempt,
    /// A type that is newer than this program: noted, never acted on.
    Other,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Freeze,
        Self::Reboot,
        Self::Redeploy,
        Self::Terminate,
        Self::Preempt,
        Self::Other,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Reboot => "reboot",
            Self::Redeploy => "redeploy",
            Self::Terminate => "terminate",
            Self::Preempt => "preempt",
            Self::Other => "other",
        }
    }

    fn of(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|kind| kind.label().eq_ignore_ascii_case(text))
            .unwrap_or(Self::Other)
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// The machines' names, in lower case.
    pub(crate) resources: BTreeSet<String>,
    /// It has begun, acknowledged or not.
    pub(crate) started: bool,
    /// When it begins by itself.
    pub(crate) not_before: Option<SystemTime>,
    /// A person asked for it.
    pub(crate) by_user: bool,
    /// How long it will take, if that is known.
    pub(crate) duration: Option<Duration>,
    pub(crate) description: String,
}

impl Event {
    /// Whether it is about the machine called `name`.
    pub(crate) fn names(&self, name: &str) -> bool {
        !name.is_empty() && self.resources.contains(&name.to_ascii_lowercase())
    }

    /// Whether it is about no other machine: only then an acknowledgement takes nobody else away.
    pub(crate) fn is_alone(&self) -> bool {
        self.resources.len() == 1
    }
}

/// The events that are announced now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) events: Vec<Event>,
}

impl Document {
    /// Reads an answer.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let Some(Value::Array(events)) = value.get("Events") else {
            return Err("it has no list of \"Events\"".to_owned());
        };
        let read: Vec<Event> = events.iter().take(LIST_MAX).filter_map(event).collect();
        if read.len() < events.len() {
            tracing::debug!(
                events = events.len(),
                understood = read.len(),
                "odd scheduled events"
            );
        }
        Ok(Self { events: read })
    }
}

fn event(value: &Value) -> Option<Event> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let id = text("EventId");
    // it goes back into a request
    let plain = |it: u8| it.is_ascii_graphic() && it != b'"' && it != b'\\';
    if id.is_empty() || id.len() > 128 || !id.bytes().all(plain) {
        return None;
    }
    let Some(Value::Array(resources)) = value.get("Resources") else {
        return None;
    };
    let names = resources.iter().map(Value::as_str);
    let resources: Option<BTreeSet<String>> = names
        .take(LIST_MAX)
        .map(|name| Some(name?.to_ascii_lowercase()))
        .collect();
    let seconds = match value.get("DurationInSeconds") {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    Some(Event {
        id: id.to_owned(),
        kind: Kind::of(text("EventType")),
        // a list with something odd in it may name machines we do not see: it is never ours alone
        resources: resources?,
        started: text("EventStatus").eq_ignore_ascii_case("started"),
        not_before: moment(text("NotBefore")),
        by_user: text("EventSource").eq_ignore_ascii_case("user"),
        duration: seconds
            .and_then(|it| u64::try_from(it).ok())
            .map(|it| Duration::from_secs(it.min(86_400))),
        description: one_line(text("Description"), 200),
    })
}

/// `Mon, 19 Sep 2016 18:29:47 GMT` (RFC 1123, what Azure sends) or `2016-09-19T18:29:47Z` (what its mock server sends).
fn moment(text: &str) -> Option<SystemTime> {
    if text.is_empty() {
        return None;
    }
    httpdate::parse_http_date(text).ok().or_else(|| iso(text))
}

/// The ISO 8601 form, by turning it into the other one; offsets other than UTC are not read.
fn iso(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once(['T', ' '])?;
    let time = time.trim_end_matches('Z').trim_end_matches("+00:00");
    let time = time.split('.').next()?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
    // asctime's form has no day of the week that could be wrong: any is taken
    let day: u8 = day.parse().ok()?;
    httpdate::parse_http_date(&format!("Mon {month} {day:2} {time} {year}")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = r#"{"DocumentIncarnation":2,"Events":[{"EventId":"C7061BAC-AFDC-4513-B24B-AA5F13A16123",
        "EventStatus":"Scheduled","EventType":"Freeze","ResourceType":"VirtualMachine","Resources":["WestNO_0","WestNO_1"],
        "NotBefore":"Mon, 11 Apr 2022 22:26:58 GMT","Description":"Virtual machine is being paused","EventSource":"Platform",
        "DurationInSeconds":5}]}"#;

    fn one(changed: &str, to: &str) -> Option<Event> {
        let body = SAMPLE.replace(changed, to);
        let mut document = Document::read(body.as_bytes()).unwrap();
        document.events.pop()
    }

    #[test]
    fn the_documented_sample() {
        let event = one("", "").unwrap();
        assert_eq!(event.kind, Kind::Freeze);
        assert!(event.names("westno_0") && !event.names("WestNO_2") && !event.names(""));
        assert!(!event.is_alone() && !event.started && !event.by_user);
        assert_eq!(event.duration, Some(Duration::from_secs(5)));
        let at = event
            .not_before
            .unwrap()
            .duration_since(UNIX_EPOCH)
            .unwrap();
        assert_eq!(at.as_secs(), 1_649_716_018);
        let iso = one("Mon, 11 Apr 2022 22:26:58 GMT", "2022-04-11T22:26:58.123Z").unwrap();
        assert_eq!(iso.not_before, event.not_before);
    }

    #[test]
    fn what_is_odd_is_left_out_or_unknown() {
        assert_eq!(one("\"Freeze\"", "\"Nova\"").unwrap().kind, Kind::Other);
        assert_eq!(one("\"Freeze\"", "7").unwrap().kind, Kind::Other);
        assert_eq!(
            one("Mon, 11 Apr 2022 22:26:58 GMT", "soon")
                .unwrap()
                .not_before,
            None
        );
        assert_eq!(one(":5}", ":-1}").unwrap().duration, None);
        assert_eq!(
            one(":5}", ":\"7\"}").unwrap().duration,
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            one("\"C7061BAC-AFDC-4513-B24B-AA5F13A16123\"", "\"a\\\"b\""),
            None
        );
        assert_eq!(one("\"C7061BAC-AFDC-4513-B24B-AA5F13A16123\"", "[]"), None);
        // a list with something that is no name in it is never ours alone
        assert_eq!(one("\"WestNO_1\"", "null"), None);
        assert_eq!(one("[\"WestNO_0\",\"WestNO_1\"]", "\"WestNO_0\""), None);
        for junk in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"Events":{}}"#,
            r#"{"Events":[}"#,
        ] {
            assert!(Document::read(junk.as_bytes()).is_err(), "{junk}");
        }
        let odd = r#"{"Events":[1,null,"x",{},[[]]]}"#;
        assert_eq!(Document::read(odd.as_bytes()), Ok(Document::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _outcome = Document::read(&bytes);
        }

        #[test]
        fn a_damaged_list_never_makes_an_event_ours_alone_that_is_not(at in 0_usize..600, byte: u8) {
            let mut body = SAMPLE.as_bytes().to_vec();
            let len = body.len();
            body[at % len] = byte;
            if let Ok(document) = Document::read(&body) {
                for event in document.events {
                    prop_assert!(!(event.names("WestNO_0") && event.is_alone()));
                }
            }
        }
    }
}
