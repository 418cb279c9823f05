//! Table tests of `[[warm]]`.

use super::*;

const MINIMAL: &str = "name = 'products'\nquery = 'SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 9'\nkey = 'p:{id}'\n";

fn parse(more: &str) -> JobConfig {
    toml::from_str(&format!("{MINIMAL}{more}")).unwrap()
}

#[test]
fn three_keys_are_enough() {
    let job = parse("");
    assert_eq!(job.problems(), []);
    assert_eq!(job.start, Start::Text(String::new()));
    assert_eq!(job.interval(), Millis::from_secs(3600));
    assert!(job.at_boot && !job.required);
    assert_eq!(
        toml::from_str::<JobConfig>(&toml::to_string(&job).unwrap()).unwrap(),
        job
    );
}

#[test]
fn a_start_is_a_number_or_a_string() {
    assert_eq!(parse("start = 5").start, Start::Number(5));
    assert_eq!(
        parse("start = '2024-01-01'").start,
        Start::Text("2024-01-01".into())
    );
}

#[test]
fn problems_point_at_their_key() {
    for (more, key) in [
        ("every = '500ms'", "every"),
        ("ttl = '0'", "ttl"),
        ("lease_ttl = '1ms'", "lease_ttl"),
        ("ttl_jitter = '60%'", "ttl_jitter"),
        ("gate_deadline = '0'", "gate_deadline"),
        ("page_timeout = '0'", "page_timeout"),
        ("batch_keys = 0", "batch_keys"),
        ("batch_bytes = '65MiB'", "batch_bytes"),
        ("value_max = '513MiB'", "value_max"),
        ("rows_max = 0", "rows_max"),
        ("every = '1m'\ncron = '0 4 * * *'", "cron"),
        ("source = 'file'", "file"),
        ("source = 'hot-keys'\nhot_keys = 0", "hot_keys"),
        ("source = 'urls'", "urls"),
        ("source = 'urls'\nurls = ['shop']", "urls"),
        (
            "source = 'urls'\nurls = ['/']\nweb = 'shop.example:80'",
            "web",
        ),
        ("at_boot = false\nevery = '1m'\nrequired = true", "required"),
    ] {
        let keys: Vec<_> = parse(more)
            .problems()
            .into_iter()
            .map(|problem| problem.key)
            .collect();
        assert_eq!(keys, [key], "{more}");
    }
    for (name, ok) in [
        ("a-B_9", true),
        ("", false),
        ("a b", false),
        ("a}b", false),
        (&*"x".repeat(65), false),
    ] {
        let job = JobConfig {
            name: name.into(),
            ..parse("")
        };
        assert_eq!(job.problems().is_empty(), ok, "{name}");
    }
    let job = JobConfig {
        query: "SELECT 1".into(),
        key: "p".into(),
        ..parse("")
    };
    let keys: Vec<_> = job
        .problems()
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    assert_eq!(keys, ["query", "key"]);
}

#[test]
fn tables_are_checked_together() {
    let jobs = [parse(""), parse("")];
    let found: Vec<_> = problems(&jobs, true)
        .into_iter()
        .map(|(index, problem)| (index, problem.key))
        .collect();
    assert_eq!(found, [(1, "name".to_owned())]);
    assert!(
        problems(&jobs[..1], false)[0]
            .1
            .message
            .contains("unix listener in [mysql]")
    );
}

#[test]
fn unknown_keys_are_refused() {
    assert!(toml::from_str::<JobConfig>(&format!("{MINIMAL}priority = 3")).is_err());
}

#[test]
fn other_sources_need_other_keys() {
    for text in [
        "name = 'pages'\nsource = 'urls'\nurls = ['/', '/a?b=c']\n",
        "name = 'pages'\nsource = 'urls'\nfile = 'pages.txt'\n",
        "name = 'f'\nsource = 'file'\nfile = 'rows.jsonl'\nkey = 'p:{id}'\nvalue = 'hash'\n",
        "name = 'h'\nsource = 'hot-keys'\nquery = 'SELECT id FROM p WHERE id IN (?)'\nkey = 'p:{id}'\n",
        "name = 'r'\nvalue = 'rows-json'\nquery = 'SELECT c FROM p WHERE c > ? ORDER BY c LIMIT 9'\nkey = 'p:{c}'\n",
    ] {
        let job: JobConfig = toml::from_str(text).unwrap();
        assert_eq!(job.problems(), [], "{text}");
        let needs = problems(std::slice::from_ref(&job), false).len();
        assert_eq!(needs, usize::from(job.source.is_sql()), "{text}");
    }
    for (text, key) in [
        (
            "query = 'SELECT id FROM p WHERE id IN (?)'\nkey = 'p:{id}:{c}'",
            "key",
        ),
        ("query = 'SELECT id FROM p'\nkey = 'p:{id}'", "query"),
    ] {
        let text = format!("name = 'h'\nsource = 'hot-keys'\n{text}\n");
        let job: JobConfig = toml::from_str(&text).unwrap();
        let keys: Vec<_> = job.problems().into_iter().map(|it| it.key).collect();
        assert_eq!(keys, [key], "{text}");
    }
    let unknown = parse("value = 'rows-json'").query.replace('9', "@n");
    let job = JobConfig {
        query: unknown,
        ..parse("value = 'rows-json'")
    };
    assert_eq!(job.problems().len(), 1, "a LIMIT that is no number");
}

#[test]
fn keys_under_a_prefix_that_a_replica_may_bring_back() {
    let job = parse("");
    assert!(job.may_be_behind_under("p:") && job.may_be_behind_under("p:1"));
    assert!(!job.may_be_behind_under("q:"));
    assert!(!parse("read_from = 'primary'").may_be_behind_under("p:"));
}
