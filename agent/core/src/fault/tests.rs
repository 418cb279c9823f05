//! Faults print their chain once and keep their advice.

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("cannot open the spool")]
struct Outer(#[source] std::io::Error);

#[test]
fn the_chain_is_on_one_line_and_says_nothing_twice() {
    let fault = Fault::new(
        Culprit::Platform,
        Retry::Later,
        Outer(std::io::Error::other("disk is gone")),
    );
    assert_eq!(chain(&fault), "cannot open the spool: disk is gone");
    assert_eq!(fault.culprit().label(), "platform");
    assert_eq!(fault.retry(), Retry::Later);
    assert_eq!(
        format!("{fault:?}"),
        "Fault(platform, Later: cannot open the spool: disk is gone)"
    );
}
