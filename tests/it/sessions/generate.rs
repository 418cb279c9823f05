//! Random sessions: what several clients do, in which order. All of it follows from the seed; nothing looks at an answer, so a
//! session can be played again, and with steps left out.
//!
//! A client that may legitimately keep its server connection (a transaction, a temporary table, a lock) is marked; never are there
//! more of them than the pool has connections, and while it is used up only they have turns. So a client that waits in vain has
//! found a connection kept for no reason.

use lamplighter_wire::mysql::flags::Capabilities;

use super::grammar::{self, Keeps, Who};
use super::player::SLOTS;
use super::steps::{Op, Shape, Step};
use crate::support::mysql::raw::{BASIC, Param, UTF8MB4_0900};

/// A small generator (splitmix64): the same numbers everywhere and for ever.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("64 bits");
        usize::try_from(self.next() % end).expect("64 bits")
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// What kind of session it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) clients: usize,
    /// Connections in the pool.
    pub(crate) pool: usize,
    pub(crate) steps: usize,
    /// Sessions that keep nothing: every statement finds another owner's connection.
    pub(crate) light: bool,
}

/// What the generator remembers of a client.
#[derive(Debug, Clone, Copy, Default)]
struct Client {
    keeps: Option<Keeps>,
    prepared: [Option<usize>; SLOTS],
    bound: [bool; SLOTS],
}

/// The session of a seed.
pub(crate) fn session(seed: u64, profile: Profile) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut clients = vec![Client::default(); profile.clients];
    let mut steps = Vec::new();
    for client in 0..profile.clients {
        steps.push(Step {
            client,
            op: Op::Reconnect(shape(&mut dice)),
        });
        steps.push(Step {
            client,
            op: Op::InitDb(grammar::schema(client)),
        });
    }
    // neighbours in turn is what shares connections; a run of one client is what keeps its diagnostics
    let mut client = 0;
    while steps.len() < profile.steps {
        let keeping = clients
            .iter()
            .filter(|client| client.keeps.is_some())
            .count();
        let full = keeping >= profile.pool;
        let may = |index: usize, clients: &[Client]| !full || clients[index].keeps.is_some();
        if !may(client, &clients) || dice.percent(60) {
            let able: Vec<usize> = (0..profile.clients)
                .filter(|index| may(*index, &clients))
                .collect();
            client = able[dice.below(able.len())];
        }
        let who = Who {
            client,
            session: seed,
        };
        let ops = turn(&mut dice, who, &mut clients[client], profile.light, full);
        steps.extend(ops.into_iter().map(|op| Step { client, op }));
    }
    for client in 0..profile.clients {
        if clients[client].keeps.is_some() || keeping_none(&clients) {
            steps.push(Step {
                client,
                op: Op::Variables,
            });
        }
    }
    steps
}

fn keeping_none(clients: &[Client]) -> bool {
    clients.iter().all(|client| client.keeps.is_none())
}

/// One or a few commands of one client.
fn turn(dice: &mut Dice, who: Who, client: &mut Client, light: bool, full: bool) -> Vec<Op> {
    let index = who.client;
    let release = if full { 30 } else { 8 };
    if let Some(keeps) = client.keeps
        && dice.percent(release)
    {
        return leave(dice, index, client, keeps);
    }
    if !light && dice.percent(14) {
        return prepared(dice, client);
    }
    if dice.percent(4) {
        *client = Client::default();
        return afresh(dice, index);
    }
    if dice.percent(8) {
        let command = command(dice, index);
        if dice.percent(40) && !light {
            let (question, keeps) = grammar::question(dice);
            client.keeps = client.keeps.max(keeps);
            return vec![command, question];
        }
        return vec![command];
    }
    let (statement, keeps) = grammar::statement(dice, who, light);
    if let Some(keeps) = keeps {
        // the longer one counts
        let longer = client.keeps == Some(Keeps::Life);
        client.keeps = Some(if longer { Keeps::Life } else { keeps });
    }
    let mut ops = vec![statement];
    if dice.percent(25) {
        let (question, keeps) = grammar::question(dice);
        if keeps.is_none() || !light {
            ops.push(question);
            client.keeps = client.keeps.max(keeps);
        }
    }
    ops
}

/// Ends what keeps the connection.
fn leave(dice: &mut Dice, index: usize, client: &mut Client, keeps: Keeps) -> Vec<Op> {
    if keeps == Keeps::Transaction {
        client.keeps = None;
        let end = dice.pick(&["COMMIT", "ROLLBACK", "commit /* done */", "ROLLBACK WORK"]);
        return vec![Op::sql(end)];
    }
    *client = Client::default();
    afresh(dice, index)
}

/// A session as after a login.
fn afresh(dice: &mut Dice, index: usize) -> Vec<Op> {
    let schema = grammar::schema(index);
    match dice.below(3) {
        // a reset goes to the server's character set, the endpoint's to that of the login: not the same until somebody says
        0 => vec![
            Op::Reset,
            Op::InitDb(schema),
            Op::sql("SET NAMES utf8mb4 COLLATE utf8mb4_0900_ai_ci"),
        ],
        1 => vec![Op::ChangeUser {
            database: schema,
            collation: collation(dice),
        }],
        _ => vec![Op::Reconnect(shape(dice)), Op::InitDb(schema)],
    }
}

fn collation(dice: &mut Dice) -> u8 {
    // utf8mb4_0900_ai_ci, utf8mb4_general_ci, latin1_swedish_ci, utf8mb3_general_ci
    *dice.pick(&[&UTF8MB4_0900, &UTF8MB4_0900, &45, &8, &33])
}

fn shape(dice: &mut Dice) -> Shape {
    let mut capabilities = BASIC;
    for (flag, share) in [
        (Capabilities::CLIENT_DEPRECATE_EOF, 70),
        (Capabilities::CLIENT_FOUND_ROWS, 30),
        (Capabilities::CLIENT_MULTI_STATEMENTS, 80),
        (Capabilities::CLIENT_IGNORE_SPACE, 15),
        (Capabilities::CLIENT_INTERACTIVE, 5),
    ] {
        if dice.percent(share) {
            capabilities |= flag;
        }
    }
    Shape {
        capabilities,
        collation: collation(dice),
        database: dice.percent(50),
    }
}

/// A command that is no statement.
fn command(dice: &mut Dice, index: usize) -> Op {
    match dice.below(12) {
        0 | 1 => Op::Ping,
        2 => Op::Statistics,
        3 => Op::FieldList {
            table: (*dice.pick(&["t", "u", "nowhere"])).to_owned(),
            wildcard: (*dice.pick(&["", "%", "n%"])).to_owned(),
        },
        4 => Op::InitDb((*dice.pick(&["nowhere", "", "information_schema"])).to_owned()),
        5 | 6 => Op::InitDb(grammar::schema(index)),
        7 => Op::InitDb(grammar::second_schema(index)),
        8 => Op::SetOption(u16::try_from(dice.below(2)).expect("0 or 1")),
        9 => Op::Unknown(0x7A),
        10 => Op::ConnectionId,
        _ => Op::Variables,
    }
}

/// Something with prepared statements.
fn prepared(dice: &mut Dice, client: &mut Client) -> Vec<Op> {
    let slot = dice.below(SLOTS);
    if let Some(keeps) = grammar::PREPARED_KEEPS {
        client.keeps = Some(keeps);
    }
    let Some(which) = client.prepared[slot] else {
        let which = dice.below(grammar::PREPARED.len());
        client.prepared[slot] = Some(which);
        client.bound[slot] = false;
        let (sql, _, keeps) = grammar::PREPARED[which];
        if let Some(keeps) = keeps {
            client.keeps = Some(keeps);
        }
        let prepare = Op::Prepare {
            slot,
            sql: sql.to_owned(),
        };
        return if dice.percent(50) {
            vec![prepare]
        } else {
            vec![prepare, execute(dice, client, slot, which)]
        };
    };
    match dice.below(10) {
        0 => {
            client.prepared[slot] = None;
            vec![Op::StmtClose { slot }]
        }
        1 => vec![Op::StmtReset { slot }],
        2 => vec![execute(dice, client, slot, which), Op::StmtReset { slot }],
        3 => vec![Op::Fetch {
            slot,
            rows: u32::try_from(dice.below(4)).expect("small"),
        }],
        4 => cursor(dice, client, slot, which),
        5 => long_data(dice, client, slot, which),
        _ => vec![execute(dice, client, slot, which)],
    }
}

fn execute(dice: &mut Dice, client: &mut Client, slot: usize, which: usize) -> Op {
    let (_, count, _) = grammar::PREPARED[which];
    // the types of the execution before hold only if there was one, with the same types
    let types = !client.bound[slot] || dice.percent(50);
    let params = (0..count)
        .map(|place| parameter(dice, types, place))
        .collect();
    client.bound[slot] = !types && client.bound[slot];
    Op::Execute {
        slot,
        params,
        types: true,
        cursor: false,
    }
}

fn parameter(dice: &mut Dice, _types: bool, _place: usize) -> Param {
    match dice.below(5) {
        0 => Param::Null,
        1 => Param::Double(f64::from(u32::try_from(dice.below(1000)).expect("small")) / 8.0),
        2 => Param::Text(
            dice.pick(&["", "x", "12", "it's", "\u{e9}\u{2603}"])
                .as_bytes()
                .to_vec(),
        ),
        _ => Param::Int(i64::try_from(dice.below(40)).expect("small") - 5),
    }
}

/// Rows by COM_STMT_FETCH, not always to the end.
fn cursor(dice: &mut Dice, client: &mut Client, slot: usize, which: usize) -> Vec<Op> {
    client.keeps = Some(Keeps::Life);
    let Op::Execute { params, .. } = execute(dice, client, slot, which) else {
        return Vec::new();
    };
    let mut ops = vec![Op::Execute {
        slot,
        params,
        types: true,
        cursor: true,
    }];
    for _ in 0..dice.below(3) {
        let rows = u32::try_from(1 + dice.below(3)).expect("small");
        ops.push(Op::Fetch { slot, rows });
    }
    ops
}

/// A parameter in pieces, and one more execution with the types of the one before.
fn long_data(dice: &mut Dice, client: &mut Client, slot: usize, which: usize) -> Vec<Op> {
    let (_, count, _) = grammar::PREPARED[which];
    if count == 0 {
        return vec![execute(dice, client, slot, which)];
    }
    let piece = |text: &str| Op::LongData {
        slot,
        param: 0,
        bytes: text.as_bytes().to_vec(),
    };
    let mut params = vec![Param::Int(3); count];
    let same = Op::Execute {
        slot,
        params: params.clone(),
        types: true,
        cursor: false,
    };
    let again = Op::Execute {
        slot,
        params: vec![Param::Int(4); count],
        types: false,
        cursor: false,
    };
    params[0] = Param::Long;
    let long = Op::Execute {
        slot,
        params,
        types: true,
        cursor: false,
    };
    vec![piece("1"), piece("2"), long, same, again]
}
