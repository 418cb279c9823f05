//! The golden image, and the ways in that need no image: built, booted twice, and watched until it serves.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::machine::{Machine, OLD, SOON, package};
use crate::support::{poll, programs};

/// A machine of this image, not switched on.
fn instance(image: &std::path::Path) -> Machine {
    let machine = Machine::off();
    let unpacked = Command::new("tar")
        .args(["-xf"])
        .arg(image)
        .arg("-C")
        .arg(machine.root().parent().expect("a folder"))
        .status()
        .expect("tar runs");
    assert!(unpacked.success(), "cannot unpack {}", image.display());
    machine
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

#[test]
fn two_machines_of_one_image_serve_and_are_not_the_same() {
    let image = build();
    let [first, second] = [(); 2].map(|()| instance(&image));
    for machine in [&first, &second] {
        let root = machine.root();
        for gone in ["etc/machine-id", "var/lib/lamplighter", "etc/hostname"] {
            let left = std::fs::read(root.join(gone)).unwrap_or_default();
            assert!(left.is_empty(), "{gone} is in the image");
        }
        let configured = std::fs::read_dir(root.join("etc/lamplighter"))
            .expect("the folder")
            .count();
        assert_eq!(configured, 0, "a configuration is in the image");
    }

    // the configuration comes while it runs, as cloud-init writes it
    first.start(&["--own-root"]);
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
    second.start(&["--own-root"]);
    second.wait_lb(200);
    eprintln!("power on to /lb 200: {:?}", boot.elapsed());

    let identity = |machine: &Machine| {
        let id = machine.run("cat /etc/machine-id");
        assert_eq!(id.len(), 32, "{id}");
        id
    };
    assert_ne!(identity(&first), identity(&second));
    // the page is there, and says nothing about itself
    let head = first.run("curl -sI http://127.0.0.1/healthz.php");
    assert!(!head.contains("PHP") && !head.contains("Debian"), "{head}");
    // the order of a shutdown: the agent, which sheds, before Apache
    let after = first.unit("After");
    assert!(
        after.contains("apache2.service") && after.contains("php8.2-fpm.service"),
        "{after}"
    );

    // a reboot of the machine: what was there before is not believed, and it serves again
    first.shut_down();
    first.start(&["--own-root"]);
    first.wait_lb(200);
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
