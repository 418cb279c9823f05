//! Logs: journald with fields under systemd, readable text elsewhere, JSON on request. Sets the process's log subscriber, once.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// journald when standard error is connected to it, else text.
    #[default]
    Auto,
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
    /// journald's native protocol, every field a field.
    Journald,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "journald" => Ok(Self::Journald),
            _ => Err(TelemetryError::Format(text.to_owned())),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// No such format.
    #[error("{0:?} is no log format; choose auto, text, json or journald")]
    Format(String),
    /// The filter is not of the form `info,lamplighter_mysql=debug`.
    #[error(
        "{filter:?} is no log filter; write for example \"info\" or \"info,lamplighter_mysql=debug\""
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// journald was asked for and does not answer.
    #[error("cannot reach journald")]
    Journald(#[source] std::io::Error),
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice,
}

/// Starts logging to standard error or journald.
///
/// # Errors
/// If the filter is malformed, journald is asked for and absent, or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    tracing_subscriber::registry()
        .with(layer(format)?.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::Twice)
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn layer(format: LogFormat) -> Result<BoxedLayer, TelemetryError> {
    let text = || {
        let colours = std::io::stderr().is_terminal();
        fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .with_target(false)
            .boxed()
    };
    Ok(match format {
        LogFormat::Text => text(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Journald => journald()?,
        LogFormat::Auto if stderr_is_the_journal() => journald().unwrap_or_else(|_| text()),
        LogFormat::Auto => text(),
    })
}

fn journald() -> Result<BoxedLayer, TelemetryError> {
    let layer = tracing_journald::layer().map_err(TelemetryError::Journald)?;
    Ok(layer
        .with_syslog_identifier("lamplighter".to_owned())
        .boxed())
}

/// systemd.exec(5) `$JOURNAL_STREAM`: device and inode of the journal's stream; ours only if standard error still is it.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else {
        return false;
    };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}
