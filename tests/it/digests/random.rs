//! Random statements, most of which MySQL accepts: every place where a value, a sign, a NULL, a column's number or a word can
//! mean something else. The same seed gives the same statements.

mod expression;

/// A small generator of numbers (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("31 bits") % end
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const NAMES: &[&str] = &[
    "a", "b", "t", "wp_posts", "`select`", "`x``y`", "ö", "a$1", "_x", "1a", "0xg", "level",
    "date", "status", "value", "comment", "t.a", "t.level", "`t`.b", "s.t.a", "count", "name",
    "`q q`", "t . a",
];
const VALUES: &[&str] = &[
    "1",
    "0",
    "007",
    "-1",
    "+2",
    "- 3",
    "- -4",
    "1.5",
    ".5",
    "1.",
    "1e5",
    "-1e-5",
    "0x1F",
    "0b11",
    "x'41'",
    "b'01'",
    "'a'",
    "'it''s'",
    "'a\\'b'",
    "\"x\"",
    "N'x'",
    "_utf8mb4'x'",
    "_binary 'x'",
    "'a' 'b'",
    "NULL",
    "null",
    "TRUE",
    "date'2020-01-01'",
    "TIMESTAMP '2020-01-01 00:00:00'",
    "''",
    "'\\\\'",
    "4294967296",
    "{d '2020-01-01'}",
    "99999999999999999999",
];
const TYPES: &[&str] = &[
    "int",
    "INTEGER",
    "int4",
    "bigint unsigned",
    "tinyint(1)",
    "mediumint",
    "varchar(10)",
    "char(3)",
    "character(2)",
    "dec(5,2)",
    "decimal(5,2)",
    "double precision",
    "float",
    "text",
    "timestamp",
    "datetime(6)",
    "json",
    "enum('a','b')",
    "binary(3)",
    "varchar(3) character set utf8mb4 collate utf8mb4_bin",
    "bit",
    "year",
    "date",
    "blob",
    "geometry",
    "bool",
    "real",
];

/// Grows statements.
pub(super) struct Writer {
    dice: Dice,
    out: Vec<String>,
}

impl Writer {
    pub(super) fn statement(seed: u64) -> String {
        let mut writer = Self {
            dice: Dice::new(seed),
            out: Vec::new(),
        };
        match writer.dice.below(20) {
            0..=9 => writer.select(3),
            10..=12 => writer.insert(),
            13 | 14 => writer.update(),
            15 => writer.delete(),
            16 => writer.table(),
            17 => writer.set(),
            18 => writer.wide(),
            _ => writer.union(),
        }
        writer.join()
    }

    fn say(&mut self, words: &str) {
        self.out.push(words.to_owned());
    }

    fn maybe(&mut self, percent: usize, words: &str) {
        if self.dice.chance(percent) {
            self.say(words);
        }
    }

    fn any(&mut self, from: &[&str]) {
        let word = self.dice.pick(from).to_owned();
        self.out.push(word);
    }

    fn name(&mut self) {
        self.any(NAMES);
    }

    fn list(&mut self, max: usize, mut item: impl FnMut(&mut Self)) {
        for index in 0..=self.dice.below(max) {
            if index > 0 {
                self.say(",");
            }
            item(self);
        }
    }

    fn values(&mut self, max: usize) {
        self.list(max, |writer| writer.any(VALUES));
    }

    fn expressions(&mut self, depth: usize, max: usize) {
        self.list(max, |writer| writer.expression(depth));
    }

    fn row(&mut self, depth: usize) {
        self.say("(");
        if self.dice.chance(60) {
            self.values(4);
        } else {
            self.expressions(depth, 3);
        }
        self.say(")");
    }

    fn sort_key(&mut self, depth: usize) {
        if self.dice.chance(50) {
            self.any(&[
                "1",
                "2",
                "1",
                "10",
                "0",
                "007",
                "-1",
                "'1'",
                "1.0",
                "(1)",
                "NULL",
                "4294967295",
                "4294967296",
            ]);
        } else {
            self.expression(depth);
        }
    }

    fn order(&mut self, depth: usize, percent: usize) {
        if self.dice.chance(percent) {
            self.say("ORDER BY");
            self.list(4, |writer| {
                writer.sort_key(depth);
                let direction = writer.dice.pick(&["", "", "ASC", "desc"]).to_owned();
                writer.out.push(direction);
            });
        }
    }

    fn limit(&mut self, percent: usize) {
        if self.dice.chance(percent) {
            self.any(&["LIMIT 1", "LIMIT 1, 2", "limit 3 OFFSET 4"]);
        }
    }

    fn hints(&mut self) {
        if self.dice.chance(8) {
            self.any(&[
                "/*+ MAX_EXECUTION_TIME(1000) */",
                "/*+ BKA(t1, `t``2`@qb) no_icp(@q t) */",
                "/*+ SET_VAR(sort_buffer_size = 16M) SET_VAR(a='x') set_var(b=on) */",
                "/*+ INDEX(t i, j) QB_NAME(`q q`) unknown(x) */",
                "/*+ SEMIJOIN(@q FIRSTMATCH, LOOSESCAN) */",
                "/*+ */",
            ]);
        }
    }

    fn select(&mut self, depth: usize) {
        self.any(&[
            "SELECT",
            "select",
            "SELECT DISTINCT",
            "select ALL",
            "SELECT SQL_NO_CACHE",
            "SELECT distinctrow",
        ]);
        if self
            .out
            .last()
            .is_some_and(|word| word.eq_ignore_ascii_case("select"))
        {
            self.hints();
        }
        self.list(4, |writer| {
            writer.expression(depth);
            if writer.dice.chance(15) {
                writer.any(&["AS x", "y", "as `from`", "AS 'text'", "AS level"]);
            }
        });
        if !self.dice.chance(80) {
            return;
        }
        self.say("FROM");
        self.any(&[
            "t",
            "`t` AS u",
            "s.t",
            "t JOIN u ON -1 = t.a",
            "t LEFT JOIN (u, v) USING (a)",
            "t, u",
            "dual",
            "t force index (i)",
        ]);
        if self.dice.chance(60) {
            self.any(&["WHERE", "where -1 and", "WHERE NULL OR"]);
            self.expression(depth);
        }
        if self.dice.chance(25) {
            self.say("GROUP BY");
            if self.dice.chance(15) {
                self.say("ROLLUP (");
                self.list(3, |writer| writer.sort_key(1));
                self.say(")");
            } else {
                self.list(3, |writer| writer.sort_key(1));
                self.maybe(25, "WITH ROLLUP");
            }
            if self.dice.chance(40) {
                self.say("HAVING");
                self.expression(1);
            }
        }
        self.order(1, 40);
        self.limit(40);
        self.maybe(5, "FOR UPDATE");
    }

    fn union(&mut self) {
        self.say("(");
        self.select(1);
        self.say(")");
        self.any(&["UNION", "union all", "EXCEPT", "INTERSECT"]);
        self.say("(");
        self.select(1);
        self.say(")");
        self.order(0, 50);
        self.limit(30);
    }

    fn insert(&mut self) {
        self.any(&["INSERT", "REPLACE", "insert"]);
        self.hints();
        self.any(&["INTO t", "into s.t (a, b)", "INTO `t`"]);
        match self.dice.below(4) {
            0 => {
                self.say("SET a =");
                self.expression(1);
            }
            1 => self.select(1),
            _ => {
                self.any(&["VALUES", "values", "VALUE"]);
                self.list(5, |writer| writer.row(1));
            }
        }
    }

    fn update(&mut self) {
        self.say("UPDATE");
        self.hints();
        self.any(&["t", "s.t", "t JOIN u ON t.a = u.a", "`t`"]);
        self.say("SET");
        self.list(4, |writer| {
            writer.any(&["a =", "t.b =", "`c`=", "level ="]);
            writer.expression(1);
        });
        if self.dice.chance(80) {
            self.say("WHERE");
            self.expression(2);
        }
    }

    fn delete(&mut self) {
        self.say("DELETE");
        self.hints();
        self.say("FROM t WHERE");
        self.expression(2);
        self.order(0, 40);
        self.maybe(40, "LIMIT 10");
    }

    fn table(&mut self) {
        self.say("CREATE TABLE t (");
        self.list(5, |writer| {
            writer.any(&["a", "`b`", "level", "x1", "date"]);
            writer.any(TYPES);
            for _ in 0..writer.dice.below(3) {
                writer.any(&[
                    "NOT NULL",
                    "NULL",
                    "DEFAULT NULL",
                    "DEFAULT -1",
                    "default 'x'",
                    "UNIQUE",
                    "COMMENT 'c'",
                    "CHECK (a IS NOT NULL)",
                    "INVISIBLE",
                    "REFERENCES u (a) ON DELETE SET NULL ON UPDATE SET NULL",
                ]);
            }
        });
        self.say(")");
        self.maybe(
            40,
            "ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 COMMENT='x'",
        );
    }

    fn set(&mut self) {
        self.say("SET");
        self.list(3, |writer| {
            writer.any(&[
                "@a =",
                "@b :=",
                "sql_mode =",
                "@@sql_mode =",
                "SESSION sql_mode =",
                "@@SESSION.sql_mode =",
            ]);
            writer.expression(1);
        });
    }

    /// Longer than a digest may be.
    fn wide(&mut self) {
        self.say("SELECT");
        let length = 1 + self.dice.below(30);
        let name = format!("`{}`", "n".repeat(length));
        for index in 0..20 + self.dice.below(120) {
            if index > 0 {
                self.say(",");
            }
            match self.dice.below(6) {
                0 => self.expression(1),
                1 => self.row(0),
                _ => self.say(&name),
            }
        }
        self.order(0, 80);
    }

    fn join(mut self) -> String {
        let mut text = String::new();
        for word in std::mem::take(&mut self.out) {
            let word = match self.dice.below(8) {
                // names keep their case; what is no name has none
                0 if word.is_ascii()
                    && !word.contains(['`', '\'', '.', '@', '"', '/'])
                    && word == word.to_ascii_uppercase() =>
                {
                    word.to_ascii_lowercase()
                }
                _ => word,
            };
            text.push_str(&word);
            let gap = match self.dice.below(60) {
                0 => "\n",
                1 => "\t ",
                2 => " /* a 'comment' ; */ ",
                3 => " -- another\n",
                4 => " # one more\n",
                5 => " /*!80000 */ ",
                6 => " /*!99999 unread /* nested */ */ ",
                _ => " ",
            };
            text.push_str(gap);
        }
        if self.dice.chance(10) {
            text.push(';');
        }
        text
    }
}
