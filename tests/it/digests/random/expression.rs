//! Random expressions.

use super::{VALUES, Writer};

const BINARY: &[&str] = &[
    "=",
    "<>",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "<=>",
    "+",
    "-",
    "*",
    "/",
    "%",
    "DIV",
    "MOD",
    "AND",
    "OR",
    "XOR",
    "&&",
    "||",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "LIKE",
    "RLIKE",
    "REGEXP",
    "NOT LIKE",
    "SOUNDS LIKE",
];
const UNARY: &[&str] = &["-", "+", "~", "!", "NOT", "BINARY", "- -", "-+"];
const UNITS: &[&str] = &[
    "DAY",
    "hour",
    "SQL_TSI_DAY",
    "MINUTE",
    "week",
    "YEAR_MONTH",
    "quarter",
];
const CALLS: &[&str] = &[
    "f(",
    "now(",
    "IF(",
    "ifnull(",
    "coalesce(",
    "concat(",
    "LEFT(",
    "mod(",
    "count(",
    "sum(",
    "max(",
    "std(",
    "substr(",
    "mid(",
    "INSERT(",
    "replace(",
    "date(",
    "s.f(",
    "`f`(",
    "greatest(",
    "variance(",
    "char(",
    "ROW(",
];

impl Writer {
    pub(super) fn expression(&mut self, depth: usize) {
        if depth == 0 {
            return match self.dice.below(10) {
                0..=3 => self.any(VALUES),
                4 => self.any(&[
                    "@x",
                    "@`y`",
                    "@'z'",
                    "@@sql_mode",
                    "@@global.sql_mode",
                    "@@SESSION.`sql_mode`",
                    "@a.b",
                ]),
                _ => self.name(),
            };
        }
        match self.dice.below(22) {
            0..=4 => {
                self.expression(depth - 1);
                self.any(BINARY);
                self.expression(depth - 1);
            }
            5 => {
                self.any(UNARY);
                self.expression(0);
            }
            6 => {
                self.name();
                self.any(&[
                    "IS NULL",
                    "IS NOT NULL",
                    "is true",
                    "IS NOT UNKNOWN",
                    "IS  not null",
                ]);
            }
            7 | 8 => {
                self.expression(0);
                self.any(&["IN", "NOT IN"]);
                self.row(depth - 1);
            }
            9 => self.between(),
            10 => self.case(depth - 1),
            11..=13 => {
                self.any(CALLS);
                if self.dice.chance(80) {
                    self.expressions(depth - 1, 3);
                }
                self.say(")");
            }
            14 => self.parenthesis(|writer| writer.select(depth - 1)),
            15 => self.parenthesis(|writer| writer.expression(depth - 1)),
            16 => {
                self.say("INTERVAL");
                self.expression(0);
                self.any(UNITS);
                self.say("+ a");
            }
            17 => self.special(depth - 1),
            18 => {
                self.name();
                self.any(&["-> '$.x'", "->> '$[0]'"]);
            }
            _ => self.expression(0),
        }
    }

    fn parenthesis(&mut self, inner: impl FnOnce(&mut Self)) {
        self.say("(");
        inner(self);
        self.say(")");
    }

    fn between(&mut self) {
        self.name();
        self.any(&["BETWEEN", "not between"]);
        self.expression(0);
        self.say("AND");
        self.expression(0);
    }

    fn case(&mut self, depth: usize) {
        self.say("CASE");
        if self.dice.chance(50) {
            self.expression(0);
        }
        self.say("WHEN");
        self.expression(depth);
        self.say("THEN");
        self.expression(0);
        self.say("ELSE");
        self.expression(0);
        self.say("END");
    }

    fn special(&mut self, depth: usize) {
        match self.dice.below(9) {
            0 => {
                self.say("CAST(");
                self.expression(depth);
                self.any(&[
                    "AS SIGNED )",
                    "AS char(3) )",
                    "as decimal(5,2) )",
                    "as json )",
                ]);
            }
            1 => {
                self.say("GROUP_CONCAT(");
                self.maybe(50, "DISTINCT");
                self.expression(depth);
                self.order(1, 100);
                self.maybe(50, "SEPARATOR ','");
                self.say(")");
            }
            2 => {
                self.any(&["sum(a)", "ROW_NUMBER()", "count(*)", "lag(a)"]);
                self.say("OVER (");
                if self.dice.chance(60) {
                    self.say("PARTITION BY");
                    self.list(3, |writer| writer.sort_key(1));
                }
                self.order(1, 80);
                self.maybe(20, "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW");
                self.say(")");
            }
            3 => {
                self.say("SUBSTRING(");
                self.expression(depth);
                self.say("FROM");
                self.any(VALUES);
                self.maybe(50, "FOR -1");
                self.say(")");
            }
            4 => {
                self.say("DATE_ADD(");
                self.expression(depth);
                self.say(", INTERVAL");
                self.any(VALUES);
                self.any(UNITS);
                self.say(")");
            }
            5 => self.say("JSON_VALUE(a, '$.x' RETURNING SIGNED NULL ON EMPTY NULL ON ERROR)"),
            6 => self.say("EXISTS ( SELECT NULL )"),
            7 => {
                self.say("TRIM( BOTH");
                self.any(VALUES);
                self.say("FROM a )");
            }
            _ => {
                self.expression(0);
                self.say("= ANY ( SELECT");
                self.expression(depth);
                self.say(")");
            }
        }
    }
}
