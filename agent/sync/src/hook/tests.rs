//! Runs, failures, and how often.

use super::*;
use crate::rig;

fn hook(words: &[&str]) -> Hook {
    let mut config = rig::config(std::path::Path::new("/x"));
    config.after_change = words.iter().map(|word| (*word).to_owned()).collect();
    config.after_change_interval = lamplighter_core::units::Millis::from_secs(10);
    config.after_change_timeout = lamplighter_core::units::Millis::new(300);
    Hook::new(&config)
}

#[tokio::test]
async fn it_runs_without_a_shell_and_knows_the_release() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out; touch x");
    let script = "printf '%s %s' \"$LAMPLIGHTER_SYNC\" \"$LAMPLIGHTER_RELEASE\" > \"$1\"";
    let mut hook = hook(&["/bin/sh", "-c", script, "sh", file.to_str().unwrap()]);
    assert!(hook.run_if_due().await.is_none());
    hook.changed(Some("r1"));
    assert_eq!(hook.run_if_due().await, Some(Ok(())));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "site r1");
    // not due again, and once changed not before its interval
    assert!(hook.run_if_due().await.is_none());
    hook.changed(Some("r2"));
    assert!(hook.run_if_due().await.is_none());
    assert!(hook.due_at().unwrap() > Instant::now() + Duration::from_secs(8));
}

#[tokio::test]
async fn what_fails_is_told_and_what_hangs_is_ended() {
    let mut failing = hook(&["/bin/sh", "-c", "echo no such service >&2; exit 3"]);
    failing.changed(None);
    let error = failing.run_if_due().await.unwrap().unwrap_err();
    assert!(
        error.contains("no such service") && error.contains('3'),
        "{error}"
    );
    let mut hanging = hook(&["/bin/sleep", "600"]);
    hanging.changed(None);
    let error = hanging.run_if_due().await.unwrap().unwrap_err();
    assert!(error.contains("after_change_timeout"), "{error}");
    let mut missing = hook(&["/no/such/program"]);
    missing.changed(None);
    let error = missing.run_if_due().await.unwrap().unwrap_err();
    assert!(error.contains("cannot be started"), "{error}");
}
