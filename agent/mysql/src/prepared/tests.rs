//! Ids, sharing and bounds.

use lamplighter_wire::sql::classify;

use super::*;

fn template(text: &str, columns: u16) -> Template {
    let mode = LexMode::default();
    Template {
        text: Bytes::copy_from_slice(text.as_bytes()),
        statement: classify(text.as_bytes(), mode),
        mode,
        bucket: Bucket::of_nobody(),
        is_private: false,
        reply: PrepareReply {
            columns,
            params: 0,
            warnings: 0,
            definitions: vec![Bytes::from(vec![0; 100]); usize::from(columns)],
        },
        digest: OnceLock::new(),
    }
}

#[test]
fn ids_are_never_used_twice_at_once() {
    let mut statements = Statements {
        last_id: u32::MAX - 2,
        ..Statements::default()
    };
    let shared = Arc::new(template("SELECT 1", 1));
    let ids: Vec<_> = (0..3)
        .map(|_| statements.add(Arc::clone(&shared)))
        .collect();
    assert_eq!(ids, [Some(u32::MAX - 1), Some(1), Some(2)]);
    assert!(statements.remove(1).is_some());
    assert!(statements.remove(1).is_none());
    assert!(statements.get(2).is_some());
}

#[test]
fn a_client_has_a_bounded_number() {
    let mut statements = Statements::default();
    let shared = Arc::new(template("SELECT 1", 1));
    for _ in 0..STATEMENTS_MAX {
        assert!(statements.add(Arc::clone(&shared)).is_some());
    }
    assert!(statements.add(Arc::clone(&shared)).is_none());
    statements.remove(1);
    assert!(statements.add(shared).is_some());
}

#[test]
fn the_same_text_in_the_same_state_is_one_template() {
    let templates = Templates::default();
    let bucket = Bucket::of_nobody();
    assert!(templates.get(b"SELECT 1", &bucket).is_none());
    let first = templates.put(template("SELECT 1", 1));
    let again = templates.put(template("SELECT 1", 1));
    assert!(Arc::ptr_eq(&first, &again));
    let found = templates.get(b"SELECT 1", &bucket).unwrap();
    assert!(Arc::ptr_eq(&first, &found));
    let elsewhere = Bucket {
        schema: Some(Bytes::from_static(b"other")),
        ..bucket.clone()
    };
    assert!(templates.get(b"SELECT 1", &elsewhere).is_none());

    let changed = templates.put(template("SELECT 1", 2));
    assert!(!Arc::ptr_eq(&first, &changed));
    let found = templates.get(b"SELECT 1", &bucket).unwrap();
    assert!(Arc::ptr_eq(&changed, &found));

    templates.forget();
    assert!(templates.get(b"SELECT 1", &bucket).is_none());
}

#[test]
fn the_oldest_make_room() {
    let templates = Templates::default();
    let one = template("SELECT 0000", 100).size();
    let many = TEMPLATES_BYTES_MAX / one + 10;
    for number in 0..many {
        templates.put(template(&format!("SELECT {number:04}"), 100));
    }
    let bucket = Bucket::of_nobody();
    assert!(templates.get(b"SELECT 0000", &bucket).is_none());
    let newest = format!("SELECT {:04}", many - 1);
    assert!(templates.get(newest.as_bytes(), &bucket).is_some());
    assert!(templates.lock().bytes <= TEMPLATES_BYTES_MAX);
}

#[test]
fn a_very_large_one_is_not_kept() {
    let templates = Templates::default();
    let wide = template("SELECT 1", 2_000);
    assert!(wide.size() > TEMPLATE_BYTES_MAX);
    templates.put(wide);
    assert!(templates.get(b"SELECT 1", &Bucket::of_nobody()).is_none());
}
