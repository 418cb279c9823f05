//! The file as a whole: what is refused, with which line.

use super::*;

fn problems(text: &str) -> Vec<(usize, String)> {
    parse(Path::new("f.toml"), text.to_owned())
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|problem| (problem.line, problem.message))
        .collect()
}

#[test]
fn the_smallest_file_is_one_line() {
    let loaded = parse(Path::new("f.toml"), "[health]\n".to_owned()).expect("right");
    assert!(loaded.config.health.is_some());
    assert_eq!(loaded.config.shutdown, Shutdown::default());
    assert_eq!(
        problems(""),
        [(
            1,
            "no table turns any subsystem on; the smallest useful file is the line [health]"
                .to_owned()
        )]
    );
}

#[test]
fn rules_of_a_table_point_at_its_lines() {
    let text = "[shutdown]\ndrain_deadline = '1ms'\n[health]\n\nadmin_listen = '10.0.0.1:80'\nprobe_interval = 5\n";
    let found = problems(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        found[0],
        (
            2,
            "shutdown.drain_deadline: must be from 100ms to 1h".to_owned()
        )
    );
    assert!(
        found[1].0 == 5 && found[1].1.contains("loopback"),
        "{found:?}"
    );
    assert!(
        found[2].0 == 6 && found[2].1.contains("has no unit"),
        "{found:?}"
    );
}

#[test]
fn the_shown_form_reads_back_as_the_same() {
    let text = "[health]\nlisten = '127.0.0.1:1'\n[health.web]\nurl = 'http://a/b'\n";
    let loaded = parse(Path::new("f.toml"), text.to_owned()).expect("right");
    let shown = loaded.config.to_toml().expect("TOML");
    let again = parse(Path::new("f.toml"), shown.clone()).expect("right as well");
    assert_eq!(again.config.to_toml().expect("TOML"), shown);
    assert!(shown.contains("drain_deadline = \"30s\""), "{shown}");
    assert_ne!(again.digest, loaded.digest);
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    let found = problems("[health]\n[telemetry]\nlog_filter = 'info,='\n");
    assert!(found.len() == 1 && found[0].0 == 3, "{found:?}");
    assert_eq!(
        problems("[health]\n[telemetry]\nlog_filter = 'warn,lamplighter_sync=debug'\n"),
        []
    );
}
