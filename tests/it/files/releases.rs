//! Releases end to end: published and taken by the real programs on a real blob service, served by Apache and PHP under load.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::support::scratch::Scratch;
use crate::support::web::Apache;

/// Files of a release; each says which it is of.
const PARTS: usize = 12;

/// A site whose front page includes every part and says which versions it found.
fn site(version: u64) -> Tree {
    let index = "<?php\n$seen = [];\nforeach (glob(__DIR__ . '/parts/*.php') as $part) { $seen[] = include $part; usleep(200); }\n\
                 echo json_encode(['front' => VERSION, 'parts' => $seen, 'count' => count($seen)]);\n";
    let mut tree = Tree::new();
    let front = index.replace("VERSION", &version.to_string());
    tree.insert("index.php".to_owned(), front.into_bytes());
    for part in 0..PARTS {
        let content = format!("<?php return {version}; // {}", "x".repeat(part * 50));
        tree.insert(format!("parts/p{part:02}.php"), content.into_bytes());
    }
    tree.insert("same.txt".to_owned(), b"the same in each".to_vec());
    tree
}

fn write_tree(dir: &Path, tree: &Tree) {
    if dir.exists() {
        fs::remove_dir_all(dir).expect("ours");
    }
    for (name, content) in tree {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
}

/// A publisher with a connection string.
struct Publisher {
    scratch: Scratch,
    target: String,
}

impl Publisher {
    fn new(server: &Server) -> Self {
        let scratch = Scratch::new("publish");
        scratch.write_secret("connection", server.connection_string());
        Self {
            scratch,
            target: format!("{}/shop", server.container_url(CONTAINER)),
        }
    }

    fn try_publish(&self, tree: &Tree, release: &str) -> Output {
        let dir = self.scratch.join("site");
        write_tree(&dir, tree);
        Command::new(BINARY)
            .arg("publish")
            .arg(dir)
            .args([&self.target, "--release", release, "--json"])
            .arg("--connection-string-file")
            .arg(self.scratch.join("connection"))
            .output()
            .expect("publish runs")
    }

    #[track_caller]
    fn publish(&self, tree: &Tree, release: &str) -> String {
        let output = self.try_publish(tree, release);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).expect("JSON")
    }
}

/// `lamplighter sync <words>` on the configuration of `pull`.
fn sync(pull: &Pull, words: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("sync")
        .args(words)
        .arg("--config")
        .arg(pull.agent.config_path())
        .output()
        .expect("sync runs")
}

#[track_caller]
fn said(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

fn released(server: &Server, more: &str) -> Pull {
    let more = format!("mode = \"release\"\nprefix = \"shop/\"\n{more}");
    Pull::start(server, &server.container_url(CONTAINER), &more)
}

#[track_caller]
fn wait_live(pull: &Pull, wanted: &Tree) {
    let current = pull.path.join("current");
    poll::until(SOON, "the release", || {
        if tree_of(&current) == *wanted {
            Ok(())
        } else {
            Err(format!(
                "{:?}\n{}",
                tree_of(&current).keys(),
                pull.agent.log()
            ))
        }
    });
}

/// Ends the clients when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_web_server_under_load_never_serves_a_mixture_of_two_releases() {
    let server = storage();
    let publisher = Publisher::new(&server);
    publisher.publish(&site(0), "r0");
    let mut pull = released(&server, "keep_releases = 4\nfsync = \"never\"");
    pull.agent.wait_ready(SOON);
    wait_live(&pull, &site(0));
    // PHP runs as another user
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(pull.agent.dir(), open).expect("ours");
    // a worker remembers for so long where the link led
    let apache = Apache::builder()
        .docroot(&pull.path.join("current"))
        .ini("realpath_cache_ttl", "1")
        // and its code for longer, unless a hook reloads it
        .ini("opcache.enable", "0")
        .start();
    let (stop, mixed, served) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let versions = std::sync::Mutex::new(std::collections::BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let answer = apache.get("/index.php").expect("an answer");
                    let text = answer.text();
                    assert_eq!(answer.status, 200, "{text}");
                    let numbers: Vec<u64> = text
                        .split(|c: char| !c.is_ascii_digit())
                        .filter_map(|number| number.parse().ok())
                        .collect();
                    // the front page's version, that of each part, and how many there were
                    let whole = numbers.len() == PARTS + 2
                        && numbers[..=PARTS]
                            .iter()
                            .all(|version| *version == numbers[0])
                        && numbers[PARTS + 1] == PARTS as u64;
                    mixed.fetch_add(u64::from(!whole), Ordering::Relaxed);
                    served.fetch_add(1, Ordering::Relaxed);
                    versions.lock().unwrap().insert(numbers[0]);
                }
            });
        }
        // also when something fails here, or the clients go on for ever
        let _stop = Stop(&stop);
        for version in 1..=6 {
            publisher.publish(&site(version), &format!("r{version}"));
            said(&sync(&pull, &["run", "site"]));
            let before = served.load(Ordering::Relaxed);
            poll::until(SOON, "requests on this release", || {
                served.load(Ordering::Relaxed) > before + 40
            });
        }
    });
    let served = served.into_inner();
    assert_eq!(mixed.into_inner(), 0, "of {served} answers");
    assert!(served > 240, "{served} answers are no load");
    assert!(versions.lock().unwrap().len() >= 2, "{versions:?}");
    wait_live(&pull, &site(6));
    // what did not change is one file in all of them
    let of = |release: &str| inode(&pull.path.join("releases").join(release).join("same.txt"));
    assert_eq!(of("r5"), of("r6"));
}

#[test]
fn what_is_published_arrives_is_verified_planned_and_rolled_back() {
    let server = storage();
    let publisher = Publisher::new(&server);
    let first = publisher.publish(&site(1), "r1");
    assert!(first.contains("\"sent\":14"), "{first}");
    let hook = "after_change = [\"/bin/sh\", \"-c\", \"echo $LAMPLIGHTER_RELEASE >> {dir}/switched\"]\nafter_change_interval = \"1ms\"";
    let mut pull = released(&server, hook);
    pull.agent.wait_ready(SOON);
    wait_live(&pull, &site(1));
    assert!(
        publisher
            .publish(&site(1), "again")
            .contains("\"unchanged\":true")
    );
    let second = publisher.publish(&site(2), "r2");
    assert!(second.contains("\"sent\":13"), "{second}");
    said(&sync(&pull, &["run", "site", "--json"]));
    wait_live(&pull, &site(2));
    let verified = said(&sync(&pull, &["verify", "site"]));
    assert!(
        verified.contains("14 files: 0 missing, 0 changed"),
        "{verified}"
    );
    let plan = said(&sync(&pull, &["plan", "site", "--json"]));
    assert!(
        plan.contains("\"unchanged\":14") && plan.contains("\"lines\":[]"),
        "{plan}"
    );
    let back = said(&sync(&pull, &["rollback", "site"]));
    assert!(back.contains("release r1 is live"), "{back}");
    wait_live(&pull, &site(1));
    let status = said(&sync(&pull, &["run", "site"]));
    assert!(status.contains("rolled back from r2"), "{status}");
    wait_live(&pull, &site(1));
    poll::until(SOON, "the hook", || {
        let switched = fs::read_to_string(pull.agent.dir().join("switched")).unwrap_or_default();
        if switched == "r1\nr2\nr1\n" {
            Ok(())
        } else {
            Err(switched)
        }
    });
    publisher.publish(&site(3), "r3");
    said(&sync(&pull, &["run", "site"]));
    wait_live(&pull, &site(3));
    // what was damaged is found, and said with the exit code
    fs::write(pull.path.join("current/parts/p03.php"), "other").expect("ours");
    let damaged = sync(&pull, &["verify", "site"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&damaged.stdout).contains("parts/p03.php"));
    // and without an agent
    let (status, _) = pull.agent.stop();
    assert!(status.success());
    said(&sync(&pull, &["rollback", "site", "--to", "r2"]));
    wait_live(&pull, &site(2));
    let none = sync(&pull, &["rollback", "site", "--to", "r9"]);
    assert_eq!(none.status.code(), Some(1));
    said(&sync(&pull, &["run", "site", "--here"]));
}

#[test]
fn a_publisher_that_is_not_let_in_changes_nothing() {
    let server = storage();
    let publisher = Publisher::new(&server);
    publisher.publish(&site(1), "r1");
    let sas = server.container_sas(CONTAINER, "rl", "2049-12-31T00:00:00Z");
    let secret = publisher.scratch.write_secret("sas", &sas);
    let dir = publisher.scratch.join("site");
    write_tree(&dir, &site(2));
    let output = Command::new(BINARY)
        .arg("publish")
        .arg(&dir)
        .arg(&publisher.target)
        .arg("--sas-file")
        .arg(&secret)
        .output()
        .expect("publish runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("refuses the credential"), "{text}");
    let pull = released(&server, "");
    wait_live(&pull, &site(1));
}
