//! What goes wrong on real machines: a bad configuration, secrets that everyone may read, a user that is gone, a port that is taken, a
//! disk that is full. Each is said, nothing loops, and nothing is half installed.

use crate::machine::{Machine, NEW, OLD, SOON, deb};
use crate::support::poll;

/// Waits until the unit has given up, and returns its log.
fn given_up(machine: &Machine) -> String {
    poll::until(SOON, "a unit that has given up", || {
        let state = machine.unit("ActiveState");
        (state == "failed").then_some(()).ok_or(state)
    });
    machine.journal()
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_once() {
    let machine = Machine::boot();
    machine.install(OLD);

    // a file that comes with a mistake: it waits on, and says what
    machine.run("printf '[health]\\nlisen = 1\\n' >/etc/lamplighter/lamplighter.toml");
    let status = poll::until(SOON, "a status line that says it", || {
        let status = machine.unit("StatusText");
        status.contains("cannot be used").then_some(status)
    });
    assert!(status.contains("waiting"), "{status}");
    assert_eq!(machine.unit("NRestarts"), "0");
    assert!(machine.journal().contains("listen"), "the nearest key");

    // the same file at boot: no loop, the line in the journal
    machine.run("systemctl restart lamplighter || true");
    let journal = given_up(&machine);
    assert!(journal.contains("lamplighter.toml:2"), "{journal}");
    assert_eq!(machine.unit("NRestarts"), "0");
    assert_eq!(machine.unit("ExecMainStatus"), "64");

    // secrets that everyone may read
    machine.run(
        "cp /opt/box/shop.toml /etc/lamplighter/lamplighter.toml
         mkdir -p /var/lib/mysql9; cp /etc/ssl/certs/ca-certificates.crt /var/lib/mysql9/ca.pem
         printf secret >/etc/lamplighter/mysql-app; chmod 644 /etc/lamplighter/mysql-app",
    );
    let (good, said) = machine.attempt("lamplighter check");
    assert!(!good && said.contains("chmod"), "{said}");
    machine.run("systemctl reset-failed lamplighter; systemctl restart lamplighter || true");
    let journal = given_up(&machine);
    assert!(
        journal.contains("mysql-app") && journal.contains("chmod"),
        "{journal}"
    );
    machine.run("chgrp lamplighter /etc/lamplighter/mysql-app; chmod 640 /etc/lamplighter/mysql-app; lamplighter check");

    // put right, it starts
    machine.run("printf '[health]\\n' >/etc/lamplighter/lamplighter.toml; systemctl reset-failed lamplighter; systemctl start lamplighter");
    machine.wait_lb(200);
}

#[test]
fn a_credential_of_systemd_is_found() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.run(
        "install -d -m 700 /etc/lamplighter/credentials
         printf app-secret >/etc/lamplighter/credentials/mysql-app; chmod 600 /etc/lamplighter/credentials/mysql-app
         mkdir -p /etc/systemd/system/lamplighter.service.d
         sed '/ReadWritePaths/d' /usr/share/doc/lamplighter/examples/lamplighter.service.conf >/etc/systemd/system/lamplighter.service.d/local.conf
         systemctl daemon-reload; systemctl restart lamplighter",
    );
    machine.serve();
    machine.run("rm /etc/lamplighter/mysql-app; systemctl restart lamplighter");
    poll::until(SOON, "a page", || {
        let (good, page) = machine.attempt("curl -fsS http://127.0.0.1/lamp.php");
        good.then_some(()).ok_or(page)
    });
}

#[test]
fn a_taken_port_a_missing_user_and_a_full_disk_are_said_and_got_over() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.run("printf '[health]\\n' >/etc/lamplighter/lamplighter.toml");
    machine.wait_lb(200);

    machine.run("systemctl stop lamplighter; systemd-run -q --unit=squatter python3 -c 'import socket,time; s=socket.create_server((\"0.0.0.0\", 8470)); time.sleep(600)'");
    poll::until(SOON, "the squatter", || {
        machine.attempt("ss -ltn | grep -q ':8470 '").0
    });
    machine.run("systemctl start lamplighter || true");
    let journal = given_up(&machine);
    assert!(
        journal.contains("8470") && journal.contains("is taken by"),
        "{journal}"
    );
    machine.run(
        "systemctl stop squatter; systemctl reset-failed lamplighter; systemctl start lamplighter",
    );
    machine.wait_lb(200);

    // somebody removed the user: systemd says so; installing again makes it again
    machine.run(
        "systemctl stop lamplighter; userdel lamplighter; systemctl start lamplighter || true",
    );
    let journal = given_up(&machine);
    assert!(journal.contains("217/USER"), "{journal}");
    machine.run("systemctl reset-failed lamplighter");
    machine.install(OLD);
    machine.run("systemctl start lamplighter");
    machine.wait_lb(200);

    // no room for the new program: dpkg says so, the old one goes on, and once there is room the upgrade works
    machine.run("mkdir -p /mnt/small; mount -t tmpfs -o size=1m small /mnt/small; cp -a /usr/share/doc/lamplighter/. /mnt/small/ 2>/dev/null || true; mount --bind /mnt/small /usr/share/doc/lamplighter; dd if=/dev/zero of=/usr/share/doc/lamplighter/fill bs=1k 2>/dev/null || true");
    let (good, said) = machine.attempt(&format!("dpkg -i /var/tmp/{}", deb(NEW)));
    assert!(!good && said.contains("No space left"), "{said}");
    assert_eq!(machine.probe("/lb").0, 200, "the old one serves");
    assert_eq!(
        machine.run("dpkg-query -W -f '${Version}' lamplighter"),
        OLD
    );
    machine.run("umount /usr/share/doc/lamplighter");
    machine.install(NEW);
    machine.wait_lb(200);
    assert_eq!(machine.run("dpkg --audit"), "");
}

#[test]
fn on_a_full_disk_nothing_is_half_installed() {
    let machine = Machine::boot();
    machine.run("mkdir -p /usr/share/doc/lamplighter; mount -t tmpfs -o size=64k small /usr/share/doc/lamplighter");
    let (good, said) = machine.attempt(&format!("dpkg -i /var/tmp/{}", deb(OLD)));
    assert!(!good && said.contains("No space left"), "{said}");
    machine.run("umount /usr/share/doc/lamplighter");
    let left = machine.run(
        "find / -xdev -path /proc -prune -o -path /var/tmp -prune -o -path ~/.cache -prune -o -name '*lamplighter*' -print | grep -v '^/usr/share/doc/lamplighter$' || true",
    );
    assert_eq!(left, "");
    assert_eq!(machine.run("dpkg --audit"), "");
    let state = machine
        .attempt("dpkg-query -W -f '${db:Status-Status}' lamplighter 2>/dev/null")
        .1;
    assert!(state.is_empty() || state == "not-installed", "{state}");

    machine.install(OLD);
    assert_eq!(machine.wait_lb(503), "waiting for configuration");
    assert_eq!(machine.run("dpkg -V lamplighter"), "");
}

#[test]
fn booted_without_a_network_it_serves_and_names_the_server_that_is_away() {
    let machine = Machine::boot();
    machine.install(OLD);
    machine.run(
        "printf secret >/etc/lamplighter/mysql-app; chgrp lamplighter /etc/lamplighter/mysql-app; chmod 640 /etc/lamplighter/mysql-app
         printf '[health]\\n[mysql]\\nprimary = \"shop.mysql.example:3306\"\\nuser = \"app\"\\npassword_file = \"mysql-app\"\\n[mysql.clients.shop]\\npeer_users = [\"www-data\"]\\n' >/etc/lamplighter/lamplighter.toml
         lamplighter check
         rm -f /etc/resolv.conf",
    );
    machine.shut_down();
    machine.start();
    // nothing but loopback, and no name server: the start ends, and a fault that every machine may have takes none out of the pool
    assert_eq!(machine.wait_lb(200), "ready");
    assert_eq!(machine.unit("NRestarts"), "0");
    let status = poll::until(SOON, "a status that names the server", || {
        let said = machine.attempt("lamplighter status --json").1;
        if said.contains("shop.mysql.example") {
            Ok(said)
        } else {
            Err(said)
        }
    });
    assert!(status.contains("mysql"), "{status}");
}
