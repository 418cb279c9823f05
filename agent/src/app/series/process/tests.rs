//! The numbers are those of this very process.

use super::*;

#[test]
fn a_name_with_parentheses_does_not_shift_the_fields() {
    let text =
        "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 5 0 900 4096 12 18446744073709551615";
    assert_eq!(
        parse_stat(text),
        Some(Stat {
            cpu_ticks: 123,
            threads: 5,
            start_ticks: 900,
            virtual_bytes: 4096,
            resident_pages: 12
        })
    );
    assert_eq!(parse_stat("7 (a) S 1"), None);
}

#[test]
fn a_scrape_sees_this_process() {
    let registry = Registry::new();
    register(&registry).expect("registered");
    let value = |name: &str| {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .expect(name)
            .clone();
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    };
    let before = value("process_open_fds");
    let file = std::fs::File::open("/proc/self/stat").expect("opened");
    assert!(value("process_open_fds") > before - 1.0 && before > 2.0);
    drop(file);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_threads") >= 1.0);
    assert!(value("process_max_fds") >= 64.0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64();
    let start = value("process_start_time_seconds");
    assert!(start <= now + 1.0 && start > now - 3600.0, "{start} {now}");
    let spent = value("process_cpu_seconds_total");
    assert!(value("process_cpu_seconds_total") >= spent);
}
