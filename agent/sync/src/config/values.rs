//! Values of one entry that are more than text or a number: URLs without secrets, octal modes, rules over names. Pure; no IO.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

/// A rule over names: `{ include = "images/**" }` or `{ exclude = "**/*.tmp" }`.
///
/// `*` and `?` stay within one segment, `**` crosses segments (the syntax of the `globset` crate).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Names that match are wanted.
    Include(String),
    /// Names that match are left alone.
    Exclude(String),
}

impl Filter {
    fn pattern(&self) -> &str {
        match self {
            Self::Include(pattern) | Self::Exclude(pattern) => pattern,
        }
    }

    pub(super) fn compile(&self) -> Result<GlobMatcher, globset::Error> {
        GlobBuilder::new(self.pattern())
            .literal_separator(true)
            .build()
            .map(|glob| glob.compile_matcher())
    }
}

/// The compiled rules of one entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filters(Vec<(bool, GlobMatcher)>);

impl Filters {
    /// Compiles the rules in their order.
    pub(crate) fn new(filters: &[Filter]) -> Result<Self, globset::Error> {
        filters
            .iter()
            .map(|filter| Ok((matches!(filter, Filter::Include(_)), filter.compile()?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the entry wants `name`.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.0
            .iter()
            .find(|(_, glob)| glob.is_match(name))
            .is_none_or(|(include, _)| *include)
    }
}

/// A container's URL: scheme, host, path; never a query, so that it can be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerUrl(Url);

impl ContainerUrl {
    /// Parses `text`.
    ///
    /// # Errors
    /// With what is wrong with it; never with the query, which may hold a secret.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| {
            format!("not a URL ({error}); write for example \"https://account.blob.core.windows.net/container\"")
        })?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "the container's URL has a query: put the SAS into a file and name it in sas_file"
                    .to_owned(),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the container's URL holds a user or a password; use sas_file or connection_string_file".to_owned());
        }
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => return Err("the container's URL has no host".to_owned()),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => {
                return Err("plain http is only allowed to this machine; write https".to_owned());
            }
            other => return Err(format!("scheme {other:?} is not https")),
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.is_empty() {
            return Err("the URL names no container; write for example \"https://account.blob.core.windows.net/container\"".to_owned());
        }
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for ContainerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for ContainerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for ContainerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Serialize for ContainerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Permission bits, written in octal as a string (`"0644"`): a bare 644 would be decimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OctalMode(pub(super) u32);

impl OctalMode {
    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for OctalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for OctalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for OctalMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            _ => Err(de::Error::custom(format!(
                "{text:?} is not a mode; write octal permission bits in quotes, for example \"0644\""
            ))),
        }
    }
}

impl Serialize for OctalMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
