//! `lamplighter check --online`: really connects to Redis and tries what the agent will do there.

use std::time::{Duration, Instant};

use lamplighter_core::config::{OnlineCheck, SecretDirs};
use lamplighter_core::fault::chain;
use lamplighter_core::identity::TokenSource;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Script};

use crate::config::Config;
use crate::upstream::{ConnectError, Dialer};
use crate::warm::JobConfig;

/// Connects, authenticates, and, when there are jobs, tries their commands on a key of its own that lives for 5 s.
/// Never fails: what went wrong is in the rows, with what to do about it.
pub async fn probe(
    config: &Config,
    jobs: &[JobConfig],
    secrets: &SecretDirs,
    tokens: Option<TokenSource>,
) -> Vec<OnlineCheck> {
    let row = |what: &str, outcome| OnlineCheck {
        what: what.to_owned(),
        target: config.upstream.address.to_string(),
        outcome,
    };
    let connected = match Dialer::new(config, secrets, tokens) {
        Err(error) => return vec![row("redis", Err(chain(&error)))],
        Ok(dialer) => dialer.connect(config.command_timeout.get()).await,
    };
    let connected = match connected {
        Err(error) => return vec![row("redis", Err(advise(&error)))],
        Ok(connected) => connected,
    };
    let mut connection = connected.connection;
    let questions = async {
        let mut rows = vec![row("redis", describe(&mut connection).await)];
        if !jobs.is_empty() {
            rows.push(row(
                "redis warm permissions",
                permissions(&mut connection).await,
            ));
        }
        rows
    };
    tokio::select! {
        rows = questions => rows,
        () = connected.driver => vec![row("redis", Err("the server closed the connection".to_owned()))],
    }
}

fn advise(error: &ConnectError) -> String {
    let advice = match error {
        ConnectError::Dial(_) | ConnectError::Timeout(_) => {
            "check the name, the port and the firewall; Azure's private endpoints need their DNS zone"
        }
        ConnectError::Tls(_) => {
            "check [redis.tls] ca and server_name, and that the port speaks TLS"
        }
        ConnectError::Auth(_) => {
            "it must be an access key, the password of an ACL user, or the token of an identity that is a user of the cache"
        }
        ConnectError::NoUser => "Azure shows it as the identity's object (principal) id",
        ConnectError::Secret(_) | ConnectError::Password(_) => "check password_file",
        ConnectError::Token(_) => {
            "check that the machine has an identity and that [platform] can ask for its tokens"
        }
        ConnectError::Handshake(_) | ConnectError::Closed => {
            "check db, and that the port belongs to Redis"
        }
    };
    format!("{}: {advice}", chain(error))
}

async fn describe(connection: &mut MultiplexedConnection) -> Result<String, String> {
    let started = Instant::now();
    redis::cmd("PING")
        .query_async::<()>(connection)
        .await
        .map_err(|error| chain(&error))?;
    let round_trip = started.elapsed();
    // an ACL may forbid it, and then it is not needed either
    let info: String = redis::cmd("INFO")
        .query_async(connection)
        .await
        .unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("unknown")
            .to_owned()
    };
    Ok(format!(
        "version {}, maxmemory-policy {}, role {}, round trip {:.1} ms",
        field("redis_version"),
        field("maxmemory_policy"),
        field("role"),
        millis(round_trip)
    ))
}

/// What leases and batches need.
async fn permissions(connection: &mut MultiplexedConnection) -> Result<String, String> {
    let key = format!(
        "lmp:probe:{{{:016x}}}",
        getrandom::u64().unwrap_or_default()
    );
    let attempt = async {
        redis::pipe()
            .cmd("WATCH")
            .arg(&key)
            .cmd("MULTI")
            .cmd("SET")
            .arg(&key)
            .arg("1")
            .arg("PX")
            .arg(5000)
            .cmd("EXEC")
            .cmd("TIME")
            .query_async::<()>(connection)
            .await?;
        Script::new("return redis.call('DEL', KEYS[1])")
            .key(&key)
            .invoke_async::<()>(connection)
            .await?;
        Ok::<_, RedisError>(())
    };
    attempt.await.map_err(|error| {
        format!(
            "{}; the user needs: ~* +set +get +del +exists +hset +pexpire +pttl +time +ping +watch +multi +exec +eval +evalsha +script|load; +info for the governor; +zincrby +zrevrange +zremrangebyrank +zunionstore for hot-keys",
            chain(&error)
        )
    })?;
    Ok("SET, WATCH, MULTI and scripts are allowed".to_owned())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
