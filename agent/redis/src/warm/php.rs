//! A row as PHP itself would have stored it: `serialize()` and igbinary (format 2, as phpredis' serializers write them). Strings are
//! bytes, so binary columns and any character set are kept. Pure; no IO.

use super::config::Types;
use super::value::{Cells, Column, Kind, Skip, bits};

/// Which of PHP's own formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Serialize,
    Igbinary,
}

/// A value as PHP has it after fetching a row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scalar<'a> {
    Null,
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
    /// A BIT column above PHP_INT_MAX, or as a string.
    Number(u64),
}

/// The name of a column as the key of a PHP array: text that is a decimal integer is an integer there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Int(i64),
    Text(Vec<u8>),
}

/// How a row becomes an array.
#[derive(Debug)]
pub(crate) struct RowPhp {
    fields: Vec<(Name, usize, Kind)>,
    format: Format,
    types: Types,
    value_max: usize,
}

impl RowPhp {
    /// Plans for `columns`; of several with one name the last gives the value, at the first one's place.
    pub(crate) fn plan(columns: &[Column], format: Format, types: Types, value_max: usize) -> Self {
        let mut fields = Vec::with_capacity(columns.len());
        for (place, column) in columns.iter().enumerate() {
            let same = |other: &Column| other.name == column.name;
            if columns.iter().take(place).any(same) {
                continue;
            }
            let index = columns.iter().rposition(same).unwrap_or(place);
            let kind = columns.get(index).map_or(column.kind, |column| column.kind);
            fields.push((name(&column.name), index, kind));
        }
        Self {
            fields,
            format,
            types,
            value_max,
        }
    }

    /// The value of a row.
    pub(crate) fn render(&self, row: Cells<'_>) -> Result<Vec<u8>, Skip> {
        let mut out = Vec::with_capacity(32 * self.fields.len());
        match self.format {
            Format::Serialize => {
                out.extend_from_slice(format!("a:{}:{{", self.fields.len()).as_bytes())
            }
            Format::Igbinary => {
                out.extend_from_slice(&[0, 0, 0, 2]);
                counted(&mut out, 0x14, self.fields.len());
            }
        }
        for (name, index, kind) in &self.fields {
            let cell = row.get(*index).copied().flatten();
            if cell.is_some_and(|cell| cell.len() > self.value_max) {
                return Err(Skip::ValueTooLarge);
            }
            let name = match name {
                Name::Int(number) => Scalar::Int(*number),
                Name::Text(text) => Scalar::Text(text),
            };
            self.put(&mut out, name);
            self.put(&mut out, scalar(*kind, self.types, cell));
            if out.len() > self.value_max {
                return Err(Skip::ValueTooLarge);
            }
        }
        if self.format == Format::Serialize {
            out.push(b'}');
        }
        if out.len() > self.value_max {
            return Err(Skip::ValueTooLarge);
        }
        Ok(out)
    }

    fn put(&self, out: &mut Vec<u8>, value: Scalar<'_>) {
        match self.format {
            Format::Serialize => serialize(out, value),
            Format::Igbinary => igbinary(out, value),
        }
    }
}

/// How a row becomes a Redis hash, as `$redis->hMSet($key, $row)` writes it: PHP makes strings of all values, and an empty one of NULL.
#[derive(Debug)]
pub(crate) struct RowHash {
    fields: Vec<(Vec<u8>, usize, Kind)>,
    types: Types,
}

impl RowHash {
    /// Plans for `columns`; of several with one name the last gives the value.
    pub(crate) fn plan(columns: &[Column], types: Types) -> Self {
        let last = |place: usize, name: &str| {
            !columns
                .iter()
                .skip(place + 1)
                .any(|other| other.name == name)
        };
        let fields = columns.iter().enumerate();
        let fields = fields.filter(|(place, column)| last(*place, &column.name));
        Self {
            fields: fields
                .map(|(place, column)| (column.name.clone().into_bytes(), place, column.kind))
                .collect(),
            types,
        }
    }

    /// Names and values by turns.
    pub(crate) fn render(&self, row: Cells<'_>) -> Result<Vec<Vec<u8>>, Skip> {
        let mut fields = Vec::with_capacity(2 * self.fields.len());
        for (name, index, kind) in &self.fields {
            let cell = row.get(*index).copied().flatten();
            fields.push(name.clone());
            fields.push(match scalar(*kind, self.types, cell) {
                Scalar::Null => Vec::new(),
                Scalar::Int(number) => number.to_string().into_bytes(),
                Scalar::Float(number) => float_text(number).into_bytes(),
                Scalar::Number(number) => number.to_string().into_bytes(),
                Scalar::Text(text) => text.to_vec(),
            });
        }
        Ok(fields)
    }
}

/// `(string) $float` with PHP's default `precision` of 14 (php_gcvt in main/snprintf.c).
fn float_text(number: f64) -> String {
    const DIGITS: i32 = 14;
    let written = format!("{number:.13e}");
    let Some((digits, exponent)) = written.split_once('e') else {
        return written;
    };
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let digits = digits.replace('.', "");
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    // where the point stands, counted from before the first digit
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    if !(-3..=DIGITS).contains(&point) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        let exponent = point - 1;
        let way = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}.{rest}E{way}{}", exponent.abs());
    }
    match usize::try_from(point) {
        Ok(0) if digits == "0" => format!("{sign}0"),
        Ok(before) if before >= digits.len() => format!("{sign}{digits:0<before$}"),
        Ok(0) | Err(_) => {
            let zeros = usize::try_from(-point).unwrap_or_default();
            format!("{sign}0.{}{digits}", "0".repeat(zeros))
        }
        Ok(before) => {
            let (whole, fraction) = digits.split_at(before);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

/// As PHP's arrays have it: no sign but "-", no leading zero, no "-0", within an int (`ZEND_HANDLE_NUMERIC_STR`).
fn name(text: &str) -> Name {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text && number != i64::MIN => Name::Int(number),
        _ => Name::Text(text.as_bytes().to_vec()),
    }
}

fn scalar(kind: Kind, types: Types, cell: Option<&[u8]>) -> Scalar<'_> {
    let Some(cell) = cell else {
        return Scalar::Null;
    };
    let text = || std::str::from_utf8(cell).unwrap_or_default();
    match (kind, types) {
        (Kind::Integer, Types::Native) => text().parse().map_or(Scalar::Text(cell), Scalar::Int),
        (Kind::Float, Types::Native) => match text().parse::<f64>() {
            Ok(number) if number.is_finite() => Scalar::Float(number),
            _ => Scalar::Text(cell),
        },
        (Kind::Bit, types) => {
            let number = bits(cell);
            match i64::try_from(number) {
                Ok(number) if types == Types::Native => Scalar::Int(number),
                _ => Scalar::Number(number),
            }
        }
        _ => Scalar::Text(cell),
    }
}

fn serialize(out: &mut Vec<u8>, value: Scalar<'_>) {
    match value {
        Scalar::Null => out.extend_from_slice(b"N;"),
        Scalar::Int(number) => out.extend_from_slice(format!("i:{number};").as_bytes()),
        // the shortest digits that are read as the same number again
        Scalar::Float(number) => out.extend_from_slice(format!("d:{number:?};").as_bytes()),
        Scalar::Number(number) => serialize(out, Scalar::Text(number.to_string().as_bytes())),
        Scalar::Text(text) => {
            out.extend_from_slice(format!("s:{}:\"", text.len()).as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\";");
        }
    }
}

fn igbinary(out: &mut Vec<u8>, value: Scalar<'_>) {
    match value {
        Scalar::Null => out.push(0),
        Scalar::Int(number) => long(out, number),
        Scalar::Float(number) => {
            out.push(0x0c);
            out.extend_from_slice(&number.to_bits().to_be_bytes());
        }
        Scalar::Number(number) => igbinary(out, Scalar::Text(number.to_string().as_bytes())),
        Scalar::Text([]) => out.push(0x0d),
        Scalar::Text(text) => {
            counted(out, 0x11, text.len());
            out.extend_from_slice(text);
        }
    }
}

/// A type with its count in one, two or four bytes, whichever are enough.
fn counted(out: &mut Vec<u8>, base: u8, count: usize) {
    if let Ok(count) = u8::try_from(count) {
        out.extend_from_slice(&[base, count]);
    } else if let Ok(count) = u16::try_from(count) {
        out.push(base + 1);
        out.extend_from_slice(&count.to_be_bytes());
    } else {
        out.push(base + 2);
        // a value is at most 512 MiB
        out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
    }
}

fn long(out: &mut Vec<u8>, number: i64) {
    let negative = u8::from(number < 0);
    let size = number.unsigned_abs();
    if let Ok(size) = u8::try_from(size) {
        out.extend_from_slice(&[0x06 + negative, size]);
    } else if let Ok(size) = u16::try_from(size) {
        out.push(0x08 + negative);
        out.extend_from_slice(&size.to_be_bytes());
    } else if let Ok(size) = u32::try_from(size) {
        out.push(0x0a + negative);
        out.extend_from_slice(&size.to_be_bytes());
    } else {
        out.push(0x20 + negative);
        out.extend_from_slice(&size.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind) -> Column {
        Column {
            name: name.to_owned(),
            kind,
        }
    }

    #[test]
    fn a_row_is_what_php_writes() {
        let columns = [
            column("id", Kind::Integer),
            column("name", Kind::Text),
            column("p", Kind::Float),
            column("n", Kind::Null),
            column("7", Kind::Binary),
        ];
        let row: [Option<&[u8]>; 5] = [
            Some(b"7"),
            Some("\u{e9}".as_bytes()),
            Some(b"1.5"),
            None,
            Some(b"\x00\xff"),
        ];
        let plan = |format| RowPhp::plan(&columns, format, Types::Native, 1000);
        assert_eq!(
            plan(Format::Serialize).render(&row).unwrap(),
            b"a:5:{s:2:\"id\";i:7;s:4:\"name\";s:2:\"\xc3\xa9\";s:1:\"p\";d:1.5;s:1:\"n\";N;i:7;s:2:\"\x00\xff\";}"
        );
        assert_eq!(
            plan(Format::Igbinary).render(&row).unwrap(),
            b"\0\0\0\x02\x14\x05\x11\x02id\x06\x07\x11\x04name\x11\x02\xc3\xa9\x11\x01p\x0c\x3f\xf8\0\0\0\0\0\0\x11\x01n\0\x06\x07\x11\x02\0\xff"
        );
        let small = RowPhp::plan(&columns, Format::Serialize, Types::Native, 20);
        assert_eq!(small.render(&row), Err(Skip::ValueTooLarge));
    }

    #[test]
    fn a_hash_holds_what_php_makes_of_each_value() {
        let columns = [
            column("id", Kind::Integer),
            column("p", Kind::Float),
            column("n", Kind::Text),
            column("id", Kind::Text),
        ];
        let row: [Option<&[u8]>; 4] = [Some(b"7"), Some(b"1e25"), None, Some(b"last")];
        let fields = RowHash::plan(&columns, Types::Native).render(&row).unwrap();
        let fields: Vec<_> = fields
            .iter()
            .map(|f| String::from_utf8_lossy(f).into_owned())
            .collect();
        assert_eq!(fields, ["p", "1.0E+25", "n", "", "id", "last"]);
    }

    #[test]
    fn floats_are_written_as_php_does() {
        for (number, text) in [
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1.0, "1"),
            (0.1 + 0.2, "0.3"),
            (1234.5678, "1234.5678"),
            (0.0001, "0.0001"),
            (0.00001, "1.0E-5"),
            (123_456_789_012_345.0, "1.2345678901234E+14"),
            (100_000.0, "100000"),
            (12_345_678_901_234.0, "12345678901234"),
            (1e15, "1.0E+15"),
            (-2.5e-300, "-2.5E-300"),
        ] {
            assert_eq!(float_text(number), text);
        }
    }

    #[test]
    fn only_canonical_integers_are_integer_keys() {
        for (text, expected) in [
            ("7", Name::Int(7)),
            ("-7", Name::Int(-7)),
            ("0", Name::Int(0)),
        ] {
            assert_eq!(name(text), expected);
        }
        for text in ["07", "+7", "-0", "7a", "", "9223372036854775808", "1.5"] {
            assert_eq!(name(text), Name::Text(text.as_bytes().to_vec()), "{text}");
        }
    }
}
