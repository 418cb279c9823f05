//! One entry as text: defaults, rules, and what must never be in it.

use super::*;
use crate::rig;

fn parse(extra: &str) -> Result<Config, String> {
    let text = format!(
        "name = \"site\"\npath = \"/var/www/shop\"\nsas_file = \"sas\"\n{extra}\n{}",
        if extra.contains("container") {
            ""
        } else {
            "container = \"https://a.blob.core.windows.net/www\""
        }
    );
    toml::from_str(&text).map_err(|error| error.to_string())
}

fn keys(config: &Config) -> Vec<String> {
    config
        .problems()
        .into_iter()
        .map(|problem| problem.key)
        .collect()
}

#[test]
fn the_least_entry_is_complete() {
    let config = parse("").unwrap();
    assert_eq!(config.problems(), []);
    assert_eq!(config.direction, Direction::Pull);
    assert_eq!(config.interval, Millis::from_secs(30));
    assert_eq!(config.file_mode.bits(), 0o644);
    assert!(!config.required);
}

#[test]
fn an_entry_survives_being_printed_and_read() {
    let config = parse("owner = \"www-data\"\nfilters = [{ exclude = \"cache/**\" }, { include = \"**\" }]\nfile_mode = \"0640\"").unwrap();
    let printed = toml::to_string(&config).unwrap();
    assert_eq!(
        toml::from_str::<Config>(&printed).unwrap(),
        config,
        "{printed}"
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, key) in [
        ("direction = \"push\"\nmode = \"release\"", "mode"),
        ("direction = \"both\"\nmanifest = \"require\"", "manifest"),
        ("conflict = \"local-wins\"", "direction"),
        ("push_deletes = true", "direction"),
        ("keep_releases = 1", "keep_releases"),
        ("read_through = \"0.0.0.0:8472\"", "read_through"),
        (
            "after_change = [\"systemctl\", \"reload\", \"php-fpm\"]",
            "after_change",
        ),
    ] {
        assert_eq!(keys(&parse(text).unwrap()), [key], "{text}");
    }
    assert!(keys(&parse("direction = \"both\"\nconflict = \"remote-wins\"").unwrap()).is_empty());
}

#[test]
fn every_rule_names_its_key() {
    for (text, key) in [
        ("prefix = \"www\"", "prefix"),
        ("prefix = \"/www/\"", "prefix"),
        ("interval = \"10ms\"", "interval"),
        ("concurrency = 0", "concurrency"),
        ("concurrency = 257", "concurrency"),
        ("bytes_in_flight = \"1KiB\"", "bytes_in_flight"),
        ("stall_timeout = \"0\"", "stall_timeout"),
        ("connection_string_file = \"c\"", "sas_file"),
        ("filters = [{ include = \"a[\" }]", "filters"),
        ("tls = { server_name = \"x\" }", "tls.server_name"),
        ("tls = { enabled = false }", "tls.enabled"),
    ] {
        assert_eq!(keys(&parse(text).unwrap()), [key], "{text}");
    }
    let mut config = parse("").unwrap();
    config.sas_file = None;
    assert_eq!(keys(&config), ["sas_file"]);
    for (path, bad) in [
        ("relative", true),
        ("/a/../b", true),
        ("/", true),
        ("/var/www", false),
    ] {
        config = parse("").unwrap();
        config.path = path.into();
        assert_eq!(keys(&config) == ["path"], bad, "{path}");
    }
    for name in ["", "Site", "a b", "../x", &"x".repeat(65)] {
        config = parse("").unwrap();
        config.name = name.into();
        assert_eq!(keys(&config), ["name"], "{name:?}");
    }
}

#[test]
fn values_without_a_unit_and_unknown_keys_are_refused() {
    for text in [
        "interval = 30",
        "max_delete_percent = 50",
        "file_mode = 644",
        "file_mode = \"0999\"",
        "file_mode = \"07777\"",
        "unknown = 1",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_container_url_holds_no_secret_and_no_surprise() {
    for (url, part) in [
        (
            "https://a.blob.core.windows.net/www?sv=1&sig=SECRET",
            "sas_file",
        ),
        (
            "https://user:SECRET@a.blob.core.windows.net/www",
            "password",
        ),
        ("http://a.blob.core.windows.net/www", "https"),
        ("ftp://a/www", "https"),
        ("https://a.blob.core.windows.net", "container"),
        ("https://a.blob.core.windows.net/", "container"),
        ("www", "URL"),
    ] {
        let error = parse(&format!("container = \"{url}\"")).unwrap_err();
        let error = ContainerUrl::new(url)
            .map_or_else(|own| (own, error), |url| panic!("{url}"))
            .0;
        assert!(error.contains(part), "{url}: {error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    for url in [
        "http://127.0.0.1:10000/devstoreaccount1/www",
        "http://localhost:10000/devstoreaccount1/www",
        "https://a.b/www/",
    ] {
        let parsed = ContainerUrl::new(url).unwrap();
        assert_eq!(parsed.to_string(), url.trim_end_matches('/'));
    }
}

#[test]
fn the_first_filter_that_matches_decides() {
    let filters = [
        Filter::Exclude("cache/**".to_owned()),
        Filter::Include("**/*.php".to_owned()),
        Filter::Exclude("*.tmp".to_owned()),
        Filter::Exclude("private/**".to_owned()),
    ];
    let filters = Filters::new(&filters).unwrap();
    for (name, wanted) in [
        ("index.php", true),
        ("cache/x.php", false),
        ("private/x.php", true),
        ("private/x.txt", false),
        ("a.tmp", false),
        // a star stays within its segment
        ("deep/a.tmp", true),
        ("anything/else", true),
    ] {
        assert_eq!(filters.wants(name), wanted, "{name}");
    }
    assert!(Filters::default().wants("x"));
}

#[test]
fn entries_keep_out_of_each_other() {
    let one = rig::config(Path::new("/var/www"));
    let mut other = rig::config(Path::new("/var/www/shop"));
    other.name = "other".to_owned();
    assert_eq!(problems_between(&[one.clone(), other.clone()]).len(), 1);
    other.path = "/var/www-shop".into();
    assert_eq!(problems_between(&[one.clone(), other.clone()]), []);
    other.name = one.name.clone();
    assert_eq!(problems_between(&[one, other]).len(), 1);
}
