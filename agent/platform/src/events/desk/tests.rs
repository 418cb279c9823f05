//! Every kind of event, ours and others', announced, begun, cancelled.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A desk in the middle of a test.
struct Scene {
    desk: Desk,
    now: Instant,
    wall: SystemTime,
    left: bool,
}

impl Scene {
    fn new(policy: Policy) -> Self {
        Self {
            desk: Desk::new(policy),
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + 1_000_000 * SECOND,
            left: false,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall += time;
    }

    fn look(&mut self, events: &[Event]) -> Vec<Act> {
        let document = Document {
            events: events.to_vec(),
        };
        let situation = Situation {
            me: "web_3",
            now: self.now,
            wall: self.wall,
            left: self.left,
        };
        let acts = self.desk.look(&document, &situation);
        acts.into_iter()
            .filter(|act| !matches!(act, Act::Note(_)))
            .collect()
    }

    fn event(&self, id: &str, kind: Kind, machines: &[&str], notice: u32) -> Event {
        Event {
            id: id.to_owned(),
            kind,
            resources: machines.iter().map(|it| (*it).to_owned()).collect(),
            started: false,
            not_before: Some(self.wall + notice * SECOND),
            by_user: false,
            duration: None,
            description: String::new(),
        }
    }
}

fn leave(id: &str, seconds: u32) -> Act {
    Act::Leave {
        limit: seconds * SECOND,
        id: id.to_owned(),
    }
}

fn acknowledge(id: &str, kind: Kind) -> Act {
    Act::Acknowledge {
        id: id.to_owned(),
        kind,
    }
}

#[test]
fn each_kind_that_takes_the_machine_is_left_for_and_acknowledged_when_all_is_left() {
    for (kind, notice, seconds) in [
        (Kind::Terminate, 300, 240),
        (Kind::Reboot, 900, 240),
        (Kind::Redeploy, 100, 98),
        (Kind::Preempt, 30, 25),
        (Kind::Preempt, 12, 10),
    ] {
        let mut scene = Scene::new(Policy::default());
        let event = scene.event("a", kind, &["web_3"], notice);
        let events = [event];
        assert_eq!(scene.look(&events), [leave("a", seconds)], "{kind:?}");
        assert!(scene.desk.waits_to_acknowledge());
        scene.pass(SECOND);
        assert_eq!(scene.look(&events), [], "said once");
        scene.left = true;
        assert_eq!(scene.look(&events), [acknowledge("a", kind)]);
        // it did not get through: again
        assert_eq!(scene.look(&events), [acknowledge("a", kind)]);
        scene.desk.acknowledged("a");
        assert_eq!(scene.look(&events), []);
        assert!(!scene.desk.waits_to_acknowledge());
    }
}

#[test]
fn a_neighbours_event_is_nothing_to_us_and_a_shared_one_is_not_ours_to_begin() {
    let mut scene = Scene::new(Policy::default());
    let theirs = scene.event("t", Kind::Terminate, &["web_4"], 300);
    let ours = scene.event("o", Kind::Terminate, &["web_3"], 300);
    assert_eq!(scene.look(std::slice::from_ref(&theirs)), []);
    scene.left = true;
    assert_eq!(scene.look(std::slice::from_ref(&theirs)), []);
    assert_eq!(
        scene.look(&[theirs, ours]),
        [leave("o", 240), acknowledge("o", Kind::Terminate)]
    );

    let mut scene = Scene::new(Policy::default());
    let both = [scene.event("b", Kind::Reboot, &["web_3", "web_4"], 900)];
    assert_eq!(scene.look(&both), [leave("b", 240)]);
    scene.left = true;
    assert_eq!(scene.look(&both), [], "left to its NotBefore");
    assert!(!scene.desk.waits_to_acknowledge());
}

#[test]
fn a_short_freeze_may_begin_at_once_and_drains_nothing() {
    let mut scene = Scene::new(Policy::default());
    let mut event = scene.event("f", Kind::Freeze, &["web_3"], 900);
    event.duration = Some(9 * SECOND);
    assert_eq!(
        scene.look(&[event.clone()]),
        [acknowledge("f", Kind::Freeze)]
    );
    scene.desk.acknowledged("f");
    event.started = true;
    event.not_before = None;
    assert_eq!(scene.look(&[event.clone()]), []);
    assert_eq!(scene.look(&[]), [], "over: nothing to come back from");

    event.started = false;
    event.resources.insert("web_4".to_owned());
    assert_eq!(scene.look(&[event.clone()]), [], "not ours alone");
    for long in [None, Some(10 * SECOND)] {
        let mut scene = Scene::new(Policy::default());
        event.duration = long;
        assert_eq!(
            scene.look(&[event.clone()]),
            [leave("f", 240)],
            "as a reboot"
        );
    }
}

#[test]
fn a_cancelled_event_is_waited_out_before_traffic_comes_back() {
    let mut scene = Scene::new(Policy::default());
    let events = [scene.event("a", Kind::Reboot, &["web_3"], 900)];
    scene.look(&events);
    scene.left = true;
    assert_eq!(scene.look(&[]), []);
    scene.pass(9 * SECOND);
    assert_eq!(scene.look(&[]), []);
    // it was a hiccup of the list: counted from the start again, and not left for a second time
    assert_eq!(scene.look(&events), [acknowledge("a", Kind::Reboot)]);
    assert_eq!(scene.look(&[]), []);
    scene.pass(9 * SECOND);
    assert_eq!(scene.look(&[]), []);
    scene.pass(SECOND);
    assert_eq!(scene.look(&[]), [Act::ComeBack]);
    scene.pass(SECOND);
    assert_eq!(scene.look(&[]), []);
    assert_eq!(scene.look(&events)[0], leave("a", 240), "and again");
}

#[test]
fn a_shorter_notice_shortens_the_time_and_a_jump_of_the_clock_does_not() {
    let mut scene = Scene::new(Policy::default());
    let reboot = scene.event("r", Kind::Reboot, &["web_3"], 900);
    assert_eq!(scene.look(std::slice::from_ref(&reboot)), [leave("r", 240)]);
    scene.wall += 86_400 * SECOND;
    assert_eq!(scene.look(std::slice::from_ref(&reboot)), []);
    scene.wall -= 2 * 86_400 * SECOND;
    assert_eq!(scene.look(std::slice::from_ref(&reboot)), []);
    let preempt = scene.event("p", Kind::Preempt, &["web_3"], 30);
    assert_eq!(scene.look(&[reboot, preempt]), [leave("p", 25)]);
}

#[test]
fn an_event_with_a_new_id_is_the_same_event() {
    let mut scene = Scene::new(Policy::default());
    let mut event = scene.event("a", Kind::Terminate, &["web_3"], 300);
    scene.look(&[event.clone()]);
    event.id = "b".to_owned();
    event.started = true;
    event.not_before = None;
    assert_eq!(
        scene.look(&[event.clone()]),
        [leave("b", 25)],
        "begun: hurry"
    );
    scene.left = true;
    assert_eq!(scene.look(&[event]), [], "nothing to acknowledge any more");
}

#[test]
fn the_policy_decides_event_by_event() {
    let policy = Policy {
        terminate: Action::Leave,
        reboot: Action::Ignore,
        redeploy: Action::Acknowledge,
        ..Policy::default()
    };
    let mut scene = Scene::new(policy);
    scene.left = true;
    let alone = &["web_3"];
    let ignored = [
        scene.event("r", Kind::Reboot, alone, 900),
        scene.event("o", Kind::Other, alone, 900),
    ];
    assert_eq!(scene.look(&ignored), []);
    let redeploy = [scene.event("d", Kind::Redeploy, alone, 900)];
    assert_eq!(scene.look(&redeploy), [acknowledge("d", Kind::Redeploy)]);
    let mut terminate = scene.event("t", Kind::Terminate, alone, 900);
    terminate.by_user = true;
    assert_eq!(scene.look(&[terminate]), [leave("t", 120)]);
}
