//! Whatever happens to the container and to the disk, two passes later the disk is what the container says.
use std::collections::BTreeMap;

use lamplighter_core::units::Percent;
use proptest::prelude::*;

use super::*;
use crate::store::fake::{Fault, LIST};

#[derive(Debug, Clone)]
enum Step {
    Put(String, String),
    Delete(String),
    Edit(String, String),
    Remove(String),
    Pass,
    BrokenPass,
    LoseIndex,
}

fn name() -> impl Strategy<Value = String> {
    "[ab](/[ab]){0,2}|[ab]\\.[ab]"
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (name(), "[xyz]{0,3}").prop_map(|(name, content)| Step::Put(name, content)),
        2 => name().prop_map(Step::Delete),
        2 => (name(), "[pqr]{0,3}").prop_map(|(name, content)| Step::Edit(name, content)),
        1 => name().prop_map(Step::Remove),
        2 => Just(Step::Pass),
        1 => Just(Step::BrokenPass),
        1 => Just(Step::LoseIndex),
    ]
}

async fn play(steps: Vec<Step>) {
    let mut rig = Rig::with(|config| config.max_delete_percent = Percent::new(100.0));
    rig.fake.page_size(3);
    rig.fake.put("always", "here");
    let mut blobs = BTreeMap::from([("always".to_owned(), "here".to_owned())]);
    rig.complete().await;
    for step in steps {
        match step {
            Step::Put(name, content) => {
                rig.fake.put(&name, content.clone());
                blobs.insert(name, content);
            }
            Step::Delete(name) => {
                rig.fake.delete(&name);
                blobs.remove(&name);
            }
            // only of files that are there: what others add is theirs to keep
            Step::Edit(name, content) if rig.path(&name).is_file() => {
                std::fs::write(rig.path(&name), content).unwrap()
            }
            Step::Remove(name) if rig.path(&name).is_file() => {
                std::fs::remove_file(rig.path(&name)).unwrap()
            }
            Step::Edit(..) | Step::Remove(_) => {}
            Step::Pass => drop(rig.cycle().await),
            Step::BrokenPass => {
                rig.fake.script(LIST, [Fault::Error(denied)]);
                rig.cycle().await;
            }
            Step::LoseIndex => {
                // settled first: without an index a file whose blob went is nobody's
                rig.cycle().await;
                rig.cycle().await;
                std::fs::remove_file(rig.index_path()).unwrap();
                rig.restart();
                rig.cycle().await;
            }
        }
    }
    for _ in 0..3 {
        rig.cycle().await;
    }
    let wanted: BTreeMap<_, _> = blobs
        .iter()
        .filter(|(name, _)| {
            !name.match_indices('/').any(|(at, _)| {
                name.get(..at)
                    .is_some_and(|above| blobs.contains_key(above))
            })
        })
        .map(|(name, content)| (name.clone(), content.clone()))
        .collect();
    assert_eq!(rig.tree(), wanted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_converges_to_the_container(steps in proptest::collection::vec(step(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}
