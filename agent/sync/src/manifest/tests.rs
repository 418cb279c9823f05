//! What is written is read again; what is cut, out of order or foreign is refused with its line.

use proptest::prelude::*;

use super::*;
use crate::store::fake::md5_of;

fn entry(name: &str, content: &str) -> Entry {
    use sha2::Digest;
    Entry {
        name: name.into(),
        size: content.len() as u64,
        sha256: Sha256(sha2::Sha256::digest(content).into()),
        md5: md5_of(content.as_bytes()),
    }
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut output = Vec::new();
    write(&mut output, "r1", None, entries.iter()).unwrap();
    output
}

proptest! {
    #[test]
    fn what_is_written_is_read(names in proptest::collection::btree_set("[a-zA-Z0-9/ ü\"\\\\.]{1,30}", 0..20)) {
        let entries: Vec<_> = names.iter().map(|name| entry(name, name)).collect();
        let text = written(&entries);
        prop_assert_eq!(check(&text[..]).unwrap().files, entries.len() as u64);
        let read: Result<Vec<_>, _> = Reader::new(&text[..]).unwrap().collect();
        prop_assert_eq!(read.unwrap(), entries);
    }

    #[test]
    fn a_manifest_that_is_cut_anywhere_is_refused(cut in 0_usize..400) {
        let text = written(&[entry("a", "1"), entry("b", "2"), entry("c", "3")]);
        let cut = cut.min(text.len() - 1);
        prop_assert!(check(&text[..cut]).is_err());
    }
}

#[test]
fn what_is_no_manifest_is_refused_with_its_line() {
    let good = String::from_utf8(written(&[entry("a", "1"), entry("b", "2")])).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let swapped = format!("{}\n{}\n{}\n{}\n", lines[0], lines[2], lines[1], lines[3]);
    for (text, expected) in [
        (String::new(), "line 1"),
        ("<html>\n".to_owned(), "line 1"),
        (good.replace("manifest\":1", "manifest\":2"), "version 2"),
        (good.replace("\"r1\"", "\"../r1\""), "no plain name"),
        (swapped, "not in order"),
        (good.replace("\"files\":2", "\"files\":3"), "2 files"),
        (good.replace("\"bytes\":2", "\"bytes\":3"), "bytes in all"),
        (good.replace("\"h\":\"", "\"h\":\"x"), "SHA-256"),
    ] {
        let error = check(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn names_of_blobs() {
    let sum = Sha256([0xab; 32]);
    let digits = "ab".repeat(32);
    assert_eq!(manifest_blob("p/"), "p/.lamplighter/manifest.jsonl");
    assert_eq!(
        content_blob("", sum),
        format!(".lamplighter/files/ab/{digits}")
    );
    assert_eq!(
        bundle_blob("", sum),
        format!(".lamplighter/bundles/{digits}.tar.zst")
    );
    assert!(is_release_id("20261123T054000Z-1f"));
    for bad in ["", ".", "..", "a/b", ".x", "ü"] {
        assert!(!is_release_id(bad));
    }
}
