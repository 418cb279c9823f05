//! What a person sees.

use lamplighter_health::status::{Component, GateStatus};
use lamplighter_health::{BuildInfo, Status};

use super::*;

#[test]
fn the_verdicts_come_first_and_reasons_are_shown() {
    let component = |name: &str, condition: &str, reason: &str| Component {
        name: name.to_owned(),
        condition: condition.to_owned(),
        reach: "shared".to_owned(),
        reason: reason.to_owned(),
        seconds: 61,
    };
    let status = Status {
        build: BuildInfo {
            version: "1.2.3".to_owned(),
            git: "abc".to_owned(),
            rustc: "1".to_owned(),
        },
        pid: 7,
        uptime_seconds: 90_061,
        phase: "ready".to_owned(),
        leaving: None,
        serving: false,
        serving_reason: "web: refused".to_owned(),
        azure: "healthy".to_owned(),
        azure_reason: String::new(),
        components: vec![
            component("mysql", "down", "no server"),
            component("web", "ok", ""),
        ],
        gates: vec![
            GateStatus {
                name: "sync:site".to_owned(),
                open: false,
            },
            GateStatus {
                name: "warm:a".to_owned(),
                open: true,
            },
        ],
        web: "failing".to_owned(),
        balancer_asked_seconds_ago: Some(1.25),
        azure_asked_seconds_ago: None,
    };
    assert_eq!(
        render(&status),
        "lamplighter 1.2.3 (git abc), pid 7, up 1day 1h 1m 1s\n\
         phase            ready\n\
         load balancer    503 (web: refused); last asked 1.2 s ago\n\
         health extension healthy; last asked never\n\
         local web server failing\n\
         still to be done sync:site\n  \
         mysql  down      for 1m 1s, shared (no server)\n  \
         web    ok        for 1m 1s"
    );
}
