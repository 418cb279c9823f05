//! When looks are taken, and what ends them.

use super::*;

fn looks_of(rarity: &mut Rarity, occasions: u32, found: bool) -> u32 {
    let mut looks = 0;
    for _ in 0..occasions {
        if rarity.is_due() {
            looks += 1;
            rarity.learn(found);
        }
    }
    looks
}

#[test]
fn looks_in_vain_become_rare_and_one_that_finds_brings_them_back() {
    let mut rarity = Rarity::default();
    assert_eq!(looks_of(&mut rarity, 64, false), 6, "1, 2, 4, .. apart");
    assert_eq!(looks_of(&mut rarity, 640, false), 10, "as rare as they get");
    rarity.learn(true);
    assert_eq!(looks_of(&mut rarity, 10, true), 10);
}

#[tokio::test]
async fn only_for_a_near_server_the_thread_stays_awake() {
    let lookout = Lookout::new();
    lookout.answered(NEAR * 2);
    assert!(!lookout.is_near());
    lookout.answered(NEAR);
    lookout.answered(NEAR * 2);
    assert!(lookout.is_near());
    lookout.answered(BUSY);
    assert!(!lookout.is_near(), "nobody sleeps there anyway");
    lookout.answered(NEAR);
    assert!(lookout.is_near());
    let owing = lookout.owing();
    assert_eq!(lookout.0.owing.load(Ordering::Relaxed), 1);
    drop(owing);
    assert_eq!(lookout.0.owing.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_another_task_notes_ends_a_look_and_silence_does() {
    let lookout = Lookout::new();
    assert!(!lookout.event().await, "nothing has come");
    let theirs = lookout.clone();
    let (found, ()) = tokio::join!(lookout.event(), async move { theirs.note() });
    assert!(found);
}
