//! What arrives: content, changes, deletes, names, drift.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::support::agent::wait_status;
use crate::support::prometheus;

#[test]
fn a_container_is_pulled_and_followed() {
    let server = storage();
    let mut wanted = texts([
        ("index.php", "<?php echo 1;"),
        ("empty", ""),
        ("css/site.css", "body {}"),
        ("uploads/ünïcode/日本 語 🦀.txt", "names"),
        ("a b/c+d%20e&f=g?h#i;j", "odd characters"),
        ("trail.", "dot"),
        (".htaccess", "Deny from all"),
    ]);
    wanted.insert(
        "large.bin".to_owned(),
        many(1, 9_000_000).pop_first().expect("one").1,
    );
    upload(&server, &wanted);
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&wanted);
    pull.wait_metric("in_sync{job=\"site\"}", |value| value > 0.5);
    assert_eq!(pull.metric("files{job=\"site\"}"), Some(8.0));

    server.put(CONTAINER, "index.php", "<?php echo 2;");
    server.put(CONTAINER, "new/deep/file", "new");
    server.put(CONTAINER, "empty", "not empty any more");
    server.delete(CONTAINER, "css/site.css");
    wanted.extend(texts([
        ("index.php", "<?php echo 2;"),
        ("new/deep/file", "new"),
        ("empty", "not empty any more"),
    ]));
    wanted.remove("css/site.css");
    pull.wait_tree(&wanted);
    poll::until(SOON, "the empty directory to go", || {
        !pull.path.join("css").exists()
    });
    // what did not change was not written again
    let before = inode(&pull.path.join("large.bin"));
    pull.wait_pass();
    assert_eq!(inode(&pull.path.join("large.bin")), before);
    assert_eq!(
        pull.metric("objects_total{job=\"site\",op=\"get\"}"),
        Some(11.0)
    );
    prometheus::lint(&http_get(&pull.metrics, "/metrics").2).expect("good metrics");
}

#[test]
fn a_list_in_the_order_of_utf_16_is_a_list_too() {
    let server = storage();
    // the storage may put the crab first: its UTF-16 begins with D83E, its UTF-8 with F0
    let mut wanted = texts([("！wide", "1"), ("🦀crab", "2"), ("plain", "3")]);
    upload(&server, &wanted);
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&wanted);
    server.delete(CONTAINER, "！wide");
    wanted.remove("！wide");
    pull.wait_tree(&wanted);
    pull.wait_health("ok");
}

#[test]
fn only_the_prefix_and_only_what_the_filters_want() {
    let server = storage();
    upload(
        &server,
        &texts([
            ("shop/a.php", "1"),
            ("shop/cache/x", "2"),
            ("shop/t/a.tmp", "3"),
            ("shopping/b", "4"),
            ("other", "5"),
        ]),
    );
    let more =
        "prefix = \"shop/\"\nfilters = [{ exclude = \"cache/**\" }, { exclude = \"**/*.tmp\" }]";
    let pull = Pull::start(&server, &server.container_url(CONTAINER), more);
    pull.wait_tree(&texts([("a.php", "1")]));
}

#[test]
fn a_hostile_name_stops_nothing_else_and_gets_nowhere() {
    let server = storage();
    let good = texts([("a/good", "1"), ("clash", "file"), ("z", "2")]);
    upload(&server, &good);
    let hostile = [
        "a/../../../escaped",
        "../escaped",
        "a//b",
        "clash/below",
        ".lamplighter-staging/x",
        "dir/",
    ];
    for name in hostile {
        server.put(CONTAINER, name, "evil");
    }
    let seen: Vec<_> = server
        .list(CONTAINER)
        .into_iter()
        .map(|blob| blob.name)
        .collect();
    for name in hostile {
        assert!(
            seen.contains(&name.to_owned()),
            "the storage itself must take {name}: {seen:?}"
        );
    }
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&good);
    for (reason, count) in [
        ("traversal", 2.0),
        ("empty_segment", 1.0),
        ("clash", 1.0),
        ("reserved", 1.0),
        ("trailing_slash", 1.0),
    ] {
        pull.wait_metric(
            &format!("refused_objects{{job=\"site\",reason=\"{reason}\"}}"),
            |value| (value - count).abs() < 0.1,
        );
    }
    for outside in ["escaped", "../escaped"] {
        assert!(!pull.agent.dir().join(outside).exists(), "{outside}");
    }
    pull.wait_health("ok");
}

#[test]
fn what_is_changed_on_this_machine_is_repaired() {
    let server = storage();
    let wanted = texts([
        ("edited", "12345"),
        ("truncated", "12345"),
        ("deleted", "12345"),
        ("linked", "12345"),
        ("mode", "12345"),
        ("d/f", "12345"),
    ]);
    upload(&server, &wanted);
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&wanted);
    pull.wait_pass();
    let at = |name: &str| pull.path.join(name);
    fs::write(at("edited"), "xxxxx").expect("ours");
    fs::write(at("truncated"), "").expect("ours");
    fs::remove_file(at("deleted")).expect("ours");
    fs::remove_file(at("linked")).expect("ours");
    symlink("/etc/hostname", at("linked")).expect("ours");
    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o777)).expect("ours");
    fs::remove_dir_all(at("d")).expect("ours");
    fs::write(at("theirs"), "uploaded by somebody").expect("ours");
    let mut with_theirs = wanted;
    with_theirs.extend(texts([("theirs", "uploaded by somebody")]));
    pull.wait_tree(&with_theirs);
    poll::until(SOON, "the mode", || {
        fs::metadata(at("mode")).is_ok_and(|file| file.mode() & 0o777 == 0o644)
    });
    assert!(fs::symlink_metadata(at("linked")).expect("there").is_file());
    pull.wait_pass();
    assert_eq!(
        pull.metric("objects_total{job=\"site\",op=\"repair\"}"),
        Some(5.0)
    );
    pull.wait_tree(&with_theirs);
}

#[test]
fn files_get_the_mode_and_owner_that_the_entry_names() {
    assert!(
        rustix::process::getuid().is_root(),
        "run as root: giving files away is root's right"
    );
    let server = storage();
    upload(&server, &texts([("d/f", "1")]));
    let more =
        "file_mode = \"0640\"\ndir_mode = \"0750\"\nowner = \"www-data\"\ngroup = \"www-data\"";
    let pull = Pull::start(&server, &server.container_url(CONTAINER), more);
    pull.wait_tree(&texts([("d/f", "1")]));
    for (name, mode) in [("d", 0o750), ("d/f", 0o640)] {
        let found = fs::metadata(pull.path.join(name)).expect("there");
        assert_eq!(
            (found.mode() & 0o777, found.uid(), found.gid()),
            (mode, 33, 33),
            "{name}"
        );
    }
}

#[test]
fn an_owner_that_may_not_be_given_is_said_and_nothing_is_written() {
    let server = storage();
    upload(&server, &texts([("f", "1")]));
    let auth = ("connection_string_file", server.connection_string());
    let mut pull = Pull::by(
        &["setpriv", "--bounding-set=-chown", "--inh-caps=-chown"],
        &server.container_url(CONTAINER),
        auth,
        "owner = \"www-data\"",
    );
    let status = pull.agent.wait_end(SOON);
    let log = pull.agent.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("may not give files to www-data"), "{log}");
    assert!(log.contains("AmbientCapabilities=CAP_CHOWN"), "{log}");
    assert!(pull.tree().is_empty(), "{:?}", pull.tree());
}

#[test]
fn what_is_deleted_is_kept_in_the_trash_for_as_long_as_the_entry_says() {
    let server = storage();
    upload(&server, &texts([("d/gone", "kept"), ("stays", "1")]));
    let pull = Pull::start(
        &server,
        &server.container_url(CONTAINER),
        "trash = \"2h\"\nmax_delete_percent = \"100%\"",
    );
    pull.wait_pass();
    server.delete(CONTAINER, "d/gone");
    let trash = pull.path.join(".lamplighter-trash");
    poll::until(SOON, "the trash", || {
        let kept: Vec<_> = tree_of(&trash).into_iter().collect();
        match kept.as_slice() {
            [(name, content)] if name.ends_with("/d/gone") && content == b"kept" => Ok(()),
            other => Err(format!("{other:?}\n{}", pull.agent.log())),
        }
    });
    assert!(!pull.path.join("d/gone").exists());
    assert!(pull.path.join("stays").exists());
    let mode = fs::metadata(&trash).expect("there").mode() & 0o777;
    assert_eq!(mode, 0o700, "nobody but the agent looks into it");
    // an hour of long ago is over
    fs::create_dir(trash.join("1000")).expect("ours");
    fs::write(trash.join("1000/old"), "old").expect("ours");
    pull.wait_pass();
    let kept = tree_of(&trash);
    assert_eq!(kept.values().collect::<Vec<_>>(), [b"kept"], "{kept:?}");
}

#[test]
fn a_bandwidth_is_not_exceeded() {
    const RATE: f64 = 1_048_576.0;
    let server = storage();
    let wanted = many(24, 128 * 1024);
    upload(&server, &wanted);
    let began = std::time::Instant::now();
    let pull = Pull::start(
        &server,
        &server.container_url(CONTAINER),
        "bandwidth = \"1MiB\"",
    );
    pull.wait_tree(&wanted);
    // a slow machine only takes longer
    let rate = 24.0 * 128.0 * 1024.0 / began.elapsed().as_secs_f64();
    assert!(rate < 1.25 * RATE, "{rate} bytes a second");
}

#[test]
fn a_mass_delete_is_held_and_said() {
    let server = storage();
    let wanted = many(30, 10);
    upload(&server, &wanted);
    let mut pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&wanted);
    // no pass may see a half of them gone
    pull.agent.signal(Signal::STOP);
    for name in wanted.keys().take(20) {
        server.delete(CONTAINER, name);
    }
    pull.agent.signal(Signal::CONT);
    pull.wait_metric("deletes_held{job=\"site\"}", |value| {
        (value - 20.0).abs() < 0.1
    });
    pull.wait_health("degraded");
    pull.wait_tree(&wanted);
    for name in wanted.keys().skip(20) {
        server.delete(CONTAINER, name);
    }
    pull.wait_metric(
        "guard_trips_total{guard=\"empty_list\",job=\"site\"}",
        |value| value > 0.5,
    );
    pull.wait_tree(&wanted);
    let (_, _, verbose) = http_get(&pull.probe, "/readyz?verbose");
    assert!(verbose.contains("sync:site"), "{verbose}");
    // the storage comes to its senses
    upload(&server, &wanted);
    pull.wait_health("ok");
    pull.wait_tree(&wanted);
}

#[test]
fn a_restart_fetches_nothing_again_even_without_its_state() {
    let server = storage();
    let wanted = many(20, 1000);
    upload(&server, &wanted);
    let mut pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&wanted);
    pull.wait_pass();
    let (status, _) = pull.agent.stop();
    assert!(status.success());
    pull.agent.restart();
    pull.wait_pass();
    let fetched = |pull: &Pull| pull.metric("objects_total{job=\"site\",op=\"get\"}");
    assert_eq!(fetched(&pull), Some(0.0));
    assert_eq!(
        pull.metric("objects_total{job=\"site\",op=\"adopt\"}"),
        Some(0.0)
    );
    assert!(pull.agent.stop().0.success());
    fs::remove_dir_all(pull.agent.dir().join("state")).expect("ours");
    pull.agent.restart();
    pull.wait_pass();
    assert_eq!(fetched(&pull), Some(0.0));
    assert_eq!(
        pull.metric("objects_total{job=\"site\",op=\"adopt\"}"),
        Some(20.0)
    );
}

#[test]
fn a_required_entry_keeps_traffic_away_until_the_files_are_there() {
    let server = storage();
    let wanted = many(5, 1000);
    upload(&server, &wanted);
    server.freeze();
    let more = "required = true\nstall_timeout = \"1s\"";
    let mut pull = Pull::start(&server, &server.container_url(CONTAINER), more);
    pull.agent.wait_ready(SOON);
    wait_status(SOON, &pull.probe, "/lb", 503);
    pull.wait_health("degraded");
    wait_status(SOON, &pull.probe, "/lb", 503);
    server.thaw();
    wait_status(SOON, &pull.probe, "/lb", 200);
    pull.wait_tree(&wanted);
}

#[test]
fn a_sas_for_reading_and_listing_one_container_is_enough_and_never_shown() {
    let server = storage();
    upload(&server, &texts([("a", "1"), ("b/c", "2")]));
    let sas = server.container_sas(CONTAINER, "rl", "2049-12-31T00:00:00Z");
    let signature = sas.split("sig=").nth(1).expect("a signature").to_owned();
    let pull = Pull::with_secret(
        &server.container_url(CONTAINER),
        ("sas_file", sas),
        "[telemetry]\nlog_filter = \"trace\"",
    );
    pull.wait_tree(&texts([("a", "1"), ("b/c", "2")]));
    pull.wait_metric(
        "credential_expiry_timestamp_seconds{job=\"site\"}",
        |value| value > 2.4e9,
    );
    // also the faults are logged without it
    server.stop();
    pull.wait_health("degraded");
    let log = pull.agent.log();
    assert!(log.len() > 1000, "{log}");
    assert!(!log.contains(&signature), "the log holds the signature");
}

#[test]
fn the_online_check_lists_the_container_or_says_what_to_do() {
    let server = storage();
    upload(&server, &texts([("a", "1"), ("b/c", "2")]));
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    let check = || {
        let config = pull.agent.config_path();
        let (_, out, err) = pull.agent.command(&[
            "check",
            "--online",
            "--config",
            config.to_str().expect("UTF-8"),
        ]);
        out + &err
    };
    let fine = check();
    assert!(
        fine.contains("sync site") && fine.contains("2 blobs"),
        "{fine}"
    );
    server.stop();
    let away = check();
    assert!(
        away.contains("cannot be reached") && away.contains("firewall"),
        "{away}"
    );
}
