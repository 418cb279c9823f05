//! The golden image, and the ways in that need no image: built, booted twice, and watched until it serves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::machine::{Machine, OLD, SOON, deb, package};
use crate::support::scratch::Scratch;
use crate::support::{poll, programs};

/// The image, unpacked: what the disk of each of its machines begins with.
fn disk(image: &Path, scratch: &Scratch) -> PathBuf {
    let unpacked = Command::new("tar")
        .args(["--xattrs", "-xf"])
        .arg(image)
        .arg("-C")
        .arg(scratch.path())
        .status()
        .expect("tar runs");
    assert!(unpacked.success(), "cannot unpack {}", image.display());
    scratch.join("root")
}

fn build() -> PathBuf {
    let script = programs::tests_dir().join("../packaging/image/build.sh");
    let output = Command::new(script)
        .arg(std::env::var("PROFILE").unwrap_or_else(|_| "demo".to_owned()))
        .env("PACKAGE_VERSION", OLD)
        .output()
        .expect("build.sh runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    package("lamplighter-image.tar")
}

const CONFIGURATION: &str = "[health]\n\n[health.web]\nurl = \"http://127.0.0.1/healthz.php\"\n";

/// A page of an application, and what it says.
const PAGE: &str = "<?php echo 6 * 7, \" \", PHP_SAPI;";
const SAID: &str = "42 fpm-fcgi";

/// A machine of the image that is told its configuration by cloud-init, from the user data of `packaging/image`.
fn told_by_cloud_init(disk: &Path) {
    let machine = Machine::off(Some(disk));
    let write = |file: &str, text: &str| {
        let file = machine.root().join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("written");
    };
    let user_data = programs::tests_dir().join("../packaging/image/cloud-init.yaml");
    let user_data = std::fs::read_to_string(user_data).expect("the user data");
    write("var/lib/cloud/seed/nocloud/user-data", &user_data);
    write(
        "var/lib/cloud/seed/nocloud/meta-data",
        "instance-id: third\nlocal-hostname: third\n",
    );
    write(
        "etc/cloud/cloud.cfg.d/99-test.cfg",
        "datasource_list: [NoCloud, None]\nlocale: false\n",
    );
    std::fs::remove_file(machine.root().join("etc/cloud/cloud-init.disabled"))
        .expect("cloud-init is in the image");
    let boot = Instant::now();
    machine.start();
    machine.wait_lb(200);
    eprintln!(
        "power on to /lb 200, told by cloud-init: {:?}",
        boot.elapsed()
    );
    assert_eq!(
        machine.run("stat -c '%U:%G %a' /etc/lamplighter/lamplighter.toml"),
        "root:lamplighter 640"
    );
    assert_eq!(machine.run("hostname"), "third");
    machine.run("cloud-init status --wait | grep -q 'status: done'");
    machine.run("cloud-init schema --config-file /var/lib/cloud/seed/nocloud/user-data");
}

#[test]
fn two_machines_of_one_image_serve_and_are_not_the_same() {
    let image = build();
    let scratch = Scratch::new("image");
    let disk = disk(&image, &scratch);
    for gone in ["etc/machine-id", "var/lib/lamplighter", "etc/hostname"] {
        let left = std::fs::read(disk.join(gone)).unwrap_or_default();
        assert!(left.is_empty(), "{gone} is in the image");
    }
    let configured = std::fs::read_dir(disk.join("etc/lamplighter"))
        .expect("the folder")
        .count();
    assert_eq!(configured, 0, "a configuration is in the image");
    std::fs::write(disk.join("var/www/html/page.php"), PAGE).expect("a page");
    let [first, second] = [(); 2].map(|()| Machine::off(Some(&disk)));

    // the configuration comes while it runs, as cloud-init writes it
    first.start();
    assert_eq!(first.wait_lb(503), "waiting for configuration");
    first.run(&format!(
        "printf '{}' >/etc/lamplighter/lamplighter.toml",
        CONFIGURATION.replace('\n', "\\n")
    ));
    let written = Instant::now();
    first.wait_lb(200);
    eprintln!("configuration written to /lb 200: {:?}", written.elapsed());
    assert_eq!(first.probe("/health/azure").0, 200);

    // it is there at boot
    let file = second.root().join("etc/lamplighter/lamplighter.toml");
    std::fs::write(file, CONFIGURATION).expect("written");
    let boot = Instant::now();
    second.start();
    second.wait_lb(200);
    eprintln!("power on to /lb 200: {:?}", boot.elapsed());

    let identity = |machine: &Machine| {
        let id = machine.run("cat /etc/machine-id");
        assert_eq!(id.len(), 32, "{id}");
        id
    };
    let name = identity(&first);
    assert_ne!(name, identity(&second));
    for machine in [&first, &second] {
        // pages are served, and say nothing about what serves them
        let page = machine.run("curl -fsS http://127.0.0.1/page.php");
        assert_eq!(page, SAID);
        let head = machine.run("curl -fsSI http://127.0.0.1/page.php");
        assert!(!head.contains("PHP") && !head.contains("Debian"), "{head}");
    }
    // the order of a shutdown: the agent, which sheds, before Apache
    let after = first.unit("After");
    assert!(
        after.contains("apache2.service") && after.contains("php8.2-fpm.service"),
        "{after}"
    );

    // a reboot: what was there before is not believed, and it serves again, as the same machine
    first.shut_down();
    first.start();
    first.wait_lb(200);
    assert_eq!(name, identity(&first));
    assert_eq!(first.run("curl -fsS http://127.0.0.1/page.php"), SAID);
    told_by_cloud_init(&disk);
}

#[test]
fn an_image_of_a_machine_that_served_holds_nothing_of_it() {
    let machine = Machine::boot();
    for script in ["provision.sh", "deprovision.sh"] {
        let script = programs::tests_dir()
            .join("../packaging/image")
            .join(script);
        machine.put(&script, "/var/tmp/image");
    }
    machine.run(&format!(
        "bash /var/tmp/image/provision.sh /var/tmp/{}",
        deb(OLD)
    ));
    // its server is away; what is not the instance's is taken off first: deprovisioning means what it says
    machine.run(&format!(
        "umount {}
         printf app-secret >/etc/lamplighter/mysql-app; chgrp lamplighter /etc/lamplighter/mysql-app; chmod 640 /etc/lamplighter/mysql-app
         systemctl start apache2 php8.2-fpm
         sed '/^tls/d' /opt/box/shop.toml >/etc/lamplighter/lamplighter.toml",
        programs::cache().join("mysql9").display()
    ));
    machine.wait_lb(200);
    let name = machine.run("cat /etc/machine-id");
    // what a machine gathers in its life: keys, a history, a log, state, the guest agent's folder of the extension
    machine.run(
        "mkdir -p /etc/ssh ~/.ssh /var/lib/lamplighter-extension
         echo app-secret | tee /etc/ssh/ssh_host_ed25519_key ~/.ssh/id_ed25519 ~/.bash_history /var/lib/lamplighter/state >/dev/null
         echo app-secret >/var/log/some.log; logger app-secret; journalctl --sync",
    );
    machine.run("bash /var/tmp/image/deprovision.sh");
    machine.power_off();

    let left = Command::new("grep")
        .args(["-rls", "app-secret"])
        .args(
            ["etc", "root", "home", "opt", "tmp", "var", "usr"]
                .map(|part| machine.root().join(part)),
        )
        .output()
        .expect("grep runs");
    // the tests' own scripts are no part of an instance
    let left = String::from_utf8_lossy(&left.stdout)
        .lines()
        .filter(|path| !path.contains("/opt/box/"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(left, "");

    machine.start();
    assert_eq!(machine.wait_lb(503), "waiting for configuration");
    assert_ne!(machine.run("cat /etc/machine-id"), name);
    machine.run("curl -fsS http://127.0.0.1/healthz.php | grep -qx ok");
}

/// The commands of the VM application, as docs/install.md has them.
const INSTALL: &str = "mkdir -p /opt/lamplighter-app && tar -xzf lamplighter -C /opt/lamplighter-app && \
     /opt/lamplighter-app/manage install \"$PWD/lamplighter-config\"";
const REMOVE: &str = "/opt/lamplighter-app/manage remove";

#[test]
fn as_a_vm_application_or_by_custom_script_it_is_installed_updated_and_removed() {
    let guide = std::fs::read_to_string(programs::tests_dir().join("../docs/install.md"))
        .expect("docs/install.md");
    for command in [INSTALL, REMOVE] {
        assert!(
            guide.contains(command),
            "docs/install.md does not say: {command}"
        );
    }
    let machine = Machine::boot();
    let folder =
        "/var/lib/waagent/Microsoft.CPlat.Core.VMApplicationManagerLinux/lamplighter/0.1.0";
    machine.put(
        &package(&format!("lamplighter-vm-application-{OLD}.tar.gz")),
        folder,
    );
    let custom = programs::tests_dir().join("../packaging/vm-application/custom-script.sh");
    machine.put(&custom, folder);
    // as Azure puts it there: named after the application, the configuration beside it
    machine.run(&format!(
        "cd {folder}; cp lamplighter-vm-application-{OLD}.tar.gz lamplighter; printf '[health]\\n' >lamplighter-config"
    ));
    machine.run(&format!("cd {folder}; {INSTALL}"));
    machine.wait_lb(200);

    // an update with another configuration; one that is wrong changes nothing and fails
    machine.run(&format!(
        "cd {folder}; printf '[health]\\nprobe_interval = \"7s\"\\n' >lamplighter-config; {INSTALL}"
    ));
    machine.run("grep -q 7s /etc/lamplighter/lamplighter.toml");
    machine.wait_lb(200);
    let (good, said) = machine.attempt(&format!(
        "cd {folder}; printf '[health]\\nx = 1\\n' >lamplighter-config; {INSTALL}"
    ));
    assert!(!good && said.contains("nothing was changed"), "{said}");
    machine.run(
        "grep -q 7s /etc/lamplighter/lamplighter.toml; ! test -e /etc/lamplighter/.trial.toml",
    );
    assert_eq!(machine.probe("/lb").0, 200);

    // while another extension holds the package manager's lock, it waits
    machine.run(&format!(
        "cd {folder}; printf '[health]\\n' >lamplighter-config
         python3 -c 'import fcntl,time; f=open(\"/var/lib/dpkg/lock\",\"w\"); g=open(\"/var/lib/dpkg/lock-frontend\",\"w\"); fcntl.lockf(f,fcntl.LOCK_EX); fcntl.lockf(g,fcntl.LOCK_EX); open(\"/tmp/held\",\"w\"); time.sleep(5)' &
         while ! test -e /tmp/held; do :; done
         {INSTALL}"
    ));

    machine.run(&format!("cd {folder}; {REMOVE}"));
    poll::until(SOON, "nothing left", || {
        machine.attempt("! test -e /etc/lamplighter && ! test -e /usr/bin/lamplighter && ! test -e /opt/lamplighter-app").0
    });

    machine.run(&format!(
        "cd {folder}; printf '[health]\\n' >lamplighter.toml; bash custom-script.sh lamplighter-vm-application-{OLD}.tar.gz lamplighter.toml"
    ));
    machine.wait_lb(200);
    let pid = machine.unit("MainPID");
    machine.run(&format!("cd {folder}; bash custom-script.sh lamplighter-vm-application-{OLD}.tar.gz lamplighter.toml"));
    machine.wait_lb(200);
    assert_ne!(pid, "0");
}
