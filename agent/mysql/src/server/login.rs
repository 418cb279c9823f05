//! From nothing to a server connection that can be pooled: TCP, TLS, login, session tracking. ("Connection Phase" in the MySQL
//! Internals manual.) Reads the password file at each login, so that a rotated password is picked up.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use lamplighter_core::net::{DialOptions, HostPort, NearSocket, dial};
use lamplighter_core::secret::{self, Passage, Secret};
use lamplighter_core::tls::TlsClient;
use lamplighter_wire::mysql::auth::{self, AuthPlugin};
use lamplighter_wire::mysql::compress::Algorithm;
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::handshake::{
    AUTH_MORE_DATA, AUTH_SWITCH, AuthSwitchRequest, Greeting, HandshakeResponse, SslRequest,
};
use lamplighter_wire::mysql::packet::{self, HEADER_LEN, Header};
use lamplighter_wire::mysql::response::ErrPacket;

use super::compressed::Compressed;
use super::credential::Credential;
use super::threads::Threads;
use super::{BUCKET_CAPABILITIES, Bucket, Busy, Idle, Link, READ_SIZE, Stream, require_ok};
use crate::error::OpenError;
use crate::insert_id::OfConnection;
use crate::variables::Variables;

/// How to log in to one server.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) server: HostPort,
    pub(crate) user: String,
    pub(crate) credential: Credential,
    pub(crate) tls: Option<Arc<TlsClient>>,
    pub(crate) connect_timeout: Duration,
    /// What packets are compressed with, if the server can.
    pub(crate) compression: Option<Algorithm>,
    /// Prepared statements that one connection may hold, if the server allows as many.
    pub(crate) statements_max: usize,
    /// The server's ids of the connections that are open.
    pub(crate) threads: Arc<Threads>,
    /// What the newest login saw; the client greeting is made from it.
    pub(crate) facts: Arc<ArcSwapOption<ServerFacts>>,
}

/// How soon a machine is asked whether it is still there, on a connection on which nothing happens: with
/// [`DialOptions::user_timeout`] one that is not is noticed within 20 s.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// What a server says of itself in its greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFacts {
    pub(crate) version: String,
    pub(crate) collation: u8,
    /// The flags of a fresh session: NO_BACKSLASH_ESCAPES decides how clients escape.
    pub(crate) status: Status,
    /// It takes query attributes.
    pub(crate) has_attributes: bool,
}

impl ServerFacts {
    fn of(greeting: Greeting, status: Status) -> Self {
        let attributes = Capabilities::CLIENT_QUERY_ATTRIBUTES;
        Self {
            has_attributes: greeting.capabilities.contains(attributes),
            version: greeting.server_version,
            collation: greeting.charset,
            status: status.intersection(FRESH),
        }
    }
}

/// What every server connection has, whatever the client asked for.
const ALWAYS: Capabilities = Capabilities::CLIENT_LONG_PASSWORD
    .union(Capabilities::CLIENT_LONG_FLAG)
    .union(Capabilities::CLIENT_PROTOCOL_41)
    .union(Capabilities::CLIENT_TRANSACTIONS)
    .union(Capabilities::CLIENT_SECURE_CONNECTION)
    .union(Capabilities::CLIENT_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PS_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PLUGIN_AUTH)
    .union(Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(Capabilities::CLIENT_CONNECT_ATTRS)
    .union(Capabilities::CLIENT_SESSION_TRACK);

/// The largest packet we announce to take, in bytes; packets are relayed, not held.
const PACKET_SIZE_MAX: u32 = 1 << 30;

/// The 4-byte-header length of the packets of a login, bodies at most this long.
const LOGIN_PACKET_MAX: usize = 64 * 1024;

/// Packets a login may take; a server that wants more is not one.
const LOGIN_STEPS_MAX: usize = 8;

/// Room for what stands around a password in the packet that shows it, in bytes: names, and what a client says of itself.
const LOGIN_ROOM: usize = 1024;

/// MariaDB tracks neither transactions nor GTIDs.
const TRACK: &[u8] =
    b"SET SESSION session_track_state_change = ON, SESSION session_track_schema = ON, SESSION session_track_system_variables = '*'";
const TRACK_MORE: &[u8] =
    b", SESSION session_track_transaction_info = 'CHARACTERISTICS', SESSION session_track_gtids = 'OWN_GTID'";

pub(super) async fn login(account: &Account, wanted: Bucket) -> Result<Idle, OpenError> {
    let bucket = Bucket {
        variables: Variables::default(),
        ..wanted.clone()
    };
    let options = DialOptions {
        connect_timeout: account.connect_timeout,
        keepalive: KEEPALIVE,
        ..DialOptions::default()
    };
    let socket = NearSocket::new(dial(&account.server, &options).await?);
    let lifeline = socket.lifeline()?;
    let mut stream = Stream::Plain(socket);
    let body = read_packet(&mut stream).await?.0;
    let greeting = Greeting::parse(refused(&body)?)?;
    require(&greeting, &bucket)?;
    let algorithm = compression(account, &greeting);
    let capabilities = capabilities(&bucket, algorithm);
    let mut seq = 1;
    if let Some(tls) = &account.tls {
        stream = start_tls(
            account,
            tls,
            stream,
            &greeting,
            capabilities,
            bucket.collation,
            &mut seq,
        )
        .await?;
    }
    authenticate(
        account,
        &mut stream,
        &greeting,
        capabilities,
        &bucket,
        &mut seq,
    )
    .await?;
    if let Some(algorithm) = algorithm {
        stream = compress(stream, algorithm)?;
    }
    let link = Link {
        stream,
        capabilities,
        bucket,
        status: Status::SERVER_STATUS_AUTOCOMMIT,
        restore: Bytes::new(),
        has_init_connect: false,
        read_only: false,
        opened: Instant::now(),
        reused: false,
        thread: Threads::add(&account.threads, greeting.connection_id, lifeline),
        statements: super::statements::Statements::default(),
        statements_max: account.statements_max,
        insert_id: OfConnection::Known(0),
        ahead: None,
    };
    let idle = set_up(Idle(Box::new(link)), &greeting.server_version).await?;
    let facts = ServerFacts::of(greeting, idle.status());
    account.facts.store(Some(Arc::new(facts)));
    if wanted.variables.is_empty() {
        Ok(idle)
    } else {
        idle.adapt(&wanted, None).await
    }
}

/// What is agreed with the server.
fn capabilities(bucket: &Bucket, algorithm: Option<Algorithm>) -> Capabilities {
    let mut capabilities = ALWAYS.union(bucket.capabilities.intersection(BUCKET_CAPABILITIES));
    if bucket.schema.is_some() {
        // the server believes what the TLS request says, not the response after it
        capabilities = capabilities.union(Capabilities::CLIENT_CONNECT_WITH_DB);
    }
    algorithm.map_or(capabilities, |algorithm| {
        capabilities.union(flag_of(algorithm))
    })
}

/// What to compress with. A server that does not offer it is spoken to without.
fn compression(account: &Account, greeting: &Greeting) -> Option<Algorithm> {
    let wanted = account.compression?;
    let offered = greeting.capabilities.contains(flag_of(wanted));
    if !offered {
        tracing::warn!(server = %account.server, ?wanted, "the server does not compress so (protocol_compression_algorithms)");
    }
    offered.then_some(wanted)
}

const fn zstd_level(algorithm: Option<Algorithm>) -> Option<u8> {
    match algorithm {
        Some(Algorithm::Zstd(level)) => Some(level),
        Some(Algorithm::Zlib(_)) | None => None,
    }
}

const fn flag_of(algorithm: Algorithm) -> Capabilities {
    match algorithm {
        Algorithm::Zlib(_) => Capabilities::CLIENT_COMPRESS,
        Algorithm::Zstd(_) => Capabilities::CLIENT_ZSTD_COMPRESSION_ALGORITHM,
    }
}

/// Both sides compress from the packet behind the login's last one on.
fn compress(stream: Stream, algorithm: Algorithm) -> io::Result<Stream> {
    let compressed = match stream {
        Stream::Plain(stream) => Compressed::new(stream, algorithm)?,
        Stream::Tls(stream) => Compressed::new(*stream, algorithm)?,
        Stream::Compressed(_) => return Ok(stream),
    };
    Ok(Stream::Compressed(Box::new(compressed)))
}

/// The status flags of a session in which nothing has happened.
const FRESH: Status =
    Status::SERVER_STATUS_AUTOCOMMIT.union(Status::SERVER_STATUS_NO_BACKSLASH_ESCAPES);

/// Switches session tracking on and learns how to do it again after a reset.
async fn set_up(idle: Idle, version: &str) -> io::Result<Idle> {
    let is_mariadb = version.contains("MariaDB");
    let mut track = TRACK.to_vec();
    if !is_mariadb {
        track.extend_from_slice(TRACK_MORE);
    }
    // what the login of such a client adds to sql_mode MySQL keeps over a reset, and MariaDB does not
    let ignores_space = idle
        .0
        .capabilities
        .contains(Capabilities::CLIENT_IGNORE_SPACE);
    let mode: &[u8] = if is_mariadb && ignores_space {
        b", SESSION sql_mode = CONCAT(@@GLOBAL.sql_mode, ',IGNORE_SPACE')"
    } else {
        b""
    };
    let mut busy = idle.start();
    let baseline = baseline(&mut busy).await?;
    let completion = busy.run(&track).await?;
    require_ok(&completion.outcome)?;
    // COM_RESET_CONNECTION goes back to the server's default character set, not to the login's
    let restore = [
        b"SET ",
        baseline.names.as_slice(),
        b", ",
        track.get(4..).unwrap_or_default(),
        mode,
    ];
    let status = completion.status;
    let mut idle = busy.finish(completion.boundary, status, None);
    idle.0.restore = restore.concat().into();
    idle.0.has_init_connect = baseline.has_init_connect;
    idle.0.read_only = baseline.read_only;
    if baseline.id == Some(idle.0.thread.id()) {
        idle.0.thread.has_own_id();
    }
    idle.0.statements_max = idle.0.statements_max.min(baseline.statements_share).max(1);
    idle.0.reused = false;
    Ok(idle)
}

/// What a login alone decides, or the server's settings.
struct Baseline {
    /// `NAMES ... COLLATE ...` of this login.
    names: Vec<u8>,
    has_init_connect: bool,
    /// Statements that each of the connections the server allows may prepare without running into `max_prepared_stmt_count`.
    statements_share: usize,
    /// It takes no writes; super_read_only is never on without read_only.
    read_only: bool,
    /// The server's id of the connection.
    id: Option<u32>,
}

/// Read from the server itself.
async fn baseline(busy: &mut Busy) -> io::Result<Baseline> {
    // a login sets all of them alike ("Connection Character Sets and Collations")
    const SQL: &[u8] = b"SELECT @@character_set_client, @@collation_connection, @@init_connect, \
        @@max_prepared_stmt_count DIV @@max_connections, @@GLOBAL.read_only, @@innodb_read_only, \
        CONNECTION_ID()";
    let row = busy.one_row(SQL).await?;
    let mut reader = packet::Reader::new(row.get(HEADER_LEN..).unwrap_or_default());
    let client = reader.lenenc_bytes().map_err(io::Error::other)?;
    let collation = reader.lenenc_bytes().map_err(io::Error::other)?;
    let names = [b"NAMES ", client, b" COLLATE ", collation].concat();
    let init_connect = reader.lenenc_bytes().map_err(io::Error::other)?;
    let share = reader.lenenc_bytes().map_err(io::Error::other)?;
    let mut is_on = || {
        reader
            .lenenc_bytes()
            .map(|value| !matches!(value, b"0" | b"OFF"))
    };
    let read_only = [is_on(), is_on()];
    let id = reader.lenenc_bytes().map_err(io::Error::other)?;
    Ok(Baseline {
        names,
        has_init_connect: !init_connect.is_empty(),
        statements_share: number(share).ok_or(io::ErrorKind::InvalidData)?,
        id: number(id),
        read_only: read_only.into_iter().any(|on| on.unwrap_or(false)),
    })
}

fn number<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn require(greeting: &Greeting, bucket: &Bucket) -> Result<(), OpenError> {
    let attributes = Capabilities::CLIENT_QUERY_ATTRIBUTES;
    let needed = [
        (
            bucket.capabilities.intersection(attributes),
            "CLIENT_QUERY_ATTRIBUTES (MySQL 8.0.23), which this client uses",
        ),
        (
            Capabilities::CLIENT_DEPRECATE_EOF,
            "CLIENT_DEPRECATE_EOF (MySQL 5.7.5, MariaDB 10.2)",
        ),
        (
            Capabilities::CLIENT_SESSION_TRACK,
            "CLIENT_SESSION_TRACK (MySQL 5.7.4, MariaDB 10.2)",
        ),
        (
            Capabilities::CLIENT_PLUGIN_AUTH,
            "CLIENT_PLUGIN_AUTH (MySQL 5.5.7)",
        ),
    ];
    match needed
        .iter()
        .find(|(flag, _)| !greeting.capabilities.contains(*flag))
    {
        Some((_, name)) => Err(OpenError::TooOld(name)),
        None => Ok(()),
    }
}

async fn start_tls(
    account: &Account,
    tls: &TlsClient,
    mut stream: Stream,
    greeting: &Greeting,
    capabilities: Capabilities,
    charset: u8,
    seq: &mut u8,
) -> Result<Stream, OpenError> {
    if !greeting.capabilities.contains(Capabilities::CLIENT_SSL) {
        return Err(OpenError::NoTls);
    }
    let mut out = BytesMut::new();
    SslRequest {
        capabilities,
        max_packet_size: PACKET_SIZE_MAX,
        charset,
    }
    .encode(&mut out, seq);
    stream.write(&out).await?;
    match stream {
        Stream::Plain(plain) => Ok(Stream::Tls(Box::new(
            tls.connect(&account.server.host, plain).await?,
        ))),
        Stream::Tls(_) | Stream::Compressed(_) => Ok(stream),
    }
}

async fn authenticate(
    account: &Account,
    stream: &mut Stream,
    greeting: &Greeting,
    capabilities: Capabilities,
    bucket: &Bucket,
    seq: &mut u8,
) -> Result<(), OpenError> {
    let shown = account.credential.take(account.connect_timeout).await?;
    let password = shown.secret();
    let over_tls = matches!(stream, Stream::Tls(_));
    let ssl = if over_tls {
        Capabilities::CLIENT_SSL
    } else {
        Capabilities::empty()
    };
    let mut plugin = if account.credential.is_token() {
        AuthPlugin::ClearPassword
    } else {
        greeting.auth_plugin.clone()
    };
    let mut nonce = greeting.nonce.to_vec();
    let response = HandshakeResponse {
        capabilities: capabilities.union(ssl),
        max_packet_size: PACKET_SIZE_MAX,
        charset: bucket.collation,
        username: Bytes::copy_from_slice(account.user.as_bytes()),
        auth_response: Bytes::copy_from_slice(
            answer(&plugin, password, &nonce, over_tls)?.expose(),
        ),
        database: bucket.schema.clone(),
        auth_plugin: Some(plugin.clone()),
        attributes: vec![
            (
                Bytes::from_static(b"program_name"),
                Bytes::from_static(b"lamplighter"),
            ),
            (
                Bytes::from_static(b"_client_version"),
                Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes()),
            ),
        ],
        zstd_level: zstd_level(account.compression)
            .filter(|_| capabilities.contains(Capabilities::CLIENT_ZSTD_COMPRESSION_ALGORITHM)),
    };
    let mut out = Passage::with_room(password.expose().len() + LOGIN_ROOM);
    response.encode(&mut out, seq);
    secret::wipe_bytes(response.auth_response);
    stream.write(&out).await?;
    for _ in 0..LOGIN_STEPS_MAX {
        let (body, header) = read_packet(stream).await?;
        *seq = header.seq.wrapping_add(1);
        out.clear();
        let body = refused(&body).inspect_err(|_| shown.refused())?;
        match body.split_first() {
            Some((0, _)) => return Ok(()),
            Some((&AUTH_SWITCH, _)) => {
                let switch = AuthSwitchRequest::parse(body)?;
                plugin = switch.plugin;
                if account.credential.is_token() && plugin != AuthPlugin::ClearPassword {
                    break;
                }
                nonce = switch.data.to_vec();
                let answer = answer(&plugin, password, &nonce, over_tls)?;
                packet::write(&mut out, seq, answer.expose());
            }
            Some((&AUTH_MORE_DATA, [auth::FAST_AUTH_SUCCESS])) => continue,
            Some((&AUTH_MORE_DATA, [auth::PERFORM_FULL_AUTHENTICATION])) => {
                packet::write(&mut out, seq, clear(password, over_tls)?.expose());
            }
            _ => break,
        }
        stream.write(&out).await?;
    }
    let name = String::from_utf8_lossy(plugin.name()).into_owned();
    Err(OpenError::Plugin(name))
}

fn answer(
    plugin: &AuthPlugin,
    password: &Secret,
    nonce: &[u8],
    over_tls: bool,
) -> Result<Secret, OpenError> {
    match plugin {
        AuthPlugin::ClearPassword => clear(password, over_tls),
        _ => Ok(Secret::new(auth::scramble(
            plugin,
            password.expose(),
            nonce,
        ))),
    }
}

/// The password with its final NUL, as caching_sha2_password's full authentication and mysql_clear_password want it.
fn clear(password: &Secret, over_tls: bool) -> Result<Secret, OpenError> {
    if !over_tls {
        return Err(OpenError::ClearPassword);
    }
    // at once: a vector that grows leaves its first bytes where they were
    Ok(Secret::new([password.expose(), &[0][..]].concat()))
}

/// Turns an ERR packet into our error.
fn refused(body: &[u8]) -> Result<&[u8], OpenError> {
    match body.first() {
        Some(0xFF) => Err(OpenError::Refused(ErrPacket::parse(body)?)),
        _ => Ok(body),
    }
}

/// One packet's body and header. Reads no byte beyond it: what follows may be TLS.
async fn read_packet(stream: &mut Stream) -> Result<(Vec<u8>, Header), OpenError> {
    let mut bytes = [0; HEADER_LEN];
    stream.read_exact(&mut bytes).await?;
    let header = Header::parse(&bytes).unwrap_or(Header { len: 0, seq: 0 });
    if header.len > LOGIN_PACKET_MAX.min(READ_SIZE * 4) {
        return Err(OpenError::Io(io::ErrorKind::InvalidData.into()));
    }
    let mut body = vec![0; header.len];
    stream.read_exact(&mut body).await?;
    Ok((body, header))
}
