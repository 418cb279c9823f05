//! Tests of `flags`.

use super::*;

#[test]
fn sets() {
    let both = Status::SERVER_STATUS_IN_TRANS | Status::SERVER_STATUS_AUTOCOMMIT;
    assert!(both.contains(Status::SERVER_STATUS_IN_TRANS));
    assert!(
        !Status::SERVER_STATUS_IN_TRANS.contains(both)
            && Status::SERVER_STATUS_IN_TRANS.intersects(both)
    );
    assert_eq!(
        both.without(Status::SERVER_STATUS_AUTOCOMMIT),
        Status::SERVER_STATUS_IN_TRANS
    );
    assert_eq!(
        both.intersection(Status::SERVER_STATUS_AUTOCOMMIT).bits(),
        2
    );
    assert!(Status::empty().is_empty() && both.contains(Status::empty()));
}

#[test]
fn values_of_the_manual() {
    assert_eq!(Capabilities::CLIENT_PROTOCOL_41.bits(), 512);
    assert_eq!(Capabilities::CLIENT_SESSION_TRACK.bits(), 1 << 23);
    assert_eq!(Capabilities::CLIENT_DEPRECATE_EOF.bits(), 1 << 24);
    assert_eq!(Status::SERVER_MORE_RESULTS_EXISTS.bits(), 8);
    assert_eq!(Status::SERVER_STATUS_CURSOR_EXISTS.bits(), 64);
    assert_eq!(Status::SERVER_SESSION_STATE_CHANGED.bits(), 1 << 14);
}

#[test]
fn printed_by_name() {
    assert_eq!(
        format!("{:?}", Status(0x8003)),
        "Status(SERVER_STATUS_IN_TRANS | SERVER_STATUS_AUTOCOMMIT | 0x8000)"
    );
    assert_eq!(format!("{:?}", Status(0)), "Status(0x0)");
}
