//! The .deb: installed, configured, upgraded, downgraded, removed, purged.

use crate::machine::{Machine, NEW, OLD, SOON, deb};
use crate::support::poll;

/// What a purge must not leave: every path of ours, in the package or made by it.
const OURS: &str = "ls -d /etc/lamplighter /var/lib/lamplighter /run/lamplighter /usr/bin/lamplighter /usr/lib/lamplighter \
     /usr/share/lamplighter /lib/systemd/system/lamplighter.* /etc/systemd/system/lamplighter* \
     /etc/systemd/system/*.wants/lamplighter.* /etc/apache2/*/lamplighter.conf /etc/php/*/*/lamplighter.ini 2>/dev/null || true";

/// What a box lacks may fail one of the distribution's own units at its boot: only what fails later is ours.
const FAILED_UNITS: &str = "systemctl list-units --failed --plain --no-legend";

#[test]
fn installed_it_waits_and_starts_serving_when_the_file_comes() {
    let machine = Machine::boot();
    machine.install(OLD);
    assert_eq!(machine.unit("ActiveState"), "active");
    assert_eq!(machine.unit("UnitFileState"), "enabled");
    let said = machine.wait_lb(503);
    assert_eq!(said, "waiting for configuration");
    assert_eq!(machine.probe("/health/azure").0, 503, "no state yet");
    let status = machine.unit("StatusText");
    assert!(status.contains("waiting for configuration"), "{status}");
    assert_eq!(machine.unit("NRestarts"), "0", "a state, not a loop");

    let user = machine
        .run("id -nu $(systemctl show -P MainPID lamplighter | xargs -I{} stat -c %u /proc/{})");
    assert_eq!(user, "lamplighter");
    assert_eq!(
        machine.run("stat -c '%U:%G %a' /etc/lamplighter"),
        "root:lamplighter 750"
    );
    let score = machine.run("systemd-analyze security --no-pager lamplighter.service | tail -1");
    let number: f64 = score
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .expect("a score");
    assert!(number <= 1.5, "{score}");
    assert_eq!(machine.run("systemd-analyze verify --man=no lamplighter.service lamplighter.socket 2>&1 | grep -i lamplighter || true"), "");
    machine.run("zcat /usr/share/man/man8/lamplighter.8.gz | grep -q drain && test -f /usr/share/man/man8/lamplighter-check.8.gz");
    machine.run("bash -n /usr/share/bash-completion/completions/lamplighter");
    assert_eq!(machine.run("dpkg --audit"), "");
    assert_eq!(machine.run("dpkg -V lamplighter"), "", "as it was packed");

    machine.run("printf '[health]\\n' >/etc/lamplighter/lamplighter.toml");
    machine.wait_lb(200);
    assert_eq!(machine.unit("StatusText"), "ready");
}

#[test]
fn upgrade_downgrade_remove_and_purge_leave_what_they_should() {
    let machine = Machine::boot();
    let failed_before = machine.run(FAILED_UNITS);
    machine.install(OLD);
    machine.run(
        "printf '# mine\\n[health]\\n' >/etc/lamplighter/lamplighter.toml
         mkdir -p /etc/systemd/system/lamplighter.service.d
         printf '[Service]\\nEnvironment=A=b\\n' >/etc/systemd/system/lamplighter.service.d/local.conf
         systemctl daemon-reload",
    );
    machine.wait_lb(200);
    machine.run("runuser -u lamplighter -- touch /var/lib/lamplighter/state");
    for version in [NEW, OLD, NEW] {
        let before = machine.unit("MainPID");
        machine.install(version);
        assert_eq!(
            machine.run("dpkg-query -W -f '${Version}' lamplighter"),
            version
        );
        machine.wait_lb(200);
        assert_ne!(
            machine.unit("MainPID"),
            before,
            "the new program runs after {version}"
        );
        machine.run(
            "grep -q mine /etc/lamplighter/lamplighter.toml && test -f /var/lib/lamplighter/state",
        );
    }
    // the same again changes nothing
    machine.install(NEW);
    machine.wait_lb(200);

    // stopped and disabled by a person stays so
    machine.run("systemctl disable --now lamplighter.service");
    machine.install(OLD);
    assert_eq!(machine.unit("ActiveState"), "inactive");
    assert_eq!(machine.unit("UnitFileState"), "disabled");
    assert_eq!(
        machine.run("ls /run/lamplighter/*.sock 2>/dev/null || true"),
        "",
        "no stale socket after a stop"
    );
    machine.run("systemctl enable --now lamplighter.service");
    machine.wait_lb(200);

    machine.run("systemctl start apache2 php8.2-fpm; /usr/share/lamplighter/enable-web");
    machine.run("curl -fsS http://127.0.0.1/healthz.php | grep -qx ok");
    machine.run("apt-get -qq -y remove lamplighter >/dev/null 2>&1");
    assert_eq!(machine.unit("LoadState"), "masked");
    machine.run("! ss -ltn | grep -E ':(8470|8471|9470) '");
    machine.run("test -f /etc/lamplighter/lamplighter.toml && test -f /var/lib/lamplighter/state");
    machine.run("apache2ctl -t 2>/dev/null && systemctl is-active apache2 php8.2-fpm");

    // back again with everything as it was
    machine.run(&format!(
        "apt-get -qq -y install /var/tmp/{} >/dev/null 2>&1",
        deb(NEW)
    ));
    machine.wait_lb(200);

    machine.run("apt-get -qq -y purge lamplighter >/dev/null 2>&1");
    assert_eq!(machine.run(OURS), "");
    assert_eq!(machine.unit("LoadState"), "not-found");
    assert_eq!(machine.run("dpkg --audit"), "");
    poll::until(SOON, "a system that is done with it", || {
        let state = machine.attempt("systemctl is-system-running").1;
        let settled = ["running", "degraded"].contains(&state.trim());
        settled.then_some(()).ok_or(state)
    });
    assert_eq!(machine.run(FAILED_UNITS), failed_before);
}
