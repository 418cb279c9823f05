//! Statement digests: what a statement is once its values are taken out, normalised as MySQL 9 normalises for
//! `STATEMENT_DIGEST_TEXT()` and `performance_schema`, so that what the agent says of a statement can be looked up on the server.
//!
//! One pass over the text without allocating; the hash needs no more, the text is made only when somebody wants to read it.
//! What the server learns from its parser is told from the neighbouring tokens: whether a NULL is a value or part of IS NULL or
//! a column's definition, and whether a number in ORDER BY is a column's place. A command of several statements has one digest,
//! of them all. A text that no server would accept has a digest, too; it means nothing.

mod hints;
mod keywords;
mod scan;
mod tokens;

use sha2::Digest as _;

use scan::Scanner;
use tokens::Tokens;

use super::LexMode;

/// What of a session and its server changes how a digest is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// ANSI_QUOTES and NO_BACKSLASH_ESCAPES.
    pub lex: LexMode,
    /// IGNORE_SPACE, of the `sql_mode` or the client: `COUNT (` is a function.
    pub ignore_space: bool,
    /// HIGH_NOT_PRECEDENCE: NOT is written `!`.
    pub high_not_precedence: bool,
    /// PIPES_AS_CONCAT: `||` joins texts.
    pub pipes_as_concat: bool,
    /// As in `/*!80400 ... */`, which only this version and newer ones read.
    pub server_version: u32,
}

impl Default for Mode {
    fn default() -> Self {
        Self {
            lex: LexMode::default(),
            ignore_space: false,
            high_not_precedence: false,
            pipes_as_concat: false,
            server_version: 90_000,
        }
    }
}

/// A statement without its values: at most 1024 bytes of tokens (`max_digest_length`), so that the digest of a longer one is
/// that of its beginning.
#[derive(Debug, Clone)]
pub struct Digest {
    tokens: Tokens,
}

impl Digest {
    /// Reads `sql` once.
    #[must_use]
    pub fn of(sql: &[u8], mode: Mode) -> Self {
        Self {
            tokens: Scanner::new(sql, mode).run(),
        }
    }

    /// Equal for equal digests; of no meaning outside this process.
    #[must_use]
    pub fn hash(&self) -> u64 {
        const KEY: u128 = 0x9E37_79B9_7F4A_7C15;
        let bytes = self.tokens.bytes();
        let mut state = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        for chunk in chunks.iter().chain(std::iter::once(&last)) {
            let product =
                u128::from(state ^ u64::from_le_bytes(*chunk) ^ 0x2D35_8DCC_AA6C_78A5) * KEY;
            state = fold(product).rotate_left(23);
        }
        fold(u128::from(state) * KEY)
    }

    /// As `STATEMENT_DIGEST_TEXT()` gives it, for a client whose character set is utf8mb4. Allocates.
    #[must_use]
    pub fn text(&self) -> String {
        self.tokens.text()
    }

    /// The statement goes on where its digest ends.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.tokens.is_full()
    }
}

/// A short name for a digest, the same on every machine: the first 16 hexadecimal digits of its text's SHA-256. (The server's own
/// `DIGEST` is made of its tokens' numbers, which differ between its versions.)
#[must_use]
pub fn id(text: &str) -> String {
    let hash: [u8; 32] = sha2::Sha256::digest(text.as_bytes()).into();
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Both halves in one.
fn fold(product: u128) -> u64 {
    let [low, high] = [product, product >> 64]
        .map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or_default());
    low ^ high
}

#[cfg(test)]
mod tests;
