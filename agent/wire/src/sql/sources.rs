//! What a change of data reads besides the table that it changes.

use super::LexMode;
use super::lexer::{Lexer, Token};

/// Words that bring in another table or a subquery; all of them are reserved.
const BRING_IN: [&[u8]; 6] = [
    b"select",
    b"table",
    b"with",
    b"join",
    b"straight_join",
    b"using",
];

/// Behind these a comma separates no tables.
const BEHIND_TABLES: [&[u8]; 6] = [b"set", b"where", b"order", b"limit", b"values", b"value"];

/// Whether an INSERT, REPLACE, UPDATE or DELETE names more than one table, or reads rows by a query.
#[must_use]
pub fn reads_other_tables(sql: &[u8], mode: LexMode) -> bool {
    let is = |word: &[u8], of: &[&[u8]]| of.iter().any(|one| word.eq_ignore_ascii_case(one));
    let mut lexer = Lexer::new(sql, mode);
    let (mut depth, mut names_tables, mut takes_values) = (0_usize, true, None);
    while let Some(token) = lexer.next() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 && names_tables => return true,
            Token::Word(word) => {
                let takes = *takes_values.get_or_insert_with(|| is(word, &[b"insert", b"replace"]));
                // in an UPDATE or DELETE it is a subquery
                if is(word, &BRING_IN) || (!takes && is(word, &[b"values"])) {
                    return true;
                }
                names_tables &= !is(word, &BEHIND_TABLES);
            }
            _ => {}
        }
    }
    false
}
