//! Files of many buffers, which are written and summed side by side.

use super::*;
use crate::manifest::content_blob;
use crate::store::Sha256;

const LEN: usize = 6 * sink::FLUSH + 77;

/// Letters, so that a claim can be made of them.
fn letters() -> String {
    (0..LEN)
        .map(|at| char::from(b'a' + u8::try_from((at / 3 + at / 1000) % 26).unwrap()))
        .collect()
}

fn spoiled(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] ^= 1;
    String::from_utf8(bytes).unwrap()
}

/// Where a byte may be wrong: in the first buffer, around a seam, in one in the middle, in what is left at the end.
const PLACES: [usize; 6] = [
    0,
    sink::FLUSH - 1,
    sink::FLUSH,
    3 * sink::FLUSH + 1,
    6 * sink::FLUSH,
    LEN - 1,
];

/// As a manifest names `content`.
fn named(content: &[u8]) -> (RemoteFile, Sha256) {
    let sum = Way::Sha256.of(content);
    let Sum::Sha256(sha256) = sum else { panic!() };
    let remote = RemoteFile {
        name: "f".into(),
        size: content.len() as u64,
        etag: ETag::new("named"),
        sum: Some(sum),
        content: Some(sha256),
        origin: None,
    };
    (remote, sha256)
}

#[tokio::test]
async fn one_wrong_byte_anywhere_is_refused_by_its_md5() {
    let right = letters();
    for at in PLACES {
        let bench = bench();
        bench
            .rig
            .fake
            .put_with_md5_of("f", &spoiled(&right, at), &right);
        let error = bench.fetch("f", []).await.unwrap_err();
        assert!(
            matches!(error, FetchError::Checksum { .. }),
            "{at}: {error}"
        );
        assert_eq!(bench.read("f"), None, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_wrong_byte_anywhere_is_refused_by_the_manifests_sum() {
    let right = letters();
    let (remote, sha256) = named(right.as_bytes());
    let blob = content_blob("", sha256);
    for at in PLACES {
        let bench = bench();
        let (fetcher, attempts) = (&bench.rig.engine.fetcher, &bench.rig.engine.attempts);
        bench.rig.fake.put(&blob, spoiled(&right, at));
        let error = fetcher
            .fetch(&bench.root, remote.clone(), attempts)
            .await
            .unwrap_err();
        assert!(
            matches!(error, FetchError::Checksum { .. }),
            "{at}: {error}"
        );
        assert_eq!(bench.read("f"), None, "{at}");
    }
    // and what is right is taken, however often it breaks off
    let bench = bench();
    bench.rig.fake.put(&blob, right.clone());
    let cuts = [3, sink::FLUSH - 5, sink::FLUSH, 2 * sink::FLUSH + 9].map(Fault::Cut);
    bench.rig.fake.script(&blob, cuts);
    let (fetcher, attempts) = (&bench.rig.engine.fetcher, &bench.rig.engine.attempts);
    let record = fetcher.fetch(&bench.root, remote.clone(), attempts).await;
    let Kind::File(file) = record.unwrap().kind else {
        panic!()
    };
    assert_eq!(Some(file.sum), remote.sum);
    assert!(bench.read("f").unwrap() == right.as_bytes());
}

#[tokio::test]
async fn where_nobody_names_a_sum_it_is_sha256_and_for_what_is_pushed_md5() {
    for (direction, way) in [
        (Direction::Pull, Way::Sha256),
        (Direction::Push, Way::Md5),
        (Direction::Both, Way::Md5),
    ] {
        let rig = Rig::with(|config| config.direction = direction);
        let root = Arc::new(Root::open(&rig.engine.config).unwrap());
        let bench = Bench { rig, root };
        for len in [1000, LEN] {
            bench.rig.fake.put_without_md5("f", content(len, 1));
            let record = bench.fetch("f", []).await.unwrap();
            let Kind::File(file) = record.kind else {
                panic!()
            };
            assert_eq!(file.sum, way.of(&content(len, 1)));
        }
    }
}

#[tokio::test]
async fn a_sum_that_only_the_answer_names_counts() {
    let bench = bench();
    let right = letters();
    bench
        .rig
        .fake
        .put_with_md5_of("f", &spoiled(&right, 9), &right);
    let silent = RemoteFile {
        sum: None,
        ..remote(&bench.rig, "f").await
    };
    let (fetcher, attempts) = (&bench.rig.engine.fetcher, &bench.rig.engine.attempts);
    let error = fetcher
        .fetch(&bench.root, silent, attempts)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
    assert_eq!(bench.read("f"), None);
}
