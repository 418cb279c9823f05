//! Digests of statements, compared with `STATEMENT_DIGEST_TEXT()` of a real server, under the values of `sql_mode` that change
//! how a text is read.

mod random;

use std::fmt::Write;

use lamplighter_wire::sql::LexMode;
use lamplighter_wire::sql::digest::{Digest, Mode};

use crate::support::mysql::Cluster;
use random::Writer;

/// Statements by hand, one a line.
const CORPUS: &str = include_str!("digests/corpus.sql");

/// Random ones for each mode. `LAMPLIGHTER_DIGEST_SEED` chooses where to begin.
const RANDOM: u64 = 2500;

fn modes(server_version: u32) -> [(&'static str, Mode); 3] {
    let plain = Mode {
        server_version,
        ..Mode::default()
    };
    let ansi = Mode {
        lex: LexMode {
            ansi_quotes: true,
            ..LexMode::default()
        },
        ignore_space: true,
        high_not_precedence: true,
        pipes_as_concat: true,
        ..plain
    };
    let no_escapes = Mode {
        lex: LexMode {
            no_backslash_escapes: true,
            ..LexMode::default()
        },
        ..plain
    };
    [
        ("", plain),
        (
            "ANSI_QUOTES,IGNORE_SPACE,HIGH_NOT_PRECEDENCE,PIPES_AS_CONCAT",
            ansi,
        ),
        ("NO_BACKSLASH_ESCAPES", no_escapes),
    ]
}

/// What the server makes of each statement; `None` where it does not understand it.
fn digests_of_server(
    cluster: &Cluster,
    sql_mode: &str,
    statements: &[String],
) -> Vec<Option<String>> {
    let mut script = format!("USE app; SET SESSION sql_mode = '{sql_mode}';\n");
    for (index, statement) in statements.iter().enumerate() {
        let mut hex = String::new();
        for byte in statement.bytes() {
            write!(hex, "{byte:02x}").expect("a string takes it");
        }
        writeln!(
            script,
            "SELECT {index}, STATEMENT_DIGEST_TEXT(CONVERT(0x{hex} USING utf8mb4));"
        )
        .expect("a string takes it");
    }
    let mut digests = vec![None; statements.len()];
    for row in cluster.sql_forced(0, &script) {
        let index: usize = row[0].parse().expect("its number");
        digests[index] = Some(row[1].clone());
    }
    digests
}

#[test]
fn digests_are_the_servers_own() {
    let cluster = Cluster::builder().build();
    let version = cluster.sql(0, "SELECT VERSION()")[0][0].clone();
    let numbers: Vec<u32> = version
        .split(['.', '-'])
        .take(3)
        .map(|number| number.parse().expect("a number"))
        .collect();
    let server_version = numbers[0] * 10_000 + numbers[1] * 100 + numbers[2];
    let seed: u64 =
        std::env::var("LAMPLIGHTER_DIGEST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let (mut differ, mut compared) = (Vec::new(), 0);
    for (number, (sql_mode, mode)) in (0..).zip(modes(server_version)) {
        let first = seed + number * RANDOM;
        let mut statements: Vec<String> = CORPUS.lines().map(str::to_owned).collect();
        let by_hand = statements.len();
        statements.extend((first..first + RANDOM).map(Writer::statement));
        let expected = digests_of_server(&cluster, sql_mode, &statements);
        for (index, (statement, expected)) in statements.iter().zip(expected).enumerate() {
            let Some(expected) = expected else { continue };
            compared += 1;
            let ours = Digest::of(statement.as_bytes(), mode).text();
            if ours != expected {
                let which = index
                    .checked_sub(by_hand)
                    .map_or(0, |index| first + u64::try_from(index).expect("small"));
                differ.push(format!(
                    "sql_mode '{sql_mode}', seed {which}: {statement}\n  server: {expected}\n  ours:   {ours}"
                ));
            }
        }
    }
    assert!(
        compared > 3500,
        "only {compared} statements were understood"
    );
    assert!(
        differ.is_empty(),
        "{} of {compared} differ; the first:\n{}",
        differ.len(),
        differ[..differ.len().min(8)].join("\n")
    );
}
