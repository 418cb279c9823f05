//! Uploads that several instances write: from the one to the other by way of a real blob service, also before the next pass.

use super::*;
use crate::support::scratch::Scratch;

/// An agent that mirrors the container both ways, and reads through on a port of its own.
struct Instance {
    pull: Pull,
    through: String,
}

impl Instance {
    fn start(server: &Server, interval: &str) -> Self {
        let through = format!("127.0.0.1:{}", ports::free());
        let more = format!(
            "direction = \"both\"\ndebounce = \"50ms\"\nread_through = \"{through}\"\nprefix = \"up/\"\n{interval}"
        );
        Self {
            pull: Pull::start(server, &server.container_url(CONTAINER), &more),
            through,
        }
    }

    /// As an application stores an upload: written aside, renamed.
    fn upload(&self, aside: &Scratch, name: &str, content: &[u8]) {
        let path = self.pull.path.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
        let new = aside.write("new", content);
        fs::rename(new, path).expect("one file system");
    }
}

#[test]
fn an_upload_is_on_every_instance_and_can_be_had_before() {
    let server = storage();
    let (mut one, two) = (Instance::start(&server, ""), Instance::start(&server, ""));
    let aside = Scratch::new("aside");
    one.pull.wait_pass();
    two.pull.wait_pass();
    let large = many(1, 9_000_000).pop_first().expect("one").1;
    one.upload(&aside, "2026/a.jpg", b"picture");
    one.upload(&aside, "large.bin", &large);
    one.upload(&aside, "empty", b"");
    // as soon as it is in the container, the other instance can give it
    poll::until(SOON, "the blob", || {
        server
            .get(CONTAINER, "up/2026/a.jpg")
            .is_some_and(|content| content == b"picture")
    });
    let (status, headers, text) = http_get(&two.through, "/files/site/2026/a.jpg");
    assert_eq!((status, text.as_str()), (200, "picture"), "{headers:?}");
    let kind = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    assert_eq!(kind.map(|(_, value)| value.as_str()), Some("image/jpeg"));
    assert_eq!(http_get(&two.through, "/files/site/none").0, 404);
    let mut wanted = texts([("2026/a.jpg", "picture"), ("empty", "")]);
    wanted.insert("large.bin".to_owned(), large);
    two.pull.wait_tree(&wanted);
    one.pull.wait_tree(&wanted);
    // what is written while the machine leaves is sent before it is gone
    one.upload(&aside, "last", b"words");
    let (status, _) = one.pull.agent.stop();
    assert!(status.success());
    assert_eq!(
        server.get(CONTAINER, "up/last").as_deref(),
        Some(&b"words"[..])
    );
    wanted.insert("last".to_owned(), b"words".to_vec());
    two.pull.wait_tree(&wanted);
}

#[test]
fn two_that_write_one_name_keep_both_contents() {
    let server = storage();
    let (one, two) = (Instance::start(&server, ""), Instance::start(&server, ""));
    let aside = Scratch::new("aside");
    one.pull.wait_pass();
    two.pull.wait_pass();
    one.upload(&aside, "f.txt", b"of one");
    two.upload(&aside, "f.txt", b"of two");
    poll::until(SOON, "both contents on both", || {
        let (first, second) = (one.pull.tree(), two.pull.tree());
        let contents: Vec<_> = first
            .values()
            .map(|content| String::from_utf8_lossy(content))
            .collect();
        let both = contents.iter().any(|text| text == "of one")
            && contents.iter().any(|text| text == "of two");
        if first == second && both {
            Ok(())
        } else {
            Err(format!("{:?} {:?}", first.keys(), second.keys()))
        }
    });
}

#[test]
fn a_blob_that_somebody_has_leased_is_not_written_and_said() {
    let server = storage();
    server.put(CONTAINER, "up/f", "theirs");
    let instance = Instance::start(&server, "conflict = \"local-wins\"");
    instance.pull.wait_tree(&texts([("f", "theirs")]));
    let lease = [
        ("x-ms-lease-action", "acquire"),
        ("x-ms-lease-duration", "-1"),
    ];
    let answer = server.request(
        "PUT",
        &format!("/{CONTAINER}/up/f"),
        "comp=lease",
        &lease,
        b"",
    );
    assert_eq!(answer.status, 201);
    let aside = Scratch::new("aside");
    instance.upload(&aside, "f", b"mine");
    instance
        .pull
        .wait_metric("errors_total{job=\"site\",kind=\"leased\"}", |value| {
            value > 0.5
        });
    assert_eq!(
        server.get(CONTAINER, "up/f").as_deref(),
        Some(&b"theirs"[..])
    );
    let broken = [
        ("x-ms-lease-action", "break"),
        ("x-ms-lease-break-period", "0"),
    ];
    server.request(
        "PUT",
        &format!("/{CONTAINER}/up/f"),
        "comp=lease",
        &broken,
        b"",
    );
    poll::until(SOON, "the write", || {
        server
            .get(CONTAINER, "up/f")
            .is_some_and(|content| content == b"mine")
    });
}
