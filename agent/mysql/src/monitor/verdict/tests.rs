//! What each look means, as a table.

use super::*;

#[test]
fn every_look_has_its_meaning() {
    use Lag::{NoRight, NotAReplica, Seconds, Unknown};
    let limit = Duration::from_secs(10);
    for (role, read_only, lag, use_unknown, expected) in [
        (Role::Primary, false, NotAReplica, false, Verdict::Fit),
        (
            Role::Primary,
            true,
            NotAReplica,
            false,
            Verdict::ReadOnlyPrimary,
        ),
        (Role::Replica, true, Seconds(0), false, Verdict::Fit),
        (Role::Replica, true, Seconds(10), false, Verdict::Fit),
        (
            Role::Replica,
            true,
            Seconds(11),
            false,
            Verdict::Lagging { seconds: 11 },
        ),
        (Role::Replica, true, Unknown, false, Verdict::LagUnknown),
        (Role::Replica, true, Unknown, true, Verdict::LagUnknown),
        (Role::Replica, true, NoRight, false, Verdict::LagHidden),
        (Role::Replica, true, NoRight, true, Verdict::Fit),
        (
            Role::Replica,
            false,
            NotAReplica,
            true,
            Verdict::WritableReplica,
        ),
        (Role::Replica, true, NotAReplica, true, Verdict::LagUnknown),
        // a replica that somebody may write to still replicates: its lag decides
        (Role::Replica, false, Seconds(1), false, Verdict::Fit),
    ] {
        let seen = Observation { read_only, lag };
        assert_eq!(
            judge(role, Some(&seen), limit, use_unknown),
            expected,
            "{role:?} {seen:?}"
        );
    }
    assert_eq!(judge(Role::Replica, None, limit, true), Verdict::Away);
}
