//! What a job may be: where its values come from, what form they have, what it does with keys that are there. Pure; no IO.

use serde::{Deserialize, Serialize};

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The rows of `query`, page by page, through the agent's MySQL endpoint.
    #[default]
    Sql,
    /// The keys that clients of the endpoint ask for most, filled from `query`, whose `?` is a list.
    HotKeys,
    /// The lines of `file`, a JSON object each.
    File,
    /// Pages of the local web server, so that its own caches (OPcache, APCu, page caches) are warm. Done on each instance; writes
    /// nothing to Redis itself.
    Urls,
}

impl Source {
    /// As it is written in the configuration.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::HotKeys => "hot-keys",
            Self::File => "file",
            Self::Urls => "urls",
        }
    }

    /// Whether values come from MySQL.
    pub(crate) const fn is_sql(self) -> bool {
        matches!(self, Self::Sql | Self::HotKeys)
    }
}

/// Which servers the query may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadFrom {
    /// A replica that does not lag too far behind (`mysql.monitor.lag_max`), or the primary.
    #[default]
    Replica,
    /// The primary only: no value is older than the page that read it.
    Primary,
}

/// What happens to keys that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They are written again.
    #[default]
    Replace,
    /// They stay as they are.
    FillOnly,
    /// They are written again when little of their life is left (`refresh_below`).
    Refresh,
}

/// Where the first page begins.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Start {
    /// For a column of integers.
    Number(i64),
    /// For strings and dates.
    Text(String),
}

impl Default for Start {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What is written for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueFormat {
    /// A JSON object of all columns: `json_decode($value, true)` is `===` the row as PHP would have fetched it.
    #[default]
    RowJson,
    /// `serialize($row)`, as phpredis with SERIALIZER_PHP, Laravel and WordPress store it.
    RowPhp,
    /// `igbinary_serialize($row)`, as phpredis with SERIALIZER_IGBINARY stores it.
    RowIgbinary,
    /// The value of one column, named by `column`, as it is.
    Column,
    /// A Redis hash with a field for each column, as `$redis->hMSet($key, $row)` writes it.
    Hash,
    /// A JSON array of all rows with one key: `json_decode($value, true)` is `===` what `fetchAll()` would have given.
    RowsJson,
}

/// How PHP would have typed the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Types {
    /// As PDO does since PHP 8.1, mysqli with prepared statements, and mysqli with MYSQLI_OPT_INT_AND_FLOAT_NATIVE: integers and
    /// floats as numbers; DECIMAL, dates and integers above PHP_INT_MAX as strings.
    #[default]
    Native,
    /// As `mysqli::query()` does otherwise, and PDO with ATTR_STRINGIFY_FETCHES: everything but NULL is a string.
    Strings,
}

/// JSON has no binary strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binary {
    /// A binary column is an error of the job: leave it out, or write HEX(column) in the query.
    #[default]
    Refuse,
    /// Written as base64; PHP says `base64_decode($row["column"])`.
    Base64,
}
