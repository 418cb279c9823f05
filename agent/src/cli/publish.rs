//! `publish`: a directory becomes a release in a container.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::chain;
use lamplighter_sync::publish::{self, Publication, PublishError, Published};
use serde_json::{Map, Value, json};

use super::{FAILED, RACED, USAGE, complain, print};

#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// The directory whose files are the release.
    dir: PathBuf,
    /// Where it goes: the container's URL, and behind it the prefix, for example
    /// https://shopfiles.blob.core.windows.net/www/shop
    #[arg(value_name = "CONTAINER/PREFIX")]
    target: String,
    /// A file with a shared access signature (sv=...&sig=...) with the rights rwcl (read, write, create, list).
    #[arg(long, value_name = "FILE", conflicts_with = "connection_string_file")]
    sas_file: Option<PathBuf>,
    /// A file with a storage connection string.
    #[arg(long, value_name = "FILE")]
    connection_string_file: Option<PathBuf>,
    /// The release's id: letters, digits, ".", "_", "-". Default: made of the time and the content.
    #[arg(long, value_name = "ID")]
    release: Option<String>,
    /// Write no bundle: instances that have nothing then fetch file by file.
    #[arg(long)]
    no_bundle: bool,
    /// Leave out files that match (a glob over the names below DIR; may be given several times).
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// A file with the CA that signed the storage's certificate. Default: those of the system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn publish(args: &PublishArgs) -> ExitCode {
    let config = match config(args) {
        Ok(config) => config,
        Err(problem) => {
            complain(format_args!("error: {problem}"));
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("error: {}", chain(&error)));
            return ExitCode::from(FAILED);
        }
    };
    let publication = Publication {
        dir: args.dir.clone(),
        release: args.release.clone(),
        bundle: !args.no_bundle,
    };
    let secrets = SecretDirs {
        credentials: None,
        config: std::env::current_dir().unwrap_or_default(),
    };
    let people = std::io::stderr().is_terminal();
    let said = |what: &str| {
        if people {
            complain(format_args!("{what} ..."));
        }
    };
    match runtime.block_on(publish::publish(&config, &secrets, publication, said)) {
        Ok(published) => {
            print(render(&published, args.json));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("error: {}", chain(&error)));
            ExitCode::from(match error {
                PublishError::Raced(_) => RACED,
                PublishError::Release(_) | PublishError::Name { .. } => USAGE,
                _ => FAILED,
            })
        }
    }
}

/// The entry that instances would have for this container.
fn config(args: &PublishArgs) -> Result<lamplighter_sync::Config, String> {
    let (container, prefix) = split(&args.target)?;
    let mut entry = Map::new();
    let mut set = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    set("name", json!("publish"));
    set("container", json!(container));
    set("prefix", json!(prefix));
    set("path", json!("/nowhere"));
    match (&args.sas_file, &args.connection_string_file) {
        (Some(file), _) => set("sas_file", json!(file)),
        (None, Some(file)) => set("connection_string_file", json!(file)),
        (None, None) => {
            return Err("no credential: give --sas-file or --connection-string-file".to_owned());
        }
    };
    let filters: Vec<Value> = args
        .exclude
        .iter()
        .map(|glob| json!({ "exclude": glob }))
        .collect();
    set("filters", json!(filters));
    if let Some(ca) = &args.ca {
        set("tls", json!({ "ca": ca }));
    }
    let config: lamplighter_sync::Config =
        serde_json::from_value(Value::Object(entry)).map_err(|error| error.to_string())?;
    match config.problems().first() {
        None => Ok(config),
        Some(problem) => Err(problem.to_string()),
    }
}

/// The container's URL, and the prefix with its slash. An address that is not `<account>.<service>` has the account in its path.
fn split(target: &str) -> Result<(String, String), String> {
    let (scheme, rest) = target.split_once("://").ok_or(
        "the target is no URL; write https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX",
    )?;
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    let host = parts.next().ok_or("the URL has no host")?;
    let name = host.split(':').next().unwrap_or_default();
    let is_address =
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    let mut container = format!("{scheme}://{host}");
    for _ in 0..=usize::from(is_address) {
        let part = parts.next().ok_or("the URL names no container")?;
        container = format!("{container}/{part}");
    }
    let prefix: String = parts.map(|part| format!("{part}/")).collect();
    Ok((container, prefix))
}

fn render(published: &Published, as_json: bool) -> String {
    if as_json {
        return json!(published).to_string();
    }
    let mut lines = Vec::new();
    for name in &published.skipped {
        lines.push(format!("left out, no regular file: {name}"));
    }
    let bundle = published
        .bundle_bytes
        .map_or_else(String::new, |bytes| format!("; bundle of {bytes} bytes"));
    lines.push(if published.unchanged {
        format!(
            "release {} holds this already; nothing was written",
            published.release
        )
    } else {
        format!(
            "published release {}: {} files, {} bytes, {} contents sent{bundle}",
            published.release, published.files, published.bytes, published.sent
        )
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    //! What of a target is the container.

    use super::split;

    #[test]
    fn the_container_and_the_prefix_are_told_apart() {
        for (target, container, prefix) in [
            (
                "https://a.blob.core.windows.net/www",
                "https://a.blob.core.windows.net/www",
                "",
            ),
            (
                "https://a.blob.core.windows.net/www/shop/v/",
                "https://a.blob.core.windows.net/www",
                "shop/v/",
            ),
            (
                "http://127.0.0.1:10000/account/www",
                "http://127.0.0.1:10000/account/www",
                "",
            ),
            (
                "http://localhost:1/account/www/p",
                "http://localhost:1/account/www",
                "p/",
            ),
        ] {
            assert_eq!(split(target), Ok((container.to_owned(), prefix.to_owned())));
        }
        assert!(split("www/shop").is_err());
        assert!(split("https://a.blob.core.windows.net/").is_err());
    }
}
