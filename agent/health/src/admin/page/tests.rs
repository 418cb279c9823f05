//! The page shows what the status says and nothing a name can smuggle in.

use super::*;
use crate::status::{BuildInfo, Component, GateStatus};

fn status() -> Status {
    Status {
        build: BuildInfo {
            version: "1.2.3".to_owned(),
            git: "abc".to_owned(),
            rustc: "1.95".to_owned(),
        },
        pid: 7,
        uptime_seconds: 3 * 3600 + 120,
        phase: "ready".to_owned(),
        leaving: None,
        serving: true,
        serving_reason: String::new(),
        azure: "healthy".to_owned(),
        azure_reason: String::new(),
        components: vec![Component {
            name: "sync:<script>alert('x')</script>".to_owned(),
            condition: "down".to_owned(),
            reach: "shared".to_owned(),
            reason: "no \"route\" & more".to_owned(),
            seconds: 90,
        }],
        gates: vec![GateStatus {
            name: "warm".to_owned(),
            open: false,
        }],
        web: "passing".to_owned(),
        balancer_asked_seconds_ago: Some(1.25),
        azure_asked_seconds_ago: None,
    }
}

#[test]
fn it_says_what_is_and_escapes_it() {
    let html = render(&status());
    for text in [
        "serving (200)",
        "healthy",
        "up 3 h 2 min",
        "1.2 s ago",
        "never",
        "1 min",
        "not done yet",
        "sync:&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;",
        "no &quot;route&quot; &amp; more",
    ] {
        assert!(html.contains(text), "{text}: {html}");
    }
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(
        html.matches("<table>").count(),
        html.matches("</table>").count()
    );
}

#[test]
fn a_machine_that_sheds_says_so_and_why() {
    let mut status = status();
    status.serving = false;
    status.serving_reason = "web: answers 500".to_owned();
    status.gates.clear();
    let html = render(&status);
    assert!(html.contains("not serving (503)") && html.contains("web: answers 500"));
    assert!(!html.contains("Before the first traffic"));
}
