//! Restarts under load, crashes and hangs: what visitors, PHP and probers notice of them.

use crate::machine::{Machine, NEW, OLD, SOON, deb};
use crate::support::poll;

/// The numbers of "pages N failed N" and "probes N failed N".
fn counts(report: &str, what: &str) -> (u32, u32) {
    let line = report
        .lines()
        .find(|line| line.starts_with(what))
        .unwrap_or_else(|| panic!("no {what} in {report}"));
    let numbers: Vec<u32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    (numbers[0], numbers[1])
}

#[test]
fn restarts_and_upgrades_under_load_lose_nothing() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.serve();
    let report = machine.run(&format!(
        "/opt/box/load.sh 12 >/tmp/report & load=$!
         sleep 1.5
         systemctl restart lamplighter
         sleep 1
         dpkg -i /var/tmp/{} >/tmp/upgrade 2>&1
         sleep 1
         dpkg -i /var/tmp/{} >/tmp/downgrade 2>&1
         sleep 1
         systemctl restart lamplighter
         wait $load
         cat /tmp/report",
        deb(NEW),
        deb(OLD)
    ));
    eprintln!("{report}");
    let (pages, failed) = counts(&report, "pages");
    assert!(pages > 50, "{report}");
    assert_eq!(failed, 0, "{report}\n{}", machine.journal());
    let (probes, failed) = counts(&report, "probes");
    assert!(probes > 40, "{report}");
    assert_eq!(failed, 0, "{report}\n{}", machine.journal());
    let journal = machine.run("journalctl -u lamplighter -b --no-pager -o cat");
    assert_eq!(
        journal.matches("the next agent takes the sockets").count(),
        // and one when the configuration came
        4,
        "{journal}"
    );
    let shed = machine.run("journalctl -u lamplighter -b --no-pager | grep -c shedding || true");
    assert_eq!(shed, "0", "a restart sheds nothing");
}

#[test]
fn a_crash_or_a_hang_is_over_within_its_bound_and_leaves_no_dead_socket() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.run(
        "mkdir -p /etc/systemd/system/lamplighter.service.d
         printf '[Service]\\nWatchdogSec=2s\\n' >/etc/systemd/system/lamplighter.service.d/watchdog.conf
         systemctl daemon-reload; systemctl restart lamplighter",
    );
    machine.serve();

    let restarts = || -> u32 { machine.unit("NRestarts").parse().expect("a number") };
    let before = restarts();
    // killed: whoever asks in the moment before it is back waits, and is answered
    machine.run("systemctl kill --kill-whom=main -s KILL lamplighter; curl -fsS -m 20 http://127.0.0.1/lamp.php; curl -fsS -m 20 http://127.0.0.1:8470/livez");
    assert_eq!(restarts(), before + 1);

    // hung: stopped by the watchdog and started again; the sockets keep who comes
    let pid = machine.unit("MainPID");
    machine.run("kill -STOP $(systemctl show -P MainPID lamplighter)");
    machine.run("curl -fsS -m 30 http://127.0.0.1/lamp.php");
    assert_ne!(machine.unit("MainPID"), pid);
    assert_eq!(restarts(), before + 2);
    let journal = machine.run("journalctl -u lamplighter -b --no-pager -o cat");
    assert!(journal.contains("Watchdog timeout"), "{journal}");

    machine.wait_lb(200);
    machine.run("systemctl stop lamplighter");
    assert_eq!(
        machine.run("ls /run/lamplighter/*.sock 2>/dev/null || true"),
        ""
    );
}

#[test]
fn a_runtime_that_stands_still_is_started_again_and_one_worker_less_serves_on() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.run(
        "mkdir -p /etc/systemd/system/lamplighter.service.d
         printf '[Service]\\nWatchdogSec=3s\\n' >/etc/systemd/system/lamplighter.service.d/watchdog.conf
         systemctl daemon-reload
         printf '[platform]\\nstall_after = \"1s\"\\n' >>/opt/box/shop.toml",
    );
    machine.serve();
    let stall = |number: &str| {
        machine.run(&format!(
            "rm -f /tmp/stall; systemd-run -q --collect --property=StandardOutput=file:/tmp/stall --property=StandardError=file:/tmp/stall \
               /opt/box/stall.py $(systemctl show -P MainPID lamplighter) lamplighter {number}
             while ! test -s /tmp/stall; do :; done; cat /tmp/stall"
        ))
    };
    let page = || {
        machine
            .attempt("curl -fsS -m 30 http://127.0.0.1/lamp.php")
            .0
    };

    // all of its workers: the probe's thread and the one that feeds the watchdog still run, and the watchdog is not fed
    let restarts = machine.unit("NRestarts");
    let stopped: u32 = stall("all").parse().expect("a number");
    assert!(stopped > 1, "{stopped}");
    poll::until(SOON, "a restart by the watchdog", || {
        let now = machine.unit("NRestarts");
        (now != restarts).then_some(()).ok_or(now)
    });
    poll::until(SOON, "a page", page);
    let journal = machine.run("journalctl -u lamplighter -b --no-pager -o cat");
    assert!(journal.contains("a runtime stands still"), "{journal}");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    machine.wait_lb(200);

    // one of them: either the others do its work or the watchdog ends it. Nobody is turned away for long
    assert_eq!(stall("1"), "1");
    for _ in 0..5 {
        poll::until(SOON, "a page", page);
    }
    machine.wait_lb(200);
}

#[test]
fn while_it_leaves_apache_ends_the_connections_it_keeps() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.serve();
    let kept = "curl -sI -o /dev/null -w '%{num_connects}' http://127.0.0.1/healthz.php --next -sI -o /dev/null \
                -w ' %{num_connects}' http://127.0.0.1/healthz.php";
    assert_eq!(machine.run(kept), "1 0", "kept alive while it serves");
    machine.run("lamplighter drain");
    poll::until(SOON, "connections that end", || {
        let connects = machine.run(kept);
        (connects == "1 1").then_some(()).ok_or(connects)
    });
    machine.run("lamplighter undrain");
    poll::until(SOON, "connections that stay", || {
        let connects = machine.run(kept);
        (connects == "1 0").then_some(()).ok_or(connects)
    });
}
