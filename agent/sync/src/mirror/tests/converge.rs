//! Two instances with one container: whatever is written, deleted and interrupted in whatever order, in the end both have the
//! same files as the container, and no content that nobody had seen is lost.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b.txt", "d/c"];

#[derive(Debug, Clone)]
enum Step {
    /// An instance's web server writes.
    Write(usize, usize, u8),
    /// It deletes.
    Delete(usize, usize),
    /// A pass.
    Pass(usize),
    /// The process is killed, and what it had not saved is lost.
    Crash(usize),
    /// A request for a name fails, or its answer is lost.
    Trouble(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 0..NAMES.len(), 0..4_u8).prop_map(|(vm, name, n)| Step::Write(vm, name, n)),
        1 => (0..2_usize, 0..NAMES.len()).prop_map(|(vm, name)| Step::Delete(vm, name)),
        3 => (0..2_usize).prop_map(Step::Pass),
        1 => (0..2_usize).prop_map(Step::Crash),
        1 => (0..NAMES.len(), any::<bool>()).prop_map(|(name, lost)| Step::Trouble(name, lost)),
    ]
}

struct Pair {
    rigs: [Rig; 2],
    mirrors: [Mirror; 2],
    written: u32,
    /// What was last written to a name on an instance and not deleted there since.
    last: BTreeMap<(usize, usize), String>,
}

impl Pair {
    fn new(push_deletes: bool) -> Self {
        let one = rig(|config| config.push_deletes = push_deletes);
        let mut two = rig(|config| config.push_deletes = push_deletes);
        two.engine.store = Arc::clone(&one.engine.store);
        two.engine.fetcher = Arc::clone(&one.engine.fetcher);
        two.fake = one.fake.clone();
        // an empty side is held by a guard, which is another test's business
        write(&one, "anchor", "stays");
        let mirrors = [mirror(&one, "vm0"), mirror(&two, "vm1")];
        Self {
            rigs: [one, two],
            mirrors,
            written: 0,
            last: BTreeMap::new(),
        }
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Write(vm, name, n) => {
                self.written += 1;
                // now and then the same content on both
                let content = if n == 0 {
                    "common".to_owned()
                } else {
                    format!("{vm}-{}", self.written)
                };
                write(&self.rigs[vm], NAMES[name], &content);
                // writing again what was agreed on is no change
                self.last.remove(&(vm, name));
                if n != 0 {
                    self.last.insert((vm, name), content);
                }
            }
            Step::Delete(vm, name) => {
                // it may not be there
                let _gone = std::fs::remove_file(self.rigs[vm].path(NAMES[name]));
                self.last.remove(&(vm, name));
            }
            Step::Pass(vm) => drop(self.mirrors[vm].pass(&self.rigs[vm].engine).await),
            Step::Crash(vm) => self.mirrors[vm] = mirror(&self.rigs[vm], &format!("vm{vm}")),
            Step::Trouble(name, lost) => {
                let away = || StoreError::Server {
                    status: 500,
                    code: String::new(),
                };
                let fault = if lost {
                    Fault::Cut(0)
                } else {
                    Fault::Error(away)
                };
                self.rigs[0].fake.script(NAMES[name], [fault]);
            }
        }
    }

    async fn quiesce(&mut self) {
        self.rigs[0].fake.heal();
        for _ in 0..6 {
            for vm in 0..2 {
                self.mirrors[vm].pass(&self.rigs[vm].engine).await;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn two_instances_arrive_at_the_same_files(steps in proptest::collection::vec(step(), 1..25), deletes in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new(deletes);
            pair.quiesce().await;
            for step in &steps {
                pair.take(step).await;
            }
            pair.quiesce().await;
            let (one, two) = (pair.rigs[0].tree(), pair.rigs[1].tree());
            assert_eq!(one, two, "the instances differ");
            assert_eq!(one, blobs(&pair.rigs[0]), "the container differs");
        });
    }

    #[test]
    fn without_deletes_every_last_write_is_somewhere(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new(false);
            pair.quiesce().await;
            // the last write to a name is lost only to a later one by somebody who had it before them
            for step in &steps {
                pair.take(step).await;
                if let Step::Write(vm, name, _) = *step {
                    // nobody has passed since: the other's is not seen here
                    pair.last.retain(|(by, of), _| *by == vm || *of != name);
                }
            }
            pair.quiesce().await;
            let tree = pair.rigs[0].tree();
            for ((vm, name), content) in &pair.last {
                assert!(
                    tree.values().any(|there| there == content),
                    "vm{vm} wrote {content} to {}, which is nowhere in {tree:?}",
                    NAMES[*name]
                );
            }
        });
    }
}
