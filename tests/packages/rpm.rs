//! The .rpm: installed, upgraded, downgraded and removed by rpm itself, in a booted machine. The machine is a Debian with rpm: files,
//! scripts, units and user are judged, the dependencies' names of Red Hat and Azure Linux are not.

use crate::machine::{Machine, NEW, OLD, package};

/// What an erase must not leave.
const OURS: &str = "ls -d /usr/bin/lamplighter /usr/lib/lamplighter /usr/share/lamplighter /usr/share/man/man8/lamplighter* \
     /usr/lib/systemd/system/lamplighter.* /run/lamplighter /etc/systemd/system/*.wants/lamplighter.* /etc/php/*/*/lamplighter.ini 2>/dev/null || true";

fn rpm(version: &str) -> String {
    format!("lamplighter-{version}-1.x86_64.rpm")
}

#[test]
fn installed_upgraded_downgraded_and_erased_by_rpm() {
    let machine = Machine::boot();
    for version in [OLD, NEW] {
        machine.put(&package(&rpm(version)), "/var/tmp");
    }
    let install = |options: &str, version: &str| {
        machine.run(&format!(
            "rpm {options} --force-debian --nodeps /var/tmp/{}",
            rpm(version)
        ))
    };
    install("-i", OLD);
    assert_eq!(machine.wait_lb(503), "waiting for configuration");
    assert_eq!(machine.unit("UnitFileState"), "enabled");
    assert_eq!(machine.unit("NRestarts"), "0");
    assert_eq!(
        machine.run("stat -c '%U:%G %a' /etc/lamplighter"),
        "root:lamplighter 750"
    );
    // owner and mode of that folder are given once by the package's script; everything else is as it was packed
    let differs = machine.run("rpm -V --nodeps lamplighter | grep -v ' /etc/lamplighter$' || true");
    assert_eq!(differs, "");
    machine.run("printf '[health]\\n' >/etc/lamplighter/lamplighter.toml");
    machine.wait_lb(200);

    for (options, version) in [("-U", NEW), ("-U --oldpackage", OLD), ("-U", NEW)] {
        let before = machine.unit("MainPID");
        install(options, version);
        assert_eq!(machine.run("rpm -q --qf '%{VERSION}' lamplighter"), version);
        machine.wait_lb(200);
        assert_ne!(machine.unit("MainPID"), before, "{version} runs");
    }
    machine.run("systemctl start apache2 php8.2-fpm; /usr/share/lamplighter/enable-web");
    machine.run("curl -fsS http://127.0.0.1/healthz.php | grep -qx ok");

    machine.run("rpm -e lamplighter");
    assert_eq!(machine.run(OURS), "");
    assert_eq!(machine.unit("LoadState"), "not-found");
    machine.run("test -f /etc/lamplighter/lamplighter.toml");
    machine.run("! ss -ltn | grep -E ':(8470|8471|9470) '");
    machine.run("apache2ctl -t 2>/dev/null");
}
