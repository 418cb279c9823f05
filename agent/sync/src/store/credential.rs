//! Secrets for Azure Storage as text: shared access signatures and connection strings, what they hold, and the string that a
//! shared key signs. Pure; no IO.

use std::fmt::Write as _;
use std::time::SystemTime;

use lamplighter_core::secret::Secret;
use url::Url;

use super::StoreError;

/// What signs a request.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// A query string that is added to every URL.
    Sas(Secret),
    /// The account's name and its key in base64.
    SharedKey { account: String, key: Secret },
}

/// The account and key that every emulator has (Microsoft: "Use the Azurite emulator", "Well-known storage account and key").
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Credential {
    /// From the content of a `sas_file`: `sv=...&sig=...`, with or without the question mark.
    pub(super) fn from_sas(secret: &Secret) -> Result<Self, StoreError> {
        let text = secret
            .expose_str()
            .map_err(|_| StoreError::BadCredential("the SAS is not text"))?
            .trim();
        let text = text.strip_prefix('?').unwrap_or(text);
        if text.contains("://") {
            return Err(StoreError::BadCredential(
                "the SAS is a whole URL; keep only what follows the question mark",
            ));
        }
        if !text.split('&').any(|pair| pair.starts_with("sig=")) {
            return Err(StoreError::BadCredential("the SAS has no sig="));
        }
        Ok(Self::Sas(Secret::new(text.as_bytes().to_vec())))
    }

    /// From the content of a `connection_string_file` (Microsoft: "Configure Azure Storage connection strings").
    pub(super) fn from_connection_string(secret: &Secret) -> Result<Self, StoreError> {
        let text = secret
            .expose_str()
            .map_err(|_| StoreError::BadCredential("the connection string is not text"))?;
        let value = |wanted: &str| {
            text.trim().split(';').find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim()
                    .eq_ignore_ascii_case(wanted)
                    .then(|| value.trim())
            })
        };
        if value("UseDevelopmentStorage").is_some_and(|on| on.eq_ignore_ascii_case("true")) {
            return Ok(Self::shared_key(EMULATOR_ACCOUNT, EMULATOR_KEY));
        }
        if let Some(sas) = value("SharedAccessSignature") {
            return Self::from_sas(&Secret::new(sas.as_bytes().to_vec()));
        }
        match (value("AccountName"), value("AccountKey")) {
            (Some(account), Some(key)) if !account.is_empty() && !key.is_empty() => {
                Ok(Self::shared_key(account, key))
            }
            _ => Err(StoreError::BadCredential(
                "the connection string has neither AccountName and AccountKey nor SharedAccessSignature",
            )),
        }
    }

    fn shared_key(account: &str, key: &str) -> Self {
        Self::SharedKey {
            account: account.to_owned(),
            key: Secret::new(key.as_bytes().to_vec()),
        }
    }

    /// When a SAS ends (its `se`, an ISO 8601 time in UTC, seconds and time of day optional).
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        let Self::Sas(sas) = self else {
            return None;
        };
        let (_, end) = url::form_urlencoded::parse(sas.expose()).find(|(key, _)| key == "se")?;
        let end = end.trim_end_matches('Z');
        let (date, time) = end.split_once('T').unwrap_or((end, "00:00:00"));
        let seconds = if time.matches(':').count() == 1 {
            ":00"
        } else {
            ""
        };
        humantime::parse_rfc3339(&format!("{date}T{time}{seconds}Z")).ok()
    }
}

/// The parts of a request that a shared key signs (Microsoft: "Authorize with Shared Key", 2009-09-19 and later).
#[derive(Debug)]
pub(super) struct Signable<'a> {
    pub(super) verb: &'a str,
    pub(super) url: &'a Url,
    /// Every header, names in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

impl Signable<'_> {
    /// The string to sign.
    pub(super) fn string_to_sign(&self, account: &str) -> String {
        const STANDARD: [&str; 11] = [
            "content-encoding",
            "content-language",
            "content-length",
            "content-md5",
            "content-type",
            "date",
            "if-modified-since",
            "if-match",
            "if-none-match",
            "if-unmodified-since",
            "range",
        ];
        let mut text = format!("{}\n", self.verb);
        for name in STANDARD {
            let value = self.header(name);
            // a length of zero is signed as nothing
            let value = if name == "content-length" && value == "0" {
                ""
            } else {
                value
            };
            text.push_str(value);
            text.push('\n');
        }
        let mut own: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-ms-"))
            .collect();
        own.sort_unstable();
        for (name, value) in own {
            text.push_str(name);
            text.push(':');
            text.push_str(value.trim());
            text.push('\n');
        }
        text.push('/');
        text.push_str(account);
        text.push_str(self.url.path());
        let mut query: Vec<(String, String)> = self
            .url
            .query_pairs()
            .map(|(key, value)| (key.to_lowercase(), value.into_owned()))
            .collect();
        query.sort_unstable();
        for (key, value) in query {
            // writing to a string cannot fail
            let _ok = write!(text, "\n{key}:{value}");
        }
        text
    }

    fn header(&self, wanted: &str) -> &str {
        self.headers
            .iter()
            .find(|(name, _)| *name == wanted)
            .map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests;
