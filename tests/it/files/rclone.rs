//! The same container by rclone: the directory it makes is the one the agent makes.

use std::process::Command;

use super::*;
use crate::support::programs;
use crate::support::scratch::Scratch;

#[test]
fn the_tree_is_the_one_that_rclone_makes() {
    let server = storage();
    let mut tree = many(150, 3000);
    tree.extend(texts([
        ("empty", ""),
        ("deep/er/and/deep/er/still.txt", "1"),
        ("with space/and ü.txt", "2"),
        ("d0.txt", "between d0 and d0/"),
        ("plus+and%percent&amp;.txt", "3"),
    ]));
    tree.insert(
        "large".to_owned(),
        many(1, 5_000_000).pop_first().expect("one").1,
    );
    upload(&server, &tree);
    let pull = Pull::start(&server, &server.container_url(CONTAINER), "");
    pull.wait_tree(&tree);
    let theirs = Scratch::new("rclone");
    let sas = server.container_sas(CONTAINER, "rl", "2099-01-01T00:00:00Z");
    let url = format!("{}?{sas}", server.container_url(CONTAINER));
    let rclone = |tree: &Path| {
        let output = Command::new(programs::find("rclone", "rclone"))
            .args(["sync", "--config", "/dev/null", "--retries", "1"])
            .arg(format!(":azureblob:{CONTAINER}"))
            .arg(tree)
            // its way to an account by name and key knows no emulator
            .env("RCLONE_AZUREBLOB_SAS_URL", &url)
            .output()
            .expect("rclone runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    let place = theirs.join("tree");
    rclone(&place);
    assert_eq!(tree_of(&place), pull.tree());
    // and after changes of every kind
    server.put(CONTAINER, "empty", "not any more");
    server.put(CONTAINER, "new", "4");
    server.delete(CONTAINER, "d0.txt");
    tree.extend(texts([("empty", "not any more"), ("new", "4")]));
    tree.remove("d0.txt");
    pull.wait_tree(&tree);
    rclone(&place);
    assert_eq!(tree_of(&place), pull.tree());
}
