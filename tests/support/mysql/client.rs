//! Looking into a test server from outside the product: the `mysql` client on the unix socket, and the general log.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::super::programs;
use super::Cluster;

/// Rows of text columns; NULL is the text `NULL`.
pub(crate) type Rows = Vec<Vec<String>>;

/// One line of the process list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// The server's number for it.
    pub(crate) id: u64,
    /// The account.
    pub(crate) user: String,
    /// The schema in use, or `NULL`.
    pub(crate) schema: String,
    /// `Sleep`, `Query`, ...
    pub(crate) command: String,
    /// The statement running, or `NULL`.
    pub(crate) info: String,
}

/// One entry of the general log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// The server's number for the connection.
    pub(crate) connection: u64,
    /// `Connect`, `Query`, `Prepare`, `Execute`, `Init DB`, `Reset Connection`, `Quit`, ...
    pub(crate) command: String,
    /// The statement or argument.
    pub(crate) text: String,
}

impl Cluster {
    /// Runs SQL (one or more statements) on `node` as root over its unix socket and returns all rows of all results. Panics
    /// when the server refuses.
    #[track_caller]
    pub(crate) fn sql(&self, node: usize, text: &str) -> Rows {
        match self.try_sql(node, text) {
            Ok(rows) => rows,
            Err(error) => panic!("mysql node {node}: {error}\nin: {text}"),
        }
    }

    /// As [`Self::sql`], but returns the server's refusal.
    pub(crate) fn try_sql(&self, node: usize, text: &str) -> Result<Rows, String> {
        query(&self.socket(node), text)
    }

    /// As [`Self::sql`], but goes on behind every statement that the server refuses.
    pub(crate) fn sql_forced(&self, node: usize, text: &str) -> Rows {
        let options = ["--batch", "--skip-column-names", "--force"];
        // its exit code says that something was refused
        let output = output(&self.socket(node), &options, text).expect("the client runs");
        rows(&String::from_utf8_lossy(&output.stdout))
    }

    /// Who is connected to `node`: clients only, without replication, the server's own threads and the asking connection.
    pub(crate) fn connections(&self, node: usize) -> Vec<Connection> {
        self.sql(
            node,
            "SELECT id, user, IFNULL(db, 'NULL'), command, IFNULL(info, 'NULL') FROM information_schema.processlist \
             WHERE id <> CONNECTION_ID() AND user NOT IN ('repl', 'system user', 'event_scheduler') ORDER BY id",
        )
        .into_iter()
        .map(|row| Connection {
            id: row[0].parse().expect("a connection id"),
            user: row[1].clone(),
            schema: row[2].clone(),
            command: row[3].clone(),
            info: row[4].clone(),
        })
        .collect()
    }

    /// Switches the general log of `node` on or off.
    pub(crate) fn set_general_log(&self, node: usize, on: bool) {
        self.sql(node, &format!("SET GLOBAL general_log={}", u8::from(on)));
    }

    /// Empties the general log of `node`.
    pub(crate) fn clear_general_log(&self, node: usize) {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.nodes[node].dir.join("general.log"));
        drop(file.expect("the general log is on"));
    }

    /// What the clients of `node` sent since the general log was switched on, in the server's order: without replication and
    /// without the fixture's own connections (root).
    pub(crate) fn general_log(&self, node: usize) -> Vec<LogLine> {
        let text = std::fs::read(self.nodes[node].dir.join("general.log")).unwrap_or_default();
        let lines = parse_general_log(&String::from_utf8_lossy(&text));
        let own: Vec<u64> = lines
            .iter()
            .filter(|line| {
                line.command == "Connect"
                    && (line.text.starts_with("root@") || line.text.starts_with("repl@"))
            })
            .map(|line| line.connection)
            .collect();
        lines
            .into_iter()
            .filter(|line| !own.contains(&line.connection))
            .collect()
    }
}

/// Runs SQL as root on the server behind `socket`.
pub(super) fn query(socket: &Path, text: &str) -> Result<Rows, String> {
    let output = run(socket, &["--batch", "--skip-column-names"], text)?;
    Ok(rows(&output))
}

fn rows(output: &str) -> Rows {
    let row = |line: &str| line.split('\t').map(unescape).collect();
    output.lines().map(row).collect()
}

/// One column of SHOW REPLICA STATUS, without line breaks.
pub(super) fn replica_status(socket: &Path, column: &str) -> Option<String> {
    let output = run(socket, &["--vertical"], "SHOW REPLICA STATUS").expect("the server answers");
    let prefix = format!("{column}: ");
    let mut lines = output
        .lines()
        .skip_while(|line| !line.trim_start().starts_with(&prefix));
    let mut value = lines.next()?.trim_start().strip_prefix(&prefix)?.to_owned();
    // a GTID set of several servers goes on in further lines
    while value.ends_with(',') {
        value.push_str(lines.next()?.trim());
    }
    (value != "NULL").then_some(value)
}

fn run(socket: &Path, options: &[&str], text: &str) -> Result<String, String> {
    let output = output(socket, options, text)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn output(socket: &Path, options: &[&str], text: &str) -> Result<Output, String> {
    let mut child = Command::new(programs::find_cached("mysql9/bin/mysql", "mysql"))
        .arg("--no-defaults")
        .args(options)
        .args(["--default-character-set=utf8mb4", "--user=root", "--socket"])
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // beside reading: neither pipe holds much
        scope.spawn(move || {
            // a client that gave up early says why on its standard error
            drop(input.write_all(text.as_bytes()));
        });
        child.wait_with_output().map_err(|error| error.to_string())
    })
}

/// Undoes what the client's batch mode does to tabs, line breaks and backslashes.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('0') => out.push('\0'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// Entries look like `2026-01-01T00:00:00.000000Z\t   12 Query\tSELECT 1`; further lines of a statement follow as they are.
fn parse_general_log(text: &str) -> Vec<LogLine> {
    let mut entries: Vec<LogLine> = Vec::new();
    for line in text.lines() {
        if let Some(entry) = parse_entry(line) {
            entries.push(entry);
        } else if let Some(last) = entries.last_mut() {
            last.text.push('\n');
            last.text.push_str(line);
        }
    }
    entries
}

fn parse_entry(line: &str) -> Option<LogLine> {
    let mut fields = line.splitn(3, '\t');
    let (time, who, text) = (
        fields.next()?,
        fields.next()?,
        fields.next().unwrap_or_default(),
    );
    if !(time.len() == 27 && time.ends_with('Z') && time.as_bytes()[10] == b'T') {
        return None;
    }
    let (connection, command) = who.trim_start().split_once(' ')?;
    Some(LogLine {
        connection: connection.parse().ok()?,
        command: command.to_owned(),
        text: text.to_owned(),
    })
}
