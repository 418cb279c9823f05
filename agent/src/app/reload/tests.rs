//! What a reload changes, and that a bad file changes nothing.

use std::sync::Arc;
use std::sync::Mutex;

use lamplighter_core::health::HealthBoard;
use lamplighter_core::lifecycle::Heartbeats;
use lamplighter_core::metrics::Registry;
use lamplighter_platform::{Links, Manager, Platform};

use super::*;

fn deadline(config: &Config) -> Option<String> {
    Some(config.shutdown.drain_deadline.to_string())
}

fn health(config: &Config) -> Option<String> {
    config
        .health
        .as_ref()
        .map(|health| health.probe_interval.to_string())
}

fn filter(config: &Config) -> Option<String> {
    Some(config.telemetry.log_filter.clone())
}

/// A reloader of a file with the parts `shutdown` (live), `health` (live) and `telemetry` (fixed); what was applied last.
fn reloader(file: &std::path::Path) -> (Reloader, Arc<Mutex<String>>, Registry) {
    let applied = Arc::new(Mutex::new(String::new()));
    let live = |text: fn(&Config) -> Option<String>| -> Option<Apply> {
        let applied = Arc::clone(&applied);
        Some(Box::new(move |config| {
            *applied.lock().unwrap() = text(config).unwrap_or_default();
            Ok(())
        }))
    };
    let parts = vec![
        Part {
            table: "shutdown",
            text: deadline,
            apply: live(deadline),
            refresh: None,
        },
        Part {
            table: "health",
            text: health,
            apply: live(health),
            refresh: None,
        },
        Part {
            table: "telemetry",
            text: filter,
            apply: None,
            refresh: None,
        },
    ];
    let loaded = config::load(file).expect("right");
    let registry = Registry::new();
    let series = ConfigSeries::register(&registry, &loaded.digest).expect("registered");
    let reloading = no_service_manager(&registry);
    (
        Reloader::new(&loaded, parts, series, reloading),
        applied,
        registry,
    )
}

fn no_service_manager(registry: &Registry) -> Reloading {
    let config = lamplighter_core::lifecycle::SupervisorConfig {
        drain_deadline: std::time::Duration::ZERO,
        command_deadline: std::time::Duration::ZERO,
        shed_time: std::sync::Arc::new(|| std::time::Duration::ZERO),
    };
    let supervisor =
        lamplighter_core::lifecycle::Supervisor::new(config, HealthBoard::new(), registry)
            .expect("registered");
    let links = Links {
        board: HealthBoard::new(),
        phases: supervisor.phases(),
        heartbeats: Heartbeats::default(),
        control: supervisor.control(),
        departures: supervisor.departures(),
        azure: None,
    };
    let platform = Platform::new(
        lamplighter_platform::Config::default(),
        Manager::none(),
        links,
        registry,
    );
    platform.expect("registered").reloading()
}

fn value(registry: &Registry, name: &str) -> f64 {
    let families = registry.gather();
    let family = families
        .iter()
        .find(|family| family.name() == name)
        .expect(name);
    family.get_metric()[0].get_gauge().get_value()
}

#[test]
fn a_change_is_applied_once_and_what_needs_a_restart_is_said_until_it_happens() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("l.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[health]\n");
    let (mut reloader, applied, registry) = reloader(&file);
    let unchanged = Reloaded::Applied {
        changed: vec![],
        restart_needed: vec![],
        kept: vec![],
    };
    assert_eq!(reloader.reload(), unchanged);
    assert_eq!(*applied.lock().unwrap(), "");

    write("[health]\n[shutdown]\ndrain_deadline = '7s'\n[telemetry]\nlog_filter = 'debug'\n");
    let reason = "[telemetry]: its keys are read at start only".to_owned();
    let expected = Reloaded::Applied {
        changed: vec!["shutdown"],
        restart_needed: vec![reason.clone()],
        kept: vec![],
    };
    assert_eq!(reloader.reload(), expected);
    assert_eq!(*applied.lock().unwrap(), "7s");
    let again = Reloaded::Applied {
        changed: vec![],
        restart_needed: vec![reason],
        kept: vec![],
    };
    assert_eq!(reloader.reload(), again);
    assert!((value(&registry, "lamplighter_config_restart_needed") - 1.0).abs() < f64::EPSILON);

    write("[health]\n[shutdown]\ndrain_deadline = '7s'\n");
    assert_eq!(reloader.reload(), unchanged);
    assert!(value(&registry, "lamplighter_config_restart_needed").abs() < f64::EPSILON);
}

#[test]
fn a_bad_file_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("l.toml");
    std::fs::write(&file, "[health]\n").expect("written");
    let (mut reloader, applied, registry) = reloader(&file);
    std::fs::write(
        &file,
        "[health]\nprobe_interval = '9s'\nprob_threshold = 3\n[shutdown]\ndrain_deadline = 9\n",
    )
    .expect("written");
    let refused = reloader.reload();
    let Reloaded::Refused(problems) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        problems
            .iter()
            .map(|problem| problem.line)
            .collect::<Vec<_>>(),
        [3, 5]
    );
    assert!(
        refused
            .into_reply()
            .is_err_and(|text| text.contains("did you mean `probe_threshold`"))
    );
    assert_eq!(*applied.lock().unwrap(), "");
    assert!(value(&registry, "lamplighter_config_last_reload_successful").abs() < f64::EPSILON);

    std::fs::write(&file, "[health]\nprobe_interval = '9s'\n").expect("written");
    assert!(
        reloader
            .reload()
            .into_reply()
            .is_ok_and(|text| text == "in force: [health]")
    );
    assert!(
        (value(&registry, "lamplighter_config_last_reload_successful") - 1.0).abs() < f64::EPSILON
    );
}

#[test]
fn turning_a_table_on_or_off_needs_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("l.toml");
    std::fs::write(&file, "[health]\n").expect("written");
    let (mut reloader, _, _) = reloader(&file);
    reloader.running.retain(|(part, _)| part.table != "health");
    reloader.running.push((
        Part {
            table: "health",
            text: health,
            apply: Some(Box::new(|_| Ok(()))),
            refresh: None,
        },
        None,
    ));
    let on = reloader.reload().into_reply();
    assert_eq!(on, Ok("read; nothing changed that a running agent can take\nneeds a restart: [health]: it was off when the agent started".to_owned()));
}
