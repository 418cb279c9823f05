//! What `lamplighter check --online` asks of the servers: whether the endpoint and the monitor can log in, and what they see there.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use lamplighter_core::config::{OnlineCheck, SecretDirs};
use lamplighter_core::fault::chain;
use lamplighter_core::identity::TokenSource;
use lamplighter_core::net::HostPort;
use lamplighter_core::tls::TlsClient;
use sqlx::mysql::MySqlConnection;

use super::{StartError, account, limits};
use crate::config::Config;
use crate::monitor::{self, LookError, Observation, Role, Senses, Verdict, Watcher};
use crate::server::credential::Credential;
use crate::server::{Bucket, Idle};

/// Connects to every server as the endpoint and as the monitor would, for `lamplighter check --online`.
pub async fn check_online(
    config: &Config,
    secret_dirs: &SecretDirs,
    tokens: Option<TokenSource>,
) -> Vec<OnlineCheck> {
    let mut checks = Vec::new();
    let servers = std::iter::once((&config.primary, Role::Primary))
        .chain(config.replicas.iter().map(|server| (server, Role::Replica)));
    for (server, role) in servers {
        let outcome = check_server(config, secret_dirs, tokens.clone(), server, role).await;
        checks.push(OnlineCheck {
            what: format!("mysql {}", role.label()),
            target: server.to_string(),
            outcome,
        });
    }
    checks
}

async fn check_server(
    config: &Config,
    dirs: &SecretDirs,
    tokens: Option<TokenSource>,
    server: &HostPort,
    role: Role,
) -> Result<String, String> {
    let credential =
        Credential::of(config, dirs, tokens).ok_or_else(|| chain(&StartError::NoCredential))?;
    let tls = match config
        .tls
        .enabled
        .then(|| TlsClient::new(&config.tls))
        .transpose()
    {
        Ok(tls) => tls.map(Arc::new),
        Err(error) => return Err(chain(&error)),
    };
    let facts = Arc::new(ArcSwapOption::empty());
    let account = account(config, &credential, server, tls, Arc::clone(&facts));
    Idle::open(&account, Bucket::of_nobody())
        .await
        .map_err(|error| chain(&error))?;
    let version = facts
        .load()
        .as_ref()
        .map_or_else(String::new, |facts| facts.version.clone());
    let watcher = Watcher::new(config, dirs, &credential, server, role);
    let mut connection = None;
    let seen = watcher
        .look(&mut connection)
        .await
        .map_err(|error| chain(&error))?;
    let proofs = check_proofs(config, &watcher, &seen, &mut connection)
        .await
        .map_err(|error| chain(&error))?;
    let context = monitor::Context::default();
    let verdict = monitor::judge(role, Some(&seen), limits(config, server), context, None);
    let how = if config.tls.enabled {
        "over TLS"
    } else {
        "without TLS"
    };
    let met = format!("MySQL {version}, logged in {how}");
    let told = &proofs.told;
    match verdict {
        Verdict::Fit => Ok(format!("{met}{told}")),
        Verdict::LagHidden if proofs.heartbeat => Ok(format!(
            "{met}{told}; no REPLICATION CLIENT: lag is known while the heartbeat is counted, and the replica gets no reads while it is not"
        )),
        other => Err(format!("{met}, but {}", other.reason())),
    }
}

/// By what the agent can see which writes a server has.
#[derive(Default)]
struct Proofs {
    heartbeat: bool,
    /// For people: what there is, and what it costs that something is not.
    told: String,
}

/// By what the agent can see there which writes a replica has, and what it costs if it cannot. Nothing without replicas.
async fn check_proofs(
    config: &Config,
    watcher: &Watcher,
    seen: &Observation,
    connection: &mut Option<MySqlConnection>,
) -> Result<Proofs, LookError> {
    let table = config.heartbeat.quoted_table();
    let Some(table) = table.filter(|_| !config.replicas.is_empty()) else {
        return Ok(Proofs::default());
    };
    let mut senses = Senses::new(table.clone());
    watcher
        .asked(connection, async |open| senses.feel(open).await)
        .await?;
    let counts = async |open: &mut MySqlConnection| monitor::cannot_count(open, &table).await;
    let cannot_count = match (watcher.role, senses.no_beat()) {
        (Role::Primary, None) => watcher.asked(connection, counts).await?,
        _ => None,
    };
    let gtids = if seen.names_writes { "; GTIDs" } else { "" };
    let user = watcher.user();
    let beat = match (senses.no_beat(), cannot_count) {
        (None, None) => "; heartbeat".to_owned(),
        (None, Some(why)) => format!(
            "; heartbeat, which this agent cannot count ({why}): it proves nothing unless another one does; GRANT INSERT, UPDATE on {table} to {user:?}"
        ),
        (Some(why), _) if seen.names_writes => format!("; no heartbeat ({why})"),
        (Some(why), _) => format!(
            "; no heartbeat ({why}): after a write its client reads from the primary until it disconnects, and lag is known to the second only; \
             CREATE TABLE {table} (id INT PRIMARY KEY, beat BIGINT UNSIGNED NOT NULL) and GRANT SELECT, INSERT, UPDATE on it to {user:?}"
        ),
    };
    let order = if seen.keeps_order {
        ""
    } else {
        "; it applies transactions out of order (replica_preserve_commit_order), so its heartbeat proves nothing"
    };
    Ok(Proofs {
        heartbeat: senses.no_beat().is_none() && seen.keeps_order,
        told: format!("{gtids}{beat}{order}"),
    })
}
