//! The value of a row, typed as PHP would have it: `json_decode($value, true)` must be `===` what PDO or mysqli fetch.
//! Works on the text protocol's cells, so dates, decimals and floats are the server's own spelling. Pure; no IO.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::config::{Binary, Types};

/// The cells of one row in the text protocol; `None` is NULL.
pub(crate) type Cells<'a> = &'a [Option<&'a [u8]>];

/// A column of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name or alias.
    pub(crate) name: String,
    /// How its cells are to be read.
    pub(crate) kind: Kind,
}

/// What matters about a column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All integer types, signed or not.
    Integer,
    /// Integers declared ZEROFILL, which YEAR is, too: PHP keeps them as strings to keep their zeros.
    ZeroFilled,
    /// FLOAT, DOUBLE.
    Float,
    /// DECIMAL: a string in PHP.
    Decimal,
    /// BIT: big-endian bytes on the wire, an integer in PHP.
    Bit,
    /// DATE, DATETIME, TIMESTAMP.
    Moment,
    /// TIME, which may be negative and longer than a day.
    Time,
    /// Strings with a character set, ENUM, SET, JSON.
    Text,
    /// BINARY, VARBINARY, BLOB, GEOMETRY.
    Binary,
    /// A column that is only ever NULL.
    Null,
}

impl Kind {
    /// By the type's name as `sqlx` gives it; `is_text` says whether a string has a character set.
    pub(crate) fn of(type_name: &str, is_text: bool, zero_filled: bool) -> Self {
        match type_name.trim_end_matches(" UNSIGNED") {
            "YEAR" => Self::ZeroFilled,
            // TINYINT(1) is called so; to PHP it is an integer as any other
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
                if zero_filled {
                    Self::ZeroFilled
                } else {
                    Self::Integer
                }
            }
            "FLOAT" | "DOUBLE" => Self::Float,
            "DECIMAL" => Self::Decimal,
            "BIT" => Self::Bit,
            "DATE" | "DATETIME" | "TIMESTAMP" => Self::Moment,
            "TIME" => Self::Time,
            "JSON" | "ENUM" | "SET" => Self::Text,
            "NULL" => Self::Null,
            _ if is_text => Self::Text,
            _ => Self::Binary,
        }
    }
}

/// Why a row was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// A column of the key is NULL.
    NullInKey,
    /// The key is longer than 4096 bytes.
    KeyTooLong,
    /// The value is larger than `value_max`.
    ValueTooLarge,
    /// Text that is not UTF-8.
    NotUtf8,
    /// The column that is the value is NULL.
    NullValue,
    /// It waited so long to be written that what changed meanwhile is no longer known.
    TooOld,
    /// A line is no path of the web server.
    NoPath,
    /// The web server has no such page, or could not give it.
    NoPage,
}

impl Skip {
    pub(crate) const ALL: [Self; 8] = [
        Self::NullInKey,
        Self::KeyTooLong,
        Self::ValueTooLarge,
        Self::NotUtf8,
        Self::NullValue,
        Self::TooOld,
        Self::NoPath,
        Self::NoPage,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::NullInKey => "null_in_key",
            Self::KeyTooLong => "key_too_long",
            Self::ValueTooLarge => "value_too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NullValue => "null_value",
            Self::TooOld => "too_old",
            Self::NoPath => "no_path",
            Self::NoPage => "no_page",
        }
    }
}

/// A column that JSON cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the column {0} is binary, which JSON cannot hold: leave it out of the query, select HEX({0}), or write binary = \"base64\""
)]
pub(crate) struct BinaryColumn(String);

/// How a row becomes a JSON object.
#[derive(Debug)]
pub(crate) struct RowJson {
    fields: Vec<Field>,
    types: Types,
    value_max: usize,
}

#[derive(Debug)]
struct Field {
    /// The name as JSON, with the colon.
    name: Vec<u8>,
    index: usize,
    kind: Kind,
}

impl RowJson {
    /// Plans for `columns`. Of several columns with one name the last gives the value, at the first one's place, as
    /// `PDO::FETCH_ASSOC` and `mysqli_fetch_assoc` do.
    pub(crate) fn plan(
        columns: &[Column],
        types: Types,
        binary: Binary,
        value_max: usize,
    ) -> Result<Self, BinaryColumn> {
        let mut fields = Vec::with_capacity(columns.len());
        for (place, column) in columns.iter().enumerate() {
            let same = |other: &Column| other.name == column.name;
            if columns.iter().take(place).any(same) {
                continue;
            }
            let index = columns.iter().rposition(same).unwrap_or(place);
            let kind = columns[index].kind;
            if kind == Kind::Binary && binary == Binary::Refuse {
                return Err(BinaryColumn(column.name.clone()));
            }
            let mut name = Vec::with_capacity(column.name.len() + 3);
            json_string(&column.name, &mut name);
            name.push(b':');
            fields.push(Field { name, index, kind });
        }
        Ok(Self {
            fields,
            types,
            value_max,
        })
    }

    /// The value of a row.
    pub(crate) fn render(&self, row: Cells<'_>) -> Result<Vec<u8>, Skip> {
        let mut json = Vec::with_capacity(32 * self.fields.len());
        for field in &self.fields {
            json.push(if json.is_empty() { b'{' } else { b',' });
            json.extend_from_slice(&field.name);
            match row.get(field.index).copied().flatten() {
                None => json.extend_from_slice(b"null"),
                Some(cell) => self.cell(field.kind, cell, &mut json)?,
            }
            if json.len() > self.value_max {
                return Err(Skip::ValueTooLarge);
            }
        }
        json.push(b'}');
        if json.len() > self.value_max {
            return Err(Skip::ValueTooLarge);
        }
        Ok(json)
    }

    fn cell(&self, kind: Kind, cell: &[u8], json: &mut Vec<u8>) -> Result<(), Skip> {
        let text = || std::str::from_utf8(cell).map_err(|_| Skip::NotUtf8);
        match (kind, self.types) {
            (Kind::Integer, Types::Native) => {
                let text = text()?;
                match text.parse::<i64>() {
                    Ok(number) => json.extend_from_slice(number.to_string().as_bytes()),
                    // above PHP_INT_MAX: a string in PHP, too
                    Err(_) => json_string(text, json),
                }
            }
            (Kind::Float, Types::Native) => {
                let text = text()?;
                match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => json_float(number, json),
                    _ => json_string(text, json),
                }
            }
            (Kind::Bit, types) => {
                let number = bits(cell);
                if types == Types::Native && i64::try_from(number).is_ok() {
                    json.extend_from_slice(number.to_string().as_bytes());
                } else {
                    json_string(&number.to_string(), json);
                }
            }
            (Kind::Binary, _) => json_string(&STANDARD.encode(cell), json),
            _ => {
                // an early end for what will not fit anyway, before its JSON is built
                if cell.len() > self.value_max {
                    return Err(Skip::ValueTooLarge);
                }
                json_string(text()?, json);
            }
        }
        Ok(())
    }
}

/// The number in a BIT cell: 1 to 8 bytes, big-endian.
pub(crate) fn bits(cell: &[u8]) -> u64 {
    cell.iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn json_string(text: &str, json: &mut Vec<u8>) {
    // writing to a Vec cannot fail, and a str is always valid JSON text
    serde_json::to_writer(json, text).unwrap_or_default();
}

/// With a point or an exponent in it, so that PHP reads a float and not an int.
fn json_float(number: f64, json: &mut Vec<u8>) {
    serde_json::to_writer(json, &number).unwrap_or_default();
}

#[cfg(test)]
mod tests;
