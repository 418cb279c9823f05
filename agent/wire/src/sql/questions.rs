//! Questions about the session that a statement asks by function (FOUND_ROWS() and the like), answered in its text: for a
//! server connection that does not know the answer, because it worked for somebody else before.

use super::lexer::{Lexer, Token};
use super::{LexMode, SessionValue};

/// A place in the text.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
}

/// Writes the values into `sql` in place of the functions that ask for them. Columns of the outermost SELECT keep the names
/// that they would have had. What `value` does not know is left alone. `None` if there is nothing to be replaced.
#[must_use]
pub fn answer_in_text(
    sql: &[u8],
    mode: LexMode,
    value: impl Fn(SessionValue) -> Option<String>,
) -> Option<Vec<u8>> {
    let tokens = tokens(sql, mode);
    let mut edits = Vec::new();
    for window in tokens.windows(3) {
        if let [(function, word), (open, _), (close, end)] = window
            && *open == Token::Open
            && *close == Token::Close
            && let Token::Word(name) = function
            && let Some(answer) = SessionValue::of_function(name).and_then(&value)
        {
            let span = Span {
                start: word.start,
                end: end.end,
            };
            edits.push((span, answer));
        }
    }
    if edits.is_empty() {
        return None;
    }
    Some(edited(sql, &edits, &names(sql, &tokens, &edits)))
}

fn tokens(sql: &[u8], mode: LexMode) -> Vec<(Token<'_>, Span)> {
    let mut lexer = Lexer::new(sql, mode);
    let mut tokens: Vec<(Token<'_>, Span)> = Vec::new();
    while let Some(token) = lexer.next() {
        let end = lexer.position();
        let start = match token {
            Token::Word(text) | Token::Member(text) => end - text.len(),
            _ => end.saturating_sub(1),
        };
        tokens.push((token, Span { start, end }));
    }
    tokens
}

/// For each column of the outermost SELECT that is edited and has no alias: where it ends, and the name it would have had.
fn names(
    sql: &[u8],
    tokens: &[(Token<'_>, Span)],
    edits: &[(Span, String)],
) -> Vec<(usize, Vec<u8>)> {
    const ENDS: [&[u8]; 10] = [
        b"from", b"into", b"where", b"group", b"having", b"order", b"limit", b"union", b"for",
        b"window",
    ];
    let is = |token: &Token<'_>, word: &[u8]| matches!(token, Token::Word(text) if text.eq_ignore_ascii_case(word));
    if !tokens
        .first()
        .is_some_and(|(token, _)| is(token, b"select"))
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut item: Vec<(Token<'_>, Span)> = Vec::new();
    let mut depth = 0_u32;
    let end_of_text = (
        Token::Semicolon,
        Span {
            start: sql.len(),
            end: sql.len(),
        },
    );
    for (token, span) in tokens.iter().skip(1).chain([&end_of_text]) {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        let over =
            depth == 0 && (*token == Token::Semicolon || ENDS.iter().any(|word| is(token, word)));
        if over || (depth == 0 && *token == Token::Comma) {
            found.extend(name_of(sql, &item, edits));
            item.clear();
        } else {
            item.push((*token, *span));
        }
        if over {
            break;
        }
    }
    found
}

fn name_of(
    sql: &[u8],
    item: &[(Token<'_>, Span)],
    edits: &[(Span, String)],
) -> Option<(usize, Vec<u8>)> {
    let (start, end) = (item.first()?.1.start, item.last()?.1.end);
    let is_edited = edits
        .iter()
        .any(|(span, _)| span.start >= start && span.end <= end);
    let last_two = item.get(item.len().saturating_sub(2)..).unwrap_or_default();
    let has_alias = match last_two {
        [
            (before, _),
            (Token::Word(_) | Token::Quoted(_) | Token::String, _),
        ] => {
            matches!(before, Token::Close | Token::Number | Token::String)
                || matches!(before, Token::Word(word) if word.eq_ignore_ascii_case(b"as"))
        }
        _ => false,
    };
    if !is_edited || has_alias {
        return None;
    }
    let text = sql.get(start..end)?;
    let mut name = b" AS `".to_vec();
    for byte in text {
        name.push(*byte);
        if *byte == b'`' {
            name.push(b'`');
        }
    }
    name.push(b'`');
    Some((end, name))
}

fn edited(sql: &[u8], edits: &[(Span, String)], names: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(sql.len() + 64);
    let mut at = 0;
    let mut changes: Vec<(usize, usize, &[u8])> = edits
        .iter()
        .map(|(span, text)| (span.start, span.end, text.as_bytes()))
        .chain(
            names
                .iter()
                .map(|(end, name)| (*end, *end, name.as_slice())),
        )
        .collect();
    changes.sort_by_key(|(start, end, _)| (*start, *end));
    for (start, end, text) in changes {
        out.extend_from_slice(sql.get(at..start).unwrap_or_default());
        out.extend_from_slice(text);
        at = end;
    }
    out.extend_from_slice(sql.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests;
