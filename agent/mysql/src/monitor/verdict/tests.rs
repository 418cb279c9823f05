//! What each look means, as tables.

use super::*;

const LIMITS: Limits = Limits {
    lag_max: Duration::from_secs(10),
    use_unknown: false,
};

fn look(read_only: bool, lag: Lag) -> Observation {
    Observation {
        read_only,
        lag,
        ..Observation::default()
    }
}

#[test]
fn every_look_has_its_meaning() {
    use Lag::{NoRight, NotAReplica, Seconds, Unknown};
    use Role::{Primary, Replica};
    let behind = Verdict::Lagging { seconds: 11 };
    for (role, read_only, lag, use_unknown, expected) in [
        (Primary, false, NotAReplica, false, Verdict::Fit),
        (Primary, true, NotAReplica, false, Verdict::ReadOnlyPrimary),
        (Replica, true, Seconds(0), false, Verdict::Fit),
        (Replica, true, Seconds(10), false, Verdict::Fit),
        (Replica, true, Seconds(11), false, behind),
        (Replica, true, Unknown, false, Verdict::LagUnknown),
        (Replica, true, Unknown, true, Verdict::LagUnknown),
        (Replica, true, NoRight, false, Verdict::LagHidden),
        (Replica, true, NoRight, true, Verdict::Fit),
        (Replica, false, NotAReplica, true, Verdict::WritableReplica),
        (Replica, true, NotAReplica, true, Verdict::LagUnknown),
        // one that somebody may write to is none, although it still replicates, or nobody may see whether it does
        (Replica, false, Seconds(1), false, Verdict::WritableReplica),
        (Replica, false, Unknown, false, Verdict::WritableReplica),
        (Replica, false, NoRight, true, Verdict::WritableReplica),
    ] {
        let seen = look(read_only, lag);
        let limits = Limits {
            use_unknown,
            ..LIMITS
        };
        let found = judge(role, Some(&seen), limits, Context::default(), None);
        assert_eq!(found, expected, "{role:?} {seen:?}");
    }
    let away = judge(Role::Replica, None, LIMITS, Context::default(), None);
    assert_eq!(away, Verdict::Away);
}

#[test]
fn the_heartbeat_knows_better_than_the_replica() {
    let judged = |lag, age| {
        let context = Context {
            age: Some(Duration::from_millis(age)),
            ..Context::default()
        };
        judge(Role::Replica, Some(&look(true, lag)), LIMITS, context, None)
    };
    assert_eq!(judged(Lag::Seconds(99), 400), Verdict::Fit);
    assert_eq!(judged(Lag::Unknown, 400), Verdict::Fit);
    let behind = Verdict::Lagging { seconds: 12 };
    assert_eq!(judged(Lag::Seconds(0), 12_500), behind);
    let context = Context {
        age: Some(Duration::ZERO),
        ..Context::default()
    };
    let writable = look(false, Lag::NoRight);
    assert_eq!(
        judge(Role::Replica, Some(&writable), LIMITS, context, None),
        Verdict::WritableReplica
    );
    // stopped replication: the age grows
    assert_eq!(judged(Lag::Unknown, 12_500), behind);
}

#[test]
fn who_was_too_far_behind_has_to_catch_up_well() {
    let judged = |seconds, before: &Verdict| {
        let seen = look(true, Lag::Seconds(seconds));
        judge(
            Role::Replica,
            Some(&seen),
            LIMITS,
            Context::default(),
            Some(before),
        )
    };
    let behind = Verdict::Lagging { seconds: 20 };
    assert_eq!(judged(9, &Verdict::Fit), Verdict::Fit);
    assert_eq!(judged(8, &behind), Verdict::Lagging { seconds: 8 });
    assert_eq!(judged(7, &behind), Verdict::Fit);
}

#[test]
fn a_replica_without_its_primary_keeps_answering() {
    let context = Context {
        primary_is_away: true,
        ..Context::default()
    };
    let seen = look(true, Lag::Unknown);
    let judged =
        |before: Option<&Verdict>| judge(Role::Replica, Some(&seen), LIMITS, context, before);
    assert_eq!(judged(Some(&Verdict::Fit)), Verdict::Fit);
    // one that was behind before, or was never seen well, does not
    assert_eq!(judged(Some(&Verdict::LagUnknown)), Verdict::LagUnknown);
    assert_eq!(judged(None), Verdict::LagUnknown);
    let writable = judge(
        Role::Replica,
        Some(&look(false, Lag::NotAReplica)),
        LIMITS,
        context,
        Some(&Verdict::Fit),
    );
    assert_eq!(writable, Verdict::WritableReplica);
}
