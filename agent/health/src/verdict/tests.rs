//! The policy table, row by row, and what the rows leave open.

use lamplighter_core::health::HealthBoard;

use super::*;
use crate::web::Failure;

/// A situation; the defaults are those of a healthy instance that has served before.
struct Case {
    phase: Phase,
    past: Past,
    web: Standing,
    board: HealthBoard,
    stall: Option<Duration>,
    shared_outage_ago: Option<Duration>,
    /// How long the board's conditions have stood.
    later: Duration,
    policy: Policy,
}

fn serving() -> Case {
    Case {
        phase: Phase::Ready,
        past: Past::Served,
        web: Standing::Passing,
        board: HealthBoard::new(),
        stall: None,
        shared_outage_ago: None,
        later: Duration::ZERO,
        policy: Policy::default(),
    }
}

fn failing(failure: Failure) -> Standing {
    Standing::Failing {
        since: Instant::now(),
        failure,
    }
}

impl Case {
    fn verdicts(&self) -> Verdicts {
        let now = Instant::now() + self.later;
        let inputs = Inputs {
            phase: self.phase,
            board: &self.board.snapshot(),
            web: &self.web,
            past: self.past,
            stall: self.stall.map(|silence| Stall {
                runtime: "data",
                silence,
            }),
            shared_outage: match self.shared_outage_ago {
                Some(ago) => now.checked_sub(ago),
                None => is_shared_outage(&self.board.snapshot()).then_some(now),
            },
            now,
        };
        decide(&inputs, &self.policy)
    }

    /// `"200 healthy"` and the like, with the reason for people after it.
    fn outcome(&self) -> (String, String) {
        let verdicts = self.verdicts();
        let (status, reason) = match verdicts.traffic {
            Traffic::Serve => (200, String::new()),
            Traffic::Shed(reason) => (503, reason),
        };
        (format!("{status} {}", verdicts.azure.label()), reason)
    }

    fn shows(&self) -> String {
        self.outcome().0
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn first_start_after_boot_has_no_state_until_it_serves() {
    let mut case = Case {
        phase: Phase::Starting,
        past: Past::Fresh,
        web: Standing::Unknown(None),
        ..serving()
    };
    let (sync, warm) = (
        case.board.gate("sync:site"),
        case.board.gate("warm:products"),
    );
    assert_eq!(
        case.outcome(),
        (
            "503 none".to_owned(),
            "waiting for sync:site, warm:products".to_owned()
        )
    );
    case.phase = Phase::Ready;
    assert_eq!(case.shows(), "503 none");
    sync.open();
    warm.open();
    assert_eq!(
        case.outcome(),
        ("503 none".to_owned(), "web: not checked yet".to_owned())
    );
    // a web server that never comes up must not let a rolling upgrade go on, and is no reason for a repair either
    case.web = failing(Failure::Status(500));
    case.later = 60 * MINUTE;
    assert_eq!(case.shows(), "503 none");
    case.web = Standing::Passing;
    assert_eq!(case.shows(), "200 healthy");
}

#[test]
fn restart_on_a_running_machine_is_healthy_from_the_first_answer() {
    let mut case = Case {
        phase: Phase::Starting,
        web: Standing::Unknown(None),
        ..serving()
    };
    let _gate = case.board.gate("sync:site");
    assert_eq!(case.shows(), "503 healthy");
    case.phase = Phase::Ready;
    assert_eq!(
        case.outcome(),
        ("503 healthy".to_owned(), "web: not checked yet".to_owned())
    );
    case.web = Standing::Unknown(Some(Failure::Status(502)));
    assert_eq!(
        case.outcome(),
        ("503 healthy".to_owned(), "web: answers 502".to_owned())
    );
    // the first sync was done before the restart: the files are there
    case.web = Standing::Passing;
    assert_eq!(case.shows(), "200 healthy");
}

#[test]
fn a_configuration_that_cannot_work_never_gets_a_state() {
    let case = Case {
        phase: Phase::Starting,
        past: Past::Fresh,
        later: 60 * MINUTE,
        ..serving()
    };
    assert_eq!(
        case.outcome(),
        ("503 none".to_owned(), "starting".to_owned())
    );
}

#[test]
fn a_failing_web_server_costs_traffic_at_once_and_the_machine_after_a_long_bound() {
    let mut case = Case {
        web: failing(Failure::Refused("connection refused".to_owned())),
        ..serving()
    };
    assert_eq!(
        case.outcome(),
        (
            "503 healthy".to_owned(),
            "web: connection refused".to_owned()
        )
    );
    case.later = 5 * MINUTE - SECOND;
    assert_eq!(case.shows(), "503 healthy");
    case.later = 5 * MINUTE + SECOND;
    assert_eq!(case.shows(), "503 unhealthy");
    assert_eq!(
        case.verdicts().azure,
        Azure::Unhealthy("web: connection refused".to_owned())
    );
}

#[test]
fn what_every_instance_may_have_costs_nothing_however_long_it_lasts() {
    for component in ["mysql", "mysql:replica-1", "redis", "sync:site"] {
        for later in [Duration::ZERO, 60 * MINUTE] {
            let case = Case { later, ..serving() };
            case.board
                .writer(component)
                .down(Reach::Shared, "connection refused");
            let verdicts = case.verdicts();
            assert_eq!(verdicts.traffic, Traffic::Serve, "{component}");
            assert_eq!(verdicts.azure, Azure::Healthy, "{component}");
            assert_eq!(verdicts.degraded, [component.into()]);
        }
    }
}

#[test]
fn it_costs_nothing_at_the_first_start_either() {
    let case = Case {
        past: Past::Fresh,
        ..serving()
    };
    case.board
        .writer("mysql")
        .down(Reach::Shared, "connection refused");
    assert_eq!(case.shows(), "200 healthy");
}

#[test]
fn a_fault_proved_local_costs_traffic_and_later_the_machine() {
    let mut case = serving();
    let writer = case.board.writer("sync");
    writer.down(Reach::Local, "disk full");
    assert_eq!(case.shows(), "200 healthy", "not yet");
    case.later = 6 * SECOND;
    assert_eq!(
        case.outcome(),
        ("503 healthy".to_owned(), "sync: disk full".to_owned())
    );
    case.later = 6 * MINUTE;
    assert_eq!(case.shows(), "503 unhealthy");
    writer.degraded(Reach::Local, "disk nearly full");
    assert_eq!(case.shows(), "200 healthy");
}

#[test]
fn draining_costs_traffic_at_once_and_never_the_machine() {
    for phase in [
        Phase::Shedding,
        Phase::Draining,
        Phase::Stopping,
        Phase::Stopped,
    ] {
        let mut case = Case { phase, ..serving() };
        let draining = ("503 healthy".to_owned(), phase.label().to_owned());
        assert_eq!(case.outcome(), draining);
        // and whatever breaks on the way out is nobody's business
        case.later = 60 * MINUTE;
        case.web = failing(Failure::Status(500));
        case.board.writer("sync").down(Reach::Local, "disk full");
        assert_eq!(case.outcome(), draining);
    }
}

#[test]
fn leaving_before_it_ever_served_does_not_claim_health() {
    let case = Case {
        phase: Phase::Draining,
        past: Past::Fresh,
        ..serving()
    };
    assert_eq!(case.shows(), "503 none");
}

#[test]
fn a_stalled_agent_sheds_and_has_no_state_only_when_the_watchdog_has_failed_too() {
    let mut case = Case {
        stall: Some(6 * SECOND),
        ..serving()
    };
    assert_eq!(
        case.outcome(),
        (
            "503 healthy".to_owned(),
            "the data runtime has stood still for 6 s".to_owned()
        )
    );
    case.stall = Some(MINUTE);
    assert_eq!(case.shows(), "503 none");
    // not even then while it leaves
    case.phase = Phase::Draining;
    assert_eq!(case.shows(), "503 healthy");
}

#[test]
fn a_shared_outage_excuses_a_web_server_that_is_there() {
    let hanging = Failure::Slow(SECOND);
    for (failure, shows) in [
        (hanging.clone(), "200 healthy"),
        (Failure::Status(500), "200 healthy"),
        (Failure::Body, "200 healthy"),
        (Failure::Garbled(String::new()), "200 healthy"),
        (Failure::Refused(String::new()), "503 healthy"),
    ] {
        let case = Case {
            web: failing(failure.clone()),
            ..serving()
        };
        let mysql = case.board.writer("mysql");
        mysql.down(Reach::Shared, "connection refused");
        assert_eq!(case.shows(), shows, "{failure:?}");
        mysql.degraded(Reach::Shared, "slow");
        assert_eq!(case.shows(), "503 healthy", "a slow server is no outage");
    }
    let mut case = Case {
        web: failing(hanging),
        shared_outage_ago: Some(14 * SECOND),
        later: 60 * MINUTE,
        ..serving()
    };
    assert_eq!(case.shows(), "200 healthy", "requests still run out");
    case.shared_outage_ago = Some(16 * SECOND);
    assert_eq!(
        case.shows(),
        "503 healthy",
        "the long bound counts from the end of the outage"
    );
    case.shared_outage_ago = Some(6 * MINUTE);
    assert_eq!(case.shows(), "503 unhealthy");
    case.shared_outage_ago = Some(SECOND);
    case.policy.shared_outage_excuses_web = false;
    assert_eq!(case.shows(), "503 unhealthy");
}

#[test]
fn an_instance_that_never_served_is_not_excused() {
    let case = Case {
        past: Past::Fresh,
        web: failing(Failure::Status(500)),
        ..serving()
    };
    case.board.writer("mysql").down(Reach::Shared, "refused");
    assert_eq!(case.shows(), "503 none");
}

#[test]
fn the_web_line_of_the_board_is_not_counted_twice() {
    let case = Case {
        later: 60 * MINUTE,
        ..serving()
    };
    case.board.writer(WEB).down(Reach::Local, "answers 500");
    assert_eq!(case.shows(), "200 healthy");
}

#[test]
fn no_web_check_is_no_obstacle() {
    let case = Case {
        past: Past::Fresh,
        web: Standing::Off,
        ..serving()
    };
    assert_eq!(case.shows(), "200 healthy");
}

#[test]
fn the_rows_tell_what_costs_traffic_from_what_does_not() {
    let case = Case {
        web: failing(Failure::Status(500)),
        later: 7 * SECOND,
        ..serving()
    };
    case.board.gate("sync:site").open();
    case.board.writer("mysql").down(Reach::Shared, "refused");
    case.board.writer("redis");
    case.board.writer("sync").down(Reach::Local, "disk full");
    let rows = case.verdicts().rows;
    let lines: Vec<_> = rows
        .iter()
        .map(|row| format!("{} {}: {}", row.mark.sign(), row.name, row.text))
        .collect();
    assert_eq!(
        lines,
        [
            "[+] phase: ready",
            "[+] runtimes: turning",
            "[+] gate sync:site: done",
            "[!] mysql: down (shared) for 7 s: refused",
            "[+] redis: ok",
            "[-] sync: down (local) for 7 s: disk full",
            "[!] web: answers 500 (excused: a shared server is down)",
        ]
    );
}

/// Every row's mark agrees with the verdict: traffic is shed exactly when some row says so.
#[test]
fn rows_and_verdict_agree() {
    let standings = [
        Standing::Off,
        Standing::Unknown(None),
        Standing::Passing,
        failing(Failure::Status(500)),
    ];
    let reports = [
        None,
        Some((Condition::Down, Reach::Local)),
        Some((Condition::Down, Reach::Shared)),
        Some((Condition::Degraded, Reach::Local)),
    ];
    for phase in Phase::ALL {
        for past in [Past::Fresh, Past::Served] {
            for web in &standings {
                for report in reports {
                    for (later, stall, gate) in [
                        (Duration::ZERO, None, true),
                        (MINUTE, None, false),
                        (60 * MINUTE, Some(MINUTE), true),
                    ] {
                        let case = Case {
                            phase,
                            past,
                            web: web.clone(),
                            later,
                            stall,
                            ..serving()
                        };
                        match report {
                            Some((Condition::Down, reach)) => {
                                case.board.writer("x").down(reach, "y");
                            }
                            Some((_, reach)) => case.board.writer("x").degraded(reach, "y"),
                            None => {}
                        }
                        let door = case.board.gate("g");
                        if gate {
                            door.open();
                        }
                        let verdicts = case.verdicts();
                        let failed = verdicts.rows.iter().any(|row| row.mark == Mark::Fail);
                        assert_eq!(
                            verdicts.traffic != Traffic::Serve,
                            failed,
                            "{phase:?} {past:?} {web:?} {report:?} {later:?}: {verdicts:?}"
                        );
                    }
                }
            }
        }
    }
}
