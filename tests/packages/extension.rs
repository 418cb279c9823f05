//! The VM extension, driven by the Azure Linux guest agent's own code in a booted machine.

use std::process::Command;

use serde_json::{Value, json};

use crate::machine::{Machine, NEW, OLD, SOON, package};
use crate::support::scratch::Scratch;
use crate::support::{poll, programs};

/// The configuration an operator gives the extension.
const CONFIGURATION: &str = "[health]\nloopback_is_balancer = true\nprobe_interval = \"1s\"\n";

/// A machine with both versions of the extension and the guest agent's code.
fn machine() -> Machine {
    let machine = Machine::boot();
    for version in [OLD, NEW] {
        machine.put(
            &package(&format!("lamplighter-extension-{version}.zip")),
            "/var/tmp",
        );
    }
    let judge = programs::find_cached("packaging/waagent/usr/lib/python3/dist-packages", "judge");
    machine.put(&judge, "/opt/waagent");
    machine
}

/// What the guest agent makes of one goal.
#[track_caller]
fn judge(machine: &Machine, arguments: &str) -> Value {
    let said = machine.run(&format!(
        "python3 /opt/box/judge.py /opt/waagent/dist-packages /var/lib/waagent {arguments} 2>/tmp/judge.err || cat /tmp/judge.err"
    ));
    let line = said.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Asks for `version` with these settings.
#[track_caller]
fn enable(machine: &Machine, version: &str, sequence: u32, settings: &Value) -> Value {
    let file = machine.root().join("var/tmp/settings.json");
    std::fs::write(&file, settings.to_string()).expect("the settings are written");
    let said = judge(
        machine,
        &format!(
            "enable /var/tmp/lamplighter-extension-{version}.zip {version}.0 {sequence} /var/tmp/settings.json"
        ),
    );
    eprintln!("enable {version} sequence {sequence}: {said}");
    let limit = said["seconds"].as_f64().expect("seconds");
    assert!(limit < 300.0, "{said}");
    said
}

fn settings(configuration: &str) -> Value {
    json!({ "public": { "configuration": configuration } })
}

#[test]
fn installed_enabled_twice_updated_while_it_runs_and_uninstalled() {
    let machine = machine();
    let given = json!({
        "public": { "configuration": CONFIGURATION },
        "protected": { "secrets": { "mysql-app": "the-secret" } },
    });
    let said = enable(&machine, OLD, 1, &given);
    assert_eq!(said["outcome"], "ok");
    assert_eq!(said["status"], "success", "{said}");
    assert_eq!(said["substatus"]["load balancer"][0], "success", "{said}");
    assert_eq!(said["heartbeat"]["status"], "ready", "{said}");
    assert_eq!(said["state"], "Enabled");
    assert_eq!(machine.probe("/lb").0, 200);
    assert_eq!(
        machine
            .run("stat -c '%U:%G %a' /etc/lamplighter/mysql-app; cat /etc/lamplighter/mysql-app"),
        "root:lamplighter 640\nthe-secret"
    );
    machine.run("! grep -r the-secret /var/lib/waagent /var/log --include='*' -l 2>/dev/null");

    // again, as at each start of the guest agent: nothing is touched
    let pid = machine.unit("MainPID");
    let said = enable(&machine, OLD, 1, &given);
    assert_eq!(
        (&said["outcome"], &said["status"]),
        (&json!("ok"), &json!("success"))
    );
    assert_eq!(
        machine.unit("MainPID"),
        pid,
        "an enable without news restarts nothing"
    );

    // another version while visitors are served: no probe is refused
    let upgrade = given.to_string();
    std::fs::write(machine.root().join("var/tmp/settings.json"), upgrade).expect("written");
    let said = machine.run(&format!(
        "cp /opt/box/lamp.php /var/www/html/; (systemctl start apache2 php8.2-fpm)
         /opt/box/load.sh 16 >/tmp/report & load=$!
         sleep 1
         python3 /opt/box/judge.py /opt/waagent/dist-packages /var/lib/waagent enable \
           /var/tmp/lamplighter-extension-{NEW}.zip {NEW}.0 2 /var/tmp/settings.json 2>/dev/null | tail -1
         wait $load; grep ^probes /tmp/report"
    ));
    assert!(said.contains("failed 0"), "{said}\n{}", machine.journal());
    let line = said.lines().next().unwrap_or_default();
    let verdict: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(
        (&verdict["outcome"], &verdict["status"]),
        (&json!("ok"), &json!("success")),
        "{verdict}"
    );
    assert_eq!(
        machine.run("dpkg-query -W -f '${Version}' lamplighter"),
        NEW
    );
    assert_eq!(
        machine.run("ls -d /var/lib/waagent/Lamplighter*/ | wc -l"),
        "1",
        "the old version's folder is gone"
    );

    watched_and_uninstalled(&machine);
}

/// What watches goes on after the command; an enable starts again what was stopped; uninstall leaves the configuration only.
fn watched_and_uninstalled(machine: &Machine) {
    machine.run("systemctl stop lamplighter");
    machine.run("systemctl restart lamplighter-extension");
    poll::until(SOON, "an error in the status", || {
        let said = judge(machine, &format!("look - {NEW}.0 2"));
        (said["status"] == "error").then_some(()).ok_or(said)
    });
    let said = enable(machine, NEW, 3, &settings(CONFIGURATION));
    assert_eq!(said["status"], "success", "enable starts it again: {said}");

    let said = judge(machine, &format!("uninstall - {NEW}.0 3"));
    assert_eq!(said["outcome"], "ok", "{said}");
    machine.run(
        "! test -e /usr/bin/lamplighter && ! systemctl is-active lamplighter lamplighter-extension",
    );
    machine.run("test -f /etc/lamplighter/lamplighter.toml");
    assert_eq!(machine.unit("LoadState"), "masked");
}

#[test]
fn wrong_settings_are_told_and_change_nothing() {
    let machine = machine();
    // none at all: installed, and waiting
    let said = enable(&machine, OLD, 1, &json!({ "public": {} }));
    assert_eq!(
        (&said["outcome"], &said["status"]),
        (&json!("ok"), &json!("success")),
        "{said}"
    );
    assert!(
        said["message"]
            .as_str()
            .is_some_and(|text| text.contains("waits for")),
        "{said}"
    );
    assert_eq!(machine.probe("/lb").0, 503);

    let said = enable(&machine, OLD, 2, &settings(CONFIGURATION));
    assert_eq!(said["status"], "success", "{said}");
    let before = machine.run("sha256sum /etc/lamplighter/lamplighter.toml");
    let pid = machine.unit("MainPID");
    let bad = [
        (settings("[health]\nlisen = \"x\"\n"), "listen"),
        (
            settings(
                "[mysql]\nprimary = \"x:1\"\nuser = \"a\"\npassword_file = \"not-there\"\n[mysql.clients.w]\npeer_users = [\"root\"]\n",
            ),
            "not-there",
        ),
        (json!({ "public": { "configuraton": "" } }), "configuraton"),
        (
            json!({ "public": { "configuration": 7 } }),
            "configuration must be text",
        ),
        (
            json!({ "public": {}, "protected": { "secrets": { "../../etc/shadow": "x" } } }),
            "no name for a secret",
        ),
        (
            json!({ "public": {}, "protected": "bm90IENNUw==" }),
            "cannot be decrypted",
        ),
        (json!({ "public": {}, "protected": "%%%" }), "not base64"),
    ];
    for (sequence, (given, complaint)) in (3..).zip(bad) {
        let said = enable(&machine, OLD, sequence, &given);
        assert_ne!(said["outcome"], "ok", "{given}");
        assert_eq!(said["status"], "error", "{said}");
        let message = said["message"].as_str().unwrap_or_default();
        assert!(message.contains(complaint), "{complaint}: {message}");
        assert_eq!(
            machine.run("sha256sum /etc/lamplighter/lamplighter.toml"),
            before
        );
        assert_eq!(machine.unit("MainPID"), pid);
        assert_eq!(machine.probe("/lb").0, 200, "the one before goes on");
    }
    unreadable_settings_and_unwritable_status(&machine);
    let said = enable(&machine, OLD, 22, &settings(CONFIGURATION));
    assert_eq!(said["status"], "success", "and all is well again: {said}");
}

/// Settings that are no JSON, and a status folder that cannot be written: each has its exit code, and says so.
fn unreadable_settings_and_unwritable_status(machine: &Machine) {
    let folder = machine.run("ls -d /var/lib/waagent/Lamplighter*/");
    let script = format!(
        "cd {folder}; printf '{{' >config/20.settings; export ConfigSequenceNumber=20; ./handler enable || echo code $?; cat status/20.status"
    );
    let said = machine.run(&script);
    assert!(
        said.contains("code 53") && said.contains("no JSON"),
        "{said}"
    );
    let said = machine.run(&format!(
        "cd {folder}; rm -rf status; printf x >status; cp config/2.settings config/21.settings; export ConfigSequenceNumber=21; ./handler enable || echo code $?; rm status; mkdir status"
    ));
    assert!(
        said.contains("code 55") && said.contains("cannot be written"),
        "{said}"
    );
}

#[test]
fn killed_half_way_it_is_repeated_to_the_same_end() {
    let machine = machine();
    let file = machine.root().join("var/tmp/settings.json");
    std::fs::write(&file, settings(CONFIGURATION).to_string()).expect("written");
    // the whole way is about five seconds long: a kill in each of its parts
    for tenths in [3, 8, 15, 25] {
        machine.run(&format!(
            "timeout -s KILL {}.{} setsid -w sh -c 'echo $$ >/tmp/group; exec python3 /opt/box/judge.py /opt/waagent/dist-packages /var/lib/waagent enable \
             /var/tmp/lamplighter-extension-{OLD}.zip {OLD}.0 1 /var/tmp/settings.json' >/dev/null 2>&1 || true
             pkill -KILL -f '[h]andler.py enable' || true; pkill -KILL -f '[h]andler.py install' || true; pkill -KILL -x dpkg || true; pkill -KILL -x dpkg-deb || true",
            tenths / 10,
            tenths % 10
        ));
        let broken = machine.attempt("cat /var/lib/waagent/Lamplighter*/status/*.status 2>/dev/null | python3 -c 'import json,sys; t=sys.stdin.read(); t and json.loads(t)'");
        assert!(broken.0, "a status that is no JSON: {}", broken.1);
    }
    let said = enable(&machine, OLD, 1, &settings(CONFIGURATION));
    assert_eq!(
        (&said["outcome"], &said["status"]),
        (&json!("ok"), &json!("success")),
        "{said}"
    );
    assert_eq!(machine.run("dpkg --audit"), "");
    assert_eq!(
        machine.run("ls -A /etc/lamplighter"),
        "lamplighter.toml",
        "no trial is left"
    );
    machine.wait_lb(200);
}

/// The handler's folder in the machine, and a script that runs one of its commands there.
fn command(machine: &Machine, sequence: u32, name: &str) -> (bool, String) {
    machine.attempt(&format!(
        "cd $(ls -d /var/lib/waagent/Lamplighter*/) && ConfigSequenceNumber={sequence} ./handler {name}"
    ))
}

#[test]
fn what_takes_long_is_transitioning_and_what_is_disabled_or_reset_comes_back() {
    let machine = machine();
    // Apache does not run: the agent does, and the load balancer is told 503
    let configuration =
        format!("{CONFIGURATION}[health.web]\nurl = \"http://127.0.0.1/healthz.php\"\n");
    let given = settings(&configuration);
    let said = enable(&machine, OLD, 1, &given);
    assert_eq!(
        (&said["outcome"], &said["status"]),
        (&json!("ok"), &json!("transitioning")),
        "{said}"
    );
    assert_eq!(said["heartbeat"]["status"], "ready", "{said}");
    machine.run("systemctl start apache2 php8.2-fpm");
    // nobody runs a command meanwhile: the unit that watches tells it
    poll::until(SOON, "success in the status", || {
        let said = judge(&machine, &format!("look - {OLD}.0 1"));
        (said["status"] == "success").then_some(()).ok_or(said)
    });

    // disabled, the agent goes on: the application reaches its database through it
    let pid = machine.unit("MainPID");
    assert!(command(&machine, 1, "disable").0);
    assert_eq!(machine.probe("/lb").0, 200);
    assert_eq!(machine.unit("MainPID"), pid);
    let said = judge(&machine, &format!("look - {OLD}.0 1"));
    assert_eq!(said["heartbeat"]["status"], "notready", "{said}");
    machine.run("! systemctl is-active lamplighter-extension");

    // reset: what the handler remembers is gone, what serves is not, and it may be repeated
    for _ in 0..2 {
        let (good, text) = command(&machine, 1, "reset");
        assert!(good, "{text}");
    }
    machine.run("! ls /var/lib/waagent/Lamplighter*/status/*.status 2>/dev/null");
    assert_eq!(machine.probe("/lb").0, 200);
    let said = enable(&machine, OLD, 1, &given);
    assert_eq!(said["status"], "success", "{said}");
    assert_eq!(said["heartbeat"]["status"], "ready", "{said}");

    // whoever asked for it loses configuration and state with the extension
    let asked = json!({ "public": { "configuration": configuration, "purge": true } });
    assert_eq!(enable(&machine, OLD, 2, &asked)["status"], "success");
    assert_eq!(
        judge(&machine, &format!("uninstall - {OLD}.0 2"))["outcome"],
        "ok"
    );
    machine.run(
        "! test -e /etc/lamplighter && ! test -e /var/lib/lamplighter && ! test -e /var/lib/lamplighter-extension",
    );
}

#[test]
fn on_a_full_disk_the_status_says_so_and_the_next_try_succeeds() {
    let machine = machine();
    machine.run("mkdir -p /usr/share/doc/lamplighter; mount -t tmpfs -o size=64k small /usr/share/doc/lamplighter");
    let said = enable(&machine, OLD, 1, &settings(CONFIGURATION));
    assert_ne!(said["outcome"], "ok", "{said}");
    let journal = machine.run(
        "cat /var/lib/waagent/log/*/handler.log /var/lib/waagent/log/handler.log 2>/dev/null || true",
    );
    assert!(journal.contains("No space left"), "{journal}");
    machine.run("! test -e /usr/bin/lamplighter");
    assert_eq!(machine.run("dpkg --audit"), "");
    let status = machine.run("cat /var/lib/waagent/Lamplighter*/status/*.status");
    let status: Value = serde_json::from_str(&status).expect("a status that is JSON");
    assert_eq!(status[0]["status"]["status"], "error", "{status}");
    assert_eq!(status[0]["status"]["code"], 52, "{status}");

    machine.run("umount /usr/share/doc/lamplighter");
    let said = enable(&machine, OLD, 1, &settings(CONFIGURATION));
    assert_eq!(
        (&said["outcome"], &said["status"]),
        (&json!("ok"), &json!("success")),
        "{said}"
    );
    assert_eq!(machine.probe("/lb").0, 200);
}

/// What a status must stay below for the guest agent, in bytes: it cuts what is longer.
const STATUS_MAX: usize = 128 * 1024;

#[test]
fn a_status_with_too_much_to_say_is_cut_to_what_the_guest_agent_takes_and_keeps_the_load_balancers_word()
 {
    let scratch = Scratch::new("handler");
    let handler = programs::tests_dir().join("../packaging/extension/handler.py");
    std::fs::copy(handler, scratch.join("handler.py")).expect("the handler");
    let folder = scratch.path().display().to_string();
    let environment = json!([{ "handlerEnvironment": { "statusFolder": folder, "configFolder": folder, "logFolder": folder } }]);
    scratch.write("HandlerEnvironment.json", environment.to_string());
    let script = "import handler
parts = [('part %d' % n, 'warning', 0, chr(0x1F4A1) * 100000) for n in range(300)] + [('load balancer', 'error', 0, '503')]
handler.report('Enable', 'error', 54, 'x' * 1000000, parts)";
    let output = Command::new(programs::find("python3", "base"))
        .args(["-c", script])
        .current_dir(scratch.path())
        .env("ConfigSequenceNumber", "7")
        .output()
        .expect("python3 runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let status = std::fs::read(scratch.join("7.status")).expect("the status");
    assert!(status.len() < STATUS_MAX, "{} bytes", status.len());
    let status: Value = serde_json::from_slice(&status).expect("valid JSON");
    let told = &status[0]["status"];
    assert_eq!(
        (&told["status"], &told["code"]),
        (&json!("error"), &json!(54))
    );
    let parts = told["substatus"].as_array().expect("parts");
    let last = parts.last().expect("at least one");
    assert_eq!(last["name"], "load balancer");
    assert_eq!(last["formattedMessage"]["message"], "503");
}
