//! Nobody ever gets another's answer: tagged questions from many clients while clients leave midway, server connections are killed,
//! statements are cancelled, time limits pass, the network is cut, and replies are cut off at every byte.
//!
//! Every row and every column name a client gets must carry the tag of its own last question, whole answers must have the right
//! number of rows, and errors that name a tag must name its own. `make crosstalk` asks millions of questions; the tests here are its
//! short form. A failure prints the client's seed and what it asked.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::flags::{Capabilities, Status};

use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::sessions::Dice;
use crate::support::faults::{Mode, Proxy};
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Link, Login, Param, Part, error_of, execute_body};
use crate::support::poll;

/// Errors that a client may get when connections, servers and time run out: 1040 pool exhausted, 1053 shutdown, 1152 and 1159 to 1161
/// network, 1205 and 1213 locks, 1290 read-only, 1317 cancelled, 2003 and 2013 server lost, 3024 time limit.
const MISFORTUNES: [u16; 13] = [
    1040, 1053, 1152, 1159, 1160, 1161, 1205, 1213, 1290, 1317, 2003, 2013, 3024,
];

/// Rows of a long answer.
const LONG: usize = 300;

/// A client with its tags.
struct Asker<'a> {
    login: &'a Login,
    link: Option<Link>,
    dice: Dice,
    seed: u64,
    count: u64,
    whole: u64,
}

impl<'a> Asker<'a> {
    fn new(login: &'a Login, seed: u64) -> Self {
        Self {
            login,
            link: None,
            dice: Dice::new(seed),
            seed,
            count: 0,
            whole: 0,
        }
    }

    fn tag(&mut self) -> String {
        self.count += 1;
        format!("tag{}n{}e", self.seed, self.count)
    }

    fn link(&mut self) -> Option<&mut Link> {
        if self.link.is_none() {
            self.link = Link::open(self.login).ok();
        }
        self.link.as_mut()
    }

    /// Fails if `answer` holds anything that is not `tag`'s; drops a connection that broke.
    #[track_caller]
    fn judge(&mut self, tag: &str, rows: usize, asked: &str, answer: &[Part]) {
        let carries = |bytes: &[u8]| bytes.windows(tag.len()).any(|at| at == tag.as_bytes());
        let complain = |what: &str| {
            panic!(
                "an answer crossed (seed {}, question {}): {what}\n  asked: {asked}\n  got: {:?}",
                self.seed,
                self.count,
                answer.iter().take(6).collect::<Vec<_>>()
            )
        };
        for part in answer {
            match part {
                Part::Row(body) if !carries(body) => complain("a row without the tag"),
                Part::Column(body) if !carries(body) => complain("a column without the tag"),
                Part::Err { code, message, .. } => {
                    let foreign = message.contains("tag") && !carries(message.as_bytes());
                    let own = *code == 1146 && carries(message.as_bytes());
                    if foreign || !(own || MISFORTUNES.contains(code)) {
                        complain("an error that is not this question's");
                    }
                }
                Part::Lost(why) if why.contains("sequence") || why.contains("neither") => {
                    complain("a broken packet");
                }
                _ => {}
            }
        }
        match answer.last() {
            Some(Part::Lost(_)) => self.link = None,
            // a server connection that is lost takes the state with it, and then the client's connection, too
            Some(Part::Err { code, .. }) if *code != 1146 && *code != 1317 => self.link = None,
            Some(Part::Err { .. }) => {}
            _ => {
                let got = answer
                    .iter()
                    .filter(|part| matches!(part, Part::Row(_)))
                    .count();
                if got != rows {
                    complain("another number of rows");
                }
                self.whole += 1;
            }
        }
    }

    fn text(&mut self, tag: &str, rows: usize, sql: &str) -> Option<Vec<Part>> {
        let answer = self.link()?.query(sql.as_bytes());
        self.judge(tag, rows, sql, &answer);
        Some(answer)
    }

    /// One question of a random kind.
    fn ask(&mut self) {
        let tag = self.tag();
        match self.dice.below(12) {
            0 | 1 => drop(self.text(&tag, 1, &format!("SELECT '{tag}' AS `{tag}`"))),
            2 => {
                let sql = format!(
                    "SELECT CONCAT('{tag}', '#', id) AS `{tag}` FROM kv WHERE id <= {LONG}"
                );
                drop(self.text(&tag, LONG, &sql));
            }
            3 => {
                let sql = format!("SELECT REPEAT('{tag}', 4000) AS `{tag}` FROM kv WHERE id <= 4");
                drop(self.text(&tag, 4, &sql));
            }
            4 => drop(self.text(&tag, 0, &format!("SELECT * FROM `{tag}`"))),
            5 => self.transaction(&tag),
            6 => self.insert(&tag),
            7 => self.prepared(&tag),
            8 => {
                let one = format!("SELECT '{tag}' AS `{tag}`");
                drop(self.text(&tag, 3, &[one.as_str(), &one, &one].join("; ")));
            }
            9 => {
                let sql = format!(
                    "SELECT /*+ MAX_EXECUTION_TIME(3) */ CONCAT('{tag}', SLEEP(0.01)) AS `{tag}`"
                );
                drop(self.text(&tag, 1, &sql));
            }
            10 => self.variable(&tag),
            _ => self.leave(&tag),
        }
    }

    /// In a transaction every answer is of this client's connection; afterwards none is open.
    fn transaction(&mut self, tag: &str) {
        let begun = self.text(tag, 0, "START TRANSACTION");
        if !matches!(begun.as_deref(), Some([Part::Ok { status, .. }]) if status.contains(Status::SERVER_STATUS_IN_TRANS))
        {
            return;
        }
        let id = 1 + self.dice.below(1000);
        for sql in [
            format!("SELECT '{tag}' AS `{tag}`"),
            format!("SELECT CONCAT('{tag}', v) AS `{tag}` FROM kv WHERE id = {id} FOR UPDATE"),
        ] {
            if self.text(tag, 1, &sql).is_none() || self.link.is_none() {
                return;
            }
        }
        let end = if self.dice.percent(50) {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        if let Some([Part::Ok { status, .. }]) = self.text(tag, 0, end).as_deref() {
            assert!(
                !status.contains(Status::SERVER_STATUS_IN_TRANS),
                "still in a transaction (seed {})",
                self.seed
            );
        }
    }

    /// The insert id is of this client's row.
    fn insert(&mut self, tag: &str) {
        let rows = 1 + self.dice.below(5);
        let values = vec![format!("('{tag}')"); rows].join(", ");
        let answer = self.text(tag, 0, &format!("INSERT INTO tagged (v) VALUES {values}"));
        let Some(
            [
                Part::Ok {
                    affected,
                    insert_id,
                    ..
                },
            ],
        ) = answer.as_deref()
        else {
            return;
        };
        let affected = usize::try_from(*affected).expect("a few");
        assert_eq!(
            (affected, *insert_id > 0),
            (rows, true),
            "another's OK (seed {})",
            self.seed
        );
        let sql = format!("SELECT v AS `{tag}` FROM tagged WHERE id = {insert_id}");
        drop(self.text(tag, 1, &sql));
        let sql = format!("SELECT v AS `{tag}` FROM tagged WHERE id = LAST_INSERT_ID()");
        if self.link.is_some() && self.dice.percent(50) {
            drop(self.text(tag, 1, &sql));
        }
    }

    fn prepared(&mut self, tag: &str) {
        let sql = format!("SELECT ? AS `{tag}`, '{tag}' AS `x{tag}` FROM kv WHERE id <= 3");
        let Some(link) = self.link() else { return };
        let (id, answer) = link.prepare(sql.as_bytes());
        // the definition of a parameter is a column named "?"
        let named: Vec<Part> = answer
            .into_iter()
            .filter(|part| !matches!(part, Part::Column(body) if body.windows(2).any(|at| at == b"\x01?")))
            .collect();
        self.judge(tag, 0, &sql, &named);
        let (Some(id), true) = (id, self.link.is_some()) else {
            return;
        };
        for _ in 0..1 + self.dice.below(3) {
            let param = [Param::Text(tag.as_bytes().to_vec())];
            let Some(link) = &mut self.link else { return };
            let answer = link.execute(&execute_body(id, false, &param, true));
            self.judge(tag, 3, &sql, &answer);
        }
        if let Some(link) = &mut self.link
            && link.send(Command::StmtClose, &id.to_le_bytes()).is_err()
        {
            self.link = None;
        }
    }

    fn variable(&mut self, tag: &str) {
        let set = self.text(tag, 0, &format!("SET @tag = '{tag}'"));
        // one that was cancelled (1317) has set nothing
        if matches!(set.as_deref(), Some([Part::Ok { .. }])) {
            drop(self.text(tag, 1, &format!("SELECT @tag AS `{tag}`")));
        }
        // a client that keeps its connection for life would soon leave none
        self.link = None;
    }

    /// Leaves in the middle of an answer, or before its first byte.
    fn leave(&mut self, tag: &str) {
        let bytes = match self.dice.below(4) {
            0 => 0,
            1 => self.dice.below(60),
            2 => self.dice.below(2000),
            _ => self.dice.below(2_000_000),
        };
        let sql = format!("SELECT REPEAT('{tag}', 2000) AS `{tag}` FROM kv WHERE id <= 60");
        let Some(link) = self.link() else { return };
        link.read_at_most(bytes);
        let answer = link.query(sql.as_bytes());
        self.judge(tag, 60, &sql, &answer);
        self.link = None;
    }
}

/// A server that may be cut off, an endpoint in front of it, and who may log in.
struct Stage {
    cluster: Cluster,
    proxy: Proxy,
    endpoint: Endpoint,
    login: Login,
}

fn stage(connections: usize, wait: &str) -> Stage {
    let cluster = Cluster::builder()
        .schema(
            "CREATE TABLE app.tagged (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) NOT NULL);",
        )
        .build();
    let proxy = Proxy::start(&cluster.address(0));
    let endpoint = start(
        &cluster,
        Options {
            primary: Some(proxy.address()),
            pool: format!("max_server_connections = {connections}\nwait_timeout = \"{wait}\""),
            ..Options::default()
        },
    );
    let series = format!(
        "lamplighter_mysql_connections_opened_total{{server=\"{}\"}}",
        proxy.address()
    );
    poll::until(PATIENCE, "a connection to the primary", || {
        endpoint.metric(&series) > 0.5
    });
    let mut login = Login::new(endpoint.socket(), "web", "");
    login.database = Some("app".to_owned());
    login.capabilities |= Capabilities::CLIENT_MULTI_STATEMENTS;
    Stage {
        cluster,
        proxy,
        endpoint,
        login,
    }
}

/// One bad thing after the other until `over`: connections killed, statements cancelled, the network cut or slow.
fn misfortune(stage: &Stage, over: &AtomicBool, mut dice: Dice) -> u64 {
    let socket = stage.cluster.socket(0).display().to_string();
    let mut root = Link::open(&Login::new(socket, "root", "")).expect("root logs in");
    let mut happened = 0;
    while !over.load(Ordering::SeqCst) {
        // the pace of misfortune
        root.query(format!("DO SLEEP({})", [0.002, 0.01, 0.03][dice.below(3)]).as_bytes());
        let list = root.query(
            b"SELECT id FROM information_schema.processlist WHERE user = 'app' AND command <> 'Connect'",
        );
        let ids = crate::support::mysql::raw::text_rows(&list);
        let victim = ids
            .get(dice.below(ids.len()))
            .and_then(|row| row[0].clone());
        happened += 1;
        match (dice.below(10), victim) {
            (0..=3, Some(id)) => {
                let id = String::from_utf8_lossy(&id).into_owned();
                root.query(format!("KILL QUERY {id}").as_bytes());
            }
            (4 | 5, Some(id)) => {
                let id = String::from_utf8_lossy(&id).into_owned();
                root.query(format!("KILL {id}").as_bytes());
            }
            (6, _) => stage.proxy.begin_cut(),
            (7, _) => {
                let bytes = u64::try_from(dice.below(20_000)).expect("64 bits");
                stage.proxy.set(Mode::CutAfter(bytes));
            }
            (8, _) => stage.proxy.set(Mode::Delay(Duration::from_millis(2))),
            _ => stage.proxy.set(Mode::Pass),
        }
    }
    stage.proxy.set(Mode::Pass);
    happened
}

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
        _ => otherwise,
    }
}

#[test]
fn no_answer_crosses_whatever_breaks() {
    let questions = number("LAMPLIGHTER_CROSSTALK_QUESTIONS", 4000);
    let clients = number("LAMPLIGHTER_CROSSTALK_CLIENTS", 8);
    let seed = number("LAMPLIGHTER_CROSSTALK_SEED", 1);
    let stage = stage(4, "20s");
    let (asked, whole) = (AtomicU64::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    let happened = std::thread::scope(|scope| {
        let chaos = scope.spawn(|| misfortune(&stage, &over, Dice::new(seed)));
        let askers: Vec<_> = (0..clients)
            .map(|client| {
                let (stage, asked, whole) = (&stage, &asked, &whole);
                scope.spawn(move || {
                    let mut asker = Asker::new(&stage.login, seed * 1000 + client);
                    while asked.fetch_add(1, Ordering::Relaxed) < questions {
                        asker.ask();
                    }
                    whole.fetch_add(asker.whole, Ordering::Relaxed);
                })
            })
            .collect();
        let failed = askers.into_iter().filter_map(|asker| asker.join().err());
        let failed: Vec<_> = failed.collect();
        over.store(true, Ordering::SeqCst);
        let happened = chaos.join().expect("the misfortunes end");
        if let Some(first) = failed.into_iter().next() {
            std::panic::resume_unwind(first);
        }
        happened
    });
    let whole = whole.load(Ordering::Relaxed);
    let summary = format!("{questions} questions, {whole} whole answers, {happened} misfortunes\n");
    std::io::stderr().write_all(summary.as_bytes()).ok();
    assert!(whole > questions / 4, "too little came through: {summary}");
    assert!(happened > 10, "too little went wrong: {summary}");
    // and all is well afterwards
    let mut last = Asker::new(&stage.login, seed * 1000 + 999);
    poll::until(PATIENCE, "an answer after it all", || {
        let tag = last.tag();
        last.text(&tag, 1, &format!("SELECT '{tag}' AS `{tag}`"))
            .filter(|answer| error_of(answer).is_none() && last.link.is_some())
            .is_some()
    });
    assert_eq!(
        stage
            .endpoint
            .metric(r#"lamplighter_faults_total{culprit="bug",subsystem="mysql"}"#),
        0.0
    );
}

/// With one server connection: what one client leaves cut off must not reach the next.
#[test]
fn a_reply_cut_at_any_byte_reaches_nobody_else() {
    let step = usize::try_from(number("LAMPLIGHTER_CROSSTALK_STEP", 13)).expect("small");
    let stage = stage(1, "20s");
    let mut victim = Asker::new(&stage.login, 7);
    let mut next = Asker::new(&stage.login, 8);
    let mut cut = 0;
    // one reply is some 400 bytes of MySQL, 500 of TLS; a lost connection is a login of some 3000 before it
    let ends = (0..40).chain((40..700).step_by(step));
    for bytes in ends {
        for side in ["client", "server"] {
            let tag = victim.tag();
            let sql = format!(
                "SELECT CONCAT('{tag}', id) AS `{tag}`, '{tag}' AS `x{tag}` FROM kv WHERE id <= 5"
            );
            let by = u64::try_from(bytes).expect("64 bits");
            if side == "server" {
                stage.proxy.set(Mode::CutAfter(by));
            }
            if let Some(link) = victim.link() {
                if side == "client" {
                    link.read_at_most(bytes);
                }
                let answer = link.query(sql.as_bytes());
                victim.judge(&tag, 5, &sql, &answer);
                cut += u64::from(matches!(
                    answer.last(),
                    Some(Part::Lost(_) | Part::Err { .. })
                ));
            }
            stage.proxy.set(Mode::Pass);
            if side == "client" {
                victim.link = None;
            }
            for _ in 0..2 {
                let tag = next.tag();
                let sql = format!("SELECT '{tag}' AS `{tag}`");
                drop(next.text(&tag, 1, &sql));
            }
        }
    }
    assert!(cut > 40, "only {cut} replies were cut");
    assert!(next.whole > 100, "only {} answers to the next", next.whole);
}

#[test]
#[should_panic(expected = "an answer crossed")]
fn a_row_of_another_is_noticed() {
    let login = Login::new("/nowhere", "web", "");
    let row = Part::Row(b"\x0btag9n9e".as_slice().into());
    Asker::new(&login, 1).judge("tag1n1e", 1, "SELECT", &[row]);
}
