//! What goes wrong: kills, full disks, wrong credentials, a storage that is away, slow, or cut.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::support::agent::wait_status;
use crate::support::azurite::ACCOUNT;
use crate::support::disk::Disk;
use crate::support::faults::{Mode, Proxy};

/// The container's URL by way of `proxy`.
fn url_by(proxy: &Proxy) -> String {
    format!("http://{}/{ACCOUNT}/{CONTAINER}", proxy.address())
}

/// Every file on disk is whole: exactly what is in `wanted`, never a part of it.
#[track_caller]
fn assert_whole(pull: &Pull, wanted: &Tree) {
    for (name, content) in pull.tree() {
        assert!(
            wanted.get(&name) == Some(&content),
            "{name} is torn: {} bytes",
            content.len()
        );
    }
}

/// How often it is killed: a few times with all the other tests, two hundred times by `make endurance-sync`.
fn kills() -> usize {
    let wanted = std::env::var("LAMPLIGHTER_KILLS");
    wanted.map_or(6, |count| count.parse().expect("a number"))
}

#[test]
fn killed_at_any_moment_it_leaves_no_torn_file_and_goes_on() {
    let server = storage();
    // alone at first, and so large that what is on its way in buffers does not finish it
    let mut wanted = texts([]);
    wanted.insert("large".to_owned(), vec![b'x'; 200_000_000]);
    upload(&server, &wanted);
    let proxy = Proxy::start(&server.address());
    // slow enough to be killed in the middle
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    let mut pull = Pull::start(&server, &url_by(&proxy), "concurrency = 4");
    poll::until(SOON, "a file half done", || pull.staged() > 0);
    proxy.set(Mode::BlackHole);
    pull.agent.kill();
    assert!(pull.staged() > 0, "the file was finished all the same");
    assert_whole(&pull, &wanted);
    let more = many(120, 40_000);
    upload(&server, &more);
    wanted.extend(more);
    wanted.insert("large".to_owned(), vec![b'y'; 30_000_000]);
    server.put(CONTAINER, "large", &*wanted["large"]);
    let mut versions = vec![wanted.clone()];
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    pull.agent.restart();
    for kill in 1..=kills() {
        // once all is there, everything changes: each file is one version or the other
        if pull.tree() == wanted {
            for (name, content) in &mut wanted {
                content.reverse();
                content.extend(name.bytes());
                server.put(CONTAINER, name, &*content);
            }
            versions.push(wanted.clone());
        }
        let enough = kill % 8 * wanted.len() / 8;
        poll::until(SOON, "some files", || {
            pull.tree().len() >= enough || pull.staged() > 0
        });
        pull.agent.kill();
        for (name, content) in pull.tree() {
            let whole = versions
                .iter()
                .any(|version| version.get(&name) == Some(&content));
            assert!(whole, "{name} is torn: {} bytes", content.len());
        }
        pull.agent.restart();
    }
    proxy.set(Mode::Pass);
    pull.wait_tree(&wanted);
    let log = pull.agent.log();
    assert!(
        log.contains("removed what an earlier process left half done"),
        "no kill hit a file half done\n{log}"
    );
}

#[test]
fn asked_to_leave_it_finishes_the_files_in_hand() {
    let server = storage();
    let wanted = many(400, 20_000);
    upload(&server, &wanted);
    let proxy = Proxy::start(&server.address());
    proxy.set(Mode::Delay(Duration::from_millis(50)));
    let mut pull = Pull::start(&server, &url_by(&proxy), "concurrency = 8");
    poll::until(SOON, "some files", || pull.tree().len() >= 20);
    let (status, _) = pull.agent.stop();
    assert!(status.success());
    assert_whole(&pull, &wanted);
    let there = pull.tree().len();
    assert!(
        there < wanted.len(),
        "the pass was over before the signal came"
    );
    assert_eq!(pull.staged(), 0);
    proxy.set(Mode::Pass);
    pull.agent.restart();
    pull.wait_tree(&wanted);
    pull.wait_pass();
    let fetched = pull
        .metric("objects_total{job=\"site\",op=\"get\"}")
        .expect("a metric");
    assert!(
        (fetched - (wanted.len() - there) as f64).abs() < 0.1,
        "{there} were there, {fetched} fetched"
    );
}

#[test]
fn a_full_disk_keeps_the_old_files_and_no_rubbish_and_heals() {
    let server = storage();
    let old = texts([("f", "old"), ("g", "old too")]);
    upload(&server, &old);
    let disk = Disk::mount("4m");
    let more = format!(
        "path = \"{}/tree\"\nmin_free = \"64KiB\"\nmax_delete_percent = \"100%\"",
        disk.path().display()
    );
    let pull = Pull::start(&server, &server.container_url(CONTAINER), &more);
    pull.wait_tree(&old);
    pull.wait_health("ok");
    // by its size, before it is written
    server.put(CONTAINER, "f", vec![1; 8_000_000]);
    pull.wait_metric("errors_total{job=\"site\",kind=\"disk_full\"}", |value| {
        value > 0.5
    });
    pull.wait_health("degraded");
    pull.wait_tree(&old);
    // and one by one, until nothing more fits
    server.put(CONTAINER, "f", "old");
    pull.wait_health("ok");
    let filling: Tree = (0..60)
        .map(|file| (format!("h{file:02}"), vec![7; 100_000]))
        .collect();
    upload(&server, &filling);
    pull.wait_health("degraded");
    poll::until(SOON, "nothing half done", || pull.staged() == 0);
    for (name, content) in pull.tree() {
        let expected = filling.get(&name).or_else(|| old.get(&name));
        assert!(expected == Some(&content), "{name} is torn");
    }
    assert!(pull.tree().len() > 20);
    for name in filling.keys() {
        server.delete(CONTAINER, name);
    }
    pull.wait_health("ok");
    pull.wait_tree(&old);
    drop(pull);
}

#[test]
fn a_wrong_credential_is_said_and_a_right_one_is_taken_up() {
    let server = storage();
    let wanted = texts([("a", "1")]);
    upload(&server, &wanted);
    let expired = server.container_sas(CONTAINER, "rl", "2020-01-01T00:00:00Z");
    let mut pull = Pull::with_secret(&server.container_url(CONTAINER), ("sas_file", expired), "");
    pull.agent.wait_ready(SOON);
    pull.wait_metric("errors_total{job=\"site\",kind=\"denied\"}", |value| {
        value > 0.5
    });
    pull.wait_health("degraded");
    assert!(
        pull.agent.log().contains("refuses the credential"),
        "{}",
        pull.agent.log()
    );
    // an instance does not leave its load balancer for it
    wait_status(SOON, &pull.probe, "/lb", 200);
    let right = server.container_sas(CONTAINER, "rl", "2049-12-31T00:00:00Z");
    fs::write(pull.agent.dir().join("storage"), right).expect("ours");
    pull.wait_tree(&wanted);
    pull.wait_health("ok");
    // and a file that goes away does no harm to what is there
    fs::remove_file(pull.agent.dir().join("storage")).expect("ours");
    pull.wait_metric("errors_total{job=\"site\",kind=\"credential\"}", |value| {
        value > 0.5
    });
    pull.wait_tree(&wanted);
}

#[test]
fn a_container_that_does_not_exist_deletes_nothing() {
    let server = storage();
    let wanted = many(12, 100);
    upload(&server, &wanted);
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&wanted);
    // an empty service, and then an empty container
    server.stop();
    pull.wait_health("degraded");
    server.restart();
    pull.wait_metric(
        "errors_total{job=\"site\",kind=\"no_container\"}",
        |value| value > 0.5,
    );
    pull.wait_tree(&wanted);
    server.create_container(CONTAINER);
    pull.wait_metric(
        "guard_trips_total{guard=\"empty_list\",job=\"site\"}",
        |value| value > 0.5,
    );
    pull.wait_tree(&wanted);
}

#[test]
fn a_storage_that_is_away_at_the_start_does_not_keep_the_agent_from_starting() {
    let server = storage();
    let wanted = many(5, 100);
    upload(&server, &wanted);
    let proxy = Proxy::start(&server.address());
    proxy.set(Mode::Refuse);
    let mut pull = Pull::start(&server, &url_by(&proxy), "");
    let ready = pull.agent.wait_ready(SOON);
    assert!(ready < Duration::from_secs(5), "{ready:?}");
    pull.wait_health("degraded");
    wait_status(SOON, &pull.probe, "/lb", 200);
    proxy.set(Mode::Pass);
    pull.wait_tree(&wanted);
    pull.wait_health("ok");
}

#[test]
fn a_network_that_cuts_and_hangs_only_costs_time() {
    let server = storage();
    let mut wanted = many(10, 5000);
    wanted.insert(
        "large".to_owned(),
        many(1, 6_000_000).pop_first().expect("one").1,
    );
    upload(&server, &wanted);
    let proxy = Proxy::start(&server.address());
    // every connection breaks after two mebibytes
    proxy.set(Mode::CutAfter(2 << 20));
    let pull = Pull::start(&server, &url_by(&proxy), "stall_timeout = \"2s\"");
    pull.wait_tree(&wanted);
    pull.wait_metric("resumed_total{job=\"site\"}", |value| value >= 2.0);
    // a black hole ends after the longest silence, and what was asked for then comes another way
    proxy.set(Mode::BlackHole);
    server.put(CONTAINER, "after", "1");
    wanted.extend(texts([("after", "1")]));
    pull.wait_health("degraded");
    proxy.set(Mode::Pass);
    pull.wait_tree(&wanted);
    pull.wait_health("ok");
}

#[test]
fn a_link_planted_by_somebody_else_leads_nowhere() {
    let server = storage();
    upload(&server, &texts([("uploads/a", "1"), ("keep", "2")]));
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&texts([("uploads/a", "1"), ("keep", "2")]));
    let outside = pull.agent.dir().join("outside");
    fs::create_dir(&outside).expect("ours");
    fs::write(outside.join("a"), "theirs").expect("ours");
    let before = fs::metadata(outside.join("a")).expect("there").ctime_nsec();
    fs::remove_dir_all(pull.path.join("uploads")).expect("ours");
    std::os::unix::fs::symlink(&outside, pull.path.join("uploads")).expect("ours");
    server.put(CONTAINER, "uploads/new", "3");
    pull.wait_metric(
        "refused_objects{job=\"site\",reason=\"in_the_way\"}",
        |value| (value - 2.0).abs() < 0.1,
    );
    server.delete(CONTAINER, "uploads/a");
    pull.wait_metric(
        "refused_objects{job=\"site\",reason=\"in_the_way\"}",
        |value| (value - 1.0).abs() < 0.1,
    );
    assert_eq!(fs::read_dir(&outside).expect("there").count(), 1);
    assert_eq!(fs::read(outside.join("a")).expect("there"), b"theirs");
    assert_eq!(
        fs::metadata(outside.join("a")).expect("there").ctime_nsec(),
        before
    );
}
